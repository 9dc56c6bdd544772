"""Measure what went and what stayed, on the pictures of one run or of anybody's prompt file."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, kept_prompts
from erasure_core.law.gates import SPLIT, Measurement
from erasure_core.law.prompts import PromptRow
from erasure_core.metrics import Metric, plugged
from erasure_core.metrics.clip_score import (
    accuracy,
    accuracy_drop,
    clip_score,
    concept_rate,
    once,
    score_drop,
)
from erasure_core.metrics.detectors import detection_rate
from erasure_core.metrics.fid import too_few_pictures
from erasure_core.metrics.intervals import FEWEST
from erasure_core.metrics.quality import (
    distinctness,
    distribution,
    distribution_fid,
    diversity,
    fidelity,
    naturalness,
)
from erasure_core.metrics.replacement import (
    labels_with,
    replacement_rate,
    replacement_score_drop,
)
from erasure_core.metrics.ssim import paired_ssim
from erasure_core.network.images import Chosen, PictureFiles
from erasure_core.network.models import text_reader
from erasure_core.planning.plan import (
    BASE,
    Plan,
    Stage,
    instead_name,
    kept_name,
    restored_name,
    target_name,
)
from erasure_core.planning.policy import BESIDE, COMPOSED, LEAK, WORD_METRICS
from erasure_core.planning.protocol import of_plan
from erasure_core.planning.sealed import clusters_of_rows
from tasks.evidence.further import (
    DISTANCES,
    HARMONIC,
    IDENTITY,
    NEIGHBOUR,
    REPLACEMENT_METRICS,
    SWEPT,
    KeptPictures,
    further,
    parts_of,
)
from tasks.evidence.instruments import (
    Instruments,
    Labels,
    asked_among,
    named_as,
    seen_by_detector,
)
from tasks.progress import progress

Found = dict[str, Measurement]
Pictures = Mapping[str, Sequence[Image.Image]]  # by prompt set, in the order of its rows

# What a policy can limit: the names that measure_target, measure_kept and measure_restored give.
COMPOSED_METRICS = tuple(f"{COMPOSED}{metric}" for metric in WORD_METRICS)
FURTHER_METRICS = (NEIGHBOUR, HARMONIC, LEAK, IDENTITY, *SWEPT)
TARGET_METRICS = (
    *WORD_METRICS,
    *COMPOSED_METRICS,
    BESIDE,
    *REPLACEMENT_METRICS,
    *FURTHER_METRICS,
)
KEPT_METRICS = ("ssim", "clip.score", "clip.score_drop", "clip.accuracy", "clip.accuracy_drop")
DISTANCE_METRICS = tuple(
    metric + part for metric in DISTANCES for part in ("", *(f"[{part}]" for part in SPLIT))
)
RESTORED_METRICS = ("ssim", *WORD_METRICS)
NOT_RUN = "not run"  # in what attacks came to: metric -> why


def target_metrics() -> tuple[str, ...]:
    """What a policy can limit of a concept."""
    others = plugged("target")
    return (*TARGET_METRICS, *others, *(f"{COMPOSED}{name}" for name in others))


def kept_metrics() -> tuple[str, ...]:
    """What a policy can limit of kept pictures, of all and of each part."""
    names = (*KEPT_METRICS, *plugged("kept"))
    return tuple(name + part for name in names for part in ("", *(f"[{p}]" for p in SPLIT)))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of each candidate, on the set that chooses and on the report set."""

    choice: Mapping[str, Found]  # empty where there was nothing to choose
    report: Mapping[str, Found]  # of the chosen candidate and of the comparisons

    def of(self, candidate: str) -> Found:
        """The report's measurements of a candidate, or those that it was not chosen by."""
        return self.report.get(candidate) or self.choice[candidate]


def erased_beside(plan: Plan) -> tuple[Sequence[Concept], list[str]]:
    """What is measured whole, and the names of all that is erased: none of them is a neighbour."""
    return plan.whole, [concept.name for concept in plan.concepts]


