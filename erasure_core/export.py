"""An erased model in the forms that other programs read: a diffusers folder, a delta, a LoRA, one
checkpoint file.

Every safetensors file written says whose erasure it is: `request_ids`, `method`, `recipe_sha256`,
the base folder's root hash (`base_root_sha256`) and, as in every delta, the hash of the base's UNet
(`base_sha256`). Weights are float32: in half precision a small change would be rounded away.
Nothing of the base travels along but the files that are loaded, so that no second copy of the
unchanged UNet does.
"""

import json
import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from erasure_core.errors import BadInput, ErasureError
from erasure_core.files import new_folder
from erasure_core.network import bases
from erasure_core.network.models import XL, Teacher, check_folder, load_teacher
from erasure_core.network.weights import WeightDelta, write_tensors

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

Format = Literal["diffusers", "delta", "lora", "single-file"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an exported file says of itself."""

    request_ids: tuple[str, ...]
    base_sha256: str  # root hash of the base folder
    method: str
    recipe_sha256: str  # hash of all that the erasure was made from

    def metadata(self, delta: WeightDelta) -> dict[str, str]:
        """As the header of a safetensors file."""
        return {
            "format": "pt",  # transformers refuses a file without it
            "request_ids": ",".join(self.request_ids),
            "method": self.method,
            "recipe_sha256": self.recipe_sha256,
            "base_root_sha256": self.base_sha256,
            "base_sha256": delta.base_sha256,
        }


def export(
    base: Path, delta_file: Path, facts: Facts, form: str, target: Path, *, error: float = 1e-3
) -> Path:
    """Write what `delta_file` makes of `base` to `target`, whole or not at all.

    Args:
        base: The diffusers folder that the delta was made from.
        delta_file: A delta as `WeightDelta.save` leaves it.
        facts: What the files will say of themselves.
        form: `diffusers` (a folder), or a .safetensors file: `delta`, `lora`, or `single-file`, the
            original layout of Stable Diffusion checkpoints; `from_single_file(file, config=base)`
            reads it.
        target: The folder or file to write; its parent must exist.
        error: For `lora`: greatest Frobenius error of each weight's change, relative to the change.

    Returns:
        `target`.

    Raises:
        BadInput: An unknown form, a target that is taken, a base that is no base, a delta that a
            LoRA cannot hold.
        ContentChanged: If the delta was made from another base.
        ErasureError: If the disk is full.
    """
    if form not in get_args(Format):
        raise BadInput(f"export format {form!r} is none of {', '.join(get_args(Format))}")
    _check_target(target, folder=form == "diffusers")
    check_folder(base)
    delta = WeightDelta.load(delta_file)
    metadata, teacher = facts.metadata(delta), load_teacher(base)
    with delta.applied(teacher.unet):
        if form == "delta":
            write_tensors(target, delta.tensors, metadata)
        elif form == "lora":
            write_tensors(target, lora(teacher.unet, delta, error), metadata)
        elif form == "single-file":
            write_tensors(target, single_file(teacher), metadata)
        else:
            _write_folder(base, teacher.unet, metadata, target)
    return target


def _check_target(target: Path, *, folder: bool) -> None:
    if not target.parent.is_dir():
        raise BadInput(
            f"{target.parent} is no folder; make it first, {target.name} will be written into it"
        )
    if not folder and target.suffix != ".safetensors":
        raise BadInput(
            f"{target} will be a safetensors file; name it "
            f"{target.with_suffix('.safetensors').name}"
        )
    if target.exists() and not (folder and target.is_dir() and not any(target.iterdir())):
        raise BadInput(f"{target} is already there; export to a new name, nothing is overwritten")


# --- a diffusers folder
# ---------------------------------------------------------------------------------------------


def _write_folder(base: Path, unet: nn.Module, metadata: Mapping[str, str], target: Path) -> None:
    partial = new_folder(target.parent, f".{target.name}-")
    try:
        bases.lay_out(
            bases.beside_unet_weights(base),
            partial,
            lambda source, copy: _copy_with_metadata(source, copy, metadata),
        )
        write_tensors(partial / "unet" / bases.UNET_WEIGHTS, unet.state_dict(), metadata)
        partial.rename(target)
    except OSError as fault:
        raise ErasureError(
            f"{target} could not be written ({fault}); free some space and export again"
        ) from fault
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_with_metadata(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Copy a file, byte for byte but for what the header of a safetensors file says of it."""
    if source.suffix != ".safetensors":
        shutil.copyfile(source, target)
        return
    with source.open("rb") as old, target.open("wb") as new:
        (length,) = struct.unpack("<Q", old.read(8))
        header = json.loads(old.read(length))
        header["__metadata__"] = {**header.get("__metadata__", {}), **metadata}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # tensors stay aligned
        new.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(old, new)


# --- LoRA
# ---------------------------------------------------------------------------------------------


def lora(unet: nn.Module, delta: WeightDelta, error: float) -> dict[str, Tensor]:
    """The change of each linear weight as a product of two factors, named as diffusers'
    `load_lora_weights` reads them.

    All weights get one rank, the least at which the worst of them is within `error`: some readers
    scale by the first rank they meet, and would weaken the erasure elsewhere.

    Raises:
        BadInput: If something else than linear weights changed, or the factors would be no smaller
            than the change itself.
    """
    if not 0 < error < 1:
        raise BadInput(f"error {error} must be above 0 and below 1; it is relative to the change")
    changed = {name: tensor.double() for name, tensor in delta.tensors.items() if tensor.any()}
    linear = {
        f"{name}.weight" for name, module in unet.named_modules() if isinstance(module, nn.Linear)
    }
    if other := sorted(changed.keys() - linear):
        raise BadInput(
            f"a LoRA holds linear weights only; {len(other)} others changed, such as "
            f"{other[0]}; export diffusers or delta"
        )
    if not changed:
        raise BadInput("the delta changes nothing; there is no LoRA of it")
    split = {
        name: torch.linalg.svd(change, full_matrices=False) for name, change in changed.items()
    }
    ranks = {name: _rank(values, error) for name, (_, values, _) in split.items()}
    worst = max(ranks, key=lambda name: ranks[name])
    rank = ranks[worst]
    if (ours := sum(rank * sum(c.shape) for c in changed.values())) >= (
        whole := sum(c.numel() for c in changed.values())
    ):
        raise BadInput(
            f"{worst} needs rank {rank} of {min(changed[worst].shape)} to be within "
            f"{error:g} of its change; a LoRA of that rank has "
            f"{ours} numbers, the delta {whole}; export diffusers or delta, or allow a "
            f"greater error"
        )
    factors = {}
    for name, (u, values, v) in split.items():
        module, root = f"unet.{name.removesuffix('.weight')}", values[:rank].sqrt()
        down, up = root[:, None] * v[:rank], u[:, :rank] * root
        pad = rank - len(root)  # a weight may have fewer rows than the rank
        factors[f"{module}.lora_A.weight"] = nn.functional.pad(down, (0, 0, 0, pad)).float()
        factors[f"{module}.lora_B.weight"] = nn.functional.pad(up, (0, pad)).float()
    return factors


def _rank(values: Tensor, error: float) -> int:
    """Least number of singular values whose remainder is within `error` of their whole, in the
    Frobenius norm.
    """
    # left[r]: norm of what rank r leaves out
    left = values.square().flip(0).cumsum(0).flip(0).sqrt()
    return int((left > error * left[0]).sum())


# --- one file, as Stable Diffusion was published
# ------------------------------------------------------------------------

UNET_NAMES = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET_NAMES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_ATTENTION_NAMES = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
OPEN_CLIP_NAMES = {
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.token_embedding": "token_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn": "attn",
}


def single_file(teacher: Teacher) -> dict[str, Tensor]:
    """Every weight of `teacher` under the name that the original checkpoints of its family give it.

    Raises:
        BadInput: If its UNet has blocks that the original networks do not have.
    """
    named = {
        f"model.diffusion_model.{_unet_name(n, teacher.unet)}": t
        for n, t in teacher.unet.state_dict().items()
    }
    levels = len(teacher.vae.config.block_out_channels)
    for name, tensor in teacher.vae.state_dict().items():
        # attention was a 1x1 convolution there
        convolution = ".attentions." in name and tensor.ndim == 2
        named[f"first_stage_model.{_vae_name(name, levels)}"] = (
            tensor[:, :, None, None] if convolution else tensor
        )
    texts = [_bare(encoder.state_dict()) for encoder in teacher.text_encoders]
    if isinstance(teacher.family, XL):
        named |= {
            f"conditioner.embedders.0.transformer.text_model.{n}": t for n, t in texts[0].items()
        }
        named |= {f"conditioner.embedders.1.model.{n}": t for n, t in _open_clip(texts[1]).items()}
    elif teacher.family.linear:
        named |= {f"cond_stage_model.model.{n}": t for n, t in _open_clip(texts[0]).items()}
    else:
        named |= {f"cond_stage_model.transformer.text_model.{n}": t for n, t in texts[0].items()}
    return named


def _unet_name(name: str, unet: "UNet2DConditionModel") -> str:
    """The original name of a UNet's weight. There, blocks are numbered through: resnets, then what
    changes the resolution.
    """
    for ours, theirs in UNET_NAMES.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    parts = re.fullmatch(
        r"(down_blocks|mid_block|up_blocks)(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)",
        name,
    )
    if not parts or not isinstance(unet.config.layers_per_block, int):
        raise BadInput(f"{name} has no place in the original checkpoint layout; export diffusers")
    side, block, kind, number, rest = parts.groups()
    layer, per_block = int(number), unet.config.layers_per_block + 1
    if kind == "resnets":
        rest = _replaced(rest, RESNET_NAMES)
    if side == "mid_block":
        return f"middle_block.{2 * layer if kind == 'resnets' else 2 * layer + 1}.{rest}"
    first = int(block) * per_block
    if kind == "downsamplers":
        return f"input_blocks.{first + per_block}.0.{rest.replace('conv', 'op')}"
    if kind == "upsamplers":
        after = 2 if "CrossAttn" in unet.config.up_block_types[int(block)] else 1
        return f"output_blocks.{first + per_block - 1}.{after}.{rest}"
    place = 0 if kind == "resnets" else 1
    return (
        f"input_blocks.{first + layer + 1}.{place}.{rest}"
        if side == "down_blocks"
        else f"output_blocks.{first + layer}.{place}.{rest}"
    )


def _vae_name(name: str, levels: int) -> str:
    """The original name of an autoencoder's weight; there, the decoder's levels are numbered from
    the picture inwards.
    """
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d+)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        return _replaced(name.replace("mid_block.attentions.0", "mid.attn_1"), VAE_ATTENTION_NAMES)
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(
        r"up_blocks\.(\d+)\.resnets\.(\d+)",
        lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}",
        name,
    )
    return re.sub(
        r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name
    )


def _bare(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder's weights without the prefix that only some versions of transformers give
    them.
    """
    return {
        name.removeprefix("text_model."): tensor
        for name, tensor in text.items()
        if not name.endswith("position_ids")
    }


def _open_clip(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder as OpenCLIP names it: queries, keys and values are one weight, the projection
    multiplies from the right.
    """
    named = {}
    for name, tensor in text.items():
        if name == "text_projection.weight":
            named["text_projection"] = tensor.T
        elif ".q_proj." in name:
            joined = torch.cat([text[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            named[_replaced(name.replace("q_proj.", "in_proj_"), OPEN_CLIP_NAMES)] = joined
        elif not re.search(r"\.[kv]_proj\.", name):
            named[_replaced(name, OPEN_CLIP_NAMES)] = tensor
    return named


def _replaced(name: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        name = re.sub(rf"(^|(?<=\.)){re.escape(ours)}(?=\.|$)", theirs, name)
    return name
