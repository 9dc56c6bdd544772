from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erasure_core.errors import BadInput
from erasure_core.gallery import prompts as gallery_prompts
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import (
    PromptRow,
    is_listed,
    kept_rows,
    part_of,
    read_prompt_set,
    target_set,
)

ROOT = Path(__file__).parents[2]
HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept\n"
CAT = Concept(
    name="cat",
    kind="object",
    prompts=("a cat", "photo of a cat"),
    replacement="a cup of coffee",
    keep=("photo of a rocket",),
)


def table(tmp_path, text: str) -> Path:
    path = tmp_path / "set.csv"
    path.write_text(text)
    return path


def test_rows_come_typed_in_the_order_of_the_table(tmp_path):
    text = HEADER + '7,"a cat, poster",9223372036854775807,7.5,cat\n3, a dog ,0,4,\n'
    assert read_prompt_set(table(tmp_path, text)) == [
        PromptRow(7, "a cat, poster", 2**63 - 1, 7.5, "cat"),
        PromptRow(3, "a dog", 0, 4.0, ""),
    ]


def test_columns_of_the_field_are_enough_and_more_are_allowed(tmp_path):
    text = "extra,evaluation_guidance,evaluation_seed,prompt,case_number\nx,4,5,a cat,1\n"
    assert read_prompt_set(table(tmp_path, text)) == [PromptRow(1, "a cat", 5, 4.0, "")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            ("line 1: column prompt, evaluation_seed, evaluation_guidance missing (found nothing)"),
        ),
        (
            "case_number,prompt,noise,evaluation_guidance\n1,a,2,4\n",
            "line 1: column evaluation_seed missing (found case_number, prompt, noise",
        ),
        (HEADER, "no rows below the header"),
        (HEADER + "1,a,2,4,\n2,b,3,4,\n1,c,4,4,\n", "line 4: case_number 1 is already on line 2"),
        (
            HEADER + "1,a,2,4,\n2,b,forty,4,\n",
            "line 3: evaluation_seed is 'forty'; allowed is a whole number",
        ),
        (
            HEADER + "1,a,-2,4,\n",
            "line 2: evaluation_seed is '-2'; allowed is a whole number, 0 to",
        ),
        (HEADER + "1,a,2.5,4,\n", "line 2: evaluation_seed is '2.5'"),
        (HEADER + "1,a,2e99999999,4,\n", "line 2: evaluation_seed is '2e99999999'"),
        (
            HEADER + f"1,a,{2**63},4,\n",
            f"line 2: evaluation_seed is '{2**63}'; allowed is a whole number, 0 to",
        ),
        (HEADER + "1,a,2,1000.5,\n", "line 2: evaluation_guidance is '1000.5'; allowed is"),
        (HEADER + "1,a,2,-1,\n", "line 2: evaluation_guidance is '-1'; allowed is"),
        (HEADER + "1,a,,4,\n", "line 2: evaluation_seed is empty"),
        (HEADER + "1,a,2,,\n", "line 2: evaluation_guidance is empty"),
        (HEADER + "1,a,1_000,4,\n", "line 2: evaluation_seed is '1_000'"),
        (HEADER + "one,a,2,4,\n", "line 2: case_number is 'one'"),
        (HEADER + "1,a,2,high,\n", "line 2: evaluation_guidance is 'high'; allowed is a number"),
        (HEADER + "1,a,2,nan,\n", "line 2: evaluation_guidance is empty"),
        (HEADER + '1,"  ",2,4,\n', "line 2: prompt is empty"),
        (HEADER + "1,a,2,4,,\n2,a cat, 7,2,4,,\n", "line 3: not 5 fields"),
        (HEADER + "1,a,2,4,\n2,a cat, 7,2,4,\n", "line 3: not 5 fields"),
        (HEADER + "1,a cat, poster,2,4,x\n", "line 2: not 5 fields as in the header; quote"),
        (HEADER + "1,a\n", "line 2: 2 fields, fewer than the 5"),
        (HEADER + '1,"a,2,4,\n', "not valid CSV"),
    ],
)
def test_a_faulty_table_is_refused_with_its_line(tmp_path, text, expected):
    path = table(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        read_prompt_set(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)


def test_an_absent_table_names_its_near_ones(tmp_path):
    for name in ("cat.csv", "astronaut.csv"):
        (tmp_path / name).touch()
    assert target_set(tmp_path, CAT) == tmp_path / "cat.csv"
    with pytest.raises(
        BadInput, match=r"cats\.csv: no prompt set for concept 'cats' \(did you mean cat\?\)"
    ):
        target_set(tmp_path, CAT.model_copy(update={"name": "cats"}))
    with pytest.raises(BadInput, match="there is astronaut, cat"):
        target_set(tmp_path, CAT.model_copy(update={"name": "zeppelin"}))


def test_kept_rows_leave_out_what_is_erased_by_label_and_by_wording():
    def row(prompt: str, concept: str) -> PromptRow:
        return PromptRow(0, prompt, 0, 4.0, concept)

    stays = [row("a rocket", "rocket"), row("a cathedral", ""), row("concatenate", "")]
    goes = [row("a feline", "cat"), row("a rocket and a Cat", "rocket"), row("cat, poster", "")]
    assert kept_rows([*goes, *stays], [CAT]) == stays
    assert kept_rows([*goes, *stays], []) == [*goes, *stays]


@pytest.mark.parametrize("shown", [{"concept": "The Cats"}, {"style": "Cat"}, {"also": "a cat"}])
def test_kept_rows_leave_out_what_shows_the_concept_by_any_column(shown):
    """A row of which its own table says so is no measure of what stays."""
    row = PromptRow(0, "whiskers on a mat", 0, 4.0, "mat")
    assert kept_rows([row, replace(row, **shown)], [CAT]) == [row]


GALLERY = ("astronaut", "cat")


def test_a_row_is_listed_where_a_kept_prompt_names_its_subject_in_its_style():
    def listed(concept: str, style: str) -> bool:
        row = PromptRow(0, "", 0, 4.0, concept, style)
        return is_listed(row, ["a fine photo of a cat", "sketch of old coins"])

    assert listed("cat", "photo")
    assert listed("coins", "sketch")
    assert listed("cat", "")
    assert not listed("", "")  # nobody can tell what it shows
    assert not listed("cat", "sketch")
    assert listed("coin", "sketch")
    assert not listed("coinage", "sketch")


@pytest.mark.parametrize(
    ("shown", "kept"),
    [
        ("\u732b", "\u4e00\u5f20\u732b\u7684\u7167\u7247"),  # no blanks part its words
        ("Beyonc\u00e9", "a photo of Beyonce"),
        ("Spider-Man", "spider man on a roof"),
        ("mouse", "two mice in a field"),
    ],
)
def test_a_row_is_listed_however_a_kept_prompt_spells_it(shown, kept):
    """It was reported as what nobody had asked to keep."""
    row = PromptRow(0, "", 0, 4.0, shown)
    assert is_listed(row, ["a dog", kept])
    assert not is_listed(row, ["a dog"])


@pytest.mark.parametrize("name", gallery_prompts.SETS)
def test_the_committed_tables_are_what_the_script_writes(name):
    assert (ROOT / "prompts" / name).read_text() == gallery_prompts.written(name)


def test_the_prompts_for_stable_diffusion_can_be_read():
    rows = read_prompt_set(ROOT / "prompts" / "sd14" / "kept.csv")
    assert len(rows) == len({row.prompt for row in rows}) == 50
    assert all(row.concept in row.prompt for row in rows)


@given(
    composed=st.lists(st.booleans(), max_size=60),
    of=st.integers(min_value=2, max_value=7),
)
def test_every_row_is_in_one_part_and_parts_are_even(composed, of):
    rows = [
        PromptRow(i, f"prompt {i}", i, 4.0, "cat", also="rocket" if both else "")
        for i, both in enumerate(composed)
    ]
    parts = [part_of(rows, which, of) for which in range(of)]
    assert sorted((row for part in parts for row in part), key=lambda r: r.case_number) == rows
    for beside in (True, False):
        sizes = [sum(bool(row.also) is beside for row in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_a_part_keeps_the_order_of_the_rows():
    rows = [PromptRow(i, f"prompt {i}", i, 4.0, "cat") for i in (5, 3, 8, 1)]
    part = part_of(rows, 0, 2)
    assert part == [row for row in rows if row in part]