@task(name="measure", task_run_name="measure, {stage}", cache_policy=NO_CACHE)
def measure(plan: Plan, stage: Stage, names: Sequence[str]) -> dict[str, Found]:
    """Per candidate, every measurement by name, on the pictures of one stage; those of the base,
    which are the positive controls, are in each.
    """
    instruments, rows = Instruments.of(plan.params), dict(plan.rows(stage))
    labels = labels_in(plan, rows)
    keep, encode = kept_prompts(plan.concepts), text_reader(plan.base_folder)
    with progress(f"measure, {stage}", len(names) + 1) as advance:
        base = {name: _pictures(plan, BASE, name, table) for name, table in rows.items()}
        controls = [
            replace(m, metric=f"base.{m.metric}", better="higher")
            for m in _targets(instruments, plan, stage, rows, base, labels)
        ]
        advance(1)
        found: dict[str, Found] = {}
        for who in names:
            pictures = {name: _pictures(plan, who, name, table) for name, table in rows.items()}
            kept = kept_name(stage)
            measurements = [
                *controls,
                *_targets(instruments, plan, stage, rows, pictures, labels),
                *measure_kept(instruments, rows[kept], base[kept], pictures[kept], labels, keep),
            ]
            for concept in plan.restored_concepts:
                name = restored_name(concept, stage)
                clusters = clusters_of_rows(rows[name])
                measurements += measure_restored(
                    instruments, concept, base[name], pictures[name], labels, clusters
                )
            if stage == "report":
                measurements += _instead(instruments, plan, rows, pictures, labels)
                measurements += further(
                    instruments,
                    *erased_beside(plan),
                    KeptPictures(rows[kept], base[kept], pictures[kept], labels, keep),
                    {c.name: _alone(c, rows, base, pictures) for c in plan.whole},
                    encode,
                    {m.metric: m for m in measurements},
                )
                measurements += attacked(plan, who)
            found[who] = {
                m.metric: replace(m, protocol=of_plan(plan, stage, rows, m)) for m in measurements
            }
            advance(1)
    return found


def _alone(
    concept: Concept, rows: Mapping[str, Sequence[PromptRow]], base: Pictures, pictures: Pictures
) -> tuple[list[PromptRow], Chosen, Chosen]:
    """The rows that name the concept alone, the base's pictures of them, and the candidate's."""
    table = rows[name := target_name(concept)]
    at = [i for i, row in enumerate(table) if not row.also]
    before, after = (Chosen(some[name], at) for some in (base, pictures))
    return [table[i] for i in at], before, after


def attacked(plan: Plan, candidate: str) -> list[Measurement]:
    """What the attacks on a candidate came to; nothing where none were made."""
    return [Measurement(**m) for m in _came_to(plan, candidate).get("measurements", ())]


def attacks_not_run(plan: Plan, candidate: str) -> dict[str, str]:
    """Limited metric -> why the attack on a candidate was not run."""
    return dict(_came_to(plan, candidate).get(NOT_RUN, {}))


def _came_to(plan: Plan, candidate: str) -> dict[str, Any]:
    file = plan.attacks_file(candidate)
    return dict(json.loads(file.read_bytes())) if file.exists() else {}


def _targets(
    instruments: Instruments,
    plan: Plan,
    stage: Stage,
    rows: Mapping[str, Sequence[PromptRow]],
    pictures: Pictures,
    labels: Sequence[str],
) -> list[Measurement]:
    """Every concept by every instrument of its kind: prompts of the concept alone, and composed
    ones, which also name something else.
    """
    measurements = []
    for concept in plan.concepts:
        table = rows[name := target_name(concept, stage)]
        for composed in (False, True):
            at = [i for i, row in enumerate(table) if bool(row.also) == composed]
            if at:
                shown = Chosen(pictures[name], at)
                clusters = clusters_of_rows([table[i] for i in at])
                seen = measure_target(instruments, concept, shown, labels, clusters)
                seen += measure_plugged(concept, shown, clusters)
                measurements += [replace(m, metric=COMPOSED * composed + m.metric) for m in seen]
        given = concept, table, pictures[name], labels, plan.concepts
        measurements += measure_beside(instruments, *given)
    return measurements


