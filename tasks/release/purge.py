"""Let go what is no longer in use, so that personal data ends while the proof stays.

The chain is never touched: it holds ids and salted hashes. What goes is an event itself.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from erasure_core.errors import ErasureError
from erasure_core.law.fold import CHAMPION, Request, Version
from erasure_core.law.life import ENDED
from erasure_core.planning.params import Retention
from erasure_core.redact import redacted
from tasks.book.database import clear_log
from tasks.book.door import check_whole
from tasks.book.lease import Held, LeaseLost, held_beside, holding, said
from tasks.book.store import Book, Reader, Transaction
from tasks.book.takeover import forget_taken_over, was_taken_over
from tasks.home import TRIAL, Home
from tasks.registry.runs import forget_attempts, forget_run
from tasks.registry.versions import clear_free_pages
from tasks.release.errands import OUTSIDE, run_errands
from tasks.release.leftovers import (
    forget_evaluations,
    forget_leftovers,
    forget_prepared,
    purged_requests,
    unfinished_evaluations,
)
from tasks.release.mirrored import check_newest
from tasks.release.record import record_file
from tasks.trial import at_work
from tasks.versions.dvc_store import checkpoint_folder, forget_checkpoint

PAGES = ("mlflow run", "mlflow version")  # errands that write what may say a name


class NotAllPurged(ErasureError):
    """What could be removed is; what could not, the next purge tries again."""

    def __init__(self, removed: Sequence[str], left: Sequence[str]):
        self.removed, self.left = removed, left
        super().__init__("; ".join(left))


def purge(
    book: Book,
    model: str,
    retention: Retention,
    now: datetime | None = None,
    *,
    wait: bool = True,
) -> list[str]:
    """Remove what the parameters' retention no longer keeps; return what was removed.

    Names, wordings and reasons of requests that ended go from the book; pictures, deltas, records
    and MLflow's files of versions that are not served go from the state folder, and the weights of
    old champions from DVC; and so do the files of runs that came to no version, of comparisons and
    of interrupted evaluations. What is in use stays. Another process that releases the model, or is
    busy outside, is waited for if `wait`.

    Raises:
        LeaseTaken: There is one, and `wait` is False.
        LeaseLost: Another process took over while this one was paused.
        NotAllPurged: Some of it could not be removed, such as weights whose remote is away.
        ErasureError: The book was edited: what it calls superseded may be what is served. Or
            another model is being released.
    """
    now = now or datetime.now(UTC)
    left: list[str] = []
    with holding(book, model, "purging", wait=wait) as held:
        check_whole(book)
        with holding(book, OUTSIDE, "purging", wait=wait):
            gone = _removed(book, held, _half_purged(book, model), left)
            due = _Due(retention, now)
            ended = book.ask(lambda reader: due.requests(reader, model))
            if ended:
                _forget_beside(book, model)
            requests = [i for i in ended if _purge_request(book, held, due, i)]
            forget_taken_over(book)
            reasons = _purge_reasons(book, held, model, due)
            unused = book.ask(lambda reader: due.versions(reader, model))
            purged = (v for v in unused if _purge_version(book, held, due, v))  # one at a time
            gone += _removed(book, held, purged, left)
            refused = due.before(retention.refused)
            runs = forget_leftovers(book, held, refused)
            evaluations = forget_evaluations(book.home, refused)
            nameless = book.ask(lambda reader: purged_requests(reader, model))
            attempts: list[str] = []
            with _noting(left, "MLflow's runs that came to nothing"):
                check_newest(book, model)
                attempts = forget_attempts(book.home, book.identity(), model, refused, nameless)
        clear_log(book.engine)
        left += (f"behind: {line}" for line in run_errands(book, model, wait=wait))
        if requests or gone or left:
            clear_free_pages(book.home)
    removed = [
        *(f"request {i}: names, wordings and reasons" for i in requests),
        *reasons,
        *map(_said, gone),
        *(f"run {name}, which came to nothing: plan, prompts, pictures" for name in runs),
        *(f"evaluation {name}, which was interrupted: pictures" for name in evaluations),
        *(f"MLflow's run {i}, which came to no version" for i in attempts),
    ]
    if left:
        raise NotAllPurged(removed, left)
    return removed


@dataclass(frozen=True, slots=True)
class _Due:
    """What the retention no longer keeps, as a reader of the book sees it."""

    retention: Retention
    now: datetime

    def before(self, days: int) -> datetime:
        """Since when a thing must be out of use, to go after so many days."""
        return self.now - timedelta(days=days)

    def is_before(self, time: str, days: int) -> bool:
        """Whether what is out of use since `time` is so for that many days."""
        return datetime.fromisoformat(time) <= self.before(days)

    def requests(self, reader: Reader, model: str) -> list[str]:
        """The ids of the requests that ended long enough ago."""
        return [e.row.id for e in reader.requests(model, sorted(ENDED)) if self.is_over(e.row)]

    def is_over(self, row: Request) -> bool:
        over = self.is_before(row.since, self.retention.personal)
        return over and row.state in ENDED and not row.purged

    def versions(self, reader: Reader, model: str) -> list[Version]:
        """The versions that were not served, or are not any more, for long enough."""
        return [v for v in reader.versions(model) if self.is_unused(reader, v)]

    def is_unused(self, reader: Reader, version: Version) -> bool:
        if version.purged or reader.alias(version.model, CHAMPION) == version.version:
            return False
        days = self.retention.superseded if version.promoted else self.retention.refused
        since = version.created
        if version.promoted and self.is_before(since, days):  # only then the chain is asked
            moved = reader.moved_away(version.model, CHAMPION).get(version.version)
            since = (moved.facts.get("at") or moved.time) if moved else since
        return self.is_before(since, days)


def _forget_beside(book: Book, model: str) -> None:
    """What may show or name a concept and is no record: what methods prepared, pictures of
    evaluations that were interrupted, the history of ended runs of the Prefect server that lives in
    the state folder, and the log of MLflow's. Before the events, so that a purge that was killed
    does it again. What was tried goes as `forget_leftovers` says.

    Raises:
        ErasureError: A run uses that server: another model's, or one that waits for the lease; or
            a trial or an evaluation is at work.
    """
    home = book.home
    if lease := held_beside(book, model):
        raise ErasureError(
            f"{lease['name']}: {said(lease)}; names in Prefect's history can be purged when it is "
            "done"
        )
    if users := _using(home.prefect):
        raise ErasureError(
            f"process {', '.join(map(str, users))} uses Prefect's history in {home.prefect}; "
            f"names in it can be purged when that command is done"
        )
    with ExitStack() as ours:
        evaluations = unfinished_evaluations(home)
        for folder in (*home.runs.glob(f"{TRIAL}*"), *evaluations):
            ours.enter_context(at_work(home, folder))
        forget_prepared(home)
        for folder in evaluations:
            shutil.rmtree(folder, ignore_errors=True)
        for made in (home.prepared, home.evaluations):
            with suppress(OSError):  # not empty: somebody's
                made.rmdir()
    logs = [home.prefect / "server.log", home.mlflow / "server.log"]
    for file in (*home.prefect.glob("prefect.db*"), *logs):
        file.unlink(missing_ok=True)


def _using(folder: Path) -> list[int]:
    """The processes of this machine that have a file of `folder` open."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # ended, or somebody else's
            if any(Path(file.path).parent == folder for file in process.open_files()):
                found.append(process.pid)
    return found


