"""Turn the chosen candidate into a checkpoint, and settle what it means for the registry, the
requests and the audit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from filelock import FileLock, Timeout
from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law import lineage
from erasure_core.law.audit import AuditLog
from erasure_core.law.lineage import LambdaRecord, RunRecord
from erasure_core.law.requests import Ledger
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import read_params
from erasure_core.planning.plan import Plan
from tasks.evidence.decide import Decision
from tasks.evidence.measure import Found
from tasks.home import Home
from tasks.placement import IO
from tasks.registry import track
from tasks.release.checkpoint import make_checkpoint as make_checkpoint
from tasks.versions.dvc_store import Pointer, add_checkpoint, md5_of_outputs

PROMOTED, REFUSED, ALIAS_MOVED, SETTLED = (
    "version.promoted",
    "version.refused",
    "alias.moved",
    "request.settled",
)


@task(name="version checkpoint", **IO)
def version_checkpoint(checkpoint: Path, home: Home) -> Pointer:
    """Give the checkpoint to DVC and its remote."""
    return add_checkpoint(home, checkpoint)


@task(name="register", **IO)
def register(
    plan: Plan, decision: Decision, checkpoint: Path, pointer: Pointer, run_id: str, home: Home
) -> int:
    """Register the candidate, passed or not, as the next version, tagged with what it came from."""
    params, rows = plan.params, dict(plan.rows())
    ids = tuple(str(request.subject_request_id) for request in plan.requests)
    tags = {
        "request.ids": ",".join(ids),
        "base.sha256": plan.base_sha256,
        "delta.sha256": WeightDelta.load(plan.delta_file(decision.chosen)).sha256,
        "checkpoint.sha256": checkpoint.name,
        "params.sha256": params.sha256,
        "code.sha256": plan.code_sha256,
        "git.commit": lineage.git_commit(Path.cwd()),
        "run.key": plan.run_key,
        "candidate": decision.chosen,
        track.VERDICT_TAG: decision.gate.verdict,
        "gate.reasons": "; ".join(decision.gate.reasons)[:4000],
        "dvc.checkpoint_md5": pointer.md5,
        **{
            f"dvc.{Path(output).stem}_md5": md5
            for output, md5 in md5_of_outputs(Path.cwd()).items()
        },
    }
    facts = track.Checkpoint(checkpoint.name, plan.base_sha256, ids, pointer)
    guidance = next(iter(rows.values()))[0].evaluation_guidance
    return track.register_version(
        home,
        params.registered_model,
        facts,
        run_id=run_id,
        tags=tags,
        steps=params.sampling.steps,
        guidance=guidance,
    )


def run_record(
    plan: Plan,
    found: Mapping[str, Found],
    decision: Decision,
    checkpoint: Path,
    version: int,
    run_id: str,
    seconds: Mapping[str, float],
) -> RunRecord:
    """Everything the run rests on and came to, in one value."""
    deltas = {c.name: WeightDelta.load(plan.delta_file(c.name)).sha256 for c in plan.candidates()}
    return RunRecord.model_validate(
        {
            "run_key": plan.run_key,
            "request_ids": tuple(str(request.subject_request_id) for request in plan.requests),
            "restored_ids": tuple(str(request.subject_request_id) for request in plan.restored),
            "requests_sha256": lineage.sha256_json([request.sha256 for request in plan.requests]),
            "base_sha256": plan.base_sha256,
            "prompt_sha256": plan.prompt_sha256,
            "params_sha256": plan.params.sha256,
            "params": plan.params.model_dump(mode="json", by_alias=True),
            "code_sha256": plan.code_sha256,
            "git_commit": lineage.git_commit(Path.cwd()),
            "lambdas": tuple(
                LambdaRecord.model_validate(
                    {
                        "preset": c.preset,
                        "lambda": c.lambda_,
                        "delta_sha256": deltas[c.name],
                        "measurements": tuple(asdict(m) for m in found[c.name].values()),
                    }
                )
                for c in plan.candidates()
            ),
            "chosen_lambda": plan.candidate(decision.chosen).lambda_,
            "delta_sha256": deltas[decision.chosen],
            "checkpoint_sha256": checkpoint.name,
            "gate": asdict(decision.gate),
            "promoted": decision.promoted,
            "model_name": plan.params.registered_model,
            "model_version": version,
            "mlflow_run_id": run_id,
            "seconds": dict(seconds),
            "created": datetime.now(UTC),
        }
    )


def record_file(home: Home, model: str, version: int) -> Path:
    """Where the record of one version is kept."""
    return home.records / f"{model}-v{version}.json"


def record_of(home: Home, model: str, version: int) -> RunRecord:
    """The record of one version. `BadInput` if there is none."""
    file = record_file(home, model, version)
    if not file.is_file():
        raise BadInput(
            f"no record of {model} version {version} in {home.records}; `erasure status` "
            f"lists the versions"
        )
    return RunRecord.from_json(file)


def records(home: Home) -> list[RunRecord]:
    """Every record, oldest version first."""
    found = [RunRecord.from_json(file) for file in home.records.glob("*.json")]
    return sorted(found, key=lambda record: record.model_version or 0)


def answered(plan: Plan, home: Home) -> RunRecord | None:
    """The newest record of the same plan: the same inputs need no second training."""
    same = [
        r
        for r in records(home)
        if r.run_key == plan.run_key and r.model_name == plan.params.registered_model
    ]
    return same[-1] if same else None


def settled(record: RunRecord, home: Home) -> bool:
    """Whether everything that follows from a record was done; a crash may have come in between."""
    ledger = Ledger(home.requests)
    return all(ledger.get(UUID(request_id)).state != "pending" for request_id in record.request_ids)


@contextmanager
def one_at_a_time(plan: Plan, home: Home) -> Iterator[None]:
    """Hold the run's folder for this process.

    Raises:
        ErasureError: Another process works on the same plan.
    """
    home.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.locks / f"run-{plan.run_key}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ErasureError(
            f"another process already works on this run ({plan.folder}); wait for it, "
            f"its answer will be found"
        ) from None
    with lock:
        yield


@task(name="promote or refuse", cache_policy=NO_CACHE)
def settle(record: RunRecord, new_requests: Sequence[UUID], home: Home) -> int | None:
    """Keep the record, move the aliases that the verdict allows, settle the new requests; return
    the champion before.

    Requests that an earlier version honours stay honoured by it when this one is refused. Doing it
    again after a crash finishes what is left.
    """
    log, ledger = AuditLog(home.audit_log), Ledger(home.requests)
    model, version = record.model_name, record.model_version
    if version is None:
        raise ErasureError("this record names no registered version; register before settling")
    file = record_file(home, model, version)
    if not file.exists():
        record.to_json(file)
    verdict = record.gate["verdict"]
    event = PROMOTED if record.promoted else REFUSED
    _log_once(
        log,
        event,
        model=model,
        version=version,
        verdict=verdict,
        request_ids=record.request_ids,
        base_sha256=record.base_sha256,
        checkpoint_sha256=record.checkpoint_sha256,
        record_sha256=lineage.sha256_file(file),
    )
    champion_before = track.get_alias(home, model, track.CHAMPION)
    moved = {track.CANDIDATE: track.set_alias(home, model, track.CANDIDATE, version)}
    if record.promoted:
        moved[track.CHAMPION] = track.promote(home, model, version)
    for alias, before in moved.items():
        if _last_logged(log, model, alias) != version:
            log.append(ALIAS_MOVED, model=model, alias=alias, version=version, before=before)
    if record.promoted:
        for request_id in map(UUID, record.request_ids):
            ledger.settle(request_id, "honoured", version=version)
            log.append(SETTLED, subject_request_id=request_id, state="honoured", version=version)
    else:
        refuse(
            [i for i in new_requests if ledger.get(i).state != "honoured"],
            refusal(record),
            home,
            version,
        )
    return champion_before


def _log_once(log: AuditLog, event: str, **facts: Any) -> None:
    """Log the outcome of a version, unless a run that crashed right after has logged it."""
    same = (entry for entry in log.entries() if entry.event == event)
    if not any(
        e.facts["model"] == facts["model"] and e.facts["version"] == facts["version"] for e in same
    ):
        log.append(event, **facts)


def _last_logged(log: AuditLog, model: str, alias: str) -> object:
    """The version that the log last saw `alias` move to."""
    moves = [e.facts for e in log.entries() if e.event == ALIAS_MOVED]
    return next(
        (m["version"] for m in reversed(moves) if (m["model"], m["alias"]) == (model, alias)), None
    )


def settle_restored(request_id: UUID, reason: str, record: RunRecord, home: Home) -> None:
    """Settle a request as restored by the version of `record`, in ledger and audit log."""
    Ledger(home.requests).settle(
        request_id, "restored", version=record.model_version, reason=reason
    )
    AuditLog(home.audit_log).append(
        SETTLED,
        subject_request_id=request_id,
        state="restored",
        version=record.model_version,
        reason=reason,
    )


def method_of_champion(params_file: Path, home: Home) -> str | None:
    """The method that made the champion; None where there is none."""
    model = read_params(params_file).registered_model
    version = track.get_alias(home, model, track.CHAMPION)
    if version is None:
        return None
    return str(record_of(home, model, version).params["method"]["method"])


def refuse(
    request_ids: Sequence[UUID], reason: str, home: Home, version: int | None = None
) -> None:
    """Settle requests as refused, with the reason, in ledger and audit log."""
    for request_id in request_ids:
        Ledger(home.requests).settle(request_id, "refused", version=version, reason=reason)
        AuditLog(home.audit_log).append(
            SETTLED, subject_request_id=request_id, state="refused", version=version, reason=reason
        )


def refusal(record: RunRecord) -> str:
    """Why the gate did not pass, in one line."""
    missed = [
        f"{c['verdict']}: {c['reason']}" for c in record.gate["checks"] if c["verdict"] != "pass"
    ]
    return f"gate {record.gate['verdict']}: " + "; ".join(missed)


def seconds_of(plan: Plan) -> dict[str, float]:
    """Seconds that each candidate's training took, from the files it left."""
    return {
        f"erase {c.name}": float(json.loads(plan.losses_file(c.name).read_text())["seconds"])
        for c in plan.candidates()
    }
