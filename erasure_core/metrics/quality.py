"""Are the pictures in the concept's place pictures at all, as good and as varied as the base's?

Beside KID (`kid.py`) and FID (`fid.py`), four numbers without a unit:

    fidelity      share of target pictures that lie no farther from the base's pictures of the
                  replaced prompts than those lie from each other; texture, noise and a grey area
                  do not
    naturalness   the same question without the replacement: do contrast, correlation of neighbours,
                  spectrum, edges and colour lie where those of the base's pictures lie?
    diversity     mean distance of two target pictures, as a part of that of the base's; one
                  memorised picture for every prompt gives 0
    distinctness  mean distance of a target picture to the nearest other one, as a part of that of
                  the base's; of a few memorised ones that lie far apart, which are diverse, 0

Paper      Kynkaanniemi et al., NeurIPS 2019, arXiv:1904.06991 (precision: near enough to the k-th
           neighbour); Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World (2005),
           ch. 2 (conformal p-value: what "no farther" may mean); Ruderman, Network 5:517 (1994),
           Field, JOSA A 4:2379 (1987), and Mittal et al., IEEE TIP 21:4695 (2012) (statistics of
           natural pictures).
Reference  Nothing; algebra in the tests.
Departs    The radius is one quantile of all pictures' k-th distances, not each picture's own. The
           natural statistics are few and compared with the model's own base, not with photographs:
           a base that draws mosaics may go on drawing them.
Cost       All pairs of pictures; one Fourier transform of each.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from PIL import Image

from erasure_core.law.gates import Measurement
from erasure_core.metrics.features import checked, checked_pair
from erasure_core.metrics.fid import fid_to_base
from erasure_core.metrics.intervals import jackknife, joint_groups, share
from erasure_core.metrics.kid import kid_to_base

NEIGHBOURS = 3  # k
LEVEL = 0.05  # of the base's own pictures so many lie farther out than what counts as typical
FEWEST = int(1 / LEVEL)  # pictures of the base from which that can be told
STATISTICS = ("log contrast", "correlation", "spectral slope", "log kurtosis of edges", "colour")
ROUNDED = 12  # decimals of a distance: that of two copies is 0
_FLOOR = 1 / 255  # contrast below one grey level is none


def typical(
    reference: np.ndarray, vectors: np.ndarray, *, k: int = NEIGHBOURS, level: float = LEVEL
) -> np.ndarray:
    """Which of `vectors` lie among `reference`: their distance to the k-th nearest of it gets a
    conformal p-value, among the same distances within `reference`, above `level`.

    For pictures from where the reference is from, a share of about 1 - level or more is expected.

    Args:
        reference: (n, d) float64.
        vectors: (m, d) float64.
        k: Which neighbour, 1 <= k < n.
        level: Within 0..1; at least 1 / (n + 1), or every picture would count.

    Returns:
        (m,) bool.

    Raises:
        ValueError: If k or the level does not fit n, widths differ or a number is not finite.
    """
    a, b = checked_pair(reference, vectors, "typical")
    n = len(a)
    if not 1 <= k < n or not 1 / (n + 1) <= level < 1:
        raise ValueError(
            f"with {n} pictures of the reference k must be within 1..{n - 1} and level within "
            f"{1 / (n + 1):.4g}..1; got k={k}, level={level:g}"
        )
    inside = _distances(a, a)
    np.fill_diagonal(inside, np.inf)
    own = np.sort(np.partition(inside, k - 1, axis=1)[:, k - 1])
    far = np.partition(_distances(b, a), k - 1, axis=1)[:, k - 1]
    as_far = n - np.searchsorted(own, far, side="left")  # of the reference, at least as far
    return (as_far + 1) / (n + 1) > level


def fidelity(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "quality.fidelity",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Share of target pictures that lie among the base's pictures of the replaced prompts, Wilson
    interval; higher is better, 1 is ideal, 0.95 what the base's own other pictures reach.

    Args:
        reference: Features of the base's pictures of the replaced prompts, (n, d), n >= 20.
        vectors: Features of the candidate's target pictures, (m, d).
        settings: `Features.settings`.
        metric: Name of the measurement.
        clusters: The prompt of each target picture.

    Raises:
        ValueError: If there are no pictures or too few of the reference, widths differ, or a number
            is not finite.
    """
    a, b = checked_pair(reference, vectors, metric)
    return _typical_share(a, b, settings, metric, clusters)


