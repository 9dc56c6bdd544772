"""Whatever is written into a column of the book is found: no audit breaks on it, and no reader."""

import json
import re
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy.exc import IntegrityError

from erasure_core.errors import ErasureError
from tasks.book import schema
from tasks.book.database import database_file
from tasks.book.door import _faults, _signed_head, faults_of_chain, open_book
from tasks.book.heads import head_file
from tasks.book.rebuild import rebuild_tables
from tasks.book.store import Reader
from tasks.book.texts import faults_of_texts
from tasks.release.audit import _as_far_as_possible, _texts
from tasks.requests.intake import add
from tests.book.books import MODEL, A, B, C, D, a_book, a_request, quick_book, released

TABLES = ("events", "subjects", "texts", *schema.FOLDED)
VALUES = ("'{'", "'[1]'", "x'00ff'")  # no JSON; JSON of another kind; no text
UNHASHED = {("events", "operation")}  # groups the events of one transaction, which no hash says


def filled(book):
    """Something in every table."""
    add(book, [a_request(A, "cat"), a_request(B, "dog"), a_request(C, "cat")], MODEL)
    released(book, [A])
    released(book, [B], "fail")
    proposal = {"plan": "1" * 64, "model": MODEL}
    book.change(lambda tx: tx.append("plan.proposed", requests=(str(B),), **proposal))
    book.change(lambda tx: tx.append("plan.approved", by="ann", **proposal))
    left = {"model": MODEL, "version": 1, "form": "delta", "sha256": "9" * 64}
    book.change(lambda tx: tx.append("version.exported", **left))
    return book


def found(book, change: str) -> list[str] | None:
    """What is found wrong after a change, which is undone; None where the column refuses it."""
    signed = _signed_head(book)
    writing = book.engine.connect().execution_options(writing=True)
    with writing as connection, connection.begin() as transaction:
        reader = Reader(connection)
        try:
            connection.exec_driver_sql(change)
            texts = faults_of_texts(reader.events(), reader.all_texts())
            return [*_faults(book, reader, signed), *_as_far_as_possible(texts)]
        except IntegrityError:
            return None
        finally:
            transaction.rollback()


def test_a_table_that_was_dropped_is_said_at_once(tmp_path, capsys):
    """No waiting brings it back."""
    book = a_book(tmp_path)
    with closing(sqlite3.connect(database_file(book.home))) as connection, connection:
        connection.execute("DROP TABLE exports")
    with pytest.raises(ErasureError, match=r"no such table: exports; its tables were edited"):
        book.ask(lambda reader: reader.export("9" * 64))
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return filled(quick_book(tmp_path_factory.mktemp("state")))


@pytest.mark.parametrize("table", TABLES)
def test_what_no_column_holds_is_found(table, full):
    last = f"WHERE rowid = (SELECT max(rowid) FROM {table})"
    missed = [
        f"{column.name} = {value}"
        for column in schema.metadata.tables[table].columns
        for value in VALUES
        if found(full, f"UPDATE {table} SET {column.name} = {value} {last}") == []
        and (table, column.name) not in UNHASHED
    ]
    assert missed == []


NOT_TO_BE_READ = {
    "versions": "UPDATE versions SET requests = 'x'",
    "proposals": "UPDATE proposals SET approved_by = '{'",
    "the newest event": "UPDATE events SET facts = '{' WHERE seq = (SELECT max(seq) FROM events)",
    "its actor": "UPDATE events SET actor = '[1]' WHERE seq = (SELECT max(seq) FROM events)",
    "an event before": "UPDATE events SET facts = '[1]' WHERE seq = 3",
}
SAID = {
    "versions": "the book's versions were edited: a row cannot be read .*`erasure reconcile --tab",
    "proposals": "the book's proposals were edited: a row cannot be read",
}


@pytest.mark.parametrize("what", NOT_TO_BE_READ)
def test_a_book_that_cannot_be_read_whole_is_opened_and_audited(what, tmp_path):
    home = filled(a_book(tmp_path / "state")).home
    with closing(sqlite3.connect(database_file(home))) as connection, connection:
        connection.execute(NOT_TO_BE_READ[what])
    book = open_book(home, make=False)
    expected = SAID.get(what, "event [0-9]+ of the chain was changed: its actor and its facts")
    assert any(re.search(expected, fault) for fault in faults_of_chain(book))
    if what in SAID:
        rebuild_tables(book)
        assert list(faults_of_chain(book)) == []
    else:
        (fault,) = _as_far_as_possible(_texts(book))
        assert re.search(expected, fault)


def test_a_row_that_cannot_be_read_ends_a_command_in_one_line(tmp_path):
    book = filled(a_book(tmp_path / "state"))
    with closing(sqlite3.connect(database_file(book.home))) as connection, connection:
        connection.execute(NOT_TO_BE_READ["versions"])
    with pytest.raises(ErasureError, match="`erasure reconcile --tables` puts back"):
        book.ask(lambda reader: reader.version(MODEL, 1))


@pytest.mark.parametrize("signature", ["\u00e9", "====", "?"])
def test_a_signature_that_is_no_base64_is_a_finding(signature, tmp_path):
    book = filled(a_book(tmp_path / "state"))
    file = head_file(book.home)
    said = json.loads(file.read_text())
    said["signature"] = signature + said["signature"][1:]
    file.write_text(json.dumps(said))
    assert any("signed head of the chain" in fault for fault in faults_of_chain(book))
    add(book, [a_request(D, "rocket")], MODEL)  # is not signed over what was tampered with
    assert json.loads(file.read_text()) == said
