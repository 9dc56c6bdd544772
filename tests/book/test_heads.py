"""The signed head follows the chain, also past a kill, and never past a break."""

import errno
import shutil

import pytest
from sqlalchemy import delete, update

from erasure_core.errors import ErasureError
from tasks.book import heads
from tasks.book.door import open_book
from tasks.book.heads import head_file, read_head
from tasks.book.schema import events
from tasks.home import Home
from tasks.requests.intake import add
from tasks.requests.steps import hold
from tests.book.books import MODEL, A, B, a_book, a_request, state_of


@pytest.fixture
def behind(tmp_path):
    """A state folder whose last event was committed and not signed; and the number of both."""
    book, old = a_book(tmp_path / "state"), tmp_path / "head.json"
    add(book, [a_request(A)], MODEL)
    shutil.copy(head_file(book.home), old)
    add(book, [a_request(B, "rocket")], MODEL)
    shutil.copy(old, head_file(book.home))
    return book.home


def last_event(home: Home):
    return open_book(home, make=False).ask(lambda reader: reader.head())


def test_an_unsigned_head_is_signed_by_the_next_command(behind):
    assert read_head(behind).seq == last_event(behind).seq - 1
    open_book(behind)
    assert read_head(behind).sha256 == last_event(behind).sha256


def test_what_cannot_be_signed_for_want_of_room_is_done_and_said(tmp_path, monkeypatch, capsys):
    """Done again it would be refused: there is one extension."""
    book = a_book(tmp_path / "state")
    add(book, [a_request(A)], MODEL)

    def full(file, _text):
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    with monkeypatch.context() as patch:
        patch.setattr(heads, "write_text", full)
        hold(book, A, "a court asks")
    assert state_of(book, A) == "on_hold"
    assert read_head(book.home).seq == last_event(book.home).seq - 1
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: this is done, and its event 3 not signed yet (No space left on")
    open_book(book.home)
    assert read_head(book.home).seq == last_event(book.home).seq


def test_looking_signs_nothing(behind):
    open_book(behind, make=False)
    assert read_head(behind).seq == last_event(behind).seq - 1


def test_a_chain_without_what_was_signed_is_not_signed_again(behind):
    book, signed = open_book(behind, make=False), read_head(behind)
    book.change(lambda tx: tx.connection.execute(delete(events).where(events.c.seq == signed.seq)))
    open_book(behind)
    assert read_head(behind) == signed


def test_a_kill_before_the_first_head_is_made_up_for(tmp_path):
    book = a_book(tmp_path / "state")
    head_file(book.home).unlink()
    add(book, [a_request(A), a_request(B, "rocket")], MODEL)
    assert read_head(book.home).seq == last_event(book.home).seq


def test_a_head_that_is_gone_is_not_made_anew_however_the_events_were_grouped(tmp_path):
    """Which events were one change, no hash says."""
    book = a_book(tmp_path / "state")
    add(book, [a_request(A)], MODEL)
    head_file(book.home).unlink()
    book.change(lambda tx: tx.connection.execute(update(events).values(operation="one")))
    add(book, [a_request(B, "rocket")], MODEL)
    assert not head_file(book.home).exists()


@pytest.mark.parametrize("readable", [True, False])
def test_what_could_not_be_signed_is_not_done(tmp_path, monkeypatch, readable):
    """A key that is none, or another user's."""
    book = a_book(tmp_path / "state")
    add(book, [a_request(A)], MODEL)
    before, file = last_event(book.home), book.home.keys / "signing.pem"
    if readable:
        file.write_bytes(file.read_bytes()[:40])
    else:
        monkeypatch.setattr("tasks.book.keys._signer", _refused)
    with pytest.raises(ErasureError, match=r"signing\.pem (is not an Ed25519|cannot be read)"):
        hold(book, A, "a court asks")
    assert last_event(book.home) == before
    assert state_of(book, A) == "received"


def _refused(file):
    raise PermissionError(13, "Permission denied", str(file))
