"""Looking makes nothing; the signed head closes the end of the chain."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from threading import Thread

import pytest
from sqlalchemy import text

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law import fold
from tasks.book import database, door
from tasks.book.database import clear_log
from tasks.book.door import check_whole, faults_of_chain, known_book, open_book
from tasks.book.heads import head_file, read_head, rotate_key
from tasks.book.keys import Keys
from tasks.book.status import status
from tasks.book.store import Book
from tasks.home import Home
from tasks.release.audit import audit
from tasks.release.reconcile import reconcile
from tasks.requests.intake import add
from tests.book.books import MODEL, A, B, a_book, a_request


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def book(home):
    book = a_book(home.root)
    add(book, [a_request(A)], MODEL)
    return book


# --- the door


def test_looking_at_no_book_answers_from_memory_and_makes_nothing(home):
    book = open_book(home, make=False)
    assert status(book)["counts"]["received"] == 0
    assert list(audit(book)) == []
    assert not home.root.exists()


def test_a_book_is_opened_once(home):
    a_book(home.root)
    book = a_book(home.root)
    assert book.ask(lambda reader: [e.event for e in reader.events()]) == ["book.opened"]


def test_a_state_folder_without_a_book_can_be_refused(home):
    with pytest.raises(BadInput, match="holds no book of record; set ERASURE_HOME"):
        known_book(home)
    a_book(home.root)
    assert known_book(home).home == home


def emptied(home) -> None:
    database.database_file(home).unlink(missing_ok=True)
    home.root.mkdir(exist_ok=True)
    database.database_file(home).touch()
    database._engine.cache_clear()


def test_an_empty_database_is_no_book(home):
    emptied(home)
    with pytest.raises(BadInput, match="holds no book of record; set ERASURE_HOME"):
        known_book(home)
    with sqlite3.connect(database.database_file(home)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


LEFT = {"records/toy-v1.json": "released versions", "head.json": "the signed head of a chain"}


def looked_at(home):
    """As `status`, `restore`, `generate` do."""
    return open_book(home, make=False)


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("opened", [known_book, open_book, looked_at])
def test_an_empty_database_where_a_book_was_is_said(home, left, opened):
    a_book(home.root)
    head_file(home).rename(home.root / "kept")
    emptied(home)
    (home.root / left).parent.mkdir(exist_ok=True)
    (home.root / "kept").rename(home.root / left)
    said_of_it = rf"holds {LEFT[left]} .* but its book of record is empty"
    with pytest.raises(ErasureError, match=said_of_it) as said:
        opened(home)
    assert said.value.exit_code == 1


def test_an_empty_database_beside_the_books_own_file_is_said(home, monkeypatch):
    a_book(home.root)
    monkeypatch.setattr(database, "is_named", lambda: True)
    monkeypatch.setattr(database, "connect", lambda *_, **__: database._empty())
    with pytest.raises(ErasureError, match=r"or unset it: .*book\.db is here$"):
        open_book(home)


@pytest.fixture
def elsewhere(book, tmp_path, monkeypatch):
    """A state folder of its own, whose environment names the database of another's book."""
    monkeypatch.setattr(door, "_told", set())
    add(book, [a_request(B, "dog")], MODEL)
    return Book(Home(tmp_path / "other"), book.engine)


def test_a_folder_without_the_files_of_its_book_is_said_to_be_another(elsewhere):
    """To sign there what lies elsewhere would part the book in two."""
    (fault,) = faults(elsewhere)
    assert "holds none of the files of its book of record; set ERASURE_HOME to the folder" in fault
    with pytest.raises(ErasureError, match="holds none of the files"):
        reconcile(elsewhere)
    assert not head_file(elsewhere.home).exists()
    rotate_key(elsewhere.home)  # it is lost for good
    assert "the signed head of the chain is gone" in faults(elsewhere)[0]


def test_whoever_opens_it_is_told_so_once(elsewhere, capsys):
    door._tell_of_another_end(elsewhere)
    door._tell_of_another_end(elsewhere)
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith(f"note: state folder {elsewhere.home.root} holds none of the files")


def test_a_new_book_is_not_said_to_be_anothers(home, capsys):
    """A kill may have come before its first head, and before its key."""
    book = a_book(home.root)
    for made in (head_file(home), home.keys):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    assert not any("none of the files" in fault for fault in faults(book))
    door._tell_of_another_end(book)
    assert capsys.readouterr().err == ""


