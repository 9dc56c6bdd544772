"""Pictures between tensors, PIL and PNG files."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from erasure_core.errors import ErasureError


def not_finite(pictures: Tensor) -> int:
    """How many of some pictures, (n, 3, h, w), hold a NaN or an infinity: saved they would be
    black, and pass for pictures without the concept.
    """
    return int((~pictures.isfinite()).flatten(1).any(dim=1).sum())


def to_pil(pictures: Tensor) -> list[Image.Image]:
    """(n, 3, h, w) in [0, 1] to RGB images, rounded to 8 bits.

    Raises:
        ErasureError: A picture is not finite.
    """
    if overflown := not_finite(pictures):
        raise ErasureError(
            f"{overflown} of {len(pictures)} pictures are not finite: the model overflows on what "
            f"it is told; lower the guidance"
        )
    arrays = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array) for array in arrays]


def save_png(image: Image.Image, path: Path) -> None:
    """Write `image` to `path` as PNG, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        image.save(partial, format="PNG")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def is_whole(file: Path, size: int) -> bool:
    """Whether `file` is a picture of `size` pixels a side, readable to its last byte."""
    try:
        with Image.open(file) as image:
            image.load()
            return image.size == (size, size)
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for broken PNGs
        return False


class PictureFiles(Sequence[Image.Image]):
    """RGB pictures by their files: each is read when it is asked for and held by nobody, so that
    memory does not grow with their number.
    """

    def __init__(self, files: Iterable[Path]):
        self._files = tuple(files)

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, at: int) -> Image.Image: ...
    @overload
    def __getitem__(self, at: slice) -> "PictureFiles": ...
    def __getitem__(self, at: int | slice) -> "Image.Image | PictureFiles":
        """The picture at a place, or those of a slice, unread.

        Raises:
            ErasureError: Naming the file, if it is absent or no picture.
        """
        if isinstance(at, slice):
            return PictureFiles(self._files[at])
        return _read(self._files[at])


class Chosen(Sequence[Image.Image]):
    """Those of some pictures that stand at the places `at`, taken when they are asked for."""

    def __init__(self, pictures: Sequence[Image.Image], at: Iterable[int]):
        self._pictures, self._at = pictures, tuple(at)

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, at: int) -> Image.Image: ...
    @overload
    def __getitem__(self, at: slice) -> "Chosen": ...
    def __getitem__(self, at: int | slice) -> "Image.Image | Chosen":
        if isinstance(at, slice):
            return Chosen(self._pictures, self._at[at])
        return self._pictures[self._at[at]]


def _read(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError) as fault:
        raise ErasureError(
            f"{file} is not a readable picture ({fault}); remove its folder and run again"
        ) from fault
