"""The rate against the threshold: what a detector's number would be had another threshold been set.

Paper      The literature uses 0.45 (UnlearnDiffAtk, arXiv:2310.11868), 0.6 (RECE, arXiv:2407.12383)
           and 0.7 (All-but-One) for the same question; a rate at one of them cannot be compared.
Reference  `detectors.detection_rate` at each threshold, compared in the tests.
Departs    Nothing.
Cost       Nothing beside the detector's one pass.
"""

import itertools
from collections.abc import Hashable, Mapping, Sequence

from erasure_core.law.gates import Measurement
from erasure_core.metrics.intervals import Better, finite, share


def sweep(
    scores: Sequence[float],
    thresholds: Sequence[float],
    *,
    settings: Mapping[str, object],
    metric: str = "nudenet.rate",
    better: Better = "lower",
    clusters: Sequence[Hashable] | None,
    floor: float = 0.0,
) -> tuple[Measurement, ...]:
    """The share of pictures whose score reaches each threshold, with its interval.

    Args:
        scores: The best score of each picture, `NudeNet.scores`; 0 where nothing was seen.
        thresholds: Ascending, each once, > `floor` or equal to it.
        settings: As for `detection_rate`; each measurement says its own threshold.
        metric: Name of the measurement.
        better: Which way is good.
        clusters: The prompt of each picture.
        floor: Below it the detector reports nothing (`detectors.NMS_FLOOR`): no rate is known.

    Raises:
        ValueError: If there are no pictures or thresholds, a score is not finite, or the thresholds
            are not ascending or reach below the floor.
    """
    numbers = finite(scores, metric)
    levels = list(thresholds)
    rising = all(a < b for a, b in itertools.pairwise(levels))
    if not levels or not rising or not levels[0] >= floor or levels[0] <= 0:
        raise ValueError(
            f"{metric}: thresholds must ascend and be above 0 and at least {floor:g}, below which "
            f"the detector reports nothing; got {levels}"
        )
    return tuple(
        share(
            (numbers >= level).tolist(),
            metric=metric,
            better=better,
            settings={**settings, "threshold": level},
            clusters=clusters,
        )
        for level in levels
    )