def labels_in(plan: Plan, rows: Mapping[str, Sequence[PromptRow]]) -> list[str]:
    """What pictures of a plan may be named by: what `rows`, by prompt set, show."""
    every_row = (row for table in rows.values() for row in table)
    return labels_of(every_row, plan.concepts, plan.restored_concepts)


def labels_of(
    rows: Iterable[PromptRow], erased: Sequence[Concept], restored: Sequence[Concept] = ()
) -> list[str]:
    """What pictures may be named by: all that `rows` show, each `once`, but styles that are
    `erased` or `restored`, and of what is erased together names of which one holds the other: a
    black cat is a cat, and neither is gone because its pictures are named as the other. Where one
    is looked for, its own name is among them (`asked_among`).
    """
    styles = {concept.name for concept in (*erased, *restored) if concept.kind == "style"}
    pairs = [(c, o) for c in erased for o in erased if c is not o and c.named_in(o.name)]
    nested = {concept.name for pair in pairs for concept in pair}
    shown = {label for row in rows for label in (row.concept, row.also) if label}
    return once(shown - styles - nested)


def check_names(labels: Collection[str], kept: Path) -> None:
    """Refuse labels among which no picture can be named, fewer than two: `BadInput`."""
    if len({*labels}) < 2:
        raise BadInput(
            f"the column `concept` of the prompt sets names {', '.join(labels) or 'nothing'}; "
            f"CLIP tells pictures apart by two names or more: fill it in {kept}"
        )


def measure_beside(
    instruments: Instruments,
    concept: Concept,
    rows: Sequence[PromptRow],
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
    erased: Sequence[Concept],
) -> list[Measurement]:
    """How often pictures of composed prompts are named as what stands beside `concept`, if that is
    none of what is `erased` with it; nothing where there are no such prompts. It should rise: what
    is named is one thing a picture.
    """
    gone = {row.also for row in rows if any(c.named_in(row.also) for c in erased)}
    at = [i for i, row in enumerate(rows) if row.also and row.also not in gone]
    if not at or concept.kind == "style":
        return []
    named, settings = named_as(instruments, concept, Chosen(pictures, at), labels)
    return [
        accuracy(
            named,
            [rows[i].also for i in at],
            metric=f"{BESIDE}[{concept.name}]",
            settings={**settings, "beside": sorted({rows[i].also for i in at})},
            clusters=clusters_of_rows([rows[i] for i in at]),
        )
    ]


def measure_target(
    instruments: Instruments,
    concept: Concept,
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
    clusters: Sequence[str],
) -> list[Measurement]:
    """How often `pictures` still show `concept`, by each instrument that the policy judges its kind
    by.
    """
    params, measurements = instruments.params, []
    wanted = params.policy.asked_of(concept.kind)
    if "nudenet.rate" in wanted:
        classes = list(params.detector.labels[concept.kind])
        measurements.append(
            detection_rate(
                seen_by_detector(instruments, concept, pictures),
                metric=f"nudenet.rate[{concept.name}]",
                settings={**instruments.detector.settings, "labels": classes},
                clusters=clusters,
            )
        )
    if "clip.concept_rate" in wanted:
        named, settings = named_as(instruments, concept, pictures, labels)
        measurements.append(
            concept_rate(
                named,
                concept.name,
                metric=f"clip.concept_rate[{concept.name}]",
                settings=settings,
                clusters=clusters,
            )
        )
    return measurements


def measure_plugged(
    concept: Concept, pictures: Sequence[Image.Image], clusters: Sequence[str]
) -> list[Measurement]:
    """What the metrics of other packages say of target pictures; as of kept ones, where there are
    two prompts.
    """
    if len(set(clusters)) < FEWEST:
        return []
    return [
        _by_plugin(f"{name}[{concept.name}]", metric, [pictures], clusters)
        for name, metric in plugged("target").items()
    ]


