"""What is asked of the database does not grow with what is in it, and a history is a request's own.
No time is measured here: benchmarks/book.py does that.
"""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import event

from tasks.book.status import status
from tasks.book.store import Book
from tasks.release.trace import shown_request
from tasks.requests.intake import add

from .books import MODEL, A, a_book, a_request


def statements(book: Book, work: Callable[[], object]) -> int:
    """How many statements `work` sends to the database."""
    sent = []

    def note(*_: object) -> None:
        sent.append(1)

    event.listen(book.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(book.engine, "before_cursor_execute", note)
    return len(sent)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """One request."""
    book = a_book(tmp_path / "state")
    add(book, [a_request(A)], MODEL)
    return book


def grow(book: Book, to: int) -> None:
    """Requests for the concept of `A`, and as many for others."""
    for number in range(1, to):
        same, other = UUID(int=1000 + number), UUID(int=5000 + number)
        add(book, [a_request(same), a_request(other, f"dog {number}")], MODEL)


WORK: dict[str, Callable[[Book], object]] = {
    "status": status,
    "history": lambda b: shown_request(b, b.ask(lambda reader: reader.request(A))),
    "add": lambda b: add(b, [a_request(UUID(int=b.ask(lambda r: r.head()).seq))], MODEL),
    "honoured": lambda b: b.ask(lambda reader: reader.requests(MODEL, ["honoured"], own=True)),
}


@pytest.mark.parametrize("what", WORK)
def test_as_many_statements_in_a_book_ten_times_as_large(book, what):
    grow(book, 3)
    few = statements(book, lambda: WORK[what](book))
    grow(book, 30)
    assert statements(book, lambda: WORK[what](book)) == few > 0


def test_the_history_of_a_request_is_without_that_of_its_duplicates(book):
    grow(book, 2)
    history = WORK["history"](book)["history"]
    assert [step["state"] for step in history] == ["added"]


def test_a_duplicate_is_not_among_those_that_stand_for_themselves(book):
    grow(book, 2)
    states = [None, ["received", "duplicate"]]
    found = [book.ask(lambda r, s=s: r.requests(MODEL, s, own=True)) for s in states]
    assert [[e.row.state for e in entries] for entries in found] == [["received", "received"]] * 2
