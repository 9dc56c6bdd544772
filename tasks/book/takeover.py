"""Take over a state folder of version 0.1: its ledger files, its log and its records become events.

What they said happened then keeps its time (`at`). The old files are kept under `taken-over/`.
A request that the old ledger called honoured but that the champion does not erase is due again:
the old version could say so and be wrong.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from erasure_core.errors import ErasureError
from erasure_core.law import clock, fold
from erasure_core.law.chain import GENESIS, stamp
from erasure_core.law.concepts import RECORDED
from erasure_core.law.fold import CANDIDATE, CHAMPION, Version
from erasure_core.law.life import WORKABLE
from erasure_core.law.lineage import RunRecord, canonical_json, sha256_file, sha256_json
from erasure_core.law.requests import DeletionRequest
from tasks.book.keys import Keys
from tasks.book.store import SET_ASIDE, Book, Transaction
from tasks.home import Home

LEDGER, LOG = "requests", "audit.jsonl"  # what 0.1 wrote and this version does not
KEPT = "taken-over"
DEFAULT_MODEL = "gallery"  # of requests that no run has taken up, where nothing else tells


@dataclass(frozen=True, slots=True)
class Left:
    """What 0.1 left behind."""

    entries: Sequence[Mapping[str, Any]]  # of its log
    ledger: Sequence[Mapping[str, Any]]
    records: Sequence[tuple[RunRecord, str]]  # and the hash of each one's file

    @property
    def aliases(self) -> dict[tuple[str, str], int]:
        """Where the last logged move put each alias."""
        moves = [e["facts"] for e in self.entries if e["event"] == "alias.moved"]
        return {(m["model"], m["alias"]): m["version"] for m in moves}


def left_behind(home: Home) -> bool:
    """Whether 0.1 left a ledger or a log here that was not put aside."""
    return (home.root / LOG).exists() or bool(_ledger(home))


def _ledger(home: Home) -> list[Path]:
    """The files of its ledger. The folder may be a working folder too, in which requests of this
    version lie beside them.
    """
    named = [f for f in (home.root / LEDGER).glob("*.json") if _is_id(f.stem)]
    if not (home.root / LOG).exists():  # 0.1 wrote both: with a log, a broken file is one of them
        named = [file for file in named if _is_ledger(file)]
    return sorted(named)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _is_ledger(file: Path) -> bool:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and {"request", "history"} <= content.keys()


def take_over(book: Book) -> None:
    """Turn what was left into the first events of the book, and put the old files aside.

    Raises:
        ErasureError: The old log is broken, or an old file is not readable; nothing was changed.
    """
    left = _read(book.home)

    def work(tx: Transaction) -> None:
        if tx.head() is None:
            _enter(tx, book.home, left)

    book.change(work)
    put_aside(book.home)


def put_aside(home: Home) -> None:
    """Move the old files away; again after a run that was stopped in between. The log goes last:
    as long as it is here, so may be others.
    """
    kept = home.root / KEPT
    (kept / LEDGER).mkdir(parents=True, exist_ok=True)
    for file in (*_ledger(home), home.root / LOG):
        place = kept / file.relative_to(home.root)
        if file.exists() and not place.exists():
            shutil.move(file, place)
    with suppress(OSError):  # not empty: a working folder's
        (home.root / LEDGER).rmdir()


def forget_taken_over(book: Book) -> None:
    """Let the old ledger and log name nothing of requests that were purged; the log goes with the
    last of them, for it speaks of all.
    """
    kept = book.home.root / KEPT
    files = list((kept / LEDGER).glob("*.json"))
    for file in files:
        entry = book.ask(lambda reader, file=file: reader.find_request(file.stem))  # type: ignore[misc]
        if entry is not None and entry.row.purged:
            file.unlink()
    if not any(file.exists() for file in files):
        (kept / LOG).unlink(missing_ok=True)


def was_taken_over(version: Version) -> bool:
    """Whether 0.1 made it: then its run in MLflow, and the plan of it, are of a form of its own."""
    return version.plan == _plan_of(version.run_key)


def _plan_of(run_key: str) -> str:
    """In place of a plan's hash, which 0.1 kept none of."""
    return sha256_json(["0.1", run_key])