def test_somebody_elses_dvc_repository_is_left_as_it_is(home):
    config = home.root / ".dvc/config"
    config.parent.mkdir(parents=True)
    config.write_text("[core]\n    remote = theirs\n")
    with pytest.raises(BadInput, match="is a DVC repository without a book of record"):
        open_book(home)
    assert [f for f in home.root.rglob("*") if f.is_file()] == [config]


def test_where_released_versions_lie_no_second_book_begins(home):
    home.records.mkdir(parents=True)
    (home.records / "1.json").write_text("{}")
    with pytest.raises(ErasureError, match="holds released versions"):
        open_book(home)
    assert not database.database_file(home).exists()


def test_the_book_survives_its_process(home, book):
    database._engine.cache_clear()
    assert open_book(home, make=False).ask(lambda r: r.request(A)).concept == "cat"


@pytest.mark.parametrize("url", ["mysql://host/name", "not a url"])
def test_another_database_is_refused(home, monkeypatch, url):
    monkeypatch.setenv(database.URL, url)
    with pytest.raises(BadInput, match=database.URL):
        open_book(home)


@pytest.mark.parametrize("opened", [known_book, open_book, looked_at])
def test_a_book_that_ends_before_what_was_signed_says_so_once(home, book, opened, capsys):
    """A copy that was put back, or another database: nothing would be due in it."""
    older = [home.root / name for name in ("book.db", "book.db-wal")]
    kept = {file: file.read_bytes() for file in older}
    add(book, [a_request(B, "dog")], MODEL)
    opened(home)
    assert capsys.readouterr().err == ""
    book.engine.dispose()
    for file, content in kept.items():
        file.write_bytes(content)
    (home.root / "book.db-shm").unlink(missing_ok=True)
    for _ in range(2):
        opened(home)
    assert capsys.readouterr().err == (
        f"note: {head_file(home)} signs event 3, which the book of record does not have: it is an "
        f"older copy, was cut off, or {database.URL} names another one; `erasure audit` says more\n"
    )


def test_a_head_that_cannot_be_read_stops_nobody_who_looks(home, book):
    head_file(home).unlink()
    head_file(home).mkdir()
    assert looked_at(home).ask(lambda reader: reader.request(A)).concept == "cat"


