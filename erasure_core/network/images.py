"""Pictures between tensors, PIL and PNG files."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from erasure_core.errors import ErasureError


def to_pil(pictures: Tensor) -> list[Image.Image]:
    """(n, 3, h, w) in [0, 1] to RGB images, rounded to 8 bits."""
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


def read_pictures(files: Sequence[Path]) -> list[Image.Image]:
    """Read RGB pictures whole.

    Raises:
        ErasureError: Naming the first file that is absent or no picture.
    """
    pictures = []
    for file in files:
        try:
            with Image.open(file) as image:
                pictures.append(image.convert("RGB"))
        except (OSError, UnidentifiedImageError) as fault:
            raise ErasureError(
                f"{file} is not a readable picture ({fault}); remove its folder and run again"
            ) from fault
    return pictures
