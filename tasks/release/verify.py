"""What is this file? Answered by its content and by signatures, never by its name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.fold import CHAMPION, Export, Tables, Version, fold
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
    if left := book.ask(lambda reader: _left(reader, sha256)):
        export, version = left
        return f"exported as {export.form} on {export.time[:10]}", version
    if versions := book.ask(lambda reader: _meant(reader, reader.by_checkpoint(sha256))):
        return "checkpoint", versions[0]
    if path.is_file() and path.suffix == ".json":
        return "signed statement", _stated(book, path)
    raise ErasureError(
        f"{path} (sha256 {sha256[:16]}...) is nothing that was exported or registered here, or it "
        "was changed since; export it again"
    )


def _left(reader: Reader, sha256: str) -> tuple[Export, Version] | None:
    """What left with that content, as table and chain say, and the version that is meant."""
    events = [e for e in reader.said_of([sha256])[sha256] if e.event == "version.exported"]
    row = reader.export(sha256)
    there = {row.sha256: row} if row else {}
    for fault in differences(Tables(exports=fold(events).exports), Tables(exports=there)):
        raise ErasureError(fault)
    exports = [fold([event]).exports[sha256] for event in events]
    newest = {(e.model, e.version): e for e in exports}
    for version in _meant(reader, [reader.version(*key) for key in newest]):
        return newest[version.model, version.version], version
    return None


def _meant(reader: Reader, versions: Iterable[Version]) -> list[Version]:
    """Versions of the same content, first the one that is meant: one that is served, else one that
    passed, else the newest.
    """

    def rank(version: Version) -> tuple[bool, bool, str, int]:
        served = reader.alias(version.model, CHAMPION) == version.version
        return served, version.promoted, version.created, version.version

    return sorted(versions, key=rank, reverse=True)


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
