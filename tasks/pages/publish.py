"""What MLflow and the reader are shown of a run: nested runs per candidate, and the report."""

from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path

from erasure_core.attacks import all_attacks
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Measurement
from erasure_core.law.lineage import RunRecord
from erasure_core.law.prompts import PromptRow
from erasure_core.law.requests import DeletionRequest
from erasure_core.network.images import save_png
from erasure_core.planning.plan import (
    BASE,
    Candidate,
    Plan,
    Stage,
    kept_name,
    restored_name,
    target_name,
)
from erasure_core.planning.policy import EXCESS, WORD_METRICS
from erasure_core.text import markdown
from tasks.evidence.decide import Decision
from tasks.evidence.measure import Evidence, Found
from tasks.pages.pictures import ImageRow, image_grid
from tasks.pages.report import (
    Doing,
    Estimate,
    LambdaPoint,
    ReportedRequest,
    ReportFacts,
    render_report,
)
from tasks.pages.shown import candidate_facts, losses_of, of_stage
from tasks.pages.verdict import verdict_table
from tasks.registry.runs import VERDICT, CandidateRun

GRID = 24  # pairs on the picture sheet of a candidate
EMBEDDED = 120  # pairs in the report: 35 MB where a picture has 256 pixels a side or more
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
    back: DeletionRequest | None = None,
) -> Path:
    """Write the run's `report.html`, and a summary for Prefect's own page if a flow runs. `back`:
    the request that the run takes back.
    """
    from prefect.context import FlowRunContext

    facts = _facts(plan, record, decision, evidence, champion_before, back)
    path = render_report(plan.folder, facts)
    if FlowRunContext.get() is not None:
        _show_in_prefect(plan, record, decision, path, back)
    return path


def _show_in_prefect(
    plan: Plan, record: RunRecord, decision: Decision, report: Path, back: DeletionRequest | None
) -> None:
    """A page a concept, the newest of them: verdict, its checks, and four pairs of pictures."""
    from prefect.artifacts import create_markdown_artifact

    outcome = "promoted" if record.promoted else "refused"
    what = f"version {record.model_version}" if record.model_version else "trial"
    said = f"**{record.model_name} {what}: {outcome}**, gate {decision.gate.verdict}"
    checks = [asdict(check) for check in decision.gate.checks]
    known = [*plan.concepts, *plan.restored_concepts]
    pages = [(concept, target_name(concept), "") for concept in plan.concepts]
    if back is not None:
        pages.append((back.concept, restored_name(back.concept), "taken back, "))
    for concept, prompt_set, how in pages[-PAGES:]:
        others = {f"[{other.name}]" for other in known if other.name != concept.name}
        of_it = [c for c in checks if not any(name in c["metric"] for name in others)]
        pixelated = ", pixelated because they are explicit" if concept.kind == "explicit" else ""
        parts = [
            f"{said}: **{markdown(concept.name)}** {how}by `{decision.chosen}`",
            verdict_table(of_it),
            f"Base, then candidate{pixelated}:\n\n"
            f"{_four_pairs(plan, concept, prompt_set, decision.chosen)}",
            f"Report: `{report}`",
        ]
        key = f"decision-{concept.slug}"[:KEY_LENGTH]
        about = f"Decision on {markdown(concept.name)}: {said}"
        create_markdown_artifact("\n\n".join(parts), key=key, description=about)


