"""The book: a change is there with its events or not at all, whatever the database does."""

import dataclasses
import json
import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import InternalError, OperationalError

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law import fold
from tasks.book import database, schema
from tasks.book.database import database_file
from tasks.book.door import faults_of_chain
from tasks.book.rebuild import rebuild_tables
from tasks.home import Home
from tasks.requests.intake import add
from tests.book.books import MODEL, A, B, a_book, a_request, event_names, quick_book, released

KINDS = {
    "requests": fold.Request,
    "versions": fold.Version,
    "aliases": fold.Alias,
    "proposals": fold.Proposal,
    "exports": fold.Export,
}


@pytest.fixture
def book(tmp_path):
    return a_book(tmp_path / "home")


def rows(book, table: str) -> int:
    with book.read() as reader:
        return reader.connection.scalar(text(f"SELECT count(*) FROM {table}"))


# --- the form of the tables


def test_migrations_make_what_the_schema_says(book):
    with book.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []


def test_the_newest_migration_is_the_one_that_is_wanted(book):
    with book.engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == database.REVISION


@pytest.mark.parametrize("name", sorted(schema.FOLDED))
def test_a_table_has_the_columns_of_what_it_holds(name):
    fields = {field.name for field in dataclasses.fields(KINDS[name])}
    assert {column.name for column in schema.FOLDED[name].columns} == fields


def test_the_folded_tables_are_the_fields_of_the_fold():
    assert {field.name for field in dataclasses.fields(fold.Tables)} == set(schema.FOLDED)


def test_a_book_of_a_newer_version_is_refused(book):
    with database.writing(book.engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'z9999'"))
    database._engine.cache_clear()
    with pytest.raises(ErasureError, match="form z9999, this version knows"):
        database.connect(book.home, make=True)


@pytest.mark.parametrize("make", [True, False])
def test_a_database_of_another_program_is_refused(make, tmp_path):
    """MLflow's and Prefect's are migrated by Alembic too."""
    with closing(sqlite3.connect(tmp_path / "book.db")) as theirs, theirs:
        theirs.execute("CREATE TABLE alembic_version (version_num TEXT)")
        theirs.execute("INSERT INTO alembic_version VALUES ('181f10493468')")
        theirs.execute("CREATE TABLE events (id TEXT)")
    with pytest.raises(BadInput, match=r"another program's tables.*a database of its own"):
        database.connect(Home(tmp_path), make=make)


@pytest.mark.parametrize("name", ["a b", "a#b", "a%b", "a%20b", "a%2Fb", "a?b", "a'b", "ä"])
def test_the_book_lies_in_its_state_folder_whatever_that_is_called(name, tmp_path):
    home = tmp_path / name / "state"
    home.mkdir(parents=True)
    add(a_book(home), [a_request(A)], MODEL)
    assert rows(a_book(home), "requests") == 1
    folders = {file.parent for file in tmp_path.rglob("book.db*")}
    assert folders == {home}


# --- all or nothing


def test_an_exception_leaves_neither_event_nor_row_nor_text(book):
    before = event_names(book)

    def work(tx):
        asked = tx.keep_text(str(A), "{}")
        tx.append("request.added", id=str(A), model=MODEL, regulation="gdpr", submitted="",
                  received="", due="", asked=asked, recipe=asked)  # fmt: skip
        tx.send(MODEL, 1, "aliases")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        book.change(work)
    assert event_names(book) == before
    assert [rows(book, table) for table in ("requests", "texts", "outbox", "subjects")] == [0] * 4


def test_an_illegal_step_undoes_the_legal_ones_before_it(book):
    add(book, [a_request(A)], MODEL)

    def work(tx):
        tx.append("request.ready", id=str(A))
        tx.append("request.restored", id=str(A))

    with pytest.raises(BadInput, match="cannot become restored"):
        book.change(work)
    assert event_names(book) == ["book.opened", "request.added"]


def test_the_head_is_not_signed_for_what_was_undone(book):
    signed = (book.home.root / "head.json").read_bytes()
    with pytest.raises(ZeroDivisionError):
        book.change(lambda tx: tx.append("book.opened", form="1") and 1 / 0)
    assert (book.home.root / "head.json").read_bytes() == signed


def lost_answer(monkeypatch, book) -> list[str]:
    """The next commit succeeds and its answer is lost, as when a server's connection breaks."""
    lost: list[str] = []
    commit = book.engine.dialect.do_commit

    def once(connection):
        commit(connection)
        if not lost:
            lost.append("answer")
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("server closed"))

    monkeypatch.setattr(book.engine.dialect, "do_commit", once)
    monkeypatch.setattr(database.time, "sleep", lambda _: None)
    return lost


