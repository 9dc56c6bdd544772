"""What is this file? Answered by its content and by signatures, never by its name."""

from dataclasses import dataclass
from pathlib import Path

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.fold import Export, Tables, Version, fold
from erasure_core.law.statement import opened
from tasks.book.differences import differences
from tasks.book.keys import Keys
from tasks.book.store import Book, Reader
from tasks.release.handout import content_sha256
from tasks.release.resolve import champion_of
from tasks.release.settle import check_statement, says


@dataclass(frozen=True, slots=True)
class Known:
    """A file or folder that the book knows by its content."""

    path: Path
    sha256: str
    what: str  # "exported as delta", "checkpoint", "signed statement"
    version: Version
    served: bool  # whether that version is the champion now


def verify(book: Book, path: Path) -> Known:
    """Which version a file or folder is, as it left or as it lies here.

    Raises:
        BadInput: There is no such file or folder.
        ErasureError: Nothing with this content came from here, it was changed since, or its
            statement or what the book calls exported or champion is not to be believed.
    """
    if not path.exists():
        raise BadInput(f"{path} does not exist; name a file or folder")
    sha256 = content_sha256(path)
    what, version = _found(book, path, sha256)
    check_statement(book, Keys(book.home), version)
    champion = champion_of(book, version.model)
    served = champion is not None and champion.version == version.version
    return Known(path, sha256, what, version, served)


def _found(book: Book, path: Path, sha256: str) -> tuple[str, Version]:
    if export := book.ask(lambda reader: _left(reader, sha256)):
        row = book.ask(lambda reader: reader.version(export.model, export.version))
        return f"exported as {export.form} on {export.time[:10]}", row
    if version := book.ask(lambda reader: reader.by_checkpoint(sha256)):
        return "checkpoint", version
    if path.is_file() and path.suffix == ".json":
        return "signed statement", _stated(book, path)
    raise ErasureError(
        f"{path} (sha256 {sha256[:16]}...) is nothing that was exported or registered here, or it "
        "was changed since; export it again"
    )


def _left(reader: Reader, sha256: str) -> Export | None:
    """What left with that content, as table and chain say."""
    events = reader.said_of([sha256])[sha256]
    said = fold(event for event in events if event.event == "version.exported").exports
    row = reader.export(sha256)
    there = {row.sha256: row} if row else {}
    for fault in differences(Tables(exports=said), Tables(exports=there)):
        raise ErasureError(fault)
    return row


def _stated(book: Book, path: Path) -> Version:
    """The version of this book that a signed statement is of: other books count theirs too."""
    said = opened(path.read_bytes(), Keys(book.home).trusted())

    def ask(reader: Reader) -> Version | None:
        if not 0 < said.version < reader.next_version(said.model):
            return None
        row = reader.version(said.model, said.version)
        issued_here = reader.sha256_at(said.head_seq) == said.head_sha256
        return row if issued_here and says(said, row) else None

    if (version := book.ask(ask)) is None:
        raise ErasureError(
            f"{path} is signed by a trusted key, but is no statement of this book's: it says "
            f"{said.model} version {said.version}, checkpoint {said.checkpoint_sha256[:16]}...; "
            "verify it in the state folder that stated it"
        )
    return version
