import statistics

import pytest

from erasure_core.law.gates import Measurement
from erasure_core.metrics.harmonic import harmonic_mean


def part(value: float, low: float, high: float, better: str = "higher", n: int = 10) -> Measurement:
    return Measurement("m", value, low, high, n, better)


ERASED = part(0.1, 0.05, 0.3, "lower", 60)
KEPT, NEAR = part(0.8, 0.7, 0.9, n=54), part(0.5, 0.4, 0.6, n=12)


def test_is_the_harmonic_mean_of_what_had_better_be_high():
    m = harmonic_mean({"erased": ERASED, "kept": KEPT, "neighbour": NEAR})
    assert m.value == pytest.approx(statistics.harmonic_mean([0.9, 0.8, 0.5]))
    assert m.low == pytest.approx(statistics.harmonic_mean([0.7, 0.7, 0.4]))
    assert m.high == pytest.approx(statistics.harmonic_mean([0.95, 0.9, 0.6]))
    assert (m.n, m.better) == (12, "higher")
    assert m.settings["parts"] == {"erased": "m", "kept": "m", "neighbour": "m"}


def test_one_part_of_0_makes_it_0():
    """What an average of 0.6 would hide."""
    gone = part(0, 0, 0.2)
    assert harmonic_mean({"erased": ERASED, "kept": gone}).value == 0


@pytest.mark.parametrize("bad", [part(1.2, 1, 1.3), part(-0.1, -0.2, 0), part(float("nan"), 0, 1)])
def test_what_is_no_share_is_refused(bad):
    with pytest.raises(ValueError, match="parts are shares"):
        harmonic_mean({"erased": ERASED, "kept": bad})


def test_one_part_is_no_mean():
    with pytest.raises(ValueError, match="at least two parts, got erased"):
        harmonic_mean({"erased": ERASED})
