"""What a run says of requests: ready, or waiting for what."""

from collections.abc import Mapping, Sequence

from erasure_core.law.life import WORKABLE
from tasks.book.store import Book, Entry, Transaction


def park(book: Book, faults: Mapping[str, str]) -> None:
    """Let requests wait, each with its reason (id -> reason); one that does already is left, and
    so is one that a person has meanwhile withdrawn, refused or put on hold.
    """

    def work(tx: Transaction) -> None:
        for request_id, reason in faults.items():
            entry = tx.request(request_id)
            waits = (entry.row.state, entry.reason) == ("waiting", reason)
            if entry.row.state in WORKABLE and not waits:
                why = tx.keep_text(request_id, reason)
                tx.append("request.waiting", id=request_id, reason=why)

    book.change(work)


def make_ready(book: Book, entries: Sequence[Entry]) -> None:
    """Everything that these requests need is there."""

    def work(tx: Transaction) -> None:
        for entry in entries:
            if tx.request(entry.row.id).row.state in ("received", "waiting"):
                tx.append("request.ready", id=entry.row.id)

    book.change(work)
