"""What runs left that came to no version: they were interrupted, or were trials."""

import json
import re
import shutil
from collections.abc import Iterator, Set
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from erasure_core.errors import ErasureError
from erasure_core.law.life import ENDED
from erasure_core.planning.plan import KEY, PLAN_FILE
from tasks.book.lease import Held, held_beside
from tasks.book.store import Book, Reader
from tasks.home import TRIAL, Home
from tasks.trial import at_work

# A state folder may have been somebody's before: what is not called as ours is, is not ours.
RUN = re.compile(rf"({TRIAL})?[0-9a-f]{{{KEY}}}(-\d+)?")
EVALUATION = re.compile(r"evaluation-[0-9a-f]+")
PREPARED = re.compile(r"\.?[\w-]+-[0-9a-f]{64}\.safetensors.*")  # of `by_content`, drafts too


@dataclass(frozen=True, slots=True)
class _Left:
    """The plan of a run that no version names."""

    model: str
    requests: frozenset[str]
    begun: datetime


def forget_leftovers(book: Book, held: Held, before: datetime) -> list[str]:
    """Remove the folders of a model's runs that came to no version and began before a time, or
    whose plan names a request that was purged; return their names.

    Where a plan cannot be read, nobody can say whose names lie beside it: that folder goes too, if
    it is called as a run's. A run writes its plan before it works, and the same run again would
    make the folder anew.

    Args:
        book: The book.
        held: The lease of the model: none of its runs is at work. Other models' stay, and trials
            that are at work.
        before: When a run began that is too old.

    Raises:
        LeaseLost: Another process took over.
    """
    folders = sorted(path for path in book.home.runs.glob("*") if path.is_dir())
    named, purged = book.ask(lambda reader: (_named(reader), purged_requests(reader, held.name)))
    others_work = cache(lambda: held_beside(book, held.name) is not None)
    removed = []
    for folder in folders:
        left = _read(folder)
        if folder.name in named or (left and not _is_over(left, held.name, purged, before)):
            continue
        book.ask(held.check)
        if left is None and (not RUN.fullmatch(folder.name) or others_work()):
            continue  # whose it is, it does not say
        if _remove(book.home, folder):
            removed.append(folder.name)
    return removed


def forget_evaluations(home: Home, before: datetime) -> list[str]:
    """Remove the pictures of evaluations that were interrupted and began before a time; return the
    names of their folders. Those that are at work stay.
    """
    begun = {folder: folder.stat().st_mtime for folder in unfinished_evaluations(home)}
    old = [folder for folder, time in begun.items() if time <= before.timestamp()]
    return [folder.name for folder in old if _remove(home, folder)]


def unfinished_evaluations(home: Home) -> list[Path]:
    """The folders of evaluations that are not finished."""
    return sorted(_called(home.evaluations, EVALUATION))


def forget_prepared(home: Home) -> None:
    """Remove what methods prepared, which may show whom it does not name."""
    for file in _called(home.prepared, PREPARED):
        with suppress(OSError):
            file.unlink()


def _called(folder: Path, names: re.Pattern[str]) -> Iterator[Path]:
    return (path for path in folder.glob("*") if names.fullmatch(path.name))


def _named(reader: Reader) -> set[str]:
    """The folders that versions rest on."""
    versions = (v for model in reader.models() for v in reader.versions(model))
    return {version.folder for version in versions if not version.purged}


def purged_requests(reader: Reader, model: str) -> set[str]:
    """The ids of a model's requests that were purged, now or before."""
    return {e.row.id for e in reader.requests(model, sorted(ENDED)) if e.row.purged}


def _is_over(left: _Left, model: str, purged: Set[str], before: datetime) -> bool:
    return left.model == model and (left.begun <= before or bool(left.requests & purged))


def _read(folder: Path) -> _Left | None:
    """None where the plan is not there, or only half."""
    file = folder / PLAN_FILE
    try:
        plan = json.loads(file.read_bytes())
        requests = [*plan["requests"], *plan["restored"]]
        ids = frozenset(str(request["subject_request_id"]) for request in requests)
        begun = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        return _Left(str(plan["params"]["registered_model"]), ids, begun)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove(home: Home, folder: Path) -> bool:
    """Whether it is gone: not where a trial or an evaluation is at work."""
    mark: AbstractContextManager[None] = nullcontext()
    if folder.parent == home.evaluations or folder.name.startswith(TRIAL):
        mark = at_work(home, folder)
    try:
        with mark:
            shutil.rmtree(folder, ignore_errors=True)
    except ErasureError:
        return False
    return not folder.exists()
