"""METRICS: what is measured, by name, also from other packages."""

from importlib.metadata import EntryPoint

import pytest

from erasure_core.errors import BadInput
from erasure_core.headers import header
from erasure_core.law.gates import Measurement
from erasure_core.metrics import ENTRY_POINTS, METRICS, Metric, all_metrics, metric

HERE = "tests.core.metrics.test_registry"


def sharpness(values: list[float], *, clusters: object = None) -> Measurement:
    return Measurement("sharpness", values[0], 0, 1, 1, "higher")


SHARPNESS = Metric(sharpness, frozenset({"kept"}), "higher", frozenset(), "pictures are blurred")


# Each would be found out by a run that has trained.
UNAWARE = Metric(lambda values: None, frozenset({"kept"}), "higher", frozenset(), "x")
ALONE = Metric(sharpness, frozenset({"target", "kept"}), "higher", frozenset({"base"}), "x")


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"{HERE}:{value}", ENTRY_POINTS)


def test_a_name_is_found_with_and_without_what_it_is_measured_on():
    assert metric("ssim") is metric("ssim[listed]", "kept") is METRICS["ssim"]
    assert metric("clip.concept_rate[astronaut]", "attack").better == "lower"


def test_an_unknown_name_is_refused_with_the_near_ones():
    with pytest.raises(BadInput, match=r"no metric 'clip\.acuracy'.*mean clip\.accuracy"):
        metric("clip.acuracy")
    with pytest.raises(BadInput, match=r"no metric 'naturalnes'.*mean quality\.naturalness;"):
        metric("naturalnes")
    with pytest.raises(BadInput, match="no metric 'xyzzy' on the kept side; use one of"):
        metric("xyzzy", "kept")


def test_a_name_on_the_wrong_side_is_refused():
    with pytest.raises(BadInput, match="'ssim' is measured on kept, restored, not on the target"):
        metric("ssim", "target")


def test_a_plug_in_is_found_by_its_name():
    found = all_metrics([point("sharpness", "SHARPNESS")])
    assert found["sharpness"] is SHARPNESS
    assert found.keys() == METRICS.keys() | {"sharpness"}
    assert metric("sharpness[cat]", "kept", found)([0.5]).value == 0.5


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("sharpness", "ABSENT", "cannot be loaded: AttributeError"),
        ("sharpness", "sharpness", "is a function; it must be"),
        ("ssim", "SHARPNESS", "this name is taken"),
        ("unaware", "UNAWARE", "is a Metric; it must be .* `clusters` by name"),
        ("alone", "ALONE", "is a Metric; it must be .* the base's where it needs these"),
    ],
)
def test_a_broken_plug_in_is_an_error_that_names_it(name, value, why):
    with pytest.raises(BadInput, match=f"metric '{name}' .*{value}, entry point.*{why}"):
        all_metrics([point(name, value)])


def test_a_metric_says_what_it_may_say():
    with pytest.raises(BadInput, match="sides of a metric: everywhere; use target, kept"):
        Metric(sharpness, frozenset({"everywhere"}), "higher", frozenset(), "")
    with pytest.raises(BadInput, match="needs of a metric: luck; use detector"):
        Metric(sharpness, frozenset(), "higher", frozenset({"luck"}), "")


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_cites_the_paper_of_its_own_file(name):
    import sys

    said = header(sys.modules[METRICS[name].__module__])
    assert {"Paper", "Reference", "Departs", "Cost"} <= said.keys()
    assert METRICS[name].missed
