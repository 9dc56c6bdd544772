"""Whom a person means: by file, by id, or by the name of a concept."""

import re
from pathlib import Path
from uuid import UUID

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.concepts import slug
from erasure_core.law.requests import DeletionRequest, read_request
from tasks.book.door import open_book
from tasks.home import Home
from tasks.requests.advice import EXAMPLES, advice
from tasks.requests.intake import add
from tasks.requests.named import parted, read_source, request_id_of, requests_of
from tasks.requests.steps import withdraw
from tests import toy

ROOT = Path(__file__).parents[2]
OTHER = "00000000-0000-0000-0000-0000000000ff"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requests").mkdir()
    return tmp_path


def written(name: str, request_id: str, kind: str = "object", file: str | None = None) -> Path:
    path = Path("requests") / f"{file or name}.yaml"
    path.write_text(toy.REQUEST.format(id=request_id, name=name, kind=kind), encoding="utf-8")
    return path


def requested(name: str, request_id: str, kind: str = "object") -> DeletionRequest:
    file = written(name, request_id, kind, "given")
    request = read_request(file)
    file.unlink()
    return request


@pytest.fixture
def book(folder):
    """A book that holds a request for a cat and one for a person."""
    held = open_book(Home(folder / "home"), make=True)
    add(held, [requested("cat", toy.CAT), requested("Zo\u00eb Li", toy.ROCKET, "likeness")], "toy")
    return held


def test_an_example_is_told_by_its_file(book, folder):
    """Who reads of `erasure run astronaut` beside the examples has no request of that name yet."""
    (folder / "examples/requests").mkdir(parents=True)
    written("coffee", toy.CAT).rename(folder / "examples/requests/coffee.yaml")
    with pytest.raises(BadInput, match=r"; examples/requests/coffee\.yaml is one: name that file"):
        requests_of(book, ["Coffee"], "toy")


@pytest.mark.parametrize("text", ["cat", "Cat", " cat ", "\u200ecat", toy.CAT])
def test_a_request_is_found_by_name_or_id(book, text):
    assert request_id_of(book, text) == UUID(toy.CAT)


@pytest.mark.parametrize("text", ["Zo\u00eb Li", "Zoe\u0308 li", "zo\u00eb  li"])
def test_a_name_is_the_same_however_its_accents_are_typed(book, text):
    assert request_id_of(book, text) == UUID(toy.ROCKET)


def test_a_name_of_two_requests_says_their_ids(book):
    add(book, [requested("cat", OTHER)], "toy")
    with pytest.raises(BadInput) as fault:
        request_id_of(book, "cat")
    assert toy.CAT in str(fault.value)
    assert OTHER in str(fault.value)


def test_what_has_ended_does_not_make_a_name_ambiguous(book):
    withdraw(book, UUID(toy.CAT), "no longer asked")
    add(book, [requested("cat", OTHER)], "toy")
    assert request_id_of(book, "cat") == UUID(OTHER)


def test_what_has_ended_is_still_found_where_there_is_no_other(book):
    withdraw(book, UUID(toy.CAT), "no longer asked")
    assert request_id_of(book, "cat") == UUID(toy.CAT)


def test_another_models_request_is_not_meant(book):
    with pytest.raises(BadInput, match="no request in the book"):
        request_id_of(book, "cat", "gallery")


def test_a_request_that_is_not_taken_in_is_pointed_to(book):
    written("rocket", OTHER)
    with pytest.raises(BadInput, match=r"erasure request add requests/rocket\.yaml"):
        request_id_of(book, "rocket")


def test_what_was_taken_in_is_found_by_another_spelling(book):
    file = written("Spider-Man", OTHER, file="spider-man")
    add(book, [read_request(file)], "toy")
    assert request_id_of(book, "spider man") == UUID(OTHER)
    with pytest.raises(BadInput, match="`erasure request list` lists them"):
        request_id_of(book, "spider man", "gallery")


def test_a_file_of_another_concept_is_not_meant(book):
    file = written("dog", OTHER, file="rocket")
    add(book, [read_request(file)], "toy")
    with pytest.raises(BadInput, match="no request in the book asks for 'rocket'"):
        request_id_of(book, "rocket")


def test_a_run_finds_a_file_by_name(book):
    file = written("rocket", OTHER)
    assert requests_of(book, ["rocket"], "toy") == [file]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Beyonc\u00e9", "Beyonce"),
        ("Beyonc\u00e9", "beyonce\u0301"),
        ("Tom & Jerry", "Tom and Jerry"),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_a_run_finds_a_file_by_another_spelling_of_its_name(name, text, escaped, book):
    (Path("requests") / "broken.yaml").write_text(f"- {name}", encoding="utf-8")
    written(f"{name} Lee", toy.TWIN, file="lee")
    file = written(name, OTHER, file=slug(name))
    if escaped:
        ascii_only = name.encode("ascii", "backslashreplace").decode()
        whole = file.read_text(encoding="utf-8").replace(f"name: {name}", f'name: "{ascii_only}"')
        file.write_text(whole, encoding="utf-8")
    assert requests_of(book, [text], "toy") == [file]
    with pytest.raises(BadInput, match=f"erasure request add {re.escape(str(file))}"):
        request_id_of(book, text)