def distribution(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "quality.kid",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """KID of target pictures to the base's pictures of the same replaced prompts, jackknife
    interval by prompt; lower is better, 0 is as the base.

    Args:
        reference: Features of the base's pictures of the replaced prompts, (n, d).
        vectors: Features of the candidate's target pictures, same cases, (n, d).
        settings: `Features.settings`.
        metric: Name of the measurement.
        clusters: The prompt of each case.

    Raises:
        ValueError: If the cases are not pairs, there are too few prompts, or a number is not
            finite.
    """
    return _of_pairs(kid_to_base, reference, vectors, settings, metric, clusters)


def distribution_fid(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "quality.fid",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """FID of target pictures to the base's pictures of the same replaced prompts, jackknife
    interval by prompt; lower is better, 0 is as the base.

    Args:
        reference: Features of the base's pictures of the replaced prompts, (n, d), n > d.
        vectors: Features of the candidate's target pictures, same cases, (n, d).
        settings: `Features.settings`.
        metric: Name of the measurement.
        clusters: The prompt of each case.

    Raises:
        BadInput: If there are no more cases than numbers a picture.
        ValueError: If the cases are not pairs, or a number is not finite.
    """
    return _of_pairs(fid_to_base, reference, vectors, settings, metric, clusters)


def _of_pairs(
    distance: Callable[..., Measurement],
    reference: np.ndarray,
    vectors: np.ndarray,
    settings: Mapping[str, object],
    metric: str,
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """A distance between the two sides of the same cases, which share their prompts; each case has
    one of its own where none is given. `ValueError` if the cases are not pairs.
    """
    if len(reference) != len(vectors):
        raise ValueError(
            f"{metric}: cases come in pairs; got {len(reference)} of the base and "
            f"{len(vectors)} of the candidate"
        )
    prompts = clusters if clusters is not None else range(len(vectors))
    return distance(
        reference,
        vectors,
        settings=settings,
        metric=metric,
        clusters=prompts,
        reference_clusters=prompts,
    )


def naturalness(
    reference: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
    *,
    settings: Mapping[str, object] | None = None,
    metric: str = "quality.naturalness",
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """Share of pictures whose statistics lie among those of the base's pictures, Wilson interval;
    higher is better, 1 is ideal.

    Args:
        reference: Any pictures of the base, of all styles that are asked for; n >= 20.
        pictures: The candidate's.
        settings: What the reference is.
        metric: Name of the measurement.
        clusters: The prompt of each picture.

    Raises:
        ValueError: If there are no pictures or too few of the reference, or one is not RGB.
    """
    if not reference or not pictures:
        raise ValueError(
            f"{metric}: pictures are compared with the base's; got {len(pictures)} and "
            f"{len(reference)} of the base"
        )
    a, b = natural_statistics(reference, metric), natural_statistics(pictures, metric)
    centre, spread = a.mean(axis=0), a.std(axis=0)
    if flat := ", ".join(s for s, x in zip(STATISTICS, spread, strict=True) if x < 1e-9):
        raise ValueError(f"{metric}: the base's pictures do not differ in {flat}; give more")
    a, b = (a - centre) / spread, (b - centre) / spread
    known = {**(settings or {}), "statistics": list(STATISTICS)}
    return _typical_share(a, b, known, metric, clusters)


def diversity(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "quality.diversity",
    clusters: Sequence[Hashable] | None,
    within: Sequence[Hashable] | None = None,
) -> Measurement:
    """Mean distance 1 - cosine of two target pictures, divided by that of the base's two pictures
    of the same replaced prompts; jackknife interval by prompt; higher is better, 1 is as varied.

    Args:
        reference: Features of the base's pictures of the replaced prompts, (n, d).
        vectors: Features of the candidate's target pictures, same cases, (n, d).
        settings: `Features.settings`.
        metric: Name of the measurement.
        clusters: The prompt of each case.
        within: Compare only pictures of one label, their style: then a picture memorised for each
            style gives 0 as well. None: all pairs.

    Raises:
        ValueError: If the cases are not pairs, there are too few, a number is not finite, or the
            base's pictures do not differ.
    """
    a, b = checked_pair(reference, vectors, metric)
    same, at, groups = _compared(a, b, clusters, within, metric)
    pairs = _without(same.astype(float), at, groups)
    sums = [_without(_cosine_distances(x) * same, at, groups) for x in (b, a)]
    known = {**settings, "pairs": "all" if within is None else "of one label"}
    return _beside_base(sums[0], sums[1], pairs, len(b), known, metric)


def distinctness(
    reference: np.ndarray,
    vectors: np.ndarray,
    *,
    settings: Mapping[str, object],
    metric: str = "quality.distinctness",
    clusters: Sequence[Hashable] | None,
    within: Sequence[Hashable] | None = None,
) -> Measurement:
    """Mean distance 1 - cosine of a target picture to the nearest other one, divided by that of the
    base's pictures of the same replaced prompts; jackknife interval by prompt; higher is better, 1
    is as distinct. What is drawn twice counts 0, however far it lies from the rest; and no picture
    counts for more than the base's median, so that a few far ones do not make up for copies.

    Args:
        reference: As for `diversity`.
        vectors: As for `diversity`.
        settings: `Features.settings`.
        metric: Name of the measurement.
        clusters: The prompt of each case.
        within: As for `diversity`. A picture counts where its label has others of two prompts.

    Raises:
        ValueError: As for `diversity`.
    """
    a, b = checked_pair(reference, vectors, metric)
    same, at, groups = _compared(a, b, clusters, within, metric)
    has = np.array([len({*at[others]}) > 1 for others in same])
    counts = np.append(has.sum() - np.bincount(at, has, minlength=groups), has.sum())
    own, far = (np.where(same, _cosine_distances(x).round(ROUNDED), np.inf)[has] for x in (a, b))
    most = float(np.median(own.min(axis=1))) if has.any() else 0.0
    sums = [_nearest(x.clip(max=most), at[has], at, groups) for x in (far, own)]
    known = {
        **settings,
        "nearest": "of all" if within is None else "of one label",
        "counts at most": round(most, 6),
    }
    return _beside_base(sums[0], sums[1], counts, len(b), known, metric)


def _compared(
    a: np.ndarray,
    b: np.ndarray,
    clusters: Sequence[Hashable] | None,
    within: Sequence[Hashable] | None,
    metric: str,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Which pictures are compared with which, (n, n) bool; the group of prompts of each, (n,), and
    how many there are. `ValueError` if the cases are not pairs with a label each.
    """
    if len(a) != len(b):
        raise ValueError(
            f"{metric}: cases come in pairs; got {len(a)} of the base and {len(b)} of the candidate"
        )
    labels = list(within) if within is not None else [None] * len(b)
    if len(labels) != len(b):
        raise ValueError(f"{metric}: one label an image; got {len(labels)} for {len(b)} images")
    prompts = clusters if clusters is not None else range(len(b))
    at, _, groups = joint_groups(len(b), len(b), prompts, prompts, metric)
    same = np.array([[x == y for y in labels] for x in labels])
    np.fill_diagonal(same, False)
    return same, at, groups


def _beside_base(
    sums: np.ndarray,
    of_base: np.ndarray,
    counts: np.ndarray,
    n: int,
    settings: Mapping[str, object],
    metric: str,
) -> Measurement:
    """The ratio of two sums of so many distances, each without each group and, last, of all."""
    if counts.min() <= 0 or (of_base <= counts * 1e-12).any():
        raise ValueError(
            f"{metric}: without one prompt no two of the base's pictures are left that differ; "
            f"give more prompts, or none of `within`"
        )
    ratios = sums / of_base
    low, high = _interval_of_ratio(ratios)
    known = {
        **settings,
        "distance": "1 - cosine, divided by that of the base's pictures of the replaced prompts",
        "interval": f"jackknife 95 % of its logarithm, {len(ratios) - 1} groups of prompts",
    }
    return Measurement(metric, float(ratios[-1]), low, high, n, "higher", known)


def _interval_of_ratio(ratios: np.ndarray) -> tuple[float, float]:
    """95 % interval of the last from the others, each without one group: on the logarithm, as a
    ratio is skewed (its lower end would fall below what any group alone gives); as it is where one
    of them is 0.
    """
    if (ratios <= 0).any():
        low, high = jackknife(float(ratios[-1]), ratios[:-1].tolist())
        return max(0.0, low), high
    logs = np.log(ratios)
    low, high = jackknife(float(logs[-1]), logs[:-1].tolist())
    return math.exp(min(low, 700.0)), math.exp(min(high, 700.0))


def natural_statistics(pictures: Sequence[Image.Image], metric: str) -> np.ndarray:
    """`STATISTICS` of each picture, (n, 5) float64. ValueError if a picture is not RGB."""
    rows = []
    for case, picture in enumerate(pictures):
        if picture.mode != "RGB":
            raise ValueError(f"{metric}: picture {case} is {picture.mode}; RGB is needed")
        rgb = np.asarray(picture, dtype=np.float64) / 255
        rows.append(_statistics(rgb))
    return checked(np.array(rows), metric)


def _statistics(rgb: np.ndarray) -> list[float]:
    grey = rgb @ np.array([0.299, 0.587, 0.114])  # luma
    centred = grey - grey.mean()
    variance = float((centred**2).mean())
    beside = (centred[:, 1:] * centred[:, :-1]).mean() + (centred[1:] * centred[:-1]).mean()
    edges = np.concatenate([np.diff(grey, axis=0).ravel(), np.diff(grey, axis=1).ravel()])
    edges = edges - edges.mean()
    second = float((edges**2).mean())
    return [
        float(np.log(np.sqrt(variance) + _FLOOR)),
        float(beside / 2 / (variance + _FLOOR**2)),
        _slope(centred),
        float(np.log((edges**4).mean() / (second**2 + _FLOOR**4) + 1)),
        float((rgb.max(axis=2) - rgb.min(axis=2)).mean()),
    ]


def _slope(centred: np.ndarray) -> float:
    """Exponent a of the power spectrum f^-a between 2 cycles a picture and half of the highest
    frequency, by least squares; about 2 for photographs, 0 for noise, 0 for a grey area.
    """
    power = np.abs(np.fft.fft2(centred)) ** 2 / centred.size
    f = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) * side for side in centred.shape[::-1])))
    band = np.arange(2, min(centred.shape) // 4 + 1)
    ring = np.rint(f).astype(int)
    levels = [np.log(power[ring == r].mean() + _FLOOR**2) for r in band]
    return -float(np.polyfit(np.log(band), levels, 1)[0])


def _typical_share(
    a: np.ndarray,
    b: np.ndarray,
    settings: Mapping[str, object],
    metric: str,
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    if len(a) < FEWEST:
        raise ValueError(
            f"{metric}: what is typical of the base is told from at least {FEWEST} pictures of it, "
            f"got {len(a)}"
        )
    rule = {"typical": f"distance to neighbour {NEIGHBOURS}, conformal p > {LEVEL:g}, n={len(a)}"}
    return share(
        typical(a, b).tolist(),
        metric=metric,
        better="higher",
        settings={**settings, **rule},
        clusters=clusters,
    )


def _without(pairs: np.ndarray, at: np.ndarray, groups: int) -> np.ndarray:
    """Sum over pairs without each group and, last, over all pairs, (groups + 1,); symmetric."""
    rows = np.bincount(at, pairs.sum(axis=1), minlength=groups)
    own = np.bincount(at, (pairs * (at[:, None] == at)).sum(axis=1), minlength=groups)
    return np.append(pairs.sum() - 2 * rows + own, pairs.sum())


def _nearest(distances: np.ndarray, of: np.ndarray, at: np.ndarray, groups: int) -> np.ndarray:
    """Sum of the least distance of each row without each group and, last, of all, (groups + 1,).

    Args:
        distances: (m, n), n >= 1.
        of: The group of each row, (m,), with which it goes.
        at: The group of each column, (n,).
        groups: How many there are.
    """
    least, nearest = distances.min(axis=1), at[distances.argmin(axis=1)]
    elsewhere = np.where(at == nearest[:, None], np.inf, distances).min(axis=1)
    farther = np.where(nearest == of, 0, elsewhere - least)  # with its own group the row goes too
    gone = np.bincount(of, least, minlength=groups)
    return np.append(
        least.sum() - gone + np.bincount(nearest, farther, minlength=groups), least.sum()
    )


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pair, (n, m)."""
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.sqrt(squares.clip(min=0))


def _cosine_distances(x: np.ndarray) -> np.ndarray:
    """1 - cosine of each pair, (n, n)."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"{int((lengths == 0).sum())} vectors are 0 and point nowhere")
    unit = x / lengths
    return (1 - unit @ unit.T).clip(min=0)  # rounding puts copies at -1e-16
