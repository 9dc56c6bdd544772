"""Let go what is no longer in use, so that personal data ends while the proof stays.

The chain is never touched: it holds ids and salted hashes. What goes is an event itself.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from erasure_core.errors import ErasureError
from erasure_core.law.fold import CHAMPION, Version
from erasure_core.law.life import ENDED
from erasure_core.planning.params import Retention
from tasks.book.database import clear_log
from tasks.book.door import check_whole
from tasks.book.lease import alive, holding, said
from tasks.book.store import Book, Entry, Transaction
from tasks.book.takeover import forget_taken_over
from tasks.home import TRIAL, Home
from tasks.registry.runs import forget_attempts, forget_run
from tasks.registry.versions import clear_free_pages
from tasks.release.errands import OUTSIDE, run_errands
from tasks.release.record import record_file
from tasks.trial import at_work
from tasks.versions.dvc_store import checkpoint_folder, forget_checkpoint


def purge(book: Book, model: str, retention: Retention, now: datetime | None = None) -> list[str]:
    """Remove what the parameters' retention no longer keeps; return what was removed.

    Names, wordings and reasons of requests that ended go from the book; pictures, deltas, records
    and MLflow's files of versions that are not served go from the state folder, and the weights of
    old champions from DVC. What is in use stays.

    Raises:
        ErasureError: The book was edited: what it calls superseded may be what is served. Or
            another model is being released.
    """
    now = now or datetime.now(UTC)
    with holding(book, model, "purging"):
        check_whole(book)
        with holding(book, OUTSIDE, "purging"):
            for half in _half_purged(book, model):
                _remove(book, half)
            ended = list(_ended(book, model, retention, now))
            if ended:
                _forget_beside(book, model)
            forget_taken_over(book, [entry.row.id for entry in ended])
            requests = [_purge_request(book, entry) for entry in ended]
            reasons = _purge_reasons(book, model, retention, now)
            versions = [_purge_version(book, v) for v in _unused(book, model, retention, now)]
            gone = [entry.row.id for entry in ended]
            attempts = forget_attempts(book.home, now - timedelta(days=retention.refused), gone)
        clear_log(book.engine)
        run_errands(book, model)
        if requests or versions:
            clear_free_pages(book.home)
    return [
        *requests,
        *reasons,
        *versions,
        *(f"MLflow's run {i}, which came to nothing" for i in attempts),
    ]


def _ended(book: Book, model: str, retention: Retention, now: datetime) -> Iterator[Entry]:
    before = now - timedelta(days=retention.personal)
    entries = book.ask(lambda reader: reader.requests(model, sorted(ENDED)))
    for entry in entries:
        if not entry.row.purged and datetime.fromisoformat(entry.row.since) <= before:
            yield entry


def _forget_beside(book: Book, model: str) -> None:
    """What may show or name a concept and is no record: what methods prepared, what was tried, and
    the history of ended runs of the Prefect server that lives in the state folder. Before the
    events, so that a purge that was killed does it again.

    Raises:
        ErasureError: A run uses that server: another model's, or one that waits for the lease; or
            a trial is at work.
    """
    others = [m for m in book.ask(lambda reader: reader.models()) if m != model]
    for other in others:
        lease = book.ask(lambda reader, m=other: reader.lease(m))  # type: ignore[misc]
        if lease is not None and alive(lease):
            raise ErasureError(
                f"{other}: {said(lease)}; names in Prefect's history can be purged when it is done"
            )
    if users := _using(book.home.prefect):
        raise ErasureError(
            f"process {', '.join(map(str, users))} uses Prefect's history in {book.home.prefect}; "
            f"names in it can be purged when that command is done"
        )
    with ExitStack() as ours:
        for folder in book.home.runs.glob(f"{TRIAL}*"):
            ours.enter_context(at_work(book.home, folder.name))
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(book.home.prepared, ignore_errors=True)
    for file in (*book.home.prefect.glob("prefect.db*"), book.home.prefect / "server.log"):
        file.unlink(missing_ok=True)


def _using(folder: Path) -> list[int]:
    """The processes of this machine that have a file of `folder` open."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # ended, or somebody else's
            if any(Path(file.path).parent == folder for file in process.open_files()):
                found.append(process.pid)
    return found


