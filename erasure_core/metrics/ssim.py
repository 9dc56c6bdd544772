"""SSIM: how much a kept picture still looks like the base model's picture of the same prompt and
seed.

Paper      Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13:600 (2004), eq. 13; All-but-One uses it with
           a 25x25 window.
Reference  skimage.metrics.structural_similarity(win_size=25, data_range=1), compared in the tests
           to 1e-5.
Departs    Uniform window and sample covariance, as scikit-image's default, not the paper's 11x11
           Gaussian.
Cost       Two box sums a moment, whatever the window; float64, because the variances are small
           differences.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from erasure_core.law.gates import Measurement
from erasure_core.metrics.intervals import mean

WINDOW = 25
_C1, _C2 = 0.01**2, 0.03**2  # (K1 L)^2, (K2 L)^2 with L = 1


def ssim(a: Tensor, b: Tensor, window: int = WINDOW) -> Tensor:
    """Structural similarity of each pair, averaged over channels and over windows that lie wholly
    inside.

    Args:
        a: Images in [0, 1], shape (N, 3, H, W), any float dtype.
        b: The pictures to compare with, same shape.
        window: Side of the square window in pixels, odd, at most min(H, W).

    Returns:
        One number a pair in -1..1, shape (N,), float64; 1 where the pictures are equal.

    Raises:
        ValueError: If shapes disagree, values are NaN or outside [0, 1], or the window does not
            fit.
    """
    if a.ndim != 4 or a.shape != b.shape or a.shape[1] != 3:
        raise ValueError(
            f"two batches of the same shape (N, 3, H, W) are needed, got "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    if window < 3 or window % 2 == 0 or window > min(a.shape[2:]):
        raise ValueError(
            f"window must be odd and within 3..{min(a.shape[2:])} for images of "
            f"{a.shape[3]}x{a.shape[2]}, got {window}"
        )
    for name, x in (("a", a), ("b", b)):
        within = ((x >= 0) & (x <= 1)).all()  # NaN fails both comparisons
        if not x.is_floating_point() or not bool(within):
            raise ValueError(
                f"{name} must hold finite floats in [0, 1]; got {x.dtype}, range "
                f"{x.min().item():g}..{x.max().item():g}"
            )

    def window_mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, (window, 1), stride=1), (1, window), stride=1)

    x, y = a.double(), b.double()
    n = window * window
    mx, my = window_mean(x), window_mean(y)
    vx, vy, vxy = (
        n / (n - 1) * (window_mean(p) - q)
        for p, q in ((x * x, mx * mx), (y * y, my * my), (x * y, mx * my))
    )
    similarity = (2 * mx * my + _C1) * (2 * vxy + _C2) / ((mx**2 + my**2 + _C1) * (vx + vy + _C2))
    return similarity.mean(dim=(1, 2, 3))


def paired_ssim(
    base_images: Sequence[Image.Image],
    images: Sequence[Image.Image],
    *,
    metric: str = "ssim",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """SSIM of each candidate picture against the base's picture of the same case; mean and
    bootstrap interval. `clusters`: the prompt of each pair.

    Raises:
        ValueError: As `pair_values`, or if there is no pair.
    """
    return mean_ssim(pair_values(base_images, images, metric), metric=metric, clusters=clusters)


def pair_values(
    base_images: Sequence[Image.Image], images: Sequence[Image.Image], metric: str = "ssim"
) -> list[float]:
    """SSIM of each pair, in -1..1.

    Raises:
        ValueError: If the lists differ in length, or a pair differs in size or is not RGB.
    """
    if len(base_images) != len(images):
        raise ValueError(
            f"{metric}: pictures come in pairs; got {len(base_images)} of the base and "
            f"{len(images)} of the candidate"
        )
    values = []
    for case, (base, image) in enumerate(zip(base_images, images, strict=True)):
        if base.size != image.size or base.mode != "RGB" or image.mode != "RGB":
            raise ValueError(
                f"{metric}: pair {case} is {base.mode} {base.size} and {image.mode} "
                f"{image.size}; both must be RGB of one size"
            )
        values.append(ssim(_unit(base), _unit(image)).item())
    return values


def mean_ssim(
    values: Sequence[float],
    *,
    metric: str = "ssim",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Mean of `pair_values`, bootstrap interval. `ValueError` if there is none."""
    settings = {
        "window": WINDOW,
        "weights": "uniform",
        "data_range": 1.0,
        "colour": "mean over RGB",
        "against": "base, same prompt and seed",
    }
    return mean(
        list(values),
        metric=metric,
        better="higher",
        settings=settings,
        clusters=clusters,
        within=(-1, 1),
    )


def _unit(image: Image.Image) -> Tensor:
    """An RGB picture as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double() / 255