def _purge_request(book: Book, held: Held, due: _Due, request_id: str) -> bool:
    """Whether it was purged: not if somebody took it up again since it was looked at."""

    def work(tx: Transaction) -> bool:
        held.check(tx)
        row = tx.request(request_id).row
        if not due.is_over(row):
            return False
        tx.append("request.purged", id=request_id, texts=tx.forget_texts(request_id))
        for version in tx.versions(row.model):
            if request_id in (*version.requests, *version.restored):
                pages = PAGES[1:] if was_taken_over(version) else PAGES
                for page in pages:
                    tx.send(version.model, version.version, page)
        return True

    return book.change(work)


def _purge_reasons(book: Book, held: Held, model: str, due: _Due) -> list[str]:
    """Why earlier versions were served again, in words that may name somebody."""
    before = due.before(due.retention.personal)

    def work(tx: Transaction) -> list[str]:
        held.check(tx)
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


def _purge_version(book: Book, held: Held, due: _Due, version: Version) -> bool:
    """Whether its event was entered, which is first: what a kill leaves then, the next purge
    removes. Not if the version is served by now.
    """

    def work(tx: Transaction) -> bool:
        held.check(tx)
        if not due.is_unused(tx, tx.version(version.model, version.version)):
            return False
        tx.append("version.purged", model=version.model, version=version.version)
        tx.send(version.model, version.version, "mlflow version")
        return True

    return book.change(work)


