"""docs/params.md is what the fields of the parameters and of the methods say, and each says it."""

from pathlib import Path

import pytest

from erasure_core.methods import METHODS, OWN
from erasure_core.planning.described import fields, page
from erasure_core.planning.params import Params
from erasure_core.planning.policy import REQUIRED

ROOT = Path(__file__).parents[2]


def test_the_page_is_the_fields():
    assert (ROOT / "docs/params.md").read_text() == page()


@pytest.mark.parametrize("name", ["params", *sorted(OWN)])
def test_every_key_says_what_it_is(name):
    model = Params if name == "params" else METHODS[name].Settings
    assert [each.key for each in fields(model) if not each.text] == []


def test_keys_of_sections_stand_under_them():
    keys = [each.key for each in fields(Params)]
    assert {"base.path", "policy.min_n", "policy.again.parts", "prompts.choose.kept"} <= {*keys}
    assert len(set(keys)) == len(keys)


def test_keys_of_the_sections_in_a_list_stand_under_it():
    keys = [each.key for each in fields(METHODS["all_but_one"].Settings)]
    first = keys.index("instructions") + 1
    of_one = ["prompt", "scale", "kappa", "warmup", "stop"]
    assert keys[first : first + 5] == [f"instructions[].{key}" for key in of_one]


@pytest.mark.parametrize("name", ["params", *sorted(OWN)])
def test_nothing_is_called_as_yaml_calls_it(name):
    """`clip: None` in a file of YAML is the text "None", which no setting takes."""
    model = Params if name == "params" else METHODS[name].Settings
    assert [each.key for each in fields(model) if "None" in each.text] == []


def test_what_must_be_tried_is_what_the_page_on_attacks_says():
    told = (ROOT / "docs/attacks.md").read_text().partition("| audience | smoke |")[2]
    for audience, tiers in REQUIRED.items():
        (row,) = [line for line in told.splitlines() if line.startswith(f"| `{audience}` |")]
        tried: set[str] = set()
        for cell, wanted in zip(row.split("|")[2:5], tiers.values(), strict=True):
            tried |= {name.strip() for name in cell.split(",")} - {""}
            assert tried == {*wanted}