def faults_of_log(book: Book) -> Iterator[str]:
    """What is wrong with the old log, whose end the chain names; a purge may have removed it, with
    the last request that it speaks of.
    """
    opened = book.ask(lambda reader: next(reader.events(), None))
    if opened is None or not (taken := opened.facts.get("taken_over", {})).get("entries"):
        return
    kept = book.home.root / KEPT
    file = kept / LOG
    if not file.exists():
        if any((kept / LEDGER).glob("*.json")) and not (book.home.root / LOG).exists():
            yield f"{file} is gone, whose end the chain names; restore it from a copy"
        return
    try:
        entries = _old_chain(file)
    except ErasureError:
        entries = []
    if not entries or (len(entries), entries[-1]["sha256"]) != (taken["entries"], taken["head"]):
        yield f"{file} is not what was taken over; restore it from a copy"


def _read(home: Home) -> Left:
    ledger = [_json(file) for file in _ledger(home)]
    records = [(RunRecord.from_json(f), sha256_file(f)) for f in home.records.glob("*.json")]
    records.sort(key=lambda pair: (pair[0].model_name, pair[0].model_version or 0))
    return Left(_old_chain(home.root / LOG), ledger, records)


def _old_chain(file: Path) -> list[dict[str, Any]]:
    """The entries of the old log, each with its hash checked."""
    entries: list[dict[str, Any]] = []
    previous = GENESIS
    for number, line in enumerate(file.read_bytes().splitlines() if file.exists() else [], 1):
        body, _, _ = line.rpartition(b',"sha256":')
        try:
            entry = json.loads(line)
            whole = (entry["seq"], entry["previous"]) == (number, previous)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole or hashlib.sha256(body + b"}").hexdigest() != entry["sha256"]:
            raise ErasureError(
                f"{file}: line {number} is broken, so that its history cannot be taken over; "
                "restore the log from a copy"
            )
        entries.append(entry)
        previous = entry["sha256"]
    return entries


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
        DeletionRequest.model_validate(content["request"], context=RECORDED)
    except (ValueError, KeyError, TypeError) as fault:
        said = str(fault).splitlines()[0]
        raise ErasureError(f"{file} is not a request of 0.1 ({said}); restore it") from None
    return dict(content)


def _enter(tx: Transaction, home: Home, left: Left) -> None:
    head = left.entries[-1]["sha256"] if left.entries else GENESIS
    tx.append(
        "book.opened", form=fold.FORM, taken_over={"entries": len(left.entries), "head": head}
    )
    for old in left.ledger:
        _added(tx, old, left)
    first = {r.model_name: r.model_version for r, _ in reversed(left.records)}  # 0.1 left gaps
    for model, version in first.items():
        tx.send(model, version or 1, SET_ASIDE)
    for record, sha256 in left.records:
        _decided(tx, home, record, sha256)
    for entry in left.entries:
        if entry["event"] == "alias.moved":
            facts = entry["facts"]
            tx.append("alias.moved", at=stamp(datetime.fromisoformat(entry["time"])), **facts)
    champions = {
        record.model_name: record
        for record, _ in left.records
        if left.aliases.get((record.model_name, CHAMPION)) == record.model_version
    }
    for old in left.ledger:
        _lived(tx, old, champions.get(_model_of(old, left)))
    for old in sorted(left.ledger, key=lambda old: old["history"][0]["time"], reverse=True):
        _join(tx, old)  # the newer ones, to those who asked before
    for (model, alias), version in left.aliases.items():
        if alias in (CANDIDATE, CHAMPION):
            tx.send(model, version, "aliases")


