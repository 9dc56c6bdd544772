"""Write the tables anew from the chain."""

from dataclasses import asdict

from sqlalchemy import delete, insert

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

    book.change(work)
