"""What the parts of a base hold, read without loading its network: tensors by name and shape from
the headers, and the schedule from its configuration.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from erasure_core.errors import BadInput
from erasure_core.network.models import Family

if TYPE_CHECKING:
    from diffusers import DDIMScheduler
    from transformers import PreTrainedTokenizerBase

Shapes = dict[str, tuple[int, ...]]


def shapes(folder: Path) -> Shapes:
    """Name -> shape of every tensor of a part, by the headers of its plain safetensors."""
    found: Shapes = {}
    for file in sorted(folder.glob("*.safetensors")):
        if "." not in file.stem:  # model.fp16.safetensors is a variant
            with safe_open(file, framework="pt") as tensors:
                found |= {n: tuple(tensors.get_slice(n).get_shape()) for n in tensors.keys()}  # noqa: SIM118
    return found


def unet_parameters(base: Path) -> int:
    """How many numbers the network of a base is."""
    return sum(math.prod(shape) for shape in shapes(base / "unet").values())


def check_parts(base: Path, family: Family) -> None:
    """Refuse a base of which a part lacks a tensor, or has one of another shape: diffusers and
    transformers fill it with random numbers.

    The network is compared by its headers. The other parts are loaded: libraries rename their
    tensors as they do.

    Raises:
        BadInput: Naming the part, how many tensors are at fault, and the first.
    """
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(base / "unet"))
    needed = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    have = shapes(base / "unet")
    _check(base / "unet", {name for name in needed if have.get(name) != needed[name]})
    kinds = {
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    for part in family.parts[1:]:
        _, report = kinds[part].from_pretrained(
            base / part, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        _check(base / part, set(report["missing_keys"]))


def _check(part: Path, wrong: set[str]) -> None:
    if wrong:
        raise BadInput(
            f"{part} lacks {len(wrong)} tensors that its config.json asks for, or has them in "
            f"another shape, {min(wrong)} among them; restore the base"
        )


def check_tokenizer(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Refuse a tokenizer without its vocabulary: transformers loads an empty one without a word.

    Raises:
        BadInput: It reads two letters as one and the same.
    """
    if tokenizer("a").input_ids == tokenizer("b").input_ids:
        raise BadInput(
            f"{folder} holds a tokenizer without a vocabulary ({len(tokenizer)} tokens); restore "
            f"its tokenizer.json, or its vocab.json and merges.txt"
        )


def load_scheduler(base: Path) -> "DDIMScheduler":
    """The schedule of a base, as `load_teacher` has it."""
    from diffusers import DDIMScheduler

    return DDIMScheduler.from_config(
        DDIMScheduler.load_config(base / "scheduler"), clip_sample=False
    )
