"""KID: how far the pictures of a model lie from the reference, unbiased at any number of them.

Paper      Binkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv:1801.01401, sec. 4; Gretton et
           al., JMLR 13:723 (2012), eq. 3 (the unbiased estimate).
Reference  torch-fidelity 0.4.0 `kid_features_to_metric`, compared in the tests.
Departs    `kid_to_base` takes all pairs where the reference draws subsets of 1000: exact, nothing
           random. `subsets` draws them, for comparison with printed numbers. Pictures of one prompt
           are not paired, on one side or across: they are alike, and the estimate would be biased
           as it is by pairing a picture with itself. Its value may be below 0.
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
        reference: (n, d) float64, n >= 3.
        vectors: (m, d) float64, m >= 3.

    Raises:
        ValueError: If a side has fewer than three pictures, widths differ, or a number is not
            finite.
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
        ValueError: If a side has fewer than `size` pictures, or `size` is below 3.
    """
    a, b = checked_pair(reference, vectors, "kid")
    if not 3 <= size <= min(len(a), len(b)):
        raise ValueError(
            f"kid: subsets of {size} need 3 <= size <= pictures; there are {len(a)} and {len(b)}"
        )
    rng = np.random.default_rng(seed)
    return np.array(
        [
            mmd2(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, False)])
            for _ in range(count)
        ]
    )


def kid_to_base(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "kid",
    clusters: Sequence[Hashable] | None,
    reference_clusters: Sequence[Hashable] | None,
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
        ValueError: If a side has no two prompts left without one, widths differ, or a number is not
            finite.
    """
    value, left_out = _left_out(reference, vectors, reference_clusters, clusters, metric)
    low, high = jackknife(value, left_out.tolist())
    interval = {
        "kernel": f"(x.y/d + {OFFSET:g})^{DEGREE}, unbiased, all pairs of different prompts",
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
    pairs.
    """
    a, b = checked_pair(reference, vectors, metric)
    at_a, at_b, groups = joint_groups(len(a), len(b), reference_clusters, clusters, metric)
    n, m = np.bincount(at_a, minlength=groups), np.bincount(at_b, minlength=groups)
    pairs = [_without(x * y.sum(), y * x.sum(), x * y) for x, y in ((n, n), (m, m), (n, m))]
    if min(p.min() for p in pairs) <= 0:
        raise ValueError(
            f"{metric}: each side needs pictures of two prompts even without one prompt; got "
            f"{np.count_nonzero(n)} prompts of the reference and {np.count_nonzero(m)}"
        )
    sums = [
        _without(*_sums(x, y, at_x, at_y, groups))
        for x, y, at_x, at_y in ((a, a, at_a, at_a), (b, b, at_b, at_b), (a, b, at_a, at_b))
    ]
    within_a, within_b, across = (x / p for x, p in zip(sums, pairs, strict=True))
    estimates = within_a + within_b - 2 * across
    return float(estimates[-1]), estimates[:-1]


def _without(rows: np.ndarray, columns: np.ndarray, own: np.ndarray) -> np.ndarray:
    """From sums by group the sum over pairs of different groups, without each group and, last, of
    all: what is taken away with a group are its rows and columns, its own pairs were never in it.
    """
    different = rows.sum() - own.sum()
    return np.append(different - rows - columns + 2 * own, different).astype(np.float64)


def _sums(
    x: np.ndarray, y: np.ndarray, at_x: np.ndarray, at_y: np.ndarray, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of the kernel by group, each (groups,): over its rows, its columns, its own pairs."""
    rows, columns, own = np.zeros(groups), np.zeros(groups), np.zeros(groups)
    for first in range(0, len(x), _BLOCK):
        some = slice(first, first + _BLOCK)
        pairs = kernel(x[some], y)
        rows += np.bincount(at_x[some], pairs.sum(axis=1), minlength=groups)
        columns += np.bincount(at_y, pairs.sum(axis=0), minlength=groups)
        same = (pairs * (at_x[some, None] == at_y)).sum(axis=1)
        own += np.bincount(at_x[some], same, minlength=groups)
    return rows, columns, own
