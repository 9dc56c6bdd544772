"""A record is believed as far as the book holds the hash of its file."""

import json

import pytest

from erasure_core.errors import BadInput, ContentChanged
from erasure_core.planning.params import read_params
from tasks.release.handout import export_version
from tasks.release.outcome import outcome_of
from tasks.release.record import record_file, record_of
from tasks.requests.again import parts_of_champion
from tasks.requests.intake import add
from tasks.requests.plan import method_of_champion
from tests.book.books import MODEL, A, a_book, a_request, released

PARAMS = read_params("params.yaml").model_copy(update={"registered_model": MODEL})
READERS = {
    "itself": lambda book, version: record_of(book.home, version),
    "what a run came to": lambda book, version: outcome_of(book, version, answered=True),
    "the method": lambda book, version: method_of_champion(book, version.model),
    "an export": lambda book, version: export_version(
        "champion", "delta", book.home.root / "out", PARAMS, book.home
    ),
}


@pytest.fixture
def edited(tmp_path):
    """A book, and its champion, whose record was edited to name other parts."""
    book = a_book(tmp_path / "home")
    add(book, [a_request(A)], MODEL)
    version = released(book, [A])
    assert record_of(book.home, version).request_ids == (str(A),)
    file = record_file(book.home, MODEL, version.version)
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "parts": {str(A): [0, 2]}}))
    return book, version


@pytest.mark.parametrize("reader", READERS)
def test_an_edited_record_is_not_acted_on(reader, edited):
    with pytest.raises(ContentChanged, match=r"toy-v1.json changed.*restore it from a copy"):
        READERS[reader](*edited)


def test_an_edited_record_vouches_for_nothing_and_stops_nobody(edited):
    assert parts_of_champion(edited[0], MODEL) == {}


def test_a_record_that_is_gone_is_said_to_be_gone(edited):
    book, version = edited
    record_file(book.home, MODEL, 1).unlink()
    with pytest.raises(BadInput, match="no record of toy version 1"):
        record_of(book.home, version)
