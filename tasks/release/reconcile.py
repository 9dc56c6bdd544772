"""Bring everything outside the book to what the book says."""

from collections.abc import Iterator
from pathlib import Path

from erasure_core.errors import ErasureError
from erasure_core.law.fold import Version
from erasure_core.law.lineage import sha256_file
from erasure_core.redact import redacted
from tasks.book.door import catch_up, check_whole, without_files
from tasks.book.heads import head_file, write_head
from tasks.book.keys import Keys
from tasks.book.lease import holding
from tasks.book.rebuild import rebuild_tables
from tasks.book.store import Book
from tasks.registry.runs import close_unfinished
from tasks.release.audit import (
    delivers,
    differs_in_mlflow,
    differs_in_registry,
    differs_in_report,
    differs_in_run,
    mlflow_answers,
    not_to_close,
)
from tasks.release.errands import OUTSIDE, run_errands
from tasks.release.record import record_file
from tasks.release.resolve import bring_back
from tasks.release.settle import state_again
from tasks.versions.dvc_store import check_checkpoint, checkpoint_folder

MIRRORS = {"mlflow run": differs_in_run, "mlflow version": differs_in_mlflow}


def reconcile(book: Book, *, tables: bool = False) -> list[str]:
    """Do what is left to do, and put back what was changed; return what could not be done.

    Args:
        book: The book.
        tables: Whether to write the tables anew from the chain first, where they were edited.

    Raises:
        ErasureError: The chain itself is broken; or the state folder is not the book's.
    """
    if tables:
        rebuild_tables(book)
    if said := book.ask(lambda reader: without_files(reader, book.home)):
        raise ErasureError(said)
    head = book.ask(lambda reader: reader.head())
    if head is not None and not head_file(book.home).exists():
        write_head(book.home, head)
    catch_up(book)
    check_whole(book)
    _state_again(book)
    left = list(_bring_back_weights(book))
    answering = {m for m in book.ask(lambda r: r.models()) if mlflow_answers(book, m)}
    for version in _versions(book):
        mirrors = MIRRORS if version.model in answering else {}
        for errand, differs in {"report": differs_in_report, **mirrors}.items():
            if any(differs(book, version)):
                _send(book, version, errand)
    for model in book.ask(lambda reader: reader.models()):
        champion = book.ask(lambda r, m=model: r.champion(m))  # type: ignore[misc]
        if champion and any(differs_in_registry(book, model)):
            _send(book, champion, "aliases")
    left += run_errands(book)
    return left + _close_unfinished(book)


def _close_unfinished(book: Book) -> list[str]:
    """Mark MLflow's runs that died; what could not be done."""
    try:
        with holding(book, OUTSIDE, "closing runs that died"):
            close_unfinished(book.home, book.identity(), not_to_close(book))
    except (ErasureError, OSError) as fault:
        return [f"MLflow's runs that died: {redacted(str(fault))}"]
    return []


def _state_again(book: Book) -> None:
    """What a key that was given up had signed of a version is signed by the key of now, where the
    book and what lies here still agree with it.
    """
    keys = Keys(book.home)
    for version in _versions(book) if keys.given_up() else ():
        if version.purged or _agrees(book, version):
            state_again(book, keys, version)


def _agrees(book: Book, version: Version) -> bool:
    file = record_file(book.home, version.model, version.version)
    folder = checkpoint_folder(book.home, version.checkpoint)
    recorded = file.is_file() and sha256_file(file) == version.record
    return recorded and (not folder.exists() or _whole(folder))


def _bring_back_weights(book: Book) -> Iterator[str]:
    """Released folders that are lost or damaged are brought back, and given to DVC again."""
    for version in _versions(book):
        if not version.promoted or version.purged:
            continue
        try:
            if not _whole(checkpoint_folder(book.home, version.checkpoint)):
                bring_back(book, version)
            if not delivers(book, version):
                _send(book, version, "checkpoint")
        except ErasureError as fault:
            yield f"{version.model} version {version.version}: {fault}"


def _whole(folder: Path) -> bool:
    try:
        check_checkpoint(folder)
    except ErasureError:
        return False
    return True


def _send(book: Book, version: Version, errand: str) -> None:
    book.change(lambda tx: tx.send(version.model, version.version, errand))


def _versions(book: Book) -> list[Version]:
    models = book.ask(lambda reader: reader.models())
    return [v for m in models for v in book.ask(lambda r, m=m: r.versions(m))]  # type: ignore[misc]