def test_a_name_that_holds_a_comma_is_not_parted(book):
    person = written("Sammy Davis, Jr.", OTHER, "likeness", "davis")
    texts = ["Sammy Davis, Jr.", "cat, Zo\u00eb Li", "cat", ",".join(["cat"] * 2000)]
    parts = ["Sammy Davis, Jr.", "cat", "Zo\u00eb Li", "cat", *["cat"] * 2000]
    assert parted(book, texts, "toy") == parts
    assert requests_of(book, texts[:1], "toy") == [person]


def test_a_run_finds_what_only_the_book_has(book):
    (source,) = requests_of(book, ["cat"], "toy")
    assert read_source(book, source).concept.name == "cat"
    assert source == UUID(toy.CAT)


def test_a_corrected_file_is_preferred_to_the_book(book):
    file = written("cat", toy.CAT)
    assert requests_of(book, ["cat"], "toy") == [file]


def test_a_file_and_another_request_of_the_book_are_ambiguous(book):
    written("cat", OTHER)
    with pytest.raises(BadInput) as fault:
        requests_of(book, ["cat"], "toy")
    assert toy.CAT in str(fault.value)
    assert f"{OTHER}  requests/cat.yaml" in str(fault.value)


def test_a_folder_of_a_concepts_name_is_not_in_the_way(book, folder):
    (folder / "cat").mkdir()
    assert requests_of(book, ["cat"], "toy") == [UUID(toy.CAT)]


def test_several_files_of_one_name_are_ambiguous(book):
    files = [written("Ren\u00e9", i, file=f) for i, f in ((OTHER, "one"), (toy.TWIN, "two"))]
    with pytest.raises(BadInput) as fault:
        requests_of(book, ["Rene"], "toy")
    assert all(str(file) in str(fault.value) for file in files)


def test_a_name_that_nobody_knows_says_what_to_do(book):
    with pytest.raises(BadInput, match="`erasure request new` writes one"):
        requests_of(book, ["dog"], "toy")


def test_a_name_that_another_model_is_asked_says_so(book):
    with pytest.raises(BadInput, match=r"asks other for .* \(one of toy does: a request belongs"):
        requests_of(book, ["cat"], "other")


@pytest.mark.parametrize("text", ["a\udcff", "cat\u202e", "a\nb"], ids=["bytes", "bidi", "lines"])
def test_what_cannot_be_a_name_is_refused(book, text):
    for find in (lambda: request_id_of(book, text), lambda: requests_of(book, [text], "toy")):
        with pytest.raises(BadInput, match="no control characters"):
            find()


def test_an_id_that_went_through_json_is_still_an_id(book):
    assert read_source(book, Path(toy.CAT)).concept.name == "cat"


# Advice


def test_few_wordings_are_told_of():
    (said,) = advice([requested("cat", toy.CAT)])
    assert "'cat' has 1 wording to train on" in said
    assert f"the examples have {EXAMPLES}" in said


@pytest.mark.parametrize("name", ["astronaut", "cat", "mosaic"])
def test_the_examples_have_as_many_as_is_said(name):
    request = read_request(ROOT / f"examples/requests/{name}.yaml")
    assert len(request.concept.prompts) == EXAMPLES
    assert list(advice([request])) == []


def test_a_folder_of_requests_is_told_how_to_name_them(book):
    with pytest.raises(BadInput, match=r"a folder; name the requests in it: requests/\*\.yaml"):
        requests_of(book, ["requests/"], "toy")


def test_a_title_alone_is_found_in_a_file_of_another_name(book):
    file = written("doctor", OTHER, file="who")
    assert requests_of(book, ["Doctor"], "toy") == [file]


def noted(name: str, prompts: list[str], kind: str = "object") -> list[str]:
    request = requested(name, OTHER, kind)
    concept = request.concept.model_copy(update={"prompts": tuple(prompts)})
    return list(advice([request.model_copy(update={"concept": concept})]))


def test_wordings_of_something_else_are_noted(folder):
    """As a comma makes them of one: [a photo of a cat, on a mat]."""
    wordings = [f"a cat {i}" for i in range(20)]
    assert noted("cat", wordings) == []
    (note,) = noted("cat", [*wordings, "on a mat", "black CATS"])
    assert note.startswith("1 of 22 wordings of the request for 'cat' do not name it ('on a mat')")
    assert noted("nudity", [*wordings, "on a mat"], "explicit") == []