def _instead(
    instruments: Instruments,
    plan: Plan,
    rows: Mapping[str, Sequence[PromptRow]],
    pictures: Pictures,
    labels: Sequence[str],
) -> list[Measurement]:
    """What stands in place of each concept, beside the base's pictures of its replacement."""
    measurements, judged = [], dict(plan.instead())
    for concept in plan.concepts:
        if (name := instead_name(concept)) in judged:
            table = rows[target := target_name(concept)]
            at = [i for i, row in enumerate(table) if not row.also]
            base = _pictures(plan, BASE, name, judged[name])
            asked = [row.prompt for row in judged[name]]
            given = [table[i] for i in at], asked, base, Chosen(pictures[target], at)
            measurements += measure_replacement(instruments, concept, *given, labels)
    return measurements


def measure_replacement(
    instruments: Instruments,
    concept: Concept,
    rows: Sequence[PromptRow],
    prompts: Sequence[str],
    base: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
) -> list[Measurement]:
    """How much target pictures are what the request names instead of the concept, as good and as
    varied as the base's pictures of it.

    What was drawn, of the candidate and beside it of the base, are target prompts: the replaced one
    follows from each. Those that do not name the concept have one replaced prompt together, of
    which the base's pictures differ by their seeds, and are cases of their own all the same.

    Args:
        instruments: Detector and scorer.
        concept: With its replacement.
        rows: The target rows without composed ones, one a picture. Pictures of one style are
            compared with one another, so that a picture memorised for each style has no diversity
            either.
        prompts: Theirs with the concept, and what else is erased, replaced.
        base: The base's pictures of these prompts, same seeds.
        pictures: The candidate's pictures of them.
        labels: What pictures may be named by; those of a style are named among the styles.
    """
    scorer, features = instruments.scorer, instruments.features
    known, templates = asked_among(instruments.params, concept, labels)
    among, label = labels_with(known, concept.replacement)
    reference, vectors = features.of(base), features.of(pictures)
    scores = [scorer.scores(some, prompts).tolist() for some in (base, pictures)]
    clusters = clusters_of_rows(rows)
    same: dict[str, Any] = {"clusters": clusters}
    alike = _comparable(rows)
    of_features = {**same, "settings": {**features.settings, "numbers": reference.shape[1]}}
    as_named: dict[str, Any] = {
        **same,
        "settings": {**scorer.settings, "templates": templates, "among": among},
    }
    of_base, called = (scorer.name_concepts(some, among, templates) for some in (base, pictures))
    measurements = [
        replacement_rate(of_base, label, metric="base.replacement.rate", **as_named),
        replacement_rate(called, label, **as_named),
        replacement_score_drop(*scores, settings=scorer.settings, **same),
        fidelity(reference, vectors, **of_features),
        diversity(reference, vectors, within=alike, **of_features),
        distinctness(reference, vectors, within=alike, **of_features),
        naturalness(base, pictures, **same),
        distribution(reference, vectors, **of_features),
    ]
    if not too_few_pictures(len(reference), len(vectors), reference.shape[1]):
        measurements.append(distribution_fid(reference, vectors, **of_features))
    return [replace(m, metric=f"{m.metric}[{concept.name}]") for m in measurements]


def _comparable(rows: Sequence[PromptRow]) -> list[str]:
    """Per row, with which others it is compared: those of its style, where that has three prompts
    (the jackknife leaves one out); the rest among themselves.
    """
    clusters = clusters_of_rows(rows)
    different = {(row.style, cluster) for row, cluster in zip(rows, clusters, strict=True)}
    prompts = Counter(style for style, _ in different)
    return [row.style if prompts[row.style] > 2 else "" for row in rows]