def test_a_book_is_read_where_nothing_can_be_written(home, book, monkeypatch):
    """On a mounted backup, of which SQLite cannot make the files that it locks by."""
    clear_log(book.engine)
    book.engine.dispose()
    database._engine.cache_clear()
    for name in ("book.db-shm", "book.db-wal"):
        (home.root / name).unlink(missing_ok=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    read = known_book(home)
    assert read.ask(lambda reader: reader.request(A)).concept == "cat"
    assert not list(home.root.glob("book.db-*"))
    with pytest.raises(ErasureError, match="readonly database"):
        add(read, [a_request(B, "dog")], MODEL)


def test_a_log_that_was_not_read_in_is_not_passed_over(home, book, monkeypatch):
    assert (home.root / "book.db-wal").stat().st_size
    monkeypatch.setattr(os, "access", lambda *_: False)
    database._engine.cache_clear()
    assert known_book(home).ask(lambda reader: reader.request(A)).concept == "cat"


def test_a_file_that_is_no_database_is_said(home):
    home.root.mkdir()
    (home.root / "book.db").write_text("not a database at all, but long enough to be read" * 20)
    with pytest.raises(ErasureError, match="the book of record cannot be used"):
        open_book(home, make=False)


# --- the head


def faults(book) -> list[str]:
    return list(faults_of_chain(book))


def drop_last_event(book):
    with database.writing(book.engine) as connection:
        connection.execute(text("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)"))


def rows_back(book):
    from tasks.book.rebuild import rebuild_tables

    rebuild_tables(book)


def test_an_untouched_head_is_the_last_event(book):
    last = book.ask(lambda reader: reader.head())
    assert (read_head(book.home).seq, read_head(book.home).sha256) == (last.seq, last.sha256)
    assert faults(book) == []


def test_a_cut_off_end_is_found(book):
    drop_last_event(book)
    (fault,) = [f for f in faults(book) if "cut off" in f]
    assert "event 2 was signed as" in fault
    assert "the chain ends with event 1" in fault


def test_nothing_is_built_on_a_cut_off_chain(book):
    drop_last_event(book)
    with pytest.raises(ErasureError, match="cut off or replaced"):
        check_whole(book)


def test_a_cut_off_end_with_its_rows_put_right_is_found(book):
    """The forger removes the event and what it did, so that the tables agree with the chain."""
    signed = head_file(book.home).read_bytes()
    drop_last_event(book)
    rows_back(book)
    head_file(book.home).write_bytes(signed)
    assert ["cut off" in fault for fault in faults(book)] == [True]


def test_a_replaced_end_is_found(book, home):
    """Another event in the place of the last, its hash right: the signed one is not there."""
    signed = head_file(home).read_bytes()
    drop_last_event(book)
    with database.writing(book.engine) as connection:
        connection.execute(text("DELETE FROM requests"))
        connection.execute(text("DELETE FROM subjects"))
    head_file(home).unlink()
    book.change(lambda tx: tx.append("book.opened", form="1"))
    head_file(home).write_bytes(signed)
    assert any("and has" in fault for fault in faults(book))


def test_a_deleted_head_is_said(book):
    head_file(book.home).unlink()
    assert any("the signed head of the chain is gone" in fault for fault in faults(book))


def test_an_edited_head_is_said(book):
    file = head_file(book.home)
    file.write_text(json.dumps({**json.loads(file.read_text()), "seq": 1}))
    assert any("is not valid" in fault and "changed" in fault for fault in faults(book))


def test_a_head_of_a_stranger_is_said(book, tmp_path):
    stranger = Keys(Home(tmp_path / "other"))
    last = book.ask(lambda reader: reader.head())
    head_file(book.home).write_bytes(stranger.sign_head(last.seq, last.sha256))
    assert any("signed by" in fault and "trusted are" in fault for fault in faults(book))


def test_a_head_that_is_older_than_the_chain_is_whole(book):
    """A kill between commit and signing leaves one: what it names is still there."""
    signed = head_file(book.home).read_bytes()
    add(book, [a_request(B, "dog")], MODEL)
    head_file(book.home).write_bytes(signed)
    assert faults(book) == []


def test_the_next_change_signs_an_older_head_anew(book):
    signed = head_file(book.home).read_bytes()
    add(book, [a_request(B, "dog")], MODEL)
    head_file(book.home).write_bytes(signed)
    book.change(lambda tx: tx.append("book.opened", form="1"))
    assert read_head(book.home).seq == book.ask(lambda reader: reader.head()).seq


def changes(book, count):
    for number in range(count):
        book.change(lambda tx, n=number: tx.append("book.opened", form=str(n)))


def once_beside(monkeypatch, work: Callable[[], object]) -> None:
    """Let another thread do `work` while the chain is read, after its first event."""
    apply, done = fold.apply, []

    def applied(tables, event):
        apply(tables, event)
        if not done:
            done.append(event)
            thread = Thread(target=work)
            thread.start()
            thread.join()

    monkeypatch.setattr(fold, "apply", applied)


def test_who_writes_beside_a_look_is_no_fault(book, home, monkeypatch):
    """The event that was signed meanwhile is not in the view that is looked at."""
    once_beside(monkeypatch, lambda: add(open_book(home), [a_request(B, "dog")], MODEL))
    assert faults(book) == []
    assert book.ask(lambda reader: reader.request(B)).concept == "dog"


def test_a_head_that_is_first_signed_beside_a_look_is_no_fault(book, home, monkeypatch):
    """As of a book that another process just makes: its events come before its head."""
    signed = head_file(home).read_bytes()
    head_file(home).unlink()
    once_beside(monkeypatch, lambda: head_file(home).write_bytes(signed))
    assert faults(book) == []


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_cut_off_end_is_not_hidden_by_what_follows(book, count):
    """As many events follow as were cut off, or more: the head still names what was there."""
    drop_last_event(book)
    with database.writing(book.engine) as connection:
        connection.execute(text("DELETE FROM requests"))
        connection.execute(text("DELETE FROM subjects"))
    changes(book, count)
    assert any("cut off or replaced" in fault for fault in faults(book))


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_text("{}")])
def test_a_spoilt_head_is_not_signed_anew_by_the_way(book, damage):
    add(book, [a_request(B, "dog")], MODEL)
    damage(head_file(book.home))
    changes(book, 2)
    assert any("the signed head of the chain" in fault for fault in faults(book))


def test_a_kill_before_the_first_head_is_healed(home):
    book = a_book(home.root)
    head_file(home).unlink()
    add(book, [a_request(A)], MODEL)
    assert faults(book) == []


def test_reconcile_signs_a_head_that_is_gone(book):
    head_file(book.home).unlink()
    assert reconcile(book) == []
    assert faults(book) == []


def test_reconcile_does_not_hide_an_edited_head(book):
    head_file(book.home).write_text("{}")
    with pytest.raises(ErasureError, match="not valid"):
        reconcile(book)
