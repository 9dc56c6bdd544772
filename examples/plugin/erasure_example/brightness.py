"""Brightness drop: how much darker kept pictures became, beside the base's of the same cases.

Paper      None; the mean of a picture's values is its brightness, 0..1.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from PIL import Image

from erasure_core.law.gates import Measurement
from erasure_core.metrics import Metric
from erasure_core.metrics.intervals import mean


def brightness_drop(
    base: Sequence[Image.Image],
    images: Sequence[Image.Image],
    *,
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Mean drop over pairs, with its 95 % interval; pictures of one cluster are alike."""
    drops = [_brightness(b) - _brightness(i) for i, b in zip(images, base, strict=True)]
    return mean(drops, metric="brightness_drop", better="lower", settings={}, clusters=clusters)


def _brightness(image: Image.Image) -> float:
    return float(np.asarray(image.convert("L")).mean()) / 255


BRIGHTNESS_DROP = Metric(
    brightness_drop,
    frozenset({"kept"}),
    "lower",
    frozenset({"base"}),
    "kept pictures are darker than the base's",
)
