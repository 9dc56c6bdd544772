"""Grey rate: how many of a concept's pictures are still without colour, as a pencil's are.

Paper      None; a picture's colourfulness is the mean distance of its channels from their mean.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from PIL import Image

from erasure_core.law.gates import Measurement
from erasure_core.metrics import Metric
from erasure_core.metrics.intervals import share

COLOURLESS = 0.02  # of 0..1


def grey_rate(
    images: Sequence[Image.Image], *, clusters: Sequence[Hashable] | None = None
) -> Measurement:
    """Share of pictures, with its 95 % interval; pictures of one cluster are alike."""
    hits = [_colourfulness(image) < COLOURLESS for image in images]
    settings = {"colourless below": COLOURLESS}
    return share(hits, metric="grey_rate", better="lower", settings=settings, clusters=clusters)


def _colourfulness(image: Image.Image) -> float:
    channels = np.asarray(image.convert("RGB"), dtype=float) / 255
    return float(np.abs(channels - channels.mean(axis=2, keepdims=True)).mean())


GREY_RATE = Metric(
    grey_rate, frozenset({"target"}), "lower", frozenset(), "pictures are still without colour"
)
