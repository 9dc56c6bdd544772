"""A released folder: the loaded files of a base with the edited UNet, and the proof that no
original went along.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from erasure_core.errors import BadInput
from erasure_core.law.lineage import files_in
from erasure_core.network import bases
from erasure_core.network.models import load_unet
from erasure_core.network.weights import WeightDelta, opened, write_tensors

DELTA = "delta.safetensors"


def write_checkpoint(base: Path, delta_file: Path, target: Path) -> None:
    """Write what the delta makes of `base` below the existing folder `target`, and the delta. The
    same inputs give the same bytes, wherever they lie.

    Raises:
        BadInput: The base or the delta is not whole.
        ContentChanged: The delta was made from another base.
    """
    bases.lay_out(bases.beside_unet_weights(base), target, shutil.copyfile)
    weights = _edited_unet(base, WeightDelta.load(delta_file))
    write_tensors(target / "unet" / bases.UNET_WEIGHTS, weights, {"format": "pt"})
    shutil.copyfile(delta_file, target / DELTA)


def _edited_unet(base: Path, delta: WeightDelta) -> dict[str, Tensor]:
    """The UNet's weights: what the delta names in float32, where its small changes are not rounded
    away, the rest as the base stores it.
    """
    unet = load_unet(base)
    delta.apply(unet)
    stored = {name: t.dtype for file in _unet_files(base) for name, t in _tensors(file)}
    return {
        name: weight if name in delta.names else weight.to(stored.get(name, weight.dtype))
        for name, weight in unet.state_dict().items()
    }


def _unet_files(base: Path) -> list[Path]:
    return [
        file
        for name, file in bases.loaded_files(base).items()
        if name.startswith("unet/") and file.suffix == ".safetensors"
    ]


def originals_left(folder: Path, base: Path, delta: Path) -> list[str]:
    """Every tensor below `folder`, as "file: tensor", that is bit for bit the original of a UNet
    weight which `delta` changes, in whatever file and shape, under whatever name and dtype.

    A tensor of one value throughout (a bias of zeros) is no evidence and is not counted. Tensors
    are read one at a time.

    Raises:
        BadInput: The delta names a weight that the base does not have.
    """
    files = {n: f for n, f in files_in(folder).items() if f.suffix == ".safetensors"}
    dtypes = {tensor.dtype for file in files.values() for _, tensor in _tensors(file)}
    originals = _originals(base, delta, {d for d in dtypes if d.is_floating_point})
    return [
        f"{name}: {key}"
        for name in sorted(files)
        for key, tensor in _tensors(files[name])
        if _bits(tensor) in originals
    ]


def _originals(base: Path, delta: Path, dtypes: set[torch.dtype]) -> set[bytes]:
    """The bits, in each dtype, of every weight of the base's UNet that the delta changes."""
    bits: set[bytes] = set()
    with opened(delta) as edits:
        names = set(edits.keys())
        for key, tensor in (pair for file in _unet_files(base) for pair in _tensors(file)):
            if key in names and _changes(edits.get_tensor(key), tensor):
                bits |= {_bits(tensor.to(dtype)) for dtype in dtypes}
            names.discard(key)
    if names:
        raise BadInput(
            f"{delta} changes {', '.join(sorted(names)[:3])}, which {base} does not have; "
            f"name the base that it was made from"
        )
    return bits


def _changes(edit: Tensor, weight: Tensor) -> bool:
    """Whether adding `edit` to a weight that is worth telling apart gives another weight."""
    constant = torch.equal(weight, weight.flatten()[:1].expand_as(weight))
    return not constant and not torch.equal(weight.float() + edit, weight.float())


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    with opened(file) as tensors:
        for key in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
            yield key, tensors.get_tensor(key)


def _bits(tensor: Tensor) -> bytes:
    """Hash of a tensor's contents, whatever its shape."""
    flat = tensor.contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()
