"""The 95 % interval that every measurement carries: Wilson for shares of images, percentile
bootstrap for means, Student's for means of fewer prompts than can be resampled.

Pictures of one prompt are alike: 60 pictures of 12 prompts are no 60 trials. How alike cannot be
known from what is measured after an erasure, where hardly anything hits; so the interval holds for
any correlation. Shares count as many trials as there would be if pictures of one prompt agreed
wholly (Kish's effective sample size at correlation 1, the number of prompts if all have as many
pictures); means are resampled by prompt.

Paper      Wilson, JASA 22:209 (1927), score interval; Kish, Survey Sampling (1965), sec. 8.2; Efron
           & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13; Field & Welsh, JRSS B
           69:369 (2007), cluster bootstrap; Arvesen, Ann. Math. Stat. 40:2076 (1969), jackknife of
           statistics of pairs; Hesterberg, The American Statistician 69:371 (2015), expanded
           percentile interval; Newcombe, Statistics in Medicine 17:873 (1998), method 10, the
           hybrid score interval of a difference of shares, and 17:2635, of paired ones.
Reference  scipy.stats.binomtest(...).proportion_ci("wilson"), compared in the tests.
Departs    Nothing. No continuity correction.
Cost       The bootstrap draws 2000 resamples in blocks, so memory stays flat for any number of
           images.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from erasure_core.law.gates import Measurement

BOOTSTRAP_SEED = 20240229  # the same images give the same interval, whoever measures them
RESAMPLES = 2000
FEWEST = 2  # clusters below which a mean has no interval
RESAMPLED = 6  # clusters from which a mean is resampled: of 2, half of all resamples are of one
Z = 1.96  # normal quantile of a 95 % interval
_BLOCK = 1 << 20  # indices drawn at once

Better = Literal["lower", "higher"]


def effective(clusters: Sequence[Hashable]) -> float:
    """How many independent pictures the pictures count as, if those of one cluster agree wholly:
    n^2 / sum of the squared sizes of the clusters.

    Args:
        clusters: What each picture shares with others, its prompt.

    Raises:
        ValueError: If there are none.
    """
    if not clusters:
        raise ValueError("an effective sample size needs at least one image")
    sizes = Counter(clusters).values()
    return len(clusters) ** 2 / sum(size**2 for size in sizes)


def wilson(successes: float, n: float, z: float = Z) -> tuple[float, float]:
    """Interval of a share; never empty, never outside 0..1, honest at 0 of n.

    Args:
        successes: Images counted as hits, 0..n.
        n: Images looked at, > 0; an effective number need not be whole.
        z: Normal quantile; 1.96 for 95 %.

    Raises:
        ValueError: If n is not positive or `successes` is outside 0..n.
    """
    if n <= 0:
        raise ValueError(f"an interval needs at least one image, got n={n}")
    if not 0 <= successes <= n * (1 + 1e-12):  # an effective number is rounded
        raise ValueError(f"successes must be within 0..{n}, got {successes}")
    p, z2 = successes / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # centre -+ half is exactly 0 and 1 at the ends; rounding must not leave a zero that is not zero
    return (0.0 if successes == 0 else centre - half), (1.0 if successes >= n else centre + half)


def enough(bound: float, per_prompt: int = 1) -> int:
    """The fewest images that, without a hit, show a share of at most `bound`.

    Args:
        bound: The share, > 0.
        per_prompt: Images of each prompt, >= 1. They count as one trial, so that twice as many
            need twice as many images; a multiple of `per_prompt` is returned.

    Raises:
        ValueError: If `bound` is not positive, for no number of images shows that, or
            `per_prompt` is below 1.
    """
    if not bound > 0:
        raise ValueError(f"no number of images shows a share of at most {bound}")
    if per_prompt < 1:
        raise ValueError(f"each prompt has at least one image, got per_prompt={per_prompt}")
    n = max(1, math.floor(Z**2 * (1 / bound - 1)))  # the end is z^2 / (n + z^2); then mind rounding
    while wilson(0, n)[1] > bound:
        n += 1
    return n * per_prompt


def jackknife(value: float, left_out: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a statistic from its values with one group of images left out at a time:
    value -+ t sqrt((g - 1) / g sum_i (left_out_i - their mean)^2), t with g - 1 degrees of freedom.

    The bootstrap draws pictures twice, and a distance between sets of pictures takes a copy for
    closeness; leaving out makes no copies.

    Args:
        value: The statistic of all images.
        left_out: The statistic without each group, one entry a group.

    Raises:
        ValueError: If there are fewer than two groups, or a number is not finite.
    """
    from scipy.special import stdtrit

    numbers = finite([value, *left_out], "jackknife")
    value, others = float(numbers[0]), numbers[1:]
    groups = len(others)
    if groups < 2:
        raise ValueError(f"an interval needs the images of at least two prompts, got {groups}")
    variance = (groups - 1) / groups * float(((others - others.mean()) ** 2).sum())
    half = float(stdtrit(groups - 1, 0.975)) * math.sqrt(variance)
    return value - half, value + half


