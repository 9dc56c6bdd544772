"""What can never pass is said before work."""

from dataclasses import replace
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.prompts import PromptRow, read_prompt_set
from erasure_core.law.requests import read_request
from erasure_core.planning.params import read_params
from tasks.requests.measurable import (
    check_kept,
    check_kept_labels,
    check_label,
    check_size,
    too_few,
)

ROOT = Path(__file__).parents[2]
CAT = read_request(ROOT / "examples/requests/cat.yaml").concept
POLICY = read_params(ROOT / "params.yaml").policy


def rows(alone: int, beside: int) -> list[PromptRow]:
    also = [""] * alone + ["rocket"] * beside
    return [PromptRow(i, f"a cat {i}", i, 4.0, "cat", "", a) for i, a in enumerate(also)]


def test_enough_of_both_kinds_pass():
    assert POLICY.min_n == 30
    check_size(POLICY, CAT, rows(35, 30))


def test_a_target_set_whose_rows_show_another_concept_too_is_refused():
    """All its rows are measured as the concept, whatever they say."""
    given = rows(4, 0)
    check_label(POLICY, CAT, [*given[:3], replace(given[3], concept="")])
    with pytest.raises(BadInput, match=r"holds dog in 2 of 4 rows \(cases 2, 3\)"):
        check_label(POLICY, CAT, [*given[:2], *(replace(r, concept="dog") for r in given[2:])])


def test_a_style_set_may_name_subjects_and_no_other_styles():
    given = [replace(r, style="sketch") for r in rows(2, 0)]
    sketch = CAT.model_copy(update={"name": "sketch", "kind": "style"})
    check_label(POLICY, sketch, given)
    with pytest.raises(BadInput, match=r"column `style` .* holds poster in 1 of 2 rows"):
        check_label(POLICY, sketch, [given[0], replace(given[1], style="poster")])


@pytest.mark.parametrize(("alone", "beside"), [(62, 28), (28, 62)])
def test_each_limit_needs_as_many_prompts_as_the_gate_asks_of_it(alone, beside):
    """28 prompts are enough for 0.2, and the gate takes fewer than 30 for no evidence."""
    with pytest.raises(BadInput, match="28 of them"):
        check_size(POLICY, CAT, rows(alone, beside))


def test_thirty_can_never_show_ten_percent():
    with pytest.raises(BadInput, match="35 can"):
        check_size(POLICY, CAT, rows(30, 30))


@pytest.mark.parametrize("metric", ["quality.fidelity", "replacement.rate"])
def test_what_stands_in_its_place_is_told_from_twenty_pictures_whatever_min_n_says(metric):
    limits = {"clip.concept_rate": 0.9, metric: 0.5}
    few = POLICY.model_copy(update={"min_n": 2, "targets": {"object": limits}})
    check_size(few, CAT, rows(20, 2))
    with pytest.raises(BadInput, match=rf"19 rows of it alone, .*{metric}.* at least 20"):
        check_size(few, CAT, rows(19, 9))
    lax = few.model_copy(update={"targets": {"object": {"clip.concept_rate": 0.9}}})
    check_size(lax, CAT, rows(19, 9))


def spellings(wording: str, n: int) -> list[str]:
    """`n` different texts that the network reads alike."""
    return [(wording.upper() if i % 2 else wording) + "!" * i for i in range(n)]


def test_one_wording_written_sixty_ways_is_one_trial():
    written = spellings("a photo of a cat", 60)
    assert len(set(written)) == 60
    assert "60 pictures of 1 prompts count as 1" in str(too_few(written, 0.10))
    assert too_few([f"a photo of cat {i}" for i in range(60)], 0.10) is None


def test_a_target_set_of_one_wording_written_many_ways_is_refused():
    also = [""] * 40 + ["rocket"] * 40
    written = spellings("a cat", 80)
    table = [PromptRow(i, written[i], i, 4.0, "cat", "", a) for i, a in enumerate(also)]
    with pytest.raises(BadInput, match="of 1 prompts count as 1"):
        check_size(POLICY, CAT, table)


def test_kept_prompts_of_one_wording_count_once():
    table = [PromptRow(i, p, i, 4.0, "dog") for i, p in enumerate(spellings("a dog", 54))]
    with pytest.raises(BadInput, match="54 of 54 kept prompts are there and count as 1"):
        check_kept(POLICY, table, [])
    check_kept(POLICY, rows(35, 0), [])


def test_kept_prompts_are_enough_to_show_that_none_was_lost():
    """z^2 / (n + z^2) of n without a loss is 0.114 at 30, 0.099 at 35."""
    with pytest.raises(BadInput, match=r"no fewer than 35 without a loss show .* of 0\.1;"):
        check_kept(POLICY, rows(34, 0), [])
    lax = POLICY.model_copy(update={"kept": {"clip.accuracy_drop": 0.114}})
    check_kept(lax, rows(30, 0), [])


@pytest.mark.parametrize("metric", ["clip.accuracy", "clip.accuracy_drop[not listed]"])
def test_accuracy_of_a_part_needs_labels_too(metric):
    policy = POLICY.model_copy(update={"kept": {metric: 0.1}})
    check_kept_labels(policy, rows(2, 0))
    with pytest.raises(BadInput, match="does not say what case 0 shows"):
        check_kept_labels(policy, [PromptRow(0, "a dog", 1, 4.0, "")])


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ("params.yaml", "astronaut"),
        ("params.yaml", "cat"),
        ("params.yaml", "mosaic"),
        ("params.purify.yaml", "astronaut"),
        ("params.sd14.yaml", "nudity-sd14"),
    ],
)
def test_the_shipped_kept_prompts_are_enough_for_the_shipped_limits(params, name):
    given = read_params(ROOT / params)
    concept = read_request(ROOT / f"examples/requests/{name}.yaml").concept
    check_kept(given.policy, read_prompt_set(ROOT / given.prompts.kept, given.reading), [concept])
