"""What follows from a decision outside the book: each errand once, in this order.

Each is idempotent: it may be killed anywhere and is then done again by the next run, by every
nightly, or by `erasure reconcile`. Until then `erasure status` says what is behind.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from erasure_core.errors import ContentChanged, ErasureError
from erasure_core.law.chain import now
from erasure_core.law.fold import CANDIDATE, CHAMPION, Version
from erasure_core.law.lineage import RunRecord, sha256_file
from erasure_core.law.requests import DeletionRequest
from erasure_core.planning.plan import Plan
from erasure_core.redact import redacted
from tasks.book.door import catch_up
from tasks.book.lease import LeaseTaken, holding
from tasks.book.store import SET_ASIDE, Book
from tasks.evidence.decide import decide
from tasks.home import Home
from tasks.pages.publish import candidate_runs, write_report
from tasks.pages.shown import run_facts
from tasks.pages.verdict import lambda_tag
from tasks.registry.runs import VERDICT, RunFacts, mirror_run
from tasks.registry.versions import mirror_aliases, mirror_version, set_aside
from tasks.release.mirrored import check_newest, note_of, version_facts, version_key
from tasks.release.record import record_of
from tasks.release.recording import measured
from tasks.release.resolve import bring_back, folder_of
from tasks.versions.dvc_store import add_checkpoint

OUTSIDE = "/outside"  # the lease of whoever does errands; no model is called so
OF_FILES = frozenset({"report", "checkpoint", "mlflow run"})  # what a purge leaves nothing to do of


def run_errands(book: Book, model: str | None = None, *, wait: bool = True) -> list[str]:
    """Do what is left to do outside; return what could not be done, a line each: all of it in one
    where another process is at it and `wait` is False.
    """
    if not book.ask(lambda reader: reader.waiting_outside(model)):
        return []
    catch_up(book)
    try:
        with holding(book, OUTSIDE, "bringing MLflow, DVC and reports up to date", wait=wait):
            return [fault for row in _rows(book, model) if (fault := _run(book, row)) is not None]
    except LeaseTaken as taken:
        return [str(taken)]


def _rows(book: Book, model: str | None) -> Iterator[Mapping[str, Any]]:
    """Each errand once, in order; also one that another sends meanwhile."""
    tried: set[str] = set()
    while left := [
        row
        for row in book.ask(lambda reader: reader.waiting_outside(model))
        if row["key"] not in tried
    ]:
        first = min(left, key=_turn)
        tried.add(first["key"])
        yield first


def _turn(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Whose turn comes first: aliases after all versions, of a version each after what it shows, in
    whatever order they were sent.
    """
    kind, version = row["kind"], row["version"]
    number = version if isinstance(version, int) else 0  # of one that was edited
    return kind == "aliases", row["model"], number, KINDS.get(kind, 0)


def _run(book: Book, row: Mapping[str, Any]) -> str | None:
    try:
        version = book.ask(lambda reader: reader.version(row["model"], row["version"]))
        over = version.purged and row["kind"] in OF_FILES
        result = row["result"] if over else HANDLERS[row["kind"]](book, version)
    except Exception as fault:  # also what nobody foresaw: it would stand before all later errands
        said = _said(fault)
        _note(book, row, tries=row["tries"] + 1, fault=said)
        return f"{row['key']}: {said}"
    _note(book, row, done=now(), fault=None, result=result)
    return None


def _said(fault: Exception) -> str:
    """One line; of what nobody foresaw also its kind, and where it was raised."""
    text = redacted(" ".join(str(fault).split()))
    if isinstance(fault, ErasureError | OSError | MemoryError):
        return text or type(fault).__name__
    place = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{type(fault).__name__}: {text} ({Path(place.filename).name}:{place.lineno})"


def _note(book: Book, row: Mapping[str, Any], **values: Any) -> None:
    book.change(lambda tx: tx.note_errand(row["id"], **values))


def _set_aside(book: Book, version: Version) -> None:
    """What 0.1 registered keeps another name in MLflow: its versions trust tags and paths."""
    set_aside(book.home, version.model)


def _report(book: Book, version: Version) -> str | None:
    """The run's page, whose hash it is; deltas that were not chosen are not kept, the record has
    theirs.
    """
    if version.delta is None:
        return None  # nothing was erased, so that there is nothing to show
    plan, record = _plan_and_record(book.home, version)
    evidence = measured(record, plan)
    before, decision = _champion_before(book, version), decide.fn(plan, evidence)
    back = _taken_back(book, version, plan)
    page = write_report(plan, record, decision, evidence, before, back)
    for candidate in plan.candidates():
        if candidate.name != decision.chosen:
            plan.delta_file(candidate.name).unlink(missing_ok=True)
    return sha256_file(page)


