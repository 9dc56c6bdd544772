"""Open the book of a state folder: make it on first use, take over what an older version left."""

import sys
from collections.abc import Iterator

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law import chain, fold
from erasure_core.law.chain import Event
from erasure_core.law.statement import Head
from tasks.book import database
from tasks.book.differences import Listing, differences
from tasks.book.heads import head_file, read_head, readable_head, write_head
from tasks.book.store import Book, Reader, Transaction
from tasks.book.takeover import left_behind, put_aside, take_over
from tasks.home import Home

NEW = 2  # events of a book whose first head a kill may have come before


def open_book(home: Home, *, make: bool = True) -> Book:
    """The book of a state folder.

    Args:
        home: The state folder.
        make: Whether a new one may be made; otherwise an empty book answers where there is none.

    Raises:
        BadInput: A new one would take a repository for its own.
        ErasureError: There was one, which is gone.
    """
    old, left = left_behind(home), _left_of_one(home)  # before the book, which may begin meanwhile
    book = Book(home, database.connect(home, make=False))
    empty = _is_empty(book)
    if empty and left and not old:
        beside = database.is_named() and database.database_file(home).exists()
        raise ErasureError(
            f"{home.root} holds {left} but its book of record is empty; restore it from a copy, or "
            f"set {database.URL} to the database it is in"
            + (f", or unset it: {database.database_file(home)} is here" if beside else "")
        )
    if empty and (make or old):
        if not old:
            _check_new(home)  # before there is a file, or a table in somebody's database
        book = Book(home, database.connect(home, make=True))
        empty = _is_empty(book)
    if old and empty:
        take_over(book)
    elif old and _was_taken_over(book):
        put_aside(home)
    _tell_of_another_end(book)
    if make and empty and not old:
        book.change(_open)
    elif make:
        catch_up(book)
    return book


def _is_empty(book: Book) -> bool:
    return book.ask(lambda reader: reader.is_empty())


def _was_taken_over(book: Book) -> bool:
    """Whether the chain begins with what an earlier version left."""
    try:
        return "taken_over" in book.ask(lambda reader: next(reader.events())).facts
    except ErasureError:  # it was edited, which an audit says
        return False


def catch_up(book: Book) -> None:
    """Sign the head that a process could not sign, killed right after its commit: what it appended
    would not be missed if it were cut off. Nothing else is signed here: the chain must continue
    what was signed last.
    """
    if (signed := readable_head(book.home)) is None:
        return
    with book.read() as reader:
        there = next(reader.events(after=signed.seq - 1), None)
        head = reader.head()
    if head and there and there.sha256 == signed.sha256 and head.seq > signed.seq:
        write_head(book.home, head)


def _tell_of_another_end(book: Book) -> None:
    """Say on stderr, once, that the book is not what was signed last: a copy that is put back too
    old, or another database, would answer as if nothing were due.
    """
    try:
        signed = readable_head(book.home)  # before the book, which only grows
    except OSError:  # as another user's
        return
    if signed in _told:
        return
    if signed is None:
        if said := book.ask(lambda reader: without_files(reader, book.home)):
            _told.add(None)
            print(f"note: {said}", file=sys.stderr, flush=True)
        return
    if book.ask(lambda reader: reader.sha256_at(signed.seq)) != signed.sha256:
        _told.add(signed)
        print(
            f"note: {head_file(book.home)} signs event {signed.seq}, which the book of record does "
            f"not have: it is an older copy, was cut off, or {database.URL} names another one; "
            f"`erasure audit` says more",
            file=sys.stderr,
            flush=True,
        )


_told: set[Head | None] = set()


def without_files(reader: Reader, home: Home) -> str | None:
    """What to say of a state folder in which nothing of its book lies, though that is no new one:
    who names the database of others, and a folder of their own, would release and sign where nobody
    else looks. None where there is something.
    """
    there = (head_file(home), home.keys, home.records)
    if any(path.exists() for path in there) or reader.sha256_at(NEW + 1) is None:
        return None
    return (
        f"state folder {home.root} holds none of the files of its book of record; set ERASURE_HOME "
        "to the folder in which that was begun, which all machines share; if it is lost for good, "
        "`erasure keys rotate` here, then `erasure reconcile`"
    )


def _check_new(home: Home) -> None:
    """Refuse to begin a book where it would take a repository for its own."""
    if home.dvc.exists():
        raise BadInput(
            f"state folder {home.root} is a DVC repository without a book of record; checkpoints "
            "are versioned by a DVC repository of the state folder's own, so set ERASURE_HOME to "
            "a new folder"
        )


