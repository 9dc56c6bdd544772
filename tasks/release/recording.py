"""What a run rests on and came to, as the record of its version."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from erasure_core.errors import ErasureError
from erasure_core.law import lineage
from erasure_core.law.concepts import kept_prompts
from erasure_core.law.gates import Gate, Measurement
from erasure_core.law.lineage import RunRecord
from erasure_core.planning.advice import Tried, advise
from erasure_core.planning.plan import Plan
from tasks.evidence.decide import Decision
from tasks.evidence.further import not_measured
from tasks.evidence.measure import Evidence, Found, attacks_not_run
from tasks.requests.made_with import machine


def run_record(
    plan: Plan,
    evidence: Evidence,
    decision: Decision,
    checkpoint_sha256: str,
    version: int | None,
    seconds: Mapping[str, float],
    new: Collection[str],
    restoring: str | None = None,
) -> RunRecord:
    """Everything a run rests on and came to, in one value; a trial has no version, and is not
    promoted. `new` are the ids of the requests that it was for, none where it was for all, and
    `restoring` is that of the one that it takes back.
    """
    from erasure_core.network.weights import WeightDelta

    deltas = {c.name: WeightDelta.load(plan.delta_file(c.name)).sha256 for c in plan.candidates()}
    lambdas = [
        {
            "preset": c.preset,
            "lambda": c.lambda_,
            "delta_sha256": deltas[c.name],
            "measurements": [asdict(m) for m in evidence.report.get(c.name, {}).values()],
            "choice": [asdict(m) for m in evidence.choice.get(c.name, {}).values()],
        }
        for c in plan.candidates()
    ]
    chosen = plan.candidate(decision.chosen)
    trained = {f"erase {c.name}": _seconds(plan, c.name) for c in plan.candidates()}
    unrun = attacks_not_run(plan, decision.chosen)
    advised = _advice(plan, evidence, decision, new, restoring, unrun, trial=version is None)
    return _record(
        plan,
        version,
        lambdas=lambdas,
        chosen_lambda=chosen.lambda_,
        delta_sha256=deltas[decision.chosen],
        checkpoint_sha256=checkpoint_sha256,
        gate={**asdict(decision.gate), "advice": advised},
        promoted=decision.promoted and version is not None,
        not_measured={
            **not_measured(plan.whole, evidence.report[decision.chosen]),
            **_waiting(plan, evidence.report[decision.chosen]),
            **unrun,
        },
        evidence=hashes(plan.folder, plan.delta_file(decision.chosen)),
        seconds={**seconds, **trained},
    )


def _waiting(plan: Plan, found: Found) -> dict[str, str]:
    """Limited metric -> why it was not measured, of concepts of which a part was."""
    return {
        limit.metric: "an earlier release measured it, and one after "
        f"{plan.params.policy.again.days} days does"
        for concept in plan.in_part
        if plan.params.policy.again
        for limit in plan.params.policy.limits([concept])
        if limit.metric not in found
    }


def _advice(
    plan: Plan,
    evidence: Evidence,
    decision: Decision,
    new: Collection[str],
    restoring: str | None,
    unrun: Mapping[str, str],
    *,
    trial: bool,
) -> list[str]:
    """What to try where the gate refused: the lines that are shown."""
    fresh = [r for r in plan.requests if str(r.subject_request_id) in new]
    meant = fresh or plan.requests
    back = (r.concept.name for r in plan.restored if str(r.subject_request_id) == restoring)
    tried = Tried(
        wordings={concept.name: len(concept.prompts) for concept in plan.concepts},
        keep=len(kept_prompts(plan.concepts)),
        method=plan.params.method.method,
        methods=plan.choices,
        requests=tuple(request.concept.name for request in meant),
        policy=plan.params.policy,
        lambdas=plan.params.lambdas or (),
        restoring=next(back, ""),
        honoured=frozenset(r.concept.name for r in plan.requests if r not in fresh),
        trial=trial,
        not_run=unrun,
    )
    advice = advise(decision.gate, evidence.report[decision.chosen], tried)
    return [tried.about(line) for line in advice.lines] if advice else []


def base_record(plan: Plan, version: int) -> RunRecord:
    """The record of a release that erases nothing: the base itself, which needs no measurement. Why
    is in the book, from which it can be purged.
    """
    return _record(
        plan,
        version,
        lambdas=(),
        chosen_lambda=None,
        delta_sha256=None,
        checkpoint_sha256=plan.base_sha256,
        gate={**asdict(Gate("pass", ())), "reason": "nothing is left to be erased"},
        promoted=True,
        evidence={},
        seconds={},
    )


def _record(plan: Plan, version: int | None, **came_to: object) -> RunRecord:
    return RunRecord.model_validate(
        {
            "run_key": plan.run_key,
            "plan_sha256": plan.sha256,
            "request_ids": ids(plan.requests),
            "restored_ids": ids(plan.restored),
            "parts": {
                str(r.subject_request_id): plan.parts[r.concept.name]
                for r in plan.requests
                if r.concept.name in plan.parts
            },
            "requests_sha256": plan.requests_sha256,
            "base_sha256": plan.base_sha256,
            "prompt_sha256": plan.prompt_sha256,
            "params_sha256": plan.params.sha256,
            "params": plan.params.model_dump(mode="json", by_alias=True),
            "made_with": plan.made_with,
            "machine": machine(),
            "code_sha256": plan.made_with["code"],
            "git_commit": lineage.git_commit(Path.cwd()),
            "model_name": plan.params.registered_model,
            "model_version": version,
            "folder": plan.folder.name,
            "created": datetime.now(UTC),
            **came_to,
        }
    )


def ids(requests: Sequence[object]) -> tuple[str, ...]:
    """The ids of requests, as the book writes them."""
    return tuple(str(request.subject_request_id) for request in requests)  # type: ignore[attr-defined]


def hashes(folder: Path, delta: Path) -> dict[str, str]:
    """What a run's verdict rests on, by hash: the chosen delta, the plan, the copies of the prompt
    sets, each set of pictures, and what was drawn under attack.
    """
    files = [delta, folder / "plan.json", *folder.glob("prompts/*.csv")]
    files += folder.glob("attacks/*.json")
    sets = [path for path in folder.glob("images/*/*") if path.is_dir()]
    sets += [path for path in folder.glob("attacks/*") if any(path.rglob("*.png"))]
    found = {path: lineage.sha256_file(path) for path in files}
    found |= {path: lineage.root_sha256(lineage.manifest(path)) for path in sets}
    return {path.relative_to(folder).as_posix(): sha256 for path, sha256 in sorted(found.items())}


def measured(record: RunRecord, plan: Plan) -> Evidence:
    """The measurements of a record, by candidate and metric, as they were when it was written.

    Raises:
        ErasureError: The plan does not have the candidates of the record.
    """
    known = {(c.preset, c.lambda_): c.name for c in plan.candidates()}
    try:
        entries = {known[entry.preset, entry.lambda_]: entry for entry in record.lambdas}
    except KeyError as fault:
        preset, lambda_ = fault.args[0]
        raise ErasureError(
            f"{plan.file} has no candidate of the preset {preset} and lambda {lambda_}, which the "
            "record of the run has: it was edited; restore it from a copy"
        ) from None
    return Evidence(
        choice={name: _found(e.choice) for name, e in entries.items() if e.choice},
        report={name: _found(e.measurements) for name, e in entries.items() if e.measurements},
    )


def _found(measurements: Iterable[Mapping[str, Any]]) -> Found:
    return {m["metric"]: Measurement(**m) for m in measurements}


def _seconds(plan: Plan, candidate: str) -> float:
    return float(json.loads(plan.losses_file(candidate).read_text())["seconds"])
