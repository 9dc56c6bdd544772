"""Write the tables anew from the chain."""

from dataclasses import asdict
from itertools import islice

from sqlalchemy import Delete, Update, delete, insert, update

from erasure_core.law import chain, fold
from tasks.book import schema
from tasks.book.database import take_time
from tasks.book.store import Book, Transaction


def rebuild_tables(book: Book) -> None:
    """Replace every row by what the chain folds to. `ErasureError` if the chain is broken."""

    def work(tx: Transaction) -> None:
        take_time(tx.connection)  # of a long chain, seconds between two statements
        tables = fold.fold(chain.checked(tx.events()))
        for name, table in schema.FOLDED.items():
            tx.connection.execute(delete(table))
            rows = [asdict(row) for row in getattr(tables, name).values()]
            if rows:
                tx.connection.execute(insert(table), rows)
        _list_anew(tx)
        _place_texts(tx)
        tx.forget_errands(tx.strange_errands())

    book.change(work)


def _list_anew(tx: Transaction) -> None:
    """Under what each event is found."""
    tx.connection.execute(delete(schema.subjects))
    events = tx.events()
    while some := list(islice(events, 1000)):
        rows = [
            {"subject": subject, "seq": event.seq}
            for event in some
            for subject in fold.subjects(event.event, event.facts)
        ]
        if rows:
            tx.connection.execute(insert(schema.subjects), rows)


def _place_texts(tx: Transaction) -> None:
    """Whose each text is, and under which name it is found; what was purged is gone, and so is
    what no event names.
    """
    table, named = schema.texts, fold.texts(tx.events())
    changes: list[Delete | Update] = []
    for text in tx.all_texts():
        mine = table.c.sha256 == text.sha256
        if text.sha256 in named.forgotten:
            changes.append(delete(table).where(mine))
        elif not text.whole:
            continue  # it may be one that an event names, under an edited hash
        elif (known := named.kept.get(text.sha256)) is None:
            changes.append(delete(table).where(mine))
        elif (text.subject, text.label) != (placed := text.placed(known)):
            subject, label = placed
            changes.append(update(table).where(mine).values(subject=subject, label=label))
    for change in changes:
        tx.connection.execute(change)