def _purge_request(book: Book, entry: Entry) -> str:
    def work(tx: Transaction) -> None:
        texts = tx.forget_texts(entry.row.id)
        tx.append("request.purged", id=entry.row.id, texts=texts)
        for version in tx.versions(entry.row.model):
            if entry.row.id in version.requests:  # its page in MLflow says the name
                tx.send(version.model, version.version, "mlflow version")

    book.change(work)
    return f"request {entry.row.id}: names, wordings and reasons"


def _purge_reasons(book: Book, model: str, retention: Retention, now: datetime) -> list[str]:
    """Why earlier versions were served again, in words that may name somebody."""
    before = now - timedelta(days=retention.personal)

    def work(tx: Transaction) -> list[str]:
        purged = []
        for event in list(tx.events(kind="alias.moved")):
            moved, reason = datetime.fromisoformat(event.time), event.facts.get("reason", "")
            if event.facts["model"] == model and moved <= before and tx.text(reason) is not None:
                version = event.facts["version"]
                tx.forget_text(reason)
                tx.append("reason.purged", model=model, version=version, texts=[reason])
                purged.append(f"{model} version {version}: why it was served again")
        return purged

    return book.change(work)


def _unused(book: Book, model: str, retention: Retention, now: datetime) -> Iterator[Version]:
    served = book.ask(lambda reader: reader.alias(model, CHAMPION))
    for version in book.ask(lambda reader: reader.versions(model)):
        days = retention.superseded if version.promoted else retention.refused
        old = datetime.fromisoformat(version.created) <= now - timedelta(days=days)
        if old and not version.purged and version.version != served:
            yield version


def _purge_version(book: Book, version: Version) -> str:
    """The event first: what a kill leaves then, the next purge removes."""

    def work(tx: Transaction) -> None:
        tx.append("version.purged", model=version.model, version=version.version)
        tx.send(version.model, version.version, "mlflow version")

    book.change(work)
    _remove(book, version)
    return f"{version.model} version {version.version}: pictures, deltas, record" + (
        ", weights" if version.promoted else ""
    )


def _half_purged(book: Book, model: str) -> Iterator[Version]:
    """Versions whose purge was killed before its last step."""
    for version in book.ask(lambda reader: reader.versions(model)):
        if version.purged and record_file(book.home, model, version.version).exists():
            yield version


def _remove(book: Book, version: Version) -> None:
    """Everything of a version; its record last, by which it is seen to be unfinished."""
    run_id = book.ask(lambda r: r.outcome(f"{version.model}/{version.version}/mlflow run"))
    if run_id:
        forget_run(book.home, run_id)
    _remove_files(book, version)
    record_file(book.home, version.model, version.version).unlink(missing_ok=True)


def _remove_files(book: Book, version: Version) -> None:
    home, others = book.home, _kept(book, version)
    if version.folder not in {other.folder for other in others}:
        shutil.rmtree(home.runs / version.folder, ignore_errors=True)
    if version.checkpoint not in {other.checkpoint for other in others}:
        _remove_weights(home, version.checkpoint)


def _remove_weights(home: Home, checkpoint: str) -> None:
    forget_checkpoint(home, checkpoint)
    shutil.rmtree(checkpoint_folder(home, checkpoint), ignore_errors=True)


def _kept(book: Book, version: Version) -> list[Version]:
    """Every other version that still has its files."""
    models = book.ask(lambda reader: reader.models())
    every = [v for m in models for v in book.ask(lambda r, m=m: r.versions(m))]  # type: ignore[misc]
    return [v for v in every if not v.purged and v != version]
