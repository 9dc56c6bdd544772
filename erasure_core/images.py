"""Pictures between tensors, PIL and PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from erasure_core.errors import ErasureError


def to_pil(pictures: Tensor) -> list[Image.Image]:
    """(n, 3, h, w) in [0, 1] to RGB images, rounded to 8 bits."""
    arrays = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(array) for array in arrays]


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size to (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(np.stack([np.asarray(image, np.float32) for image in images])).permute(0, 3, 1, 2) / 255


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
            raise ErasureError(f"{file} is not a readable picture ({fault}); remove its folder and run again") from fault
    return pictures
