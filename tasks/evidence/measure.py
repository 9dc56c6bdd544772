"""Measure what went and what stayed, on the pictures of one run or of anybody's prompt file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Measurement
from erasure_core.law.prompts import PromptRow
from erasure_core.metrics.clip_score import (
    ClipScorer,
    accuracy,
    accuracy_drop,
    clip_score,
    concept_rate,
    score_drop,
)
from erasure_core.metrics.detectors import Detector, NudeNet, detection_rate
from erasure_core.metrics.ssim import paired_ssim
from erasure_core.network.images import read_pictures
from erasure_core.planning.params import Params
from erasure_core.planning.plan import BASE, KEPT, Plan, restored_name, target_name
from tasks.progress import progress

Found = dict[str, Measurement]

# What a policy can limit: the names that measure_target, measure_kept and measure_restored give.
TARGET_METRICS = ("nudenet.rate", "clip.concept_rate")
KEPT_METRICS = ("ssim", "clip.score", "clip.score_drop", "clip.accuracy", "clip.accuracy_drop")
RESTORED_METRICS = ("ssim", *TARGET_METRICS)


@dataclass(frozen=True, slots=True)
class Instruments:
    """The detector and the scorer, loaded once, and the labels that pictures may be named by."""

    detector: Detector
    scorer: ClipScorer
    params: Params

    @classmethod
    def of(cls, params: Params) -> "Instruments":
        """The instruments that the parameters name."""
        scorer = ClipScorer(params.clip.path, params.clip.revision, params.clip.templates)
        return cls(
            NudeNet(params.detector.threshold, params.detector.inference_resolution), scorer, params
        )


@task(name="measure", cache_policy=NO_CACHE)
def measure(plan: Plan) -> dict[str, Found]:
    """Per candidate, every measurement by name; those of the base, which are the positive controls,
    are in each.
    """
    instruments, rows = Instruments.of(plan.params), dict(plan.rows())
    labels = labels_of(
        [row for table in rows.values() for row in table],
        [*plan.concepts, *plan.restored_concepts],
    )
    names = [candidate.name for candidate in plan.candidates()]
    with progress("measure", len(names) + 1) as advance:
        base = {name: _pictures(plan, BASE, name, table) for name, table in rows.items()}
        controls = _controls(instruments, plan.concepts, base, labels)
        advance(1)
        found: dict[str, Found] = {}
        for who in names:
            pictures = {name: _pictures(plan, who, name, table) for name, table in rows.items()}
            targets = [
                m
                for c in plan.concepts
                for m in measure_target(instruments, c, pictures[target_name(c)], labels)
            ]
            kept = measure_kept(instruments, rows[KEPT], base[KEPT], pictures[KEPT], labels)
            back = [
                measure_restored(
                    instruments, c, base[restored_name(c)], pictures[restored_name(c)], labels
                )
                for c in plan.restored_concepts
            ]
            found[who] = {
                m.metric: m
                for m in (*controls, *targets, *kept, *(m for found in back for m in found))
            }
            advance(1)
    return found


def labels_of(rows: Iterable[PromptRow], concepts: Iterable[Concept]) -> list[str]:
    """What pictures may be named by: all that `rows` show, but the styles among `concepts`."""
    styles = {concept.name for concept in concepts if concept.kind == "style"}
    return sorted({row.concept for row in rows if row.concept} - styles)


def measure_target(
    instruments: Instruments,
    concept: Concept,
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
) -> list[Measurement]:
    """How often `pictures` still show `concept`, by each instrument that the policy judges its kind
    by.
    """
    params, found = instruments.params, []
    wanted = params.policy.targets[concept.kind]
    if "nudenet.rate" in wanted:
        classes = params.detector.labels[concept.kind]
        settings = {**instruments.detector.settings, "labels": list(classes)}
        hits = instruments.detector.detects(pictures, classes)
        found.append(
            detection_rate(hits, metric=f"nudenet.rate[{concept.name}]", settings=settings)
        )
    if "clip.concept_rate" in wanted:
        among, templates = list(labels), list(params.clip.templates)
        if concept.kind == "style":  # asked of each subject, so that it is the style that is named
            among, templates = (
                sorted({*params.clip.styles, concept.name}),
                [f"a {{}} of {label}" for label in labels],
            )
        named = instruments.scorer.name_concepts(pictures, among, templates)
        settings = {**instruments.scorer.settings, "templates": templates, "among": among}
        found.append(
            concept_rate(
                named, concept.name, metric=f"clip.concept_rate[{concept.name}]", settings=settings
            )
        )
    return found


def measure_kept(
    instruments: Instruments,
    rows: Sequence[PromptRow],
    base: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
) -> list[Measurement]:
    """What the pictures of kept prompts still are, each against the base's picture of the same
    case.
    """
    scorer, prompts = instruments.scorer, [row.prompt for row in rows]
    wanted = [row.concept for row in rows]
    settings = {**scorer.settings, "among": list(labels)}
    scores = scorer.scores(pictures, prompts).tolist()
    named_base, named = scorer.name_concepts(base, labels), scorer.name_concepts(pictures, labels)
    return [
        paired_ssim(base, pictures),
        clip_score(scores, settings=scorer.settings),
        score_drop(scorer.scores(base, prompts).tolist(), scores, settings=scorer.settings),
        accuracy(named, wanted, settings=settings),
        accuracy_drop(named_base, named, wanted, settings=settings),
    ]


def measure_restored(
    instruments: Instruments,
    concept: Concept,
    base: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
) -> list[Measurement]:
    """Whether a concept that was brought back is there again: its pictures beside the base's, and
    what the instruments see.
    """
    seen = [
        replace(m, better="higher") for m in measure_target(instruments, concept, pictures, labels)
    ]
    same = paired_ssim(base, pictures)
    return [
        replace(m, metric=f"restored.{m.metric}")
        for m in (replace(same, metric=f"ssim[{concept.name}]"), *seen)
    ]


def _controls(
    instruments: Instruments,
    concepts: Sequence[Concept],
    base: Mapping[str, Sequence[Image.Image]],
    labels: Sequence[str],
) -> list[Measurement]:
    seen = [
        m for c in concepts for m in measure_target(instruments, c, base[target_name(c)], labels)
    ]
    return [replace(m, metric=f"base.{m.metric}", better="higher") for m in seen]


def _pictures(
    plan: Plan, who: str, prompt_set: str, rows: Sequence[PromptRow]
) -> list[Image.Image]:
    files: list[Path] = [plan.picture(who, prompt_set, row) for row in rows]
    return read_pictures(files)
