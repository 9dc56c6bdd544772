"""What MLflow and the reader are shown of a run: nested runs per candidate, and the report."""

from base64 import b64encode
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path

from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Measurement
from erasure_core.law.lineage import RunRecord
from erasure_core.network.images import save_png
from erasure_core.planning.plan import BASE, Candidate, Plan, Stage, kept_name, target_name
from tasks.evidence.decide import Decision
from tasks.evidence.measure import Evidence, Found
from tasks.pages.report import (
    Asked,
    Estimate,
    ImageRow,
    LambdaPoint,
    ReportFacts,
    image_grid,
    render_report,
)
from tasks.pages.shown import candidate_facts, losses_of, of_stage
from tasks.pages.verdict import verdict_table
from tasks.registry.runs import VERDICT, CandidateRun

GRID = 24  # pairs on the picture sheet of a candidate
PAGES, PAIRS = 10, 4  # concepts that have a page in Prefect, and pairs of pictures on it
KEY_LENGTH = 200  # of an artifact in Prefect


def candidate_runs(
    plan: Plan, record: RunRecord, evidence: Evidence, decision: Decision
) -> list[CandidateRun]:
    """What MLflow shows of each candidate: settings, losses, measurements, a sheet of pictures."""
    deltas = {(c.preset, c.lambda_): c.delta_sha256 for c in record.lambdas}
    return [
        replace(
            (facts := candidate_facts(plan, candidate.name)),
            measurements=[
                *of_stage(evidence.report.get(candidate.name, {}).values(), "report"),
                *of_stage(evidence.choice.get(candidate.name, {}).values(), "choose"),
            ],
            losses=losses_of(plan, candidate)[0],
            times=losses_of(plan, candidate)[1],
            artifacts=[_sheet(plan, candidate.name, _shown(decision, candidate.name))],
            tags={
                **facts.tags,
                "delta.sha256": deltas[candidate.preset, candidate.lambda_],
                VERDICT: decision.verdict(candidate.name),
                "not_measured": ", ".join(record.not_measured),
            },
        )
        for candidate in plan.candidates()
    ]


def write_report(
    plan: Plan,
    record: RunRecord,
    decision: Decision,
    evidence: Evidence,
    champion_before: int | None,
) -> Path:
    """Write the run's `report.html`, and a summary for Prefect's own page if a flow runs."""
    from prefect.context import FlowRunContext

    path = render_report(plan.folder, _facts(plan, record, decision, evidence, champion_before))
    if FlowRunContext.get() is not None:
        _show_in_prefect(plan, record, decision, path)
    return path


def _show_in_prefect(plan: Plan, record: RunRecord, decision: Decision, report: Path) -> None:
    """A page a concept, the newest of them: verdict, its checks, and four pairs of pictures."""
    from prefect.artifacts import create_markdown_artifact

    outcome = "promoted" if record.promoted else "refused"
    what = f"version {record.model_version}" if record.model_version else "trial"
    said = f"**{record.model_name} {what}: {outcome}**, gate {decision.gate.verdict}"
    checks = [asdict(check) for check in decision.gate.checks]
    for concept in plan.concepts[-PAGES:]:
        others = {f"[{other.name}]" for other in plan.concepts if other is not concept}
        of_it = [c for c in checks if not any(name in c["metric"] for name in others)]
        parts = [
            f"{said}: **{concept.name}** by `{decision.chosen}`",
            verdict_table(of_it),
            f"Base, then candidate:\n\n{_four_pairs(plan, concept, decision.chosen)}",
            f"Report: `{report}`",
        ]
        key = f"decision-{concept.slug}"[:KEY_LENGTH]
        create_markdown_artifact("\n\n".join(parts), key=key, description=f"{concept.name}: {said}")