def test_a_commit_whose_answer_is_lost_is_not_done_twice(book, monkeypatch):
    lost = lost_answer(monkeypatch, book)
    add(book, [a_request(A)], MODEL)
    assert lost == ["answer"]
    assert event_names(book) == ["book.opened", "request.added"]
    assert list(faults_of_chain(book)) == []


def test_a_commit_that_failed_is_done_again(book, monkeypatch):
    failed: list[str] = []
    commit = book.engine.dialect.do_commit

    def once(connection):
        if not failed:
            failed.append("commit")
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("server closed"))
        commit(connection)

    monkeypatch.setattr(book.engine.dialect, "do_commit", once)
    monkeypatch.setattr(database.time, "sleep", lambda _: None)
    add(book, [a_request(A)], MODEL)
    assert failed == ["commit"]
    assert event_names(book) == ["book.opened", "request.added"]


def test_a_database_that_stays_away_is_given_up(book, monkeypatch):
    monkeypatch.setattr(database.time, "sleep", lambda _: None)
    clock = iter([0.0, 1.0, database.PATIENCE + 1])
    monkeypatch.setattr(database.time, "monotonic", lambda: next(clock))

    def away(_):
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("connection refused"))

    with pytest.raises(ErasureError, match="cannot be used: connection refused"):
        book.change(away)


def test_a_database_that_is_waited_for_is_said_once(monkeypatch, capsys):
    monkeypatch.setattr(database.time, "sleep", lambda _: None)
    left = [OperationalError("SELECT", {}, OSError("connection refused\nhint")) for _ in "abc"]

    def away():
        if left:
            raise left.pop()

    database.patiently(away)
    said = "waiting up to 60 s: the book of record cannot be used: connection refused\n"
    assert capsys.readouterr().err == said