def _checkpoint(book: Book, version: Version) -> str | None:
    """A released folder is given to DVC and its remote; a refused one is kept as its delta."""
    if not version.promoted:
        return None
    try:
        folder = folder_of(book, version)
    except ContentChanged:  # DVC was killed while it put links in place of the files
        folder = bring_back(book, version)
    md5 = add_checkpoint(book.home, folder).md5
    # MLflow shows DVC's pointer, which there was none of if DVC had failed before
    book.change(lambda tx: tx.send(version.model, version.version, "mlflow version"))
    return md5


def _mlflow_run(book: Book, version: Version) -> str:
    """The run, with one nested run a candidate."""
    check_newest(book, version.model)
    record = record_of(book.home, version)
    key = f"{version.model}/{version.version}"
    verdict = {VERDICT: version.verdict}
    if version.delta is None:
        tags = {**verdict, "base.sha256": version.base, "run.key": version.run_key}
        facts = RunFacts(version.model, version.folder, "the base", tags, book=book.identity())
        return mirror_run(book.home, key, facts)
    plan, _ = _plan_and_record(book.home, version)
    evidence = measured(record, plan)
    decision = decide.fn(plan, evidence)
    back = _taken_back(book, version, plan)
    facts = run_facts(plan, _decided_by(book, version), record.git_commit, back)
    came_to = {**verdict, "lambda": lambda_tag(record.chosen_lambda)}
    return mirror_run(
        book.home,
        key,
        replace(facts, tags={**facts.tags, **came_to}, book=book.identity()),
        candidates=candidate_runs(plan, record, evidence, decision),
        measurements=list(evidence.report[decision.chosen].values()),
        note=note_of(book, version, record),
        artifacts=[plan.folder / "report.html", plan.file],
    )


def _decided_by(book: Book, version: Version) -> Mapping[str, Any]:
    """Who released a version, by the book."""
    about = book.ask(lambda r: list(r.events(f"{version.model}/{version.version}")))
    for event in about:
        if event.event == "version.decided":
            return event.actor
    raise ErasureError(
        f"the book does not find who decided {version.model} version {version.version}; `erasure "
        "reconcile --tables` puts back what the chain says"
    )


def _mlflow_version(book: Book, version: Version) -> None:
    """The version of the registered model."""
    check_newest(book, version.model)
    mirror_version(book.home, version_facts(book, version))


def _mlflow_aliases(book: Book, version: Version) -> None:
    """Where `candidate` and `champion` point, by the book as it is now."""
    model = version.model
    check_newest(book, model)
    now = book.ask(lambda reader: reader.aliases(model))
    wanted = {alias: now.get(alias) for alias in (CANDIDATE, CHAMPION)}
    named = [book.ask(lambda r, n=n: r.version(model, n)) for n in wanted.values() if n]  # type: ignore[misc]
    keys = {version.version: version_key(book, version) for version in named}
    mirror_aliases(book.home, book.identity(), model, wanted, keys)


def _plan_and_record(home: Home, version: Version) -> tuple[Plan, RunRecord]:
    plan = Plan.read(home.runs / version.folder, with_base=False)
    return plan, record_of(home, version)


def _champion_before(book: Book, version: Version) -> int | None:
    """Which version was served when this one was decided."""
    moves = book.ask(lambda r: list(r.events(f"{version.model}/{version.version}")))
    mine = [e for e in moves if e.event == "alias.moved" and e.facts["alias"] == CHAMPION]
    if mine:
        before = mine[0].facts.get("before")
        return int(before) if before is not None else None
    return book.ask(lambda reader: reader.alias(version.model, CHAMPION))


def _taken_back(book: Book, version: Version, plan: Plan) -> DeletionRequest | None:
    """The request that a release takes back: the champion before it erases it still."""
    if (before := _champion_before(book, version)) is None:
        return None
    erased = book.ask(lambda reader: reader.version(version.model, before)).requests
    return next((r for r in plan.restored if str(r.subject_request_id) in erased), None)


Errand = Callable[[Book, Version], str | None]
HANDLERS: Mapping[str, Errand] = {  # `store.ERRANDS` names them, in this order
    SET_ASIDE: _set_aside,  # of a model that was taken over from 0.1
    "report": _report,
    "checkpoint": _checkpoint,
    "mlflow run": _mlflow_run,
    "mlflow version": _mlflow_version,
    "aliases": _mlflow_aliases,
}
KINDS = {kind: number for number, kind in enumerate(HANDLERS)}
