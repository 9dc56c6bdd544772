"""The steps of docs/operations.md after a key was stolen leave a book that works."""

import json

import pytest

from erasure_core.errors import ErasureError
from erasure_core.law.statement import key_id
from tasks.book.door import catch_up, check_whole, faults_of_chain
from tasks.book.heads import read_head, rotate_key
from tasks.book.keys import Keys
from tasks.release.audit import audit
from tasks.release.reconcile import reconcile
from tasks.release.resolve import folder_of
from tasks.release.settle import check_statement, say_of, state_again
from tasks.requests.intake import add
from tests.book.books import MODEL, A, B, a_book, a_request, event_names, released


@pytest.fixture
def book(tmp_path):
    """A book with one version, whose key was rotated and is believed no more."""
    book = a_book(tmp_path / "home")
    add(book, [a_request(A)], MODEL)
    released(book, [A])
    give_up(book.home)
    return book


def give_up(home) -> str:
    old = Keys(home).current()
    rotate_key(home)
    (home.keys / f"trusted/{old.name}.pub").unlink()
    return old.key


def version(book):
    return book.ask(lambda reader: reader.version(MODEL, 1))


def test_the_chain_stays_believed_and_its_head_goes_on(book):
    assert list(faults_of_chain(book)) == []
    add(book, [a_request(B, "dog")], MODEL)
    assert read_head(book.home).seq == book.ask(lambda reader: reader.head()).seq
    check_whole(book)


def test_a_rotation_signs_no_head_that_is_not_believed(book):
    file = book.home.root / "head.json"
    give_up(book.home)
    forged = json.loads(file.read_bytes()) | {"seq": 1}
    file.write_text(json.dumps(forged))
    rotate_key(book.home)
    assert json.loads(file.read_bytes()) == forged
    catch_up(book)
    assert any("is not valid" in fault for fault in faults_of_chain(book))


def test_what_the_key_had_signed_is_refused_until_it_is_signed_again(book):
    keys = Keys(book.home)
    with pytest.raises(ErasureError, match="signed by"):
        check_statement(book, keys, version(book))
    assert state_again(book, keys, version(book))
    check_statement(book, keys, version(book))
    last = book.ask(lambda reader: reader.head())
    given_up = [key_id(key) for key in keys.given_up().values()]
    assert (last.event, last.facts["instead_of"]) == ("version.stated", given_up)
    check_whole(book)


def test_what_is_believed_is_not_signed_again(book):
    assert state_again(book, Keys(book.home), version(book))
    before = event_names(book)
    assert not state_again(book, Keys(book.home), version(book))
    assert event_names(book) == before


def test_what_a_stranger_signed_is_not_signed_again(book, tmp_path):
    stranger = Keys(a_book(tmp_path / "other").home)
    book.change(lambda tx: say_of(tx, stranger, version(book)))
    assert not state_again(book, Keys(book.home), version(book))


def test_the_documented_steps_leave_a_state_that_agrees(state):
    old = give_up(state.book.home)
    assert any("signed by" in finding for finding in audit(state.book))
    with pytest.raises(ErasureError, match="signed by"):
        folder_of(state.book, state.book.ask(lambda reader: reader.champion("toy")))
    assert reconcile(state.book) == []
    assert list(audit(state.book)) == []
    assert folder_of(state.book, state.book.ask(lambda reader: reader.champion("toy"))).is_dir()
    stored = state.home.glob("mlartifacts/**/statement.json")
    assert old not in "".join(file.read_text() for file in stored)