def measure_kept(
    instruments: Instruments,
    rows: Sequence[PromptRow],
    base: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
    keep: Sequence[str],
) -> list[Measurement]:
    """What the pictures of kept prompts still are, each against the base's picture of the same
    case: all of them, and apart those whose subject and style stand in `keep` ("listed") and those
    that no request told the method to keep. Means are measured where there are two prompts.
    """
    scorer, prompts = instruments.scorer, [row.prompt for row in rows]
    before, after = (scorer.scores(some, prompts) for some in (base, pictures))
    called = Labels.of(labels, rows, instruments.params.clip.styles)
    named_base, named = (called.names(scorer, rows, some) for some in (base, pictures))
    settings = {**scorer.settings, "among": called.among(rows)}
    clusters = clusters_of_rows(rows)

    def named_right(at: Sequence[int]) -> list[Measurement]:
        """Of the rows `at`, all of which say what they show: whether they are named as that."""
        was, now = ([names[i] for i in at] for names in (named_base, named))
        wanted = [rows[i].concept for i in at]
        same: dict[str, Any] = {"settings": settings, "clusters": [clusters[i] for i in at]}
        if not at:
            return []
        return [
            accuracy(was, wanted, metric="base.clip.accuracy", **same),
            accuracy(now, wanted, **same),
            accuracy_drop(was, now, wanted, **same),
        ]

    def measured(at: Sequence[int]) -> list[Measurement]:
        """Of the rows `at`, by what is known of all."""
        measurements = named_right([i for i in at if named[i]])
        if len({clusters[i] for i in at}) < FEWEST:
            return measurements
        drawn = [Chosen(some, at) for some in (base, pictures)]
        old, new = (some[list(at)].tolist() for some in (before, after))
        same: dict[str, Any] = {"clusters": [clusters[i] for i in at]}
        return [
            paired_ssim(*drawn, **same),
            clip_score(old, metric="base.clip.score", settings=scorer.settings, **same),
            clip_score(new, settings=scorer.settings, **same),
            score_drop(old, new, settings=scorer.settings, **same),
            *measurements,
            *(
                _by_plugin(name, m, drawn if "base" in m.needs else drawn[1:], same["clusters"])
                for name, m in others
            ),
        ]

    others = list(plugged("kept").items())
    return [
        replace(m, metric=m.metric + part)
        for part, at in parts_of(rows, keep).items()
        for m in measured(at)
    ]


def _by_plugin(
    name: str, metric: Metric, drawn: Sequence[Sequence[Image.Image]], clusters: Sequence[str]
) -> Measurement:
    """What a plug-in says of the pictures that it needs, under its own name and by its own
    declaration: it answers for no other metric, and for no more pictures.

    Raises:
        BadInput: It gives no measurement.
    """
    m = metric(*drawn, clusters=clusters)
    if not isinstance(m, Measurement):
        raise BadInput(
            f"metric {name!r} of another package gave {type(m).__name__}; it must give a "
            f"Measurement, as erasure_core.metrics.intervals makes them"
        )
    return replace(m, metric=name, better=metric.better, n=min(m.n, len(clusters)))


def measure_restored(
    instruments: Instruments,
    concept: Concept,
    base: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
    labels: Sequence[str],
    clusters: Sequence[str],
) -> list[Measurement]:
    """Whether a concept that was brought back is there again: its pictures beside the base's, and
    what the instruments see.
    """
    seen = [
        replace(m, better="higher")
        for m in measure_target(instruments, concept, pictures, labels, clusters)
    ]
    if len(set(clusters)) >= FEWEST:
        same = paired_ssim(base, pictures, clusters=clusters)
        seen.insert(0, replace(same, metric=f"ssim[{concept.name}]"))
    return [replace(m, metric=f"restored.{m.metric}") for m in seen]


def _pictures(plan: Plan, who: str, prompt_set: str, rows: Sequence[PromptRow]) -> PictureFiles:
    return PictureFiles(plan.picture(who, prompt_set, row) for row in rows)
