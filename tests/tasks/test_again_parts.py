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


def test_each_release_measures_the_part_after_the_last_one(parts):
    """Four releases in a row see all four parts of each concept, wherever they began."""
    ids = {name: str(r.subject_request_id) for name, r in (("astronaut", HER), ("cat", CAT))}
    champion = {ids["astronaut"]: (3, 4), ids["cat"]: (1, 4)}
    seen: dict[str, list[int]] = {name: [] for name in ids}
    for _ in range(4):
        found = parts(champion)
        for name, request in ids.items():
            seen[name].append(found[name][0])
            champion[request] = found[name]
    assert seen == {"astronaut": [0, 1, 2, 3], "cat": [2, 3, 0, 1]}


def test_after_a_whole_measurement_the_release_draws_the_part_and_draws_it_again(parts):
    first = parts()
    assert first == parts()
    assert all(0 <= which < of == 4 for which, of in first.values())
    other = parts({str(CAT.subject_request_id): (1, 2)})  # by a policy of other parts
    assert other == first


def test_what_something_else_stands_in_the_place_of_is_measured_whole():
    """The cat became a rocket until the rocket was to go too."""
    rocket = MOSAIC.model_copy(
        update={"concept": CAT.concept.model_copy(update={"name": "rocket", "replacement": "x"})}
    )
    plan = SimpleNamespace(params=PARAMS, requests=(CAT, rocket), made_with={}, prompt_sha256={})
    alone, both = ([str(r.subject_request_id) for r in some] for some in ([CAT], [CAT, rocket]))
    before = {"params_sha256": PARAMS.sha256, "made_with": {}, "prompt_sha256": {}}
    for measured, same in ((alone, False), (both, True)):
        record = SimpleNamespace(**before, request_ids=measured)
        assert again._on_the_same(record, plan, both[0]) is same


@pytest.mark.parametrize("prompt_set", ["kept", "choose-kept", "target-cat", "choose-target-cat"])
def test_what_other_prompts_were_measured_on_is_measured_whole(prompt_set):
    """By the kept prompts, too, it is told whether a picture shows it: they are what else it may
    be named."""
    hashes = dict.fromkeys(["kept", "choose-kept", "target-cat", "choose-target-cat"], "old")
    plan = SimpleNamespace(
        params=PARAMS, requests=(CAT,), made_with={}, prompt_sha256={**hashes, prompt_set: "new"}
    )
    record = SimpleNamespace(
        params_sha256=PARAMS.sha256,
        made_with={},
        prompt_sha256=hashes,
        request_ids=[str(CAT.subject_request_id)],
    )
    assert not again._on_the_same(record, plan, record.request_ids[0])
    record.prompt_sha256 = plan.prompt_sha256
    assert again._on_the_same(record, plan, record.request_ids[0])
