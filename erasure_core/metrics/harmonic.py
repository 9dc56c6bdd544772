"""One number for three: the harmonic mean of erased, kept and neighbour, which the worst decides.

Paper      Lu et al., MACE, CVPR 2024, arXiv:2403.06135: the harmonic mean of efficacy,
           specificity and generality of accuracies.
Reference  statistics.harmonic_mean, compared in the tests.
Departs    Its parts are named by the caller and their numbers stand in the settings; it ranks
           methods in a table and is no limit of its own.
Cost       Nothing.
"""

from collections.abc import Mapping

from erasure_core.law.gates import Measurement


def harmonic_mean(parts: Mapping[str, Measurement], *, metric: str = "harmonic") -> Measurement:
    """The harmonic mean of shares, where of a share that had better be low 1 - share is taken.

    The interval reaches from the mean of the lower ends to that of the upper ends: wider than 95 %,
    whatever the parts have to do with each other (their ends are exceeded together at most as
    often as one of them is, 3 x 2.5 % a side).

    Args:
        parts: What it is made of: {"erased": ..., "kept": ..., "neighbour": ...}; each 0..1.
        metric: Its name.

    Returns:
        Measurement with the smallest n of the parts.

    Raises:
        ValueError: If there are fewer than two parts, or one is not within 0..1.
    """
    if len(parts) < 2:
        raise ValueError(f"{metric}: needs at least two parts, got {', '.join(parts) or 'none'}")
    lows: list[float] = []
    values: list[float] = []
    highs: list[float] = []
    for name, m in parts.items():
        if not 0 <= m.low <= m.value <= m.high <= 1:  # NaN fails it
            raise ValueError(
                f"{metric}: {name} ({m.metric}) is {m.value:g} [{m.low:g}, {m.high:g}]; parts are "
                f"shares within 0..1"
            )
        ends = (m.low, m.value, m.high)
        if m.better == "lower":
            ends = (1 - m.high, 1 - m.value, 1 - m.low)
        for some, end in zip((lows, values, highs), ends, strict=True):
            some.append(end)
    low, value, high = (_mean(some) for some in (lows, values, highs))
    settings: dict[str, object] = {
        "parts": {name: m.metric for name, m in parts.items()},
        "interval": "of the ends of the parts' 95 % intervals",
    }
    return Measurement(
        metric, value, low, high, min(m.n for m in parts.values()), "higher", settings
    )


def _mean(values: list[float]) -> float:
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)
