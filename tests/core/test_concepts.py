import pytest
from pydantic import ValidationError

from erasure_core.law.concepts import Concept


def concept(
    name: str = "astronaut", replacement: str = "a photographer", **changes: object
) -> Concept:
    return Concept.model_validate(
        {"name": name, "kind": "likeness", "prompts": ["x"], "replacement": replacement} | changes
    )


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a photo of the astronaut", "a photo of a photographer"),
        ("The Astronaut, sketch", "a photographer, sketch"),
        ("an astronaut and the astronaut", "a photographer and a photographer"),
        ("astronaut", "a photographer"),
        (
            "astronauts at work",
            "a photographer",
        ),  # another word, so the concept is not named: the bare replacement
        ("someone in a space suit", "a photographer"),
        (
            "breathe astronaut air",
            "breathe a photographer air",
        ),  # the end of "breathe" is no article
    ],
)
def test_replaced_swaps_the_name_and_its_article_and_nothing_else(prompt, expected):
    assert concept().replaced(prompt) == expected


def test_a_name_is_taken_literally_not_as_a_pattern():
    assert concept(name="van gogh").replaced("in van gogh style") == "in a photographer style"
    assert concept(name="van gogh").replaced("in vanXgogh style") == "a photographer"


def test_slug_is_a_file_name():
    assert concept(name="van gogh").slug == "van-gogh"
    assert concept(name="neon_sign 2").slug == "neon-sign-2"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Cat"},
        {"name": "../cat"},
        {"prompts": []},
        {"replacement": " "},
        {"kind": "person"},
    ],
)
def test_what_cannot_be_erased_is_refused(changes):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        concept(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"replacement": "another astronaut"}, "names the concept 'astronaut' itself"),
        (
            {"keep": ["a photo of a cat", "the astronaut, poster"]},
            "keep holds 'the astronaut, poster'",
        ),
        ({"keep": [""]}, "keep"),
        ({"prompts": ["astronaut", " "]}, "prompts"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, said):
    with pytest.raises(ValidationError, match=said):
        concept(**changes)


def test_a_name_counts_only_as_a_word_of_its_own():
    assert concept(name="cat").named_in("A CAT, poster")
    assert not concept(name="cat").named_in("a catalogue")
