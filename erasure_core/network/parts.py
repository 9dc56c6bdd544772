"""What the parts of a base hold, read without loading its network: tensors by name and shape from
the headers.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from erasure_core.network import bases
from erasure_core.network.models import Family, check_tensors, check_unread, load_part

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

Shapes = dict[str, tuple[int, ...]]


def shapes(base: Path, part: str) -> Shapes:
    """Name -> shape of every tensor of a part, by the headers of the files that are loaded."""
    found: Shapes = {}
    for name, file in bases.loaded_files(base).items():
        if name.startswith(f"{part}/") and file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                found |= {n: tuple(tensors.get_slice(n).get_shape()) for n in tensors.keys()}  # noqa: SIM118
    return found


def network(base: Path) -> "UNet2DConditionModel":
    """The network of a base by its configuration: names and shapes, no memory."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(base / "unet")
        )
    return unet


def check_parts(base: Path, family: Family) -> None:
    """Refuse a base of which a part lacks a tensor, or has one of another shape: diffusers and
    transformers fill it with random numbers; or whose network has one that nobody reads.

    The network is compared by its headers. The other parts are loaded: libraries rename their
    tensors as they do.

    Raises:
        BadInput: Naming the part, how many tensors are at fault, and the first.
    """
    needed = {name: tuple(tensor.shape) for name, tensor in network(base).state_dict().items()}
    have = shapes(base, "unet")
    check_tensors(base / "unet", {name for name in needed if have.get(name) != needed[name]})
    check_unread(base / "unet", have.keys() - needed.keys())
    for part in family.parts[1:]:
        load_part(base, part)