def _four_pairs(plan: Plan, concept: Concept, chosen: str) -> str:
    """Four pairs of a concept's report set, as one picture that is in the text itself: the page
    must be whole where the state folder is not.
    """
    rows = dict(plan.rows())[target_name(concept)]
    taken = rows[:: max(1, len(rows) // PAIRS)][:PAIRS]
    name = target_name(concept)
    pairs = [
        ImageRow(name, r.prompt, plan.picture(BASE, name, r), plan.picture(chosen, name, r))
        for r in taken
    ]
    png = BytesIO()
    image_grid(pairs).save(png, format="PNG")
    return f"![pairs](data:image/png;base64,{b64encode(png.getvalue()).decode()})"


def _facts(
    plan: Plan,
    record: RunRecord,
    decision: Decision,
    evidence: Evidence,
    champion_before: int | None,
) -> ReportFacts:
    chosen, params = decision.chosen, plan.params
    found = evidence.report[chosen]
    target = next(name for name in found if not name.startswith("base.") and "[" in name)
    return ReportFacts(
        title="Erasure of " + ", ".join(concept.name for concept in plan.concepts),
        created=record.created,
        requests=[
            Asked(
                str(r.subject_request_id),
                r.concept.name,
                r.concept.kind,
                r.regulation,
                r.submitted_time,
                r.concept.replacement,
            )
            for r in plan.requests
        ],
        verdict=decision.gate.verdict,
        promoted=record.promoted,
        model_name=record.model_name,
        model_version=record.model_version,
        checks=decision.gate.checks,
        chosen_lambda=record.chosen_lambda,
        points=[
            _point(plan, candidate, evidence.of(candidate.name), decision, target)
            for candidate in plan.candidates()
        ],
        images=_pairs(plan, chosen, "report"),
        champion_before=champion_before,
        champion_after=record.model_version if record.promoted else champion_before,
        target_metric=target.partition("[")[0],
        settings=params.model_dump(mode="json", by_alias=True, exclude={"policy"}),
        hashes={
            "base": record.base_sha256,
            "delta": record.delta_sha256 or "",
            "checkpoint": record.checkpoint_sha256 or "",
            "parameters": record.params_sha256,
            "code": record.code_sha256,
            "git commit": record.git_commit,
            **{f"prompt set {name}": sha256 for name, sha256 in record.prompt_sha256.items()},
        },
        measurement_settings={m.metric: m.settings for m in found.values()},
        seconds=record.seconds,
        audience=params.policy.audience,
        not_measured=record.not_measured,
        others=_unlimited(found, decision),
        advice=record.gate.get("advice", ()),
    )


def _unlimited(found: Found, decision: Decision) -> list[tuple[str, Estimate]]:
    """What was measured of the candidate and judged by no limit."""
    judged = {check.metric for check in decision.gate.checks}
    return [(name, _estimate(m)) for name, m in sorted(found.items()) if name not in judged]


def _point(
    plan: Plan, candidate: Candidate, found: Found, decision: Decision, target: str
) -> LambdaPoint:
    accuracy = found.get("clip.accuracy")
    return LambdaPoint(
        lambda_=candidate.lambda_,
        lambda_eff=candidate.lambda_eff,
        method=candidate.settings.method,
        preset=candidate.preset,
        target_rate=_estimate(found[target]),
        ssim=_estimate(found["ssim"]),
        concept_accuracy=accuracy.value if accuracy else None,
        verdict=decision.verdict(candidate.name),
        losses=losses_of(plan, candidate)[0],
    )


def _estimate(m: Measurement) -> Estimate:
    return Estimate(m.value, m.low, m.high)


def _sheet(plan: Plan, candidate: str, stage: Stage) -> Path:
    """A candidate's contact sheet, in the run's folder."""
    path = plan.folder / f"{candidate}.png"
    save_png(image_grid(_pairs(plan, candidate, stage, GRID)), path)
    return path


def _shown(decision: Decision, candidate: str) -> Stage:
    """Which pictures there are of a candidate."""
    return "report" if candidate in decision.gates else "choose"


def _pairs(plan: Plan, who: str, stage: Stage, most: int | None = None) -> list[ImageRow]:
    """Base and candidate pictures of every measured prompt; with `most`, a share of it from each
    prompt set, spread over its rows.
    """
    sets = [*(target_name(c, stage) for c in plan.concepts), kept_name(stage)]
    rows = dict(plan.rows(stage))
    pairs = []
    for name in sets:
        table = rows[name]
        stride = max(1, -(-len(table) * len(sets) // most)) if most else 1
        pairs += [
            ImageRow(name, row.prompt, plan.picture(BASE, name, row), plan.picture(who, name, row))
            for row in table[::stride]
        ]
    return pairs
