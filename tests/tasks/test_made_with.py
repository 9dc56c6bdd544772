"""What a plan names beside its inputs, because it decides the result."""

from types import SimpleNamespace

import pytest

from erasure_core.planning.params import DetectorSettings
from tasks.requests import made_with


@pytest.fixture
def brought(monkeypatch) -> dict[str, object]:
    """What a plug-in's detector says of itself; NudeNet's weights are not here."""
    said: dict[str, object] = {"weights_sha256": "1" * 64}

    def opened(name, threshold, resolution):
        return SimpleNamespace(settings={**said, "detector": name, "threshold": threshold})

    monkeypatch.setattr(made_with, "opened", opened)
    monkeypatch.setattr(made_with, "nudenet_weights", None)
    return said


def test_a_plan_names_the_weights_of_the_detector_that_is_chosen(brought):
    redness = DetectorSettings(name="redness", labels={}, threshold=0.5)
    first = made_with._detector(redness)
    assert first.keys() == {"detector redness"}
    assert made_with._detector(redness) == first
    brought["weights_sha256"] = "2" * 64
    assert made_with._detector(redness) != first