def test_a_host_that_is_not_known_when_the_book_is_opened_is_not_waited_for(tmp_path, monkeypatch):
    def unknown(_):
        raise OperationalError("SELECT", {}, OSError("[Errno -2] Name or service not known"))

    monkeypatch.setattr(database, "_form", unknown)
    monkeypatch.setattr(database.time, "sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(ErasureError, match="Name or service not known"):
        database.connect(Home(tmp_path), make=True)


@pytest.mark.parametrize(
    "said", ["database is locked", "canceling statement due to lock timeout\nCONTEXT: SQL"]
)
def test_a_lock_that_is_not_let_go_is_said_with_what_to_do(said):
    def locked():
        raise OperationalError("BEGIN", {}, sqlite3.OperationalError(said))

    with pytest.raises(ErasureError, match=r"(locked|timeout); another process writes.*run again$"):
        database.patiently(locked, -1.0)


def test_a_transaction_that_the_server_ended_is_done_again(book, monkeypatch):
    """PostgreSQL ends a stopped writer's; its driver does not call that operational."""
    monkeypatch.setattr(database.time, "sleep", lambda _: None)
    ended: list[str] = []

    def once(_):
        if not ended:
            ended.append("idle")
            fault = sqlite3.InternalError("terminating connection due to idle-in-transaction")
            raise InternalError("INSERT", {}, fault, connection_invalidated=True)
        return "done"

    assert book.change(once) == "done"


def test_a_full_disk_is_not_waited_for(book):
    def full(_):
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    with pytest.raises(ErasureError, match="disk is full"):
        book.change(full)


# --- texts


def test_a_purged_text_is_gone_and_the_rest_is_whole(book):
    add(book, [a_request(A, "zyxwort")], MODEL)

    def purge(tx):
        tx.append("request.purged", id=str(A), texts=tx.forget_texts(str(A)))

    book.change(purge)
    entry = book.ask(lambda reader: reader.request(A))
    assert (entry.request, entry.concept) == (None, "(purged)")
    assert list(faults_of_chain(book)) == []


def test_a_purged_text_leaves_no_bytes_in_the_database(book):
    add(book, [a_request(A, "zyxwort")], MODEL)
    files = [database_file(book.home), *book.home.root.glob("book.db-*")]
    assert any(b"zyxwort" in file.read_bytes() for file in files)
    book.change(lambda tx: tx.forget_texts(str(A)))
    database.clear_log(book.engine)
    files = [database_file(book.home), *book.home.root.glob("book.db-*")]
    assert not any(b"zyxwort" in file.read_bytes() for file in files)


def test_no_name_is_in_the_chain(book):
    add(book, [a_request(A, "zyxwort")], MODEL)
    lines = book.ask(lambda reader: [event.line for event in reader.events()])
    assert "zyxwort" not in "".join(lines)


def kept(book, words: str) -> str:
    """The hash of a text that the chain names."""

    def work(tx):
        why = tx.keep_text(f"{MODEL}/1", words)
        tx.append("alias.moved", model=MODEL, alias="candidate", version=1, reason=why)
        return why

    return book.change(work)


def test_a_text_that_no_event_names_is_not_kept(book):
    """No purge would find it, and every audit after would."""
    with pytest.raises(RuntimeError, match="a text of toy/1 is named by no event"):
        book.change(lambda tx: tx.keep_text(f"{MODEL}/1", "a word"))
    assert rows(book, "texts") == 0


def test_the_same_text_twice_has_two_names(book):
    """Salted: nobody can tell from the chain that two people were given the same reason."""
    assert kept(book, "the same") != kept(book, "the same")


def test_a_text_that_was_edited_is_not_believed(book):
    sha256 = kept(book, "before")
    with database.writing(book.engine) as connection:
        connection.execute(text("UPDATE texts SET body = 'after'"))
    with pytest.raises(ErasureError, match="a text of toy/1 was changed in the book"):
        book.ask(lambda reader: reader.text(sha256))


# --- rows and the chain


def test_edited_rows_are_put_back_from_the_chain(book):
    add(book, [a_request(A)], MODEL)
    with database.writing(book.engine) as connection:
        connection.execute(text("UPDATE requests SET state = 'refused'"))
        connection.execute(text("DELETE FROM aliases"))
    assert len(list(faults_of_chain(book))) == 1
    rebuild_tables(book)
    assert list(faults_of_chain(book)) == []


def test_history_is_found_by_request_and_by_version(tmp_path):
    book = quick_book(tmp_path)
    add(book, [a_request(A), a_request(B, "dog")], MODEL)
    released(book, [A])
    of_request = book.ask(lambda reader: [e.event for e in reader.events(str(A))])
    assert of_request == ["request.added", "version.decided", "request.ready", "request.honoured"]
    of_version = book.ask(lambda reader: [e.event for e in reader.events("toy/1")])
    assert of_version[0] == "version.decided"
    assert "version.stated" in of_version


def test_an_event_names_who_did_it(book):
    actor = book.ask(lambda reader: reader.head()).actor
    assert {"host", "user"} <= actor.keys()


def test_facts_are_stored_as_canonical_json(book):
    book.change(lambda tx: tx.append("book.opened", b=1, a=[1.0, None]))
    with book.read() as reader:
        stored = reader.connection.scalar(text("SELECT facts FROM events ORDER BY seq DESC"))
    assert stored == '{"a":[1,null],"b":1}'
    assert json.loads(stored) == {"a": [1, None], "b": 1}
