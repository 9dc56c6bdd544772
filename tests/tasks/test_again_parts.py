"""Of what a release measures a part."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from tasks.requests import again

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
HER, CAT, MOSAIC = (
    read_request(ROOT / f"examples/requests/{name}.yaml") for name in ("astronaut", "cat", "mosaic")
)


@pytest.fixture
def parts(monkeypatch):
    """What is measured in part of a release that honours the mosaic newly."""

    def of(champion=None, likeness=None):
        monkeypatch.setattr(again, "_measured_whole", lambda book, plan, ids: {*ids})
        monkeypatch.setattr(again, "parts_of_champion", lambda book, model: champion or {})
        targets = {**PARAMS.policy.targets, **({"likeness": likeness} if likeness else {})}
        policy = PARAMS.policy.model_copy(update={"targets": targets})
        params = PARAMS.model_copy(update={"policy": policy})
        plan = SimpleNamespace(params=params, requests=(HER, CAT, MOSAIC))
        return again.parts_of(None, plan, [str(MOSAIC.subject_request_id)])

    return of


def test_what_is_new_is_whole_and_what_was_there_is_not(parts):
    assert parts().keys() == {"astronaut", "cat"}


@pytest.mark.parametrize("metric", ["identity.rate", "nudenet.rate@0.6"])
def test_what_a_part_says_nothing_about_is_measured_whole(parts, metric):
    assert parts(likeness={metric: 0.1}).keys() == {"cat"}
