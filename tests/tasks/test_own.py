"""Which rows of a person's own report set are measured as the concept."""

from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import Reading
from erasure_core.network.models import load_tokenizers
from tasks.evidence.evaluate import TooLong
from tasks.requests.own import Own, read_own

COFFEE = Concept(
    name="coffee", also=("cup of joe",), kind="object", prompts=("x",), replacement="tea"
)
GOGH = Concept(name="van Gogh", kind="style", prompts=("x",), replacement="a photo")


TEACHER = Path(__file__).parents[2] / "models/gallery/teacher"


def own(folder: Path, text: str, concept: Concept = COFFEE, long: TooLong = "refuse") -> Own:
    (file := folder / "own.csv").write_text(text)
    return read_own(file, concept, Reading(guidance=4.0, seed=1), load_tokenizers(TEACHER), long)


def without_reading(found: Own) -> list[str]:
    """What is said of the concept, without what the reading supplied."""
    return [line for line in found.said if line.startswith(("left out", "1 of", "2 of"))]


def test_copies_are_left_out_and_the_reading_is_said(tmp_path):
    found = own(tmp_path, "caption,seed\ncoffee,1\ncoffee,1\ncoffee,2\n")
    assert [row.evaluation_seed for row in found.rows] == [1, 2]
    assert found.said[0] == "columns: prompt from caption, evaluation_seed from seed"
    assert found.said[-1] == "left out: 1 copies of a prompt, seed and guidance (case 1)"


def test_prompts_that_the_base_reads_in_part_are_refused_or_cut(tmp_path):
    text = f"prompt\ncoffee\n{'coffee ' * 90}\n"
    with pytest.raises(BadInput, match=r"1 of 2 prompts have more than the .* tokens"):
        own(tmp_path, text)
    assert [row.prompt for row in own(tmp_path, text, long="skip").rows] == ["coffee"]


def test_rows_that_say_another_concept_are_left_out_and_counted(tmp_path):
    text = (
        "prompt,class\nof coffee,Coffee\nof tea,tea\na cup of joe,cup of joe\nof cake,cake\n"
        "its cup,coffee\nit,\n"
    )
    found = own(tmp_path, text)
    assert [(row.prompt, row.concept) for row in found.rows] == [
        ("of coffee", "coffee"),
        ("a cup of joe", "coffee"),
        ("its cup", "coffee"),
    ]
    assert without_reading(found)[0] == (
        "left out: 2 of 6 rows, of which the column `concept` says cake, tea"
    )


def test_artists_beside_the_style_are_left_out_and_its_subjects_stay(tmp_path):
    text = "prompt,artist,object\nby van Gogh,Vincent van Gogh,cat\nby Klimt,Gustav Klimt,cat\n"
    found = own(tmp_path, text, GOGH)
    assert [(row.prompt, row.style, row.concept) for row in found.rows] == [
        ("by van Gogh", "van Gogh", "cat")
    ]
    assert "says Gustav Klimt" in without_reading(found)[0]


@pytest.mark.parametrize("column", ["artist", "concept"])
def test_a_style_is_found_in_the_column_that_the_file_has(column, tmp_path):
    found = own(tmp_path, f"prompt,{column}\nby van Gogh,van Gogh\nby Klimt,Klimt\n", GOGH)
    assert [(row.prompt, row.concept) for row in found.rows] == [("by van Gogh", "van Gogh")]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat", "a cat"),
        ("cat", "the cat"),
        ("cat", "cats"),
        ("tench", "tench, Tinca tinca"),
        ("chainsaw", "chain saw, chainsaw"),
        ("Spider-Man", "spiderman"),
    ],
)
def test_a_label_in_another_form_is_the_concept(name, label, tmp_path):
    concept = Concept(name=name, kind="object", prompts=("x",), replacement="a rocket")
    found = own(tmp_path, f'prompt,class\nof it,"{label}"\nof tea,"tea, a hot drink"\n', concept)
    assert [(row.prompt, row.concept) for row in found.rows] == [("of it", name)]


def test_a_label_that_only_holds_the_name_of_a_thing_is_another_thing(tmp_path):
    found = own(tmp_path, "prompt,class\nof coffee,coffee\na grinder,coffee grinder\n")
    assert [row.prompt for row in found.rows] == ["of coffee"]


def test_a_file_of_other_concepts_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"own\.csv: 2 of 2 rows, .* says cake, tea, show another"):
        own(tmp_path, "prompt,class\nof tea,tea\nof cake,cake\n")


def test_prompts_that_name_nothing_beside_some_that_name_it_are_left_out(tmp_path):
    """Files of several people often have no column that says who is meant, as MACE's."""
    text = ",type,prompt,seed\n0,erased,coffee,1\n1,others,Ola,1\n2,others,its cup,1\n"
    found = own(tmp_path, text)
    assert [row.prompt for row in found.rows] == ["coffee"]
    assert without_reading(found) == [
        "left out: 2 of 3 rows, which do not name 'coffee' where others do, and of which the "
        "column `concept` says nothing; write it there in those that show it"
    ]


def test_prompts_that_do_not_name_it_and_say_it_are_kept_and_said(tmp_path):
    found = own(tmp_path, "prompt,class\na portrait of coffee,\na hot drink,coffee\n")
    assert without_reading(found) == [
        "1 of 2 prompts do not name 'coffee' and are counted as showing it (case 1), with "
        "'tea' and nothing beside in its place; take out those that show something else"
    ]


def test_prompts_of_explicit_content_need_not_name_it(tmp_path):
    nudity = COFFEE.model_copy(update={"name": "nudity", "also": (), "kind": "explicit"})
    found = own(tmp_path, "prompt\nnudity\non a beach\n", nudity)
    assert [row.concept for row in found.rows] == ["nudity", "nudity"]


def test_prompts_that_all_name_it_need_no_word(tmp_path):
    assert without_reading(own(tmp_path, "prompt\ncoffee\na cup of joe\n")) == []


def test_prompts_none_of_which_names_it_are_said(tmp_path):
    """As I2P's: the base's pictures of the replacement are of one prompt then."""
    (said,) = without_reading(own(tmp_path, "prompt\na hot drink\nits cup\n"))
    assert said.startswith("2 of 2 prompts do not name 'coffee' and are counted as showing it")
