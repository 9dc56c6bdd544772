"""FID: how far the pictures of a model lie from the reference, as the distance of two Gaussians.

Paper      Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NIPS 2017, arXiv:1706.08500,
           eq. 6; Chong & Forsyth, CVPR 2020, arXiv:1911.07023 (its bias of order 1/n).
Reference  torch-fidelity 0.4.0 `fid_statistics_to_metric` and scipy.linalg.sqrtm, compared in the
           tests.
Departs    The root of the covariances' product by two symmetric eigendecompositions, float64
           throughout, so that no imaginary part has to be dropped and nothing added to the
           diagonal. With no more pictures than numbers a picture the covariance is singular and
           the bias larger than what is measured: refused.
Cost       Two eigendecompositions of d x d, and two more for each of at most 20 groups of the
           interval.
"""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from erasure_core.errors import BadInput
from erasure_core.law.gates import Measurement
from erasure_core.metrics.features import checked_pair
from erasure_core.metrics.intervals import jackknife, joint_groups

GROUPS = 20  # of the jackknife: prompts are put together where there are more


def frechet(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) of two Gaussians N(m, covariance).

    Args:
        mean_a: (d,) float64.
        covariance_a: (d, d) float64, symmetric, no negative eigenvalue but by rounding.
        mean_b: As `mean_a`.
        covariance_b: As `covariance_a`.

    Raises:
        ValueError: If shapes disagree or a number is not float64.
    """
    d = len(mean_a)
    given = [x.shape for x in (mean_a, covariance_a, mean_b, covariance_b)]
    if given != [(d,), (d, d), (d,), (d, d)]:
        raise ValueError(f"two means (d,) and two covariances (d, d) are needed, got {given}")
    types = {x.dtype.name for x in (mean_a, covariance_a, mean_b, covariance_b)}
    if types != {"float64"}:  # in float32 the trace is a small difference of large numbers
        raise ValueError(f"means and covariances must be float64, got {', '.join(sorted(types))}")
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    product = np.linalg.eigvalsh(root @ covariance_b @ root)
    cross = np.sqrt(product.clip(min=0)).sum()
    gap = mean_a - mean_b
    return float(gap @ gap + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)


def distance(reference: np.ndarray, vectors: np.ndarray) -> float:
    """FID of two tables of features, (n, d) and (m, d) float64; sample covariances (n - 1)."""
    (mean_a, a), (mean_b, b) = (
        (x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (reference, vectors)
    )
    return frechet(mean_a, a, mean_b, b)


def too_few_pictures(n_reference: int, n: int, d: int) -> str | None:
    """Why FID is not measured with so many pictures of `d` numbers each; None if it is."""
    if min(n_reference, n) > d:
        return None
    return (
        f"not measured: FID with {d} numbers a picture needs more than {d} pictures on both "
        f"sides, got {n_reference} of the reference and {n}; take more prompts, or KID, which is "
        f"unbiased for any number"
    )


def fid_to_base(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "fid",
    clusters: Sequence[Hashable] | None,
    reference_clusters: Sequence[Hashable] | None,
) -> Measurement:
    """FID of `vectors` to `reference`, jackknife interval by prompt; lower is better.

    Args:
        reference: Features of the reference's pictures, (n, d).
        vectors: Features of the candidate's pictures, (m, d).
        settings: `Features.settings`, and what the reference is.
        metric: Name of the measurement.
        clusters: The prompt of each of `vectors`; None: no two pictures are alike.
        reference_clusters: The prompt of each of `reference`; a prompt of both is left out of both.

    Raises:
        BadInput: If one side has no more than d pictures.
        ValueError: If there are no pictures, widths differ, or a number is not finite.
    """
    a, b = checked_pair(reference, vectors, metric)
    if why := too_few_pictures(len(a), len(b), a.shape[1]):
        raise BadInput(f"{metric} {why}")
    at_a, at_b, groups = joint_groups(len(a), len(b), reference_clusters, clusters, metric)
    fold = min(GROUPS, groups)
    left_out = [distance(a[at_a % fold != g], b[at_b % fold != g]) for g in range(fold)]
    value = distance(a, b)
    low, high = jackknife(value, left_out)
    interval = f"jackknife 95 %, {fold} groups of prompts"
    return Measurement(
        metric, value, max(0.0, low), high, len(b), "lower", {**settings, "interval": interval}
    )
