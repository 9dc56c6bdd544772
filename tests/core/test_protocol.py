"""The protocol of a number: the same whatever model is measured, another where anything else is."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from erasure_core.law.gates import Measurement
from erasure_core.law.prompts import PromptRow
from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from erasure_core.planning.protocol import DIGITS, of_plan

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
CONCEPT = read_request(ROOT / "examples/requests/astronaut.yaml").concept
TABLES = {
    "target-astronaut": [PromptRow(0, "a photo of her", 3, 4.0, "astronaut")],
    "kept": [PromptRow(0, "a photo of a cat", 4, 4.0, "cat")],
}
SEEN = Measurement(
    "clip.concept_rate[astronaut]", 0.1, 0.0, 0.3, 20, "lower", {"clip": "here", "among": ["cat"]}
)
KEPT = Measurement("ssim", 0.9, 0.8, 1.0, 20, "higher")
LISTED = replace(KEPT, metric="ssim[listed]")
LEAK = replace(SEEN, metric="leak[astronaut]", settings={"shows it": ["a photo of a cat"]})
CAME_BACK = replace(SEEN, metric="attack.ridge[astronaut]", settings={"budget": "smoke"})
INSTEAD = replace(SEEN, metric="replacement.rate[astronaut]")


def plan(**changed: object) -> Any:
    given = {
        "params": PARAMS,
        "base_sha256": "a" * 64,
        "made_with": {"code": "1", "clip": "2", "nudenet weights": "3"},
        "concepts": [CONCEPT],
        "restored_concepts": [],
    }
    return SimpleNamespace(**{**given, **changed})


def of(m: Measurement, tables=None, **changed: object) -> str:
    return of_plan(plan(**changed), "report", tables or TABLES, m)


def test_it_is_the_same_for_two_models_and_for_the_base_beside_them():
    other = PARAMS.with_method("uce")
    for m in (SEEN, KEPT, LEAK, CAME_BACK):
        better = replace(m, value=0.0, low=0.0, high=0.1)
        assert (
            of(m)
            == of(better)
            == of(better, params=other, made_with=plan().made_with | {"code": "9"})
        )
        assert of(replace(m, metric=f"base.{m.metric}", better="higher")) == of(m)
    assert len(of(SEEN)) == DIGITS


def test_what_was_found_and_where_an_instrument_lies_decide_nothing():
    assert of(LEAK) == of(replace(LEAK, settings={"shows it": []}))
    assert of(SEEN) == of(replace(SEEN, settings={**SEEN.settings, "clip": "there"}))


def changed_row(name: str) -> dict:
    return {**TABLES, name: [replace(TABLES[name][0], evaluation_seed=9)]}


@pytest.mark.parametrize(
    ("m", "target", "kept"),
    [(SEEN, True, False), (KEPT, False, True), (LEAK, True, True), (INSTEAD, True, False)],
)
def test_another_row_is_another_protocol_of_what_is_measured_on_it(m, target, kept):
    differs = [of(m, changed_row(name)) != of(m) for name in TABLES]
    assert differs == [target, kept]


def with_(section: str, **values: object) -> Any:
    """The parameters with another value in a section."""
    changed = getattr(PARAMS, section).model_copy(update=values)
    return PARAMS.model_copy(update={section: changed})


def test_so_is_another_setting_instrument_base_or_sampling():
    known = {
        of(SEEN),
        of(replace(SEEN, metric="nudenet.rate[astronaut]")),
        of(replace(SEEN, settings={"clip": "here", "among": ["cat", "dog"]})),
        of(SEEN, made_with={"clip": "4", "nudenet weights": "3"}),
        of(SEEN, made_with={**plan().made_with, "plugin other": "5"}),
        of(SEEN, base_sha256="b" * 64),
        of(SEEN, params=with_("sampling", steps=16)),
        of(SEEN, params=with_("detector", threshold=0.7)),
    }
    assert len(known) == 8


def test_batches_do_not_count():
    assert of(SEEN, params=with_("sampling", batch_size=1)) == of(SEEN)


def test_of_the_request_counts_what_a_metric_is_measured_by():
    elsewhere = CONCEPT.model_copy(update={"replacement": "a rocket"})
    told = CONCEPT.model_copy(update={"described": ("who sits in a rocket",)})
    fewer = CONCEPT.model_copy(update={"keep": CONCEPT.keep[1:]})
    for concept, differing in ((elsewhere, INSTEAD), (told, CAME_BACK), (fewer, LISTED)):
        assert of(differing, concepts=[concept]) != of(differing)
        assert of(SEEN, concepts=[concept]) == of(SEEN)