def _added(tx: Transaction, old: Mapping[str, Any], left: Left) -> None:
    request = DeletionRequest.model_validate(old["request"], context=RECORDED)
    request_id, first = str(request.subject_request_id), old["history"][0]["time"]
    law = clock.regulation(request.regulation)
    received = stamp(datetime.fromisoformat(first))
    tx.append(
        "request.added",
        id=request_id,
        model=_model_of(old, left),
        regulation=clock.known_name(request.regulation),
        submitted=stamp(request.submitted_time),
        offset=clock.offset(request.submitted_time),
        received=received,
        due=stamp(clock.due(law, request.submitted_time)),
        asked=tx.keep_text(request_id, canonical_json(request.asked), request.concept.label),
        recipe=tx.keep_text(request_id, canonical_json(request.recipe)),
        at=received,
    )


def _model_of(old: Mapping[str, Any], left: Left) -> str:
    request_id = old["request"]["subject_request_id"]
    mine = [
        r.model_name for r, _ in left.records if request_id in (*r.request_ids, *r.restored_ids)
    ]
    known = sorted({record.model_name for record, _ in left.records})
    return mine[-1] if mine else known[0] if len(known) == 1 else DEFAULT_MODEL


def _lived(tx: Transaction, old: Mapping[str, Any], champion: RunRecord | None) -> None:
    """The request's later history, as far as it holds."""
    request_id = old["request"]["subject_request_id"]
    erased = champion is not None and request_id in champion.request_ids
    for step in old["history"][1:]:
        state, version = step["state"], step["version"]
        facts = {"id": request_id, "at": stamp(datetime.fromisoformat(step["time"]))}
        now = tx.request(request_id).row.state
        if state == "restored" and erased:
            continue
        said = step["reason"] if state in ("restored", "refused") else None
        reason = tx.keep_text(request_id, said) if said else None
        if state == "honoured" and now != "honoured":
            _ready(tx, facts, now)
            tx.append("request.honoured", version=version, **facts)
        elif state == "restored":
            tx.append("request.restored", version=version, reason=reason, **facts)
        elif state == "refused" and version is None:
            tx.append("request.waiting", reason=reason, **facts)
        elif state == "refused":
            _ready(tx, facts, now)
            tx.append("request.attempt_failed", version=version, reason=reason, **facts)
    if tx.request(request_id).row.state == "honoured" and not erased:
        why = "the old ledger called it honoured, but the champion does not erase it"
        tx.append("request.received", id=request_id, reason=tx.keep_text(request_id, why))
    if champion is not None and erased and old["history"][-1]["state"] == "restored":
        why = tx.keep_text(
            request_id, "the old ledger called it restored, but the champion erases it"
        )
        tx.append("request.honoured", id=request_id, version=champion.model_version, reason=why)


def _join(tx: Transaction, old: Mapping[str, Any]) -> None:
    """Who asks for what another asks for is honoured together with it; 0.1 refused them."""
    # imported here: who is honoured with whom is the business of `requests`
    from tasks.requests.intake import join_same

    entry = tx.request(old["request"]["subject_request_id"])
    if entry.row.state in WORKABLE:
        join_same(tx, entry.known)


def _ready(tx: Transaction, facts: Mapping[str, Any], now: str) -> None:
    if now in ("received", "waiting"):
        tx.append("request.ready", **facts)


def _decided(tx: Transaction, home: Home, record: RunRecord, sha256: str) -> None:
    # imported here: what a release says of itself is the business of `release`
    from tasks.release.settle import say_of

    assert record.model_version is not None  # 0.1 wrote records of registered versions only
    tx.append(
        "version.decided",
        model=record.model_name,
        version=record.model_version,
        verdict=record.gate["verdict"],
        promoted=record.promoted,
        run_key=record.run_key,
        folder=record.run_key,
        plan=_plan_of(record.run_key),
        base=record.base_sha256,
        policy=sha256_json(record.params["policy"]),
        checkpoint=record.checkpoint_sha256,
        delta=record.delta_sha256,
        record=sha256,
        requests=record.request_ids,
        restored=record.restored_ids,
        at=stamp(record.created),
    )
    say_of(tx, Keys(home), tx.version(record.model_name, record.model_version))
    tx.send(
        record.model_name, record.model_version, "mlflow run", result=record.mlflow_run_id or "none"
    )
    for errand in ("checkpoint", "mlflow version"):
        tx.send(record.model_name, record.model_version, errand)
