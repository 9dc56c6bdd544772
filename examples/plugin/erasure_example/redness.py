"""Redness: a detector that sees `RED` where a picture's red exceeds its green and blue.

Paper      None; it shows the protocol that a detector of one's own follows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from erasure_core.errors import BadInput


class Redness:
    """Answers for the label RED."""

    def __init__(self, threshold: float, inference_resolution: int):
        self._threshold = threshold

    @property
    def settings(self) -> Mapping[str, object]:
        """What a number needs beside it."""
        return {"detector": "redness", "version": "0.1.0", "threshold": self._threshold}

    def detects(self, images: Sequence[Image.Image], labels: Sequence[str]) -> list[bool]:
        """Whether red exceeds the mean of green and blue by the threshold, of 0..1."""
        if unknown := set(labels) - {"RED"}:
            raise BadInput(f"redness knows no label {', '.join(sorted(unknown))}; use RED")
        return [self._red(image) >= self._threshold for image in images]

    def _red(self, image: Image.Image) -> float:
        red, green, blue = np.asarray(image.convert("RGB")).reshape(-1, 3).mean(axis=0) / 255
        return float(red - (green + blue) / 2)
