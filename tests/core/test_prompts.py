from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.gallery import prompts as gallery_prompts
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import (
    PromptRow,
    check_disjoint,
    kept_rows,
    read_prompt_set,
    target_set,
)
from erasure_core.law.requests import read_request

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
            (
                "line 1: column case_number, prompt, evaluation_seed, evaluation_guidance "
                "missing (found nothing)"
            ),
        ),
        (
            "case_number,prompt,seed,evaluation_guidance\n1,a,2,4\n",
            "line 1: column evaluation_seed missing (found case_number, prompt, seed",
        ),
        (HEADER, "no rows below the header"),
        (HEADER + "1,a,2,4,\n2,b,3,4,\n1,c,4,4,\n", "line 4: case_number 1 is already on line 2"),
        (
            HEADER + "1,a,2,4,\n2,b,forty,4,\n",
            "line 3: evaluation_seed is 'forty'; allowed is a whole number",
        ),
        (
            HEADER + "1,a,-2,4,\n",
            "line 2: evaluation_seed is '-2'; allowed is a whole number of 0 or more",
        ),
        (HEADER + "1,a,2.0,4,\n", "line 2: evaluation_seed is '2.0'"),
        (HEADER + "1,a,1_000,4,\n", "line 2: evaluation_seed is '1_000'"),
        (HEADER + "one,a,2,4,\n", "line 2: case_number is 'one'"),
        (HEADER + "1,a,2,high,\n", "line 2: evaluation_guidance is 'high'; allowed is a number"),
        (HEADER + "1,a,2,nan,\n", "line 2: evaluation_guidance is 'nan'"),
        (HEADER + '1,"  ",2,4,\n', "line 2: prompt is empty"),
        (HEADER + "1,a cat, poster,2,4,\n", "line 2: not 5 fields as in the header; quote prompts"),
        (HEADER + "1,a\n", "line 2: not 5 fields"),
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


@pytest.mark.parametrize(
    ("prompt", "where"),
    [
        ("photo of a cat", "prompts of 'cat'"),
        ("Photo  of a CAT ", "prompts of 'cat'"),
        ("photo of a rocket", "keep of 'cat'"),
        ("photo of a cup of coffee", "prompts of 'cat', replaced"),
    ],
)
def test_a_prompt_that_is_trained_on_is_not_measured_on(prompt, where):
    fine = PromptRow(1, "a photo of a cat", 0, 4.0, "cat")
    check_disjoint([fine], [CAT])
    with pytest.raises(
        BadInput, match=r"case 2: the measured prompt .* is also trained on"
    ) as caught:
        check_disjoint([fine, PromptRow(2, prompt, 0, 4.0, "")], [CAT])
    assert f"({where})" in str(caught.value)


GALLERY = ("astronaut", "cat")


def test_the_gallery_measures_on_wordings_it_does_not_train_on():
    concepts = [
        read_request(ROOT / "examples" / "requests" / f"{name}.yaml").concept for name in GALLERY
    ]
    sets = {name: read_prompt_set(ROOT / "prompts" / name) for name in gallery_prompts.SETS}
    counts = {
        "targets/astronaut.csv": 60,
        "targets/cat.csv": 60,
        "targets/mosaic.csv": 60,
        "kept.csv": 48,
    }
    assert {name: len(rows) for name, rows in sets.items()} == counts
    for rows in sets.values():
        check_disjoint(rows, concepts)
        assert len({row.evaluation_seed for row in rows}) == len(rows)
    for concept in concepts:
        assert all(
            row.concept == concept.name
            for row in read_prompt_set(target_set(ROOT / "prompts" / "targets", concept))
        )
        assert not any(concept.name in prompt for prompt in concept.keep)
    assert len(kept_rows(sets["kept.csv"], concepts[:1])) == 48
    # the cat's rows go once the cat is erased too
    assert len(kept_rows(sets["kept.csv"], concepts)) == 42


def test_the_example_requests_use_only_the_wordings_for_training():
    def spelled(templates) -> set[str]:
        subjects, styles = gallery_prompts.SUBJECTS.values(), gallery_prompts.STYLES
        return {
            t.format(style=style, subject=s.phrase)
            for t in templates
            for style in styles
            for s in subjects
        }

    assert not spelled(gallery_prompts.TRAINED) & spelled(gallery_prompts.MEASURED)
    for name in GALLERY:
        concept = read_request(ROOT / "examples" / "requests" / f"{name}.yaml").concept
        bare = {name, gallery_prompts.SUBJECTS[name].phrase}
        assert set(concept.prompts) - bare <= spelled(gallery_prompts.TRAINED)
        assert set(concept.keep) <= spelled(gallery_prompts.TRAINED)
        assert len(concept.keep) == len(set(concept.keep)) == 45


@pytest.mark.parametrize("name", gallery_prompts.SETS)
def test_the_committed_tables_are_what_the_script_writes(name):
    assert (ROOT / "prompts" / name).read_text() == gallery_prompts.table(name)


def test_the_prompts_for_stable_diffusion_can_be_read():
    rows = read_prompt_set(ROOT / "prompts" / "sd14" / "kept.csv")
    assert len(rows) == len({row.prompt for row in rows}) == 50
    assert all(row.concept in row.prompt for row in rows)
