"""One step on rows that were edited behind the chain's back is refused: else the chain would say
what may never follow, or say lawfully what nobody did.
"""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from erasure_core.errors import ErasureError
from tasks.book import database
from tasks.book.door import faults_of_chain
from tasks.book.rebuild import rebuild_tables
from tasks.requests.intake import add
from tasks.requests.steps import approve, extend, hold, refuse, retry, withdraw
from tests.book.books import MODEL, A, B, a_book, a_request, event_names, released, state_of

IN_TIME = datetime(2026, 12, 1, tzinfo=UTC)
PLAN = "1" * 64


@pytest.fixture
def book(tmp_path):
    book = a_book(tmp_path / "home")
    add(book, [a_request(A)], MODEL)
    return book


@pytest.fixture
def honoured(book):
    """A is honoured; its row says that it was just received."""
    released(book, [A])
    edit(book, "UPDATE requests SET state = 'received', version = NULL")
    return book


def edit(book, *statements: str) -> None:
    with database.writing(book.engine) as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount, statement


STEPS = {
    "hold": lambda book: hold(book, A, "a court asks"),
    "withdraw": lambda book: withdraw(book, A, "no longer wanted"),
    "refuse": lambda book: refuse(book, A, "own-policy", None),
    "retry": lambda book: retry(book, A, None),
    "extend": lambda book: extend(book, A, "many requests", IN_TIME),
    "another recipe": lambda book: add(book, [a_request(A, concept_keep=["a dog"])], MODEL),
    "released again": lambda book: released(book, [A]),
}


@pytest.mark.parametrize("step", STEPS)
def test_no_step_is_made_on_an_edited_row(honoured, step):
    before = event_names(honoured)
    with pytest.raises(ErasureError, match=r"edited.*`erasure reconcile --tables`"):
        STEPS[step](honoured)
    assert event_names(honoured) == before
    rebuild_tables(honoured)
    assert list(faults_of_chain(honoured)) == []
    assert state_of(honoured, A) == "honoured"


def test_a_request_whose_row_was_deleted_is_not_entered_twice(book):
    edit(book, "DELETE FROM requests")
    with pytest.raises(ErasureError, match="requests were edited"):
        add(book, [a_request(A)], MODEL)


def test_a_step_on_another_request_is_still_made(honoured):
    add(honoured, [a_request(B, "dog")], MODEL)
    assert hold(honoured, B, "a court asks").row.state == "on_hold"


def test_an_approval_that_was_removed_is_not_given_twice(book):
    book.change(lambda tx: tx.append("plan.proposed", plan=PLAN, model=MODEL, requests=[str(A)]))
    approve(book, PLAN, "ada")
    edit(book, "UPDATE proposals SET approved_by = '[]'")
    with pytest.raises(ErasureError, match="proposals were edited"):
        approve(book, PLAN, "ada")


def test_a_version_whose_row_was_deleted_is_not_decided_twice(book):
    released(book, [A])
    edit(book, "DELETE FROM versions", "DELETE FROM aliases")
    with pytest.raises(ErasureError, match="versions were edited"):
        released(book, [A])


def test_a_row_whose_history_is_not_found_is_not_acted_on(book):
    edit(book, "DELETE FROM subjects")
    with pytest.raises(ErasureError, match="edited"):
        hold(book, A, "a court asks")