def joint_groups(
    n_reference: int,
    n: int,
    reference_clusters: Sequence[Hashable] | None,
    clusters: Sequence[Hashable] | None,
    metric: str,
) -> tuple[np.ndarray, np.ndarray, int]:
    """What is left out together: a number for each picture of the reference, one for each of the
    candidate, and how many numbers there are. Without clusters each picture has its own.

    Raises:
        ValueError: If there is not one cluster an image, or fewer than two in all.
    """
    if reference_clusters is None:
        reference_clusters = [("reference", i) for i in range(n_reference)]
    if clusters is None:
        clusters = [("candidate", i) for i in range(n)]
    check_clusters(reference_clusters, n_reference, f"{metric}, the reference")
    check_clusters(clusters, n, metric)
    index = {label: i for i, label in enumerate(dict.fromkeys([*reference_clusters, *clusters]))}
    if len(index) < 2:
        raise ValueError(f"{metric}: an interval needs at least two prompts, got {len(index)}")
    at_reference, at = (
        np.array([index[label] for label in labels], dtype=np.intp)
        for labels in (reference_clusters, clusters)
    )
    return at_reference, at, len(index)


def bootstrap_mean(
    values: Sequence[float] | np.ndarray,
    *,
    seed: int,
    samples: int = RESAMPLES,
    clusters: Sequence[Hashable] | None = None,
) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` (one number an image) under resampling of
    the clusters, or of the images where none are given; of clusters the tails are expanded.

    Raises:
        ValueError: If `values` is empty, holds a number that is not finite, or has not one cluster
            each.
    """
    sums, sizes = _clustered(finite(values, "values"), clusters)
    rng, n = np.random.default_rng(seed), len(sums)
    tail = 0.025 if clusters is None else _expanded(n)
    block = max(1, _BLOCK // n)
    means = []
    for done in range(0, samples, block):
        drawn = rng.integers(n, size=(min(block, samples - done), n))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def student_mean(
    values: Sequence[float] | np.ndarray, *, clusters: Sequence[Hashable] | None = None
) -> tuple[float, float]:
    """Student's 95 % interval of the mean of `values` (one number an image) from the scatter of the
    clusters, or of the images where none are given. It holds for two already, and is wide.

    Raises:
        ValueError: As for `bootstrap_mean`, or there are fewer than two.
    """
    numbers = finite(values, "values")
    sums, sizes = _clustered(numbers, clusters)
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    return jackknife(float(numbers.mean()), left_out.tolist())


def _expanded(n: int) -> float:
    """The tail at which the percentile interval of n clusters is as wide as Student's: few clusters
    look less scattered than they are, by sqrt((n - 1) / n), and normal tails are too thin for them.
    """
    from scipy.special import ndtr, stdtrit

    return 0.0 if n < 2 else float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.025)))


def _clustered(
    numbers: np.ndarray, clusters: Sequence[Hashable] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum and size of each cluster."""
    if clusters is None:
        return numbers, np.ones(len(numbers))
    check_clusters(clusters, len(numbers), "values")
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    place = np.array([index[cluster] for cluster in clusters])
    return np.bincount(place, numbers), np.bincount(place)


def check_clusters(clusters: Sequence[Hashable], n: int, name: str) -> None:
    """Refuse clusters that are not one an image: ValueError."""
    if len(clusters) != n:
        raise ValueError(f"{name}: one cluster an image; got {len(clusters)} for {n} images")


def finite(values: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    """`values` as float64, shape (n,), n > 0.

    Raises:
        ValueError: If there is none, or one is NaN or infinite. A broken image must not vanish in
            an average.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) == 0:
        raise ValueError(
            f"{name}: one number an image and at least one image are needed, got shape "
            f"{numbers.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise ValueError(
            f"{name}: {len(bad)} of {len(numbers)} are not finite, first at {bad[0]} "
            f"({numbers[bad[0]]})"
        )
    return numbers


def share(
    hits: Sequence[bool],
    *,
    metric: str,
    better: Better,
    settings: Mapping[str, object],
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """The share of images that hit, with its Wilson interval.

    Args:
        hits: One answer an image.
        metric: Name of the measurement.
        better: Which way is good.
        settings: What the number needs beside it.
        clusters: The prompt of each image, or whatever makes images alike; None: no two are.

    Raises:
        ValueError: If there are no images, or an entry is neither true nor false (NaN is not).
    """
    numbers = finite(hits, metric)
    if not np.isin(numbers, (0, 1)).all():
        raise ValueError(
            f"{metric}: each image is a hit or not; got values other than true and false"
        )
    n, successes = len(numbers), int(numbers.sum())
    interval: dict[str, object] = {"interval": "wilson 95 %"}
    if clusters is None:
        low, high = wilson(successes, n)
    else:
        check_clusters(clusters, n, metric)
        trials = effective(clusters)
        low, high = wilson(successes / n * trials, trials)
        interval |= {"clusters": len(set(clusters)), "effective_n": round(trials, 2)}
    return Measurement(metric, successes / n, low, high, n, better, {**settings, **interval})


def excess(
    hits: Sequence[bool],
    control: Sequence[bool],
    *,
    metric: str,
    better: Better,
    settings: Mapping[str, object],
    clusters: Sequence[Hashable],
    control_clusters: Sequence[Hashable],
) -> Measurement:
    """How much larger the share of `hits` is than that of `control`, -1..1, with Newcombe's
    interval from the ends of both shares' Wilson intervals: p - q - sqrt((p - p_low)^2 +
    (q_high - q)^2) and p - q + sqrt((p_high - p)^2 + (q - q_low)^2).

    It takes the two for independent. Where a picture and its control begin alike they tend to hit
    together, and the interval is wider than it had to be, never narrower.

    Args:
        hits: One answer an image.
        control: One answer an image of the control.
        metric: Name of the measurement.
        better: Which way is good.
        settings: What the number needs beside it.
        clusters: The prompt of each image.
        control_clusters: The prompt of each image of the control.

    Raises:
        ValueError: As for `share`, of either.
    """
    named = {"metric": metric, "better": better, "settings": {}}
    p = share(hits, clusters=clusters, **named)  # type: ignore[arg-type]
    q = share(control, clusters=control_clusters, **named)  # type: ignore[arg-type]
    low, high = _newcombe(p, q)
    interval = {
        "interval": "newcombe 95 % of a difference",
        "effective_n": round(effective(clusters), 2),
        "control_effective_n": round(effective(control_clusters), 2),
    }
    value = p.value - q.value
    return Measurement(metric, value, low, high, p.n, better, {**settings, **interval})


def net_loss(
    before: Sequence[bool],
    after: Sequence[bool],
    *,
    metric: str,
    settings: Mapping[str, object],
    clusters: Sequence[Hashable] | None,
) -> Measurement:
    """By how much a share fell over the same cases, -1..1, lower is better: the share of losses
    less that of gains, with Newcombe's interval of both shares' Wilson intervals.

    A case that is lost is not gained, so that many of one go with few of the other: the product of
    their distances is counted with their correlation, sqrt(p q / ((1 - p) (1 - q))) below 0. The
    bootstrap cannot see a loss that did not happen to be among the cases: with 1 loss of 54 it
    ends below what 0 of 54 allow.

    Args:
        before: Per case, whether it was there.
        after: Per case, whether it is.
        metric: Name of the measurement.
        settings: What the number needs beside it.
        clusters: The prompt of each case; None: no two are alike.

    Raises:
        ValueError: As for `share`, of either; or they differ in length.
    """
    if len(before) != len(after):
        raise ValueError(
            f"{metric}: cases come in pairs; got {len(before)} before and {len(after)} after"
        )
    pairs = list(zip(before, after, strict=True))
    named: dict[str, Any] = {"metric": metric, "better": "lower", "settings": {}}
    lost = share([was and not now for was, now in pairs], clusters=clusters, **named)
    gained = share([now and not was for was, now in pairs], clusters=clusters, **named)
    p, q = lost.value, gained.value
    together = math.sqrt(p * q / ((1 - p) * (1 - q))) if p * q else 0.0
    low, high = _newcombe(lost, gained, -together)
    said = {"losses": p, "gains": q, "interval": "newcombe 95 % of losses less gains"}
    if clusters is not None:
        said["effective_n"] = round(effective(clusters), 2)
    return Measurement(metric, p - q, low, high, lost.n, "lower", {**settings, **said})


def _newcombe(p: Measurement, q: Measurement, correlation: float = 0.0) -> tuple[float, float]:
    """Interval of the difference of two shares, from the ends of their own."""

    def distance(a: float, b: float) -> float:
        return math.sqrt(a * a + b * b - 2 * correlation * a * b)

    value = p.value - q.value
    low = value - distance(p.value - p.low, q.high - q.value)
    return max(-1.0, low), min(1.0, value + distance(p.high - p.value, q.value - q.low))


def mean(
    values: Sequence[float],
    *,
    metric: str,
    better: Better,
    settings: Mapping[str, object],
    clusters: Sequence[Hashable] | None,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Measurement:
    """The mean over images, with its bootstrap interval, or Student's where there are few.

    Args:
        values: One number an image.
        metric: Name of the measurement.
        better: Which way is good.
        settings: What the number needs beside it.
        clusters: As for `share`.
        within: The least and the greatest that an image can have. Student's interval knows of no
            such ends, and is cut at them.

    Raises:
        ValueError: If there are no images, a value is not finite, or all images are of one cluster:
            how much prompts differ cannot be known from one.
    """
    numbers = finite(values, metric)
    if clusters is not None:
        check_clusters(clusters, len(numbers), metric)
        if len(set(clusters)) < FEWEST:
            raise ValueError(
                f"{metric}: an interval needs the images of at least two prompts, got 1"
            )
    ends, how = _of_mean(numbers, clusters)
    low, high = np.clip(ends, *within).tolist()
    value = low if low == high else float(numbers.mean())
    return Measurement(
        metric, value, low, high, len(numbers), better, {**settings, "interval": how}
    )


def _of_mean(
    numbers: np.ndarray, clusters: Sequence[Hashable] | None
) -> tuple[tuple[float, float], str]:
    """The interval of a mean, and what it is called."""
    n = len(numbers) if clusters is None else len(set(clusters))
    of = "images" if clusters is None else f"{n} clusters"
    few = 1 < n < RESAMPLED
    how = (
        f"student 95 % of the means of the {of}"
        if few
        else f"percentile bootstrap 95 %, {RESAMPLES} resamples of the {of}, seed {BOOTSTRAP_SEED}"
    )
    if np.ptp(numbers) == 0:  # the mean of equal floats may differ from them in the last bit
        return (float(numbers[0]), float(numbers[0])), how
    if few:
        return student_mean(numbers, clusters=clusters), how
    return bootstrap_mean(numbers, seed=BOOTSTRAP_SEED, clusters=clusters), how
