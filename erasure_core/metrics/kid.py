"""KID: how far the pictures of a model lie from the reference, unbiased at any number of them.

Paper      Binkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv:1801.01401, sec. 4; Gretton et
           al., JMLR 13:723 (2012), eq. 3 (the unbiased estimate).
Reference  torch-fidelity 0.4.0 `kid_features_to_metric`, compared in the tests.
Departs    `kid` takes all pairs where the reference draws subsets of 1000: exact, nothing random.
           `subsets` draws them, for comparison with printed numbers. Its value may be below 0.
Cost       All pairs of pictures once, in blocks: memory stays flat.
"""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from erasure_core.law.gates import Measurement
from erasure_core.metrics.features import checked_pair
from erasure_core.metrics.intervals import jackknife, joint_groups

DEGREE, OFFSET = 3, 1.0
SUBSETS, SUBSET_SIZE = 100, 1000  # the paper's
_BLOCK = 1024  # rows of the kernel's matrix at a time


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x.y / d + 1)^3 of each pair, (n, m)."""
    return (x @ y.T / x.shape[1] + OFFSET) ** DEGREE


def mmd2(reference: np.ndarray, vectors: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy: no picture is paired with
    itself.

    Args:
        reference: (n, d) float64, n >= 2.
        vectors: (m, d) float64, m >= 2.

    Raises:
        ValueError: If a side has fewer than two pictures, widths differ, or a number is not finite.
    """
    value, _ = _left_out(reference, vectors, None, None, "kid")
    return value


def subsets(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    seed: int,
    size: int = SUBSET_SIZE,
    count: int = SUBSETS,
) -> np.ndarray:
    """`mmd2` of `count` random subsets of `size` pictures of each side, (count,): their mean is
    what papers print as KID, and their deviation is no interval of it.

    Raises:
        ValueError: If a side has fewer than `size` pictures, or `size` is below 2.
    """
    a, b = checked_pair(reference, vectors, "kid")
    if not 2 <= size <= min(len(a), len(b)):
        raise ValueError(
            f"kid: subsets of {size} need 2 <= size <= pictures; there are {len(a)} and {len(b)}"
        )
    rng = np.random.default_rng(seed)
    return np.array(
        [
            mmd2(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, False)])
            for _ in range(count)
        ]
    )


def kid(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "kid",
    clusters: Sequence[Hashable] | None = None,
    reference_clusters: Sequence[Hashable] | None = None,
) -> Measurement:
    """KID of `vectors` to `reference`, jackknife interval by prompt; lower is better.

    Args:
        reference: Features of the reference's pictures, (n, d).
        vectors: Features of the candidate's pictures, (m, d).
        settings: `Features.settings`, and what the reference is.
        metric: Name of the measurement.
        clusters: The prompt of each of `vectors`; None: no two pictures are alike.
        reference_clusters: The prompt of each of `reference`; a prompt of both is left out of both.

    Raises:
        ValueError: If without a prompt a side has fewer than two pictures, widths differ, or a
            number is not finite.
    """
    value, left_out = _left_out(reference, vectors, reference_clusters, clusters, metric)
    low, high = jackknife(value, left_out.tolist())
    interval = {
        "kernel": f"(x.y/d + {OFFSET:g})^{DEGREE}, unbiased, all pairs",
        "interval": f"jackknife 95 %, {len(left_out)} groups of prompts",
    }
    return Measurement(metric, value, low, high, len(vectors), "lower", {**settings, **interval})


def _left_out(
    reference: np.ndarray,
    vectors: np.ndarray,
    reference_clusters: Sequence[Hashable] | None,
    clusters: Sequence[Hashable] | None,
    metric: str,
) -> tuple[float, np.ndarray]:
    """The estimate, and the estimate without each group, (groups,), all from one pass over the
    pairs: a sum without a group is the whole less its rows and columns and, once too often taken
    away, its own pairs.
    """
    a, b = checked_pair(reference, vectors, metric)
    at_a, at_b, groups = joint_groups(len(a), len(b), reference_clusters, clusters, metric)
    n = len(a) - np.bincount(at_a, minlength=groups)
    m = len(b) - np.bincount(at_b, minlength=groups)
    if min(n.min(), m.min()) < 2:
        raise ValueError(
            f"{metric}: each side needs two pictures even without one prompt; got {len(a)} of the "
            f"reference and {len(b)}"
        )
    aa, bb, ab = (
        _sums(x, y, at_x, at_y, groups)
        for x, y, at_x, at_y in ((a, a, at_a, at_a), (b, b, at_b, at_b), (a, b, at_a, at_b))
    )
    estimates = _estimate(aa, bb, ab, np.append(n, len(a)), np.append(m, len(b)))
    return float(estimates[-1]), estimates[:-1]


def _estimate(
    aa: np.ndarray, bb: np.ndarray, ab: np.ndarray, n: np.ndarray, m: np.ndarray
) -> np.ndarray:
    return aa / (n * (n - 1)) + bb / (m * (m - 1)) - 2 * ab / (n * m)


def _sums(
    x: np.ndarray, y: np.ndarray, at_x: np.ndarray, at_y: np.ndarray, groups: int
) -> np.ndarray:
    """Sum of the kernel over the pairs without each group and, last, over all pairs; where x is y,
    no picture with itself. (groups + 1,)
    """
    rows, columns, own = np.zeros(groups), np.zeros(groups), np.zeros(groups)
    for first in range(0, len(x), _BLOCK):
        some = slice(first, first + _BLOCK)
        pairs = kernel(x[some], y)
        if x is y:
            pairs[np.arange(len(pairs)), first + np.arange(len(pairs))] = 0
        rows += np.bincount(at_x[some], pairs.sum(axis=1), minlength=groups)
        columns += np.bincount(at_y, pairs.sum(axis=0), minlength=groups)
        same = (pairs * (at_x[some, None] == at_y)).sum(axis=1)
        own += np.bincount(at_x[some], same, minlength=groups)
    total = float(rows.sum())
    return np.append(total - rows - columns + own, total)
