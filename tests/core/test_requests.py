"""What a valid deletion request is, and of which two parts it consists."""

from uuid import UUID

import pytest
from pydantic import ValidationError

from erasure_core.errors import BadInput
from erasure_core.law.requests import DeletionRequest, read_request

FIRST, SECOND = UUID(int=1), UUID(int=2)
LATER = "2026-11-22T10:00:01Z"
TEXT = """\
subject_request_id: 00000000-0000-0000-0000-000000000001
subject_request_type: erasure
submitted_time: 2026-11-22T10:00:00Z
regulation: gdpr
concept:
  name: cat
  kind: object
  prompts: [a cat]
  replacement: a cup of coffee
  keep: [a rocket]
"""


def request(
    request_id: UUID = FIRST, time: str = "2026-11-22T10:00:00Z", **concept: object
) -> DeletionRequest:
    described = {
        "name": "cat",
        "kind": "object",
        "prompts": ["a cat"],
        "replacement": "a cup of coffee",
        "keep": ["a rocket"],
    } | concept
    return DeletionRequest.model_validate(
        {
            "subject_request_id": request_id,
            "subject_request_type": "erasure",
            "submitted_time": time,
            "regulation": "gdpr",
            "concept": described,
        }
    )


def test_a_file_reads_as_the_request_it_describes(tmp_path):
    path = tmp_path / "cat.yaml"
    path.write_text(TEXT)
    assert read_request(path) == request()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "regulation: gdpr",
            "regulation: gdpr\nurgency: high",
            "urgency: unknown key; allowed: subject_request_id, subject_request_type",
        ),
        (
            "  keep: [a rocket]",
            "  kept: [a rocket]",
            "concept.kept: unknown key; allowed: name, also, kind, prompts, replacement, "
            "described, translated, keep",
        ),
        ("replacement:", "instead:", "(did you mean replacement?)"),
        ("regulation: gdpr", "law: gdpr", "(did you mean regulation?)"),
        ("regulation: gdpr", "regulation: gdpr\ninstead: x", "(did you mean concept.replacement?)"),
        ("prompts: [a cat]", "prompts: []", "concept.prompts: found []"),
        (
            "kind: object",
            "kind: person",
            (
                "concept.kind: found 'person'; it is no kind; choose likeness, style, object, "
                "explicit (did you mean likeness?)"
            ),
        ),
        (
            "type: erasure",
            "type: access",
            "subject_request_type: found 'access'; Input should be 'erasure'",
        ),
        ("0000-000000000001", "0001", "subject_request_id: found '00000000-0000-0000-0001'"),
        (
            "2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00",
            "submitted_time: found 2026-11-22T10:00:00; write a time with its zone",
        ),
        (
            "2026-11-22T10:00:00Z",
            "2026-11-22",
            "submitted_time: found 2026-11-22; write a time with its zone",
        ),
        ("kind: object", "kind: artist", "(did you mean style?)"),
        ("kind: object", "kind: thingy", "concept.kind: found 'thingy'; Input should be"),
        (
            "2026-11-22T10:00:00Z",
            "20261122",
            "submitted_time: found 20261122; expected an RFC 3339 time",
        ),
        ("regulation: gdpr", "regulation: ''", "regulation: found ''"),
        ("regulation: gdpr\n", "", "regulation: missing"),
    ],
)
def test_a_faulty_request_is_refused_by_name(tmp_path, old, new, expected):
    path = tmp_path / "bad.yaml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(BadInput) as caught:
        read_request(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.yaml"]


def test_a_kind_is_one_whatever_its_case(tmp_path):
    path = tmp_path / "request.yaml"
    path.write_text(TEXT.replace("kind: object", "kind: Object"))
    assert read_request(path).concept.kind == "object"


def test_the_hash_is_of_the_content_not_of_its_spelling():
    assert request().sha256 == request(time="2026-11-22T12:00:00+02:00").sha256
    assert request().sha256 != request(prompts=["a tabby cat"]).sha256
    assert request().sha256 != request(SECOND).sha256


def test_what_was_asked_and_how_join_to_the_request():
    whole = request()
    assert DeletionRequest.joined(whole.asked, whole.recipe) == whole


def test_wordings_are_the_recipe_and_not_what_was_asked():
    other = request(prompts=["a tabby cat"], replacement="a dog", keep=[])
    assert other.asked == request().asked
    assert other.recipe != request().recipe


@pytest.mark.parametrize(
    "other", [request(SECOND), request(name="dog"), request(kind="style"), request(time=LATER)]
)
def test_who_asks_for_what_since_when_is_what_was_asked(other):
    assert other.asked != request().asked


def test_a_time_that_passed_before_is_read_back():
    """A record may hold what today's rules refuse: it was accepted when it came."""
    old = request()
    asked = {**old.asked, "submitted_time": "2999-01-01T00:00:00Z"}
    assert DeletionRequest.joined(asked, old.recipe).submitted_time.year == 2999


def test_a_kept_prompt_that_was_no_name_once_is_read_back():
    """What spells a name was less: "Spiderman" was not "Spider-Man"."""
    old = request(name="Spider-Man", replacement="a man")
    kept = {**old.recipe["concept"], "keep": ["a Spiderman comic"]}
    read = DeletionRequest.joined(old.asked, {**old.recipe, "concept": kept})
    assert read.concept.keep == ("a Spiderman comic",)
    with pytest.raises(ValidationError, match="names the concept"):
        request(name="Spider-Man", keep=["a Spiderman comic"])
