"""One checkpoint file, with every weight under the name that the original networks give it."""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from erasure_core.errors import BadInput
from erasure_core.network import bases
from erasure_core.network.models import VELOCITY, XL, Teacher

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

CLIP_WIDTH, CLIP_LAYERS = 768, 12  # of the text encoder of Stable Diffusion 1, ViT-L/14
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
        f"model.diffusion_model.{unet_name(n, teacher.unet)}": t
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
        text = texts[0]
        if teacher.text_encoder.config.hidden_size == CLIP_WIDTH:
            text = deepened(text, CLIP_LAYERS)
        named |= {f"cond_stage_model.transformer.text_model.{n}": t for n, t in text.items()}
    return named | {marker: torch.zeros(0) for marker in _markers(teacher)}


def _markers(teacher: Teacher) -> Iterator[str]:
    """What says that a network predicts a velocity, which its weights do not tell."""
    schedule = teacher.scheduler.config
    if schedule.prediction_type == VELOCITY:
        yield bases.VELOCITY_MARKER
        if schedule.rescale_betas_zero_snr:
            yield bases.ZERO_SNR_MARKER


def unet_name(name: str, unet: "UNet2DConditionModel") -> str:
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


def deepened(text: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """A text encoder with so many layers, as its readers build it: those that it lacks hand on what
    they are given. They would be random where a base leaves CLIP's last layers out (clip skip).
    """
    here = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
    parts = {name: found for name in text if (found := here.fullmatch(name))}
    last = max(int(found[1]) for found in parts.values())
    more = {}
    for name, found in parts.items():
        for layer in range(last + 1, layers) if int(found[1]) == last else ():
            adds = re.search(r"(out_proj|fc2)\.(weight|bias)$", name)  # to what it is given
            tensor = torch.zeros_like(text[name]) if adds else text[name].clone()
            more[f"encoder.layers.{layer}.{found[2]}"] = tensor
    return {**text, **more}


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