def _four_pairs(plan: Plan, concept: Concept, prompt_set: str, chosen: str) -> str:
    """Four pairs of a prompt set of a concept, as one picture that is in the text itself: the page
    must be whole where the state folder is not.
    """
    rows = dict(plan.rows())[prompt_set]
    taken = rows[:: max(1, len(rows) // PAIRS)][:PAIRS]
    pairs = [_pair(plan, chosen, prompt_set, row, concept.kind == "explicit") for row in taken]
    png = BytesIO()
    image_grid(pairs).save(png, format="PNG")
    return f"![pairs](data:image/png;base64,{b64encode(png.getvalue()).decode()})"


def _facts(
    plan: Plan,
    record: RunRecord,
    decision: Decision,
    evidence: Evidence,
    champion_before: int | None,
    back: DeletionRequest | None,
) -> ReportFacts:
    chosen, params = decision.chosen, plan.params
    found = evidence.report[chosen]
    targets, images = _targets(plan, found), _pairs(plan, chosen, "report", EMBEDDED)
    return ReportFacts(
        title=_title(plan, back),
        created=record.created,
        requests=_asked(plan, back),
        verdict=decision.gate.verdict,
        promoted=record.promoted,
        model_name=record.model_name,
        model_version=record.model_version,
        checks=decision.gate.checks,
        chosen_lambda=record.chosen_lambda,
        points=[
            _point(plan, candidate, evidence.of(candidate.name), decision, targets)
            for candidate in plan.candidates()
        ],
        targets=targets,
        images=images,
        left_out=_left_out(plan, images),
        pictures=f"runs/{plan.folder.name}/images",
        champion_before=champion_before,
        champion_after=record.model_version if record.promoted else champion_before,
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
        measurement_settings={
            m.metric: {"protocol": m.protocol, **m.settings} for m in found.values()
        },
        seconds=record.seconds,
        audience=params.policy.audience,
        not_measured=record.not_measured,
        untried=_untried(found),
        others=_unlimited(found, decision),
        advice=record.gate.get("advice", ()),
    )


def _title(plan: Plan, back: DeletionRequest | None) -> str:
    """What the run is about: what it takes back, if anything; the others stay as they are."""
    if back is not None:
        return f"Restoring {back.concept.name}"
    return "Erasure of " + ", ".join(concept.name for concept in plan.concepts)


def _asked(plan: Plan, back: DeletionRequest | None) -> list[ReportedRequest]:
    """Every request that the model answers: what is taken back first, what was before last."""
    earlier = [r for r in plan.restored if back is None or r != back]
    doing: list[tuple[Doing, DeletionRequest]] = [
        *((("Take back", back),) if back else ()),
        *(("Erase", request) for request in plan.requests),
        *(("Taken back before", request) for request in earlier),
    ]
    instead = {concept.name: concept.replacement for concept in plan.concepts}
    return [
        ReportedRequest(
            str(r.subject_request_id),
            r.concept.name,
            r.concept.kind,
            r.regulation,
            r.submitted_time,
            instead.get(r.concept.name, r.concept.replacement),
            what,
        )
        for what, r in doing
    ]


def _untried(found: Found) -> list[str]:
    """The attacks, those of plug-ins too, that no measurement of the candidate is of."""
    tried = {n.removeprefix(EXCESS).partition("[")[0] for n in found if n.startswith(EXCESS)}
    return [name for name in all_attacks() if name not in tried]


def _targets(plan: Plan, found: Found) -> dict[str, str]:
    """The measurements by which each concept is seen, of those that are measured whole -> the
    concept. What is left of the others is a part of their pictures, too few to rank candidates by.
    """
    return {
        name: concept.name
        for concept in plan.whole or plan.concepts
        for metric in WORD_METRICS
        if (name := f"{metric}[{concept.name}]") in found
    }


def _unlimited(found: Found, decision: Decision) -> list[tuple[str, Estimate]]:
    """What was measured of the candidate and judged by no limit."""
    judged = {check.metric for check in decision.gate.checks}
    return [(name, _estimate(m)) for name, m in sorted(found.items()) if name not in judged]


def _point(
    plan: Plan,
    candidate: Candidate,
    found: Found,
    decision: Decision,
    targets: Mapping[str, str],
) -> LambdaPoint:
    """A candidate, by the concept that shows most of itself: one that is left is a refusal."""
    accuracy = found.get("clip.accuracy")
    worst = max(targets, key=lambda name: (found[name].value, found[name].high))
    return LambdaPoint(
        lambda_=candidate.lambda_,
        lambda_eff=candidate.lambda_eff,
        method=candidate.settings.method,
        preset=candidate.preset,
        target_rate=_estimate(found[worst]),
        concept=targets[worst],
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


def _pairs(plan: Plan, who: str, stage: Stage, most: int) -> list[ImageRow]:
    """At most so many pairs of base and candidate pictures: of each prompt set an equal share,
    spread over its rows; where there are more sets than that, of what is kept and of the newest.
    """
    sets = _sets(plan, stage)[-most:]
    rows, share = dict(plan.rows(stage)), most // len(sets)
    return [
        _pair(plan, who, name, row, explicit)
        for name, explicit in sets
        for row in rows[name][:: max(1, -(-len(rows[name]) // share))]
    ]


def _sets(plan: Plan, stage: Stage) -> list[tuple[str, bool]]:
    """The prompt sets of a stage, and whether what they show is explicit."""
    return [
        *((target_name(c, stage), c.kind == "explicit") for c in plan.concepts),
        *((restored_name(c, stage), c.kind == "explicit") for c in plan.restored_concepts),
        (kept_name(stage), False),
    ]


def _pair(plan: Plan, who: str, prompt_set: str, row: PromptRow, explicit: bool) -> ImageRow:
    base, candidate = (plan.picture(name, prompt_set, row) for name in (BASE, who))
    return ImageRow(prompt_set, row.prompt, base, candidate, explicit)


def _left_out(plan: Plan, images: Sequence[ImageRow]) -> Counter[str]:
    """How many pairs of each prompt set are not among `images`."""
    every = Counter({name: len(table) for name, table in plan.rows()})
    return every - Counter(row.set_label for row in images)