def _left_of_one(home: Home) -> str | None:
    """What shows that a state folder had a book; None where nothing does."""
    if any(home.records.glob("*.json")):
        return f"released versions ({home.records})"
    if head_file(home).exists():
        return f"the signed head of a chain ({head_file(home)})"
    return None


def _open(tx: Transaction) -> None:
    if tx.head() is None:  # another process may have been quicker
        tx.append("book.opened", form=fold.FORM)


def check_whole(book: Book) -> None:
    """Refuse to build on a book that was edited behind the chain's back.

    Raises:
        ErasureError: Names the first thing that is wrong; `erasure audit` lists all.
    """
    for fault in faults_of_chain(book):
        raise ErasureError(
            f"{fault}; nothing is released from it, `erasure audit` lists everything"
        )


def faults_of_chain(book: Book) -> Iterator[str]:
    """What is wrong with the chain, its head, and the tables that follow from it."""
    signed = _signed_head(book)  # before the view: it is then never newer than what is seen
    yield from book.ask(lambda reader: list(_faults(book, reader, signed)))


def _signed_head(book: Book) -> Head | ErasureError | None:
    """The newest signed head; what is wrong with it, if it is not what was signed."""
    try:
        return read_head(book.home)
    except ErasureError as fault:
        return fault


def _faults(book: Book, reader: Reader, signed: Head | ErasureError | None) -> Iterator[str]:
    head: Event | None = None
    tables = fold.Tables()
    listing = Listing(reader.listed())
    try:
        for event in chain.checked(reader.events()):
            fold.apply(tables, event)
            listing.compare(event)
            head = event
    except (ErasureError, AttributeError, KeyError, TypeError, ValueError) as fault:
        yield f"the chain of events is broken: {fault}"
        return
    yield from _faults_of_head(book, reader, head, signed)
    yield from listing.faults()
    try:
        stored = reader.tables()
    except ErasureError as fault:
        yield str(fault)
        return
    yield from differences(tables, stored)


def faults_of_requests(book: Book) -> Iterator[str]:
    """What is wrong with the rows of requests, which must be what their events come to; whether
    these are whole, `faults_of_chain` says, which takes several times as long.
    """
    yield from book.ask(lambda reader: list(_faults_of_requests(reader)))


def _faults_of_requests(reader: Reader) -> Iterator[str]:
    try:
        folded = fold.fold(reader.events(kind="request."))
        stored = reader.tables()
    except (ErasureError, AttributeError, KeyError, TypeError, ValueError) as fault:
        yield f"the book was edited: {fault}; `erasure audit` lists everything"
        return
    yield from differences(
        fold.Tables(requests=folded.requests), fold.Tables(requests=stored.requests)
    )


def _faults_of_head(
    book: Book, reader: Reader, head: Event | None, signed: Head | ErasureError | None
) -> Iterator[str]:
    file = head_file(book.home)
    if isinstance(signed, ErasureError):
        yield (
            f"the signed head of the chain ({file}) is not valid: {signed}; where its key was "
            "given up, compare event and hash with your own note, remove the file, and sign it "
            "with `erasure reconcile`"
        )
        return
    if signed is None:
        if said := without_files(reader, book.home):
            yield said
        elif head is not None and not file.exists():  # else the book was made while we looked
            yield (
                f"the signed head of the chain is gone ({file}), so that "
                "nothing shows whether the chain's end was cut off; restore the file from a copy, "
                "or compare event and hash with your own note and sign it with `erasure reconcile`"
            )
        return
    there = next(reader.events(after=signed.seq - 1), None)
    if there is None or there.sha256 != signed.sha256:
        last = head.seq if head else 0
        yield (
            f"the chain was cut off or replaced: event {signed.seq} was signed as "
            f"{signed.sha256[:16]}..., the chain ends with event {last}"
            + (f" and has {there.sha256[:16]}... there" if there else "")
            + "; restore the book from a copy"
        )


def known_book(home: Home) -> Book:
    """The book of a state folder that must hold one, to be read; see `require_book`."""
    book = open_book(home, make=False)
    if missing := without_book(book):
        raise BadInput(missing)
    return book


def require_book(home: Home) -> None:
    """Refuse a state folder that holds no book: an unset or mistyped ERASURE_HOME, or a database
    that is empty.

    Raises:
        BadInput: There is none.
        ErasureError: There was one, which is gone.
    """
    known_book(home)


def without_book(book: Book) -> str | None:
    """What to say of a state folder that holds no book; None where it holds one."""
    if not _is_empty(book):
        return None
    empty = f", and the database that {database.URL} names is empty" if database.is_named() else ""
    return (
        f"state folder {book.home.root} holds no book of record{empty}; set ERASURE_HOME to the "
        "folder where requests were added, or begin a book here with `erasure request add`"
    )