def _said(version: Version) -> str:
    weights = ", weights" if version.promoted else ""
    return f"{version.model} version {version.version}: pictures, deltas, record{weights}"


def _half_purged(book: Book, model: str) -> Iterator[Version]:
    """Versions whose purge was killed before its last step."""
    for version in book.ask(lambda reader: reader.versions(model)):
        if version.purged and record_file(book.home, model, version.version).exists():
            yield version


def _removed(book: Book, held: Held, versions: Iterable[Version], left: list[str]) -> list[Version]:
    """Those of the purged versions of which nothing is left; what is, goes into `left`."""
    gone = []
    for version in versions:
        left += (faults := _remove(book, held, version))
        if not faults:
            gone.append(version)
    return gone


def _remove(book: Book, held: Held, version: Version) -> list[str]:
    """Everything of a version; its record last, by which it is seen to be unfinished. What could
    not be removed, a line each.
    """
    left: list[str] = []
    for remove in (_remove_run, _remove_files):
        with _noting(left, f"{version.model} version {version.version}"):
            remove(book, held, version)
    if not left:
        record_file(book.home, version.model, version.version).unlink(missing_ok=True)
    return left


@contextmanager
def _noting(left: list[str], what: str) -> Iterator[None]:
    """One thing that cannot be removed keeps nothing else; whoever lost the lease ends."""
    try:
        yield
    except LeaseLost:
        raise
    except (ErasureError, OSError) as fault:
        left.append(f"{what} could not all be removed: {redacted(' '.join(str(fault).split()))}")


def _remove_run(book: Book, _: Held, version: Version) -> None:
    run_id = book.ask(lambda r: r.outcome(f"{version.model}/{version.version}/mlflow run"))
    if run_id:
        check_newest(book, version.model)
        forget_run(book.home, run_id)


def _remove_files(book: Book, held: Held, version: Version) -> None:
    book.ask(held.check)  # whoever took over may release the same weights, or work in that folder
    home, others = book.home, _kept(book, version)
    if version.folder not in {other.folder for other in others}:
        shutil.rmtree(home.runs / version.folder, ignore_errors=True)
    if version.checkpoint not in {other.checkpoint for other in others}:
        _remove_weights(home, version.checkpoint, {v.checkpoint for v in others if v.promoted})


def _remove_weights(home: Home, checkpoint: str, kept: Collection[str]) -> None:
    forget_checkpoint(home, checkpoint, sorted(kept))
    shutil.rmtree(checkpoint_folder(home, checkpoint), ignore_errors=True)


def _kept(book: Book, version: Version) -> list[Version]:
    """Every other version that still has its files."""
    models = book.ask(lambda reader: reader.models())
    every = [v for m in models for v in book.ask(lambda r, m=m: r.versions(m))]  # type: ignore[misc]
    return [v for v in every if not v.purged and v != version]
