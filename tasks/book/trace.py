"""Lineage, read from what was recorded and checked against what is there now.

Four witnesses are compared: the audit chain, the record of each version, the registry, and the
checkpoint's bytes. What no longer matches is listed under `findings`; the rest is shown as it was
recorded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.audit import AuditEntry, AuditLog
from erasure_core.law.lineage import RunRecord, sha256_file
from erasure_core.law.requests import Ledger
from tasks.home import Home
from tasks.registry import track
from tasks.release.release import ALIAS_MOVED, PROMOTED, REFUSED, record_file
from tasks.requests.intake import ADDED
from tasks.versions.dvc_store import check_checkpoint


class Witnesses:
    """The audit log, read and verified once, and what is found wrong on the way."""

    def __init__(self, home: Home):
        self.home = home
        self.findings: list[str] = []
        self.entries: list[AuditEntry] = []
        try:
            self.entries = AuditLog(home.audit_log).entries()
        except ErasureError as fault:
            self.findings.append(str(fault))

    def logged(self, *events: str, **facts: object) -> list[AuditEntry]:
        """Entries of these events that carry these facts, oldest first."""
        return [
            e
            for e in self.entries
            if e.event in events and all(e.facts.get(key) == value for key, value in facts.items())
        ]

    def decisions(self) -> list[AuditEntry]:
        """One entry for every version that was ever decided on."""
        return self.logged(PROMOTED, REFUSED)


def trace_version(home: Home, version: int, model: str | None = None) -> dict[str, Any]:
    """Where one version came from and whether that still holds.

    Raises:
        BadInput: No such version, or several models have one and none is named.
    """
    witnesses = Witnesses(home)
    names = {
        str(entry.facts["model"])
        for entry in witnesses.decisions()
        if entry.facts["version"] == version
    }
    names |= {
        file.stem.removesuffix(f"-v{version}") for file in home.records.glob(f"*-v{version}.json")
    }
    names &= {model} if model else names
    if not names:
        raise BadInput(
            f"no {model or 'model'} version {version} was ever decided on in "
            f"{home.root}; `erasure status` lists them"
        )
    if len(names) > 1:
        raise BadInput(
            f"version {version} exists of {', '.join(sorted(names))}; add --name with one of them"
        )
    return _answer(witnesses, {"versions": [_version(witnesses, names.pop(), version)]})


def trace_request(home: Home, request_id: UUID) -> dict[str, Any]:
    """What became of one request: every version that was built for it, and whether that still
    holds.

    Raises:
        BadInput: The request is unknown.
    """
    witnesses = Witnesses(home)
    record = _request(witnesses, request_id)
    versions = [_version(witnesses, *which) for which in _built_for(witnesses, str(request_id))]
    honouring = [{"model": v["model"], "version": v["version"]} for v in versions if v["promoted"]]
    return _answer(witnesses, {"request": record, "honoured_by": honouring, "versions": versions})


def _built_for(witnesses: Witnesses, request_id: str) -> list[tuple[str, int]]:
    """Every (model, version) that was built for a request, by the log or by a
    record, oldest first.
    """
    logged = [
        (str(e.facts["model"]), int(str(e.facts["version"])), _texts(e.facts["request_ids"]))
        for e in witnesses.decisions()
    ]
    for file in witnesses.home.records.glob("*.json"):
        try:
            record = RunRecord.from_json(file)
        except ErasureError as fault:
            witnesses.findings.append(str(fault))
        else:
            logged.append((record.model_name, record.model_version or 0, list(record.request_ids)))
    return sorted({(model, version) for model, version, ids in logged if request_id in ids})


def _answer(witnesses: Witnesses, found: dict[str, Any]) -> dict[str, Any]:
    return {
        **found,
        "intact": not witnesses.findings,
        "findings": list(dict.fromkeys(witnesses.findings)),
    }


def _request(witnesses: Witnesses, request_id: UUID) -> dict[str, Any]:
    ledger = Ledger(witnesses.home.requests)
    try:
        record = ledger.get(request_id)
    except BadInput:
        if not witnesses.logged(ADDED, subject_request_id=str(request_id)):
            raise
        witnesses.findings.append(
            f"request {request_id} is in the audit log, but its file is gone from "
            f"{ledger.folder}; restore it"
        )
        return {"subject_request_id": str(request_id), "state": "missing"}
    except ErasureError as fault:
        witnesses.findings.append(str(fault))
        return {"subject_request_id": str(request_id), "state": "unreadable"}
    if not witnesses.logged(
        ADDED, subject_request_id=str(request_id), request_sha256=record.sha256
    ):
        witnesses.findings.append(
            f"request {request_id}: no entry of the audit log vouches for its content "
            f"{record.sha256}"
        )
    request = record.request
    return {
        "subject_request_id": str(request_id),
        "concept": request.concept.name,
        "kind": request.concept.kind,
        "regulation": request.regulation,
        "submitted_time": request.submitted_time.isoformat().replace("+00:00", "Z"),
        "sha256": record.sha256,
        "state": record.state,
        "version": record.version,
        "reason": record.reason,
        "history": [step.model_dump(mode="json") for step in record.history],
    }


def _version(witnesses: Witnesses, model: str, version: int) -> dict[str, Any]:
    """One version as it was recorded; adds to the findings whatever does not agree."""
    decisions = witnesses.logged(PROMOTED, REFUSED, model=model, version=version)
    facts = decisions[-1].facts if decisions else {}
    record = _record(witnesses, record_file(witnesses.home, model, version), facts)
    checkpoint = record.checkpoint_sha256 if record else str(facts["checkpoint_sha256"])
    promoted = record.promoted if record else decisions[-1].event == PROMOTED
    shown: dict[str, Any] = {"model": model, "version": version, "promoted": promoted}
    if record:
        chosen = next(c for c in record.lambdas if c.delta_sha256 == record.delta_sha256)
        shown |= record.model_dump(
            mode="json",
            by_alias=True,
            exclude={"model_name", "model_version", "lambdas", "promoted"},
        )
        shown["measurements"] = _with_limits(chosen.measurements, record.gate["checks"])
    ids = record.request_ids if record else _texts(facts["request_ids"])
    shown["requests"] = [_request(witnesses, UUID(request_id)) for request_id in ids]
    moves = witnesses.logged(ALIAS_MOVED, model=model)
    shown["alias_history"] = [
        {
            "time": e.time.isoformat().replace("+00:00", "Z"),
            **{key: e.facts[key] for key in ("alias", "version", "before")},
        }
        for e in moves
        if version in (e.facts["version"], e.facts["before"])
    ]
    shown["aliases"] = _registry(
        witnesses,
        model,
        version,
        record,
        {str(e.facts["alias"]): e.facts["version"] for e in moves},
    )
    shown["checkpoint"] = _checkpoint(witnesses, checkpoint)
    return shown


def _record(witnesses: Witnesses, file: Path, facts: Any) -> RunRecord | None:
    if not file.is_file():
        witnesses.findings.append(
            f"{file} is gone, though the audit log speaks of it; restore it from a copy"
        )
        return None
    found = sha256_file(file)
    if not facts:
        witnesses.findings.append(f"{file}: no entry of the audit log vouches for this record")
    elif found != facts["record_sha256"]:
        witnesses.findings.append(
            f"{file} changed: the audit log says sha256 {facts['record_sha256']}, found "
            f"{found}; restore it"
        )
    try:
        return RunRecord.from_json(file)
    except ErasureError as fault:
        witnesses.findings.append(str(fault))
        if not facts:
            raise
        return None


def _registry(
    witnesses: Witnesses, model: str, version: int, record: RunRecord | None, logged: dict[str, Any]
) -> list[str]:  # the aliases that point here now
    """Compare the registry's tags with the record, and its aliases with the last moves that were
    logged.
    """
    home = witnesses.home
    try:
        info = track.get_version(home, model, version)
    except BadInput as fault:
        witnesses.findings.append(f"the registry at {home.tracking_uri} lost it: {fault}")
        return []
    if record:
        recorded = {
            "checkpoint.sha256": record.checkpoint_sha256,
            "base.sha256": record.base_sha256,
            "delta.sha256": record.delta_sha256,
            "params.sha256": record.params_sha256,
            track.VERDICT_TAG: record.gate["verdict"],
        }
        for tag, value in recorded.items():
            if info.tags.get(tag) != value:
                witnesses.findings.append(
                    f"{model} version {version}: the registry's {tag} is "
                    f"{info.tags.get(tag)}, recorded was {value}"
                )
    for alias in (track.CANDIDATE, track.CHAMPION):
        if (now := track.get_alias(home, model, alias)) != logged.get(alias) and witnesses.entries:
            witnesses.findings.append(
                f"{model}: {alias} points at {now}, the last move that was logged was to "
                f"{logged.get(alias)}"
            )
    return list(info.aliases)


def _checkpoint(witnesses: Witnesses, sha256: str | None) -> dict[str, Any]:
    folder = witnesses.home.checkpoints / str(sha256)
    state = "matches"
    if not folder.is_dir():
        state = "absent"
        witnesses.findings.append(
            f"checkpoint {folder} is not here, so nothing can be said of it; `erasure generate` "
            f"with this version brings it back"
        )
    else:
        try:
            check_checkpoint(folder)
        except ErasureError as fault:
            state = "changed"
            witnesses.findings.append(f"the checkpoint is no longer what was registered: {fault}")
    return {"path": str(folder), "sha256": sha256, "state": state}


def _with_limits(
    measurements: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each measurement of the chosen candidate with the limit and verdict it got; null where the
    policy sets none.
    """
    judged = {check["metric"]: check for check in checks}
    limits = [
        {key: judged.get(m["metric"], {}).get(key) for key in ("limit", "verdict")}
        for m in measurements
    ]
    measured = [{**m, **limit} for m, limit in zip(measurements, limits, strict=True)]
    names = {m["metric"] for m in measurements}
    return measured + [
        check for name, check in judged.items() if name not in names
    ]  # a limit that nothing was measured for


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []
