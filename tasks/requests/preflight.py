"""Everything that a run will need and that can be known in seconds, before anything is trained.

Nothing of our own making refuses a request: a fault of the operator's ends the run and leaves the
requests as they are; a fault of one request parks this one, and the others go on.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from PIL import Image
from torch import Tensor

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, together
from erasure_core.law.prompts import (
    PromptRow,
    kept_rows,
    read_prompt_set,
    target_set,
)
from erasure_core.law.requests import DeletionRequest
from erasure_core.methods import METHODS, AnySettings
from erasure_core.metrics import detectors, features
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.network import adversary, diffusion, hub, models, parts
from erasure_core.network.bases import loaded_files
from erasure_core.planning import sealed
from erasure_core.planning.params import (
    Base,
    Clip,
    DetectorSettings,
    MeasuredSet,
    OwnFeatures,
    Params,
)
from erasure_core.planning.plan import (
    STAGES,
    Stage,
    check_distinct,
    check_replacements,
    check_styles,
    checked_base,
    in_order,
    in_place,
    measured_set,
    trained_on,
)
from erasure_core.planning.sealed import Directions
from tasks.evidence.data import validate_prompt_sets
from tasks.evidence.measure import check_names, labels_of
from tasks.home import Home
from tasks.placement import GPU_DEPLOYMENT
from tasks.reachable import check_reachable
from tasks.requests import machine, measurable, measurable_attacks, measurable_sets

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

OPERATOR = "operator"
PARTS = "parts"  # of the kept prompts: some are said by the requests
BLANK = Image.new("RGB", (64, 64))
# What any method can be asked to erase: settings that refuse it refuse every request.
ANYTHING = Concept(name="thing", kind="object", prompts=("a thing",), replacement="nothing")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a run cannot start, or cannot include one request."""

    who: str  # "operator", or the id of the request at fault
    what: str  # what was found, what is allowed, what to do


@dataclass(slots=True)
class Faults:
    """The faults found so far, and the way to look for more."""

    all: list[Fault] = field(default_factory=list)

    def among(self, who: str, check: Callable[..., T], *given: object) -> T | None:
        """What `check(*given)` answers; if it refuses, that is a fault of `who`."""
        try:
            return check(*given)
        except BadInput as fault:
            self.all.append(Fault(who, str(fault)))
            return None


def preflight(
    params: Params,
    requests: Sequence[DeletionRequest],
    home: Home,
    *,
    gpu_needed: bool,
    method: str | None = None,
    restored: Sequence[DeletionRequest] = (),
    honoured: frozenset[str] = frozenset(),
) -> list[Fault]:
    """Every fault with which a run of `requests` could not be finished; nothing is written.

    Args:
        params: The parameters, as they were read.
        requests: All that the release would erase, those honoured before included.
        home: The state folder.
        gpu_needed: Whether the run trains and draws, so that a GPU worker must be alive if
            `ERASURE_GPU_DEPLOYMENT` names one.
        method: What `--method` says.
        restored: Requests whose concepts must be there again.
        honoured: The ids of those of `requests` that are honoured: they bind all others, however
            late they were submitted.
    """
    faults = Faults()
    chosen, left = _with_method(faults, params, in_order(requests), method, honoured)
    binding = sorted(left, key=lambda r: str(r.subject_request_id) not in honoured)
    base = faults.among(OPERATOR, located, params.base)
    methods = [m for preset in chosen.presets().values() for _, m in preset.candidates()]
    _check_machine(faults, base, home, methods, len(requests))
    _check_training(faults, methods, base, gpu_needed, len(requests))
    numbers = _check_instruments(faults, chosen)
    if base:
        _check_steps(faults, chosen, base)
    tokenizers = faults.among(OPERATOR, tokenizers_of, base) if base else None
    back = [request.concept for request in restored]
    reader = faults.among(OPERATOR, reader_of, base) if base and tokenizers else None
    _Prompts(faults, chosen, tokenizers or (), reader, numbers, back, honoured).check(binding)
    return faults.all


def preflight_base(params: Params, home: Home) -> list[Fault]:
    """Every fault with which the base itself could not be released; nothing is written."""
    faults = Faults()
    _check_machine(faults, faults.among(OPERATOR, located, params.base), home)
    return faults.all


def _with_method(
    faults: Faults,
    params: Params,
    requests: list[DeletionRequest],
    method: str | None,
    honoured: frozenset[str],
) -> tuple[Params, list[DeletionRequest]]:
    """The parameters with the method of the run, and the requests but for those that ask for one
    that there is none of, or by which what is honoured cannot be erased.
    """
    left = list(requests)
    erased = [r.concept for r in requests if str(r.subject_request_id) in honoured]
    for request in [r for r in reversed(requests) if r.method and not method]:
        who = str(request.subject_request_id)
        chosen = faults.among(who, params.with_method, request.method)
        if chosen and (who in honoured or faults.among(who, _method_takes, chosen, erased)):
            return chosen, left
        left.remove(request)
    return faults.among(OPERATOR, params.with_method, method) or params, left


def _method_takes(params: Params, concepts: Sequence[Concept]) -> bool:
    """True; `BadInput` for what a preset's method could not erase."""
    for preset in params.presets().values() if concepts else ():
        METHODS[preset.method.method].check(concepts, preset.method)
    return True


# The operator's: base, machine, instruments, policy


def located(base: Base) -> Path:
    """The folder of a base whose parts are whole. Only a pinned base is hashed.

    Raises:
        BadInput: It is not acceptable, lacks a tensor, or is not the pinned one.
    """
    folder = checked_base(base)[0] if base.sha256 else hub.locate(base.path, base.revision)
    family = models.check_folder(folder)
    files = loaded_files(folder).values()
    state = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    models.loaded(f"base {folder}", lambda: _parts_whole(folder, family, state))
    return folder


@lru_cache(maxsize=2)  # a run looks before its requests are added, and again under its lease
def _parts_whole(folder: Path, family: models.Family, _state: tuple[object, ...]) -> None:
    """`parts.check_parts`, once for files of the same size and time."""
    parts.check_parts(folder, family)


def tokenizers_of(base: Path) -> "Sequence[CLIPTokenizer]":
    """Every tokenizer of a base; `BadInput` as `models.load_tokenizers` says."""
    return models.load_tokenizers(base)


def reader_of(base: Path) -> Directions:
    """The text encoder of a base, as what tells prompts apart. `BadInput` if it does not load."""
    return Directions(
        models.loaded(f"the text encoder of {base}", lambda: models.text_reader(base))
    )


def _check_machine(
    faults: Faults,
    base: Path | None,
    home: Home,
    methods: Sequence[AnySettings] = (),
    concepts: int = 1,
) -> None:
    faults.among(OPERATOR, machine.check_writable, "the state folder", home.root)
    faults.among(OPERATOR, machine.check_remote, home.dvc_remote)
    faults.among(OPERATOR, check_reachable, "MLflow", home.tracking_uri)
    if base:
        faults.among(OPERATOR, machine.check_disk, home.root, base, methods, concepts)


def _check_training(
    faults: Faults,
    methods: Sequence[AnySettings],
    base: Path | None,
    gpu_needed: bool,
    concepts: int,
) -> None:
    deployment = os.environ.get(GPU_DEPLOYMENT)
    if deployment and gpu_needed:
        faults.among(OPERATOR, machine.check_gpu_worker, deployment)
    if base and not deployment:
        faults.among(OPERATOR, machine.check_memory, base, methods, concepts)


def _check_instruments(faults: Faults, params: Params) -> int | None:
    """Look for faults; how many numbers the features make of a picture, where they do."""
    numbers = faults.among(OPERATOR, check_clip, params.clip)
    if params.features:
        numbers = faults.among(OPERATOR, check_features, params.features)
    if detector := faults.among(OPERATOR, check_detector, params.detector):
        faults.among(OPERATOR, measurable.check_thresholds, params.policy, detector)
    faults.all += [Fault(OPERATOR, what) for what in measurable.policy_faults(params.policy)]
    return numbers


def check_clip(clip: Clip) -> int:
    """Refuse a CLIP that does not load or cannot name a picture: `BadInput`. How many numbers it
    makes of one.
    """

    def name_a_picture() -> int:
        scorer = ClipScorer(clip.path, clip.revision, clip.templates)
        scorer.name_concepts([BLANK], ["cat", "dog"])
        return int(scorer.embed([BLANK]).shape[1])

    return models.loaded(f"CLIP {clip.path}", name_a_picture)


def check_features(own: OwnFeatures) -> int:
    """Refuse features that do not load or make nothing of a picture: `BadInput`. How many numbers
    they make of one.
    """
    return models.loaded(
        f"features {own.path}", lambda: features.opened(own.path).of([BLANK]).shape[1]
    )


def check_detector(detector: DetectorSettings) -> detectors.Detector:
    """The detector, loaded. `BadInput` if it does not load or does not know the labels."""
    labels = sorted({label for known in detector.labels.values() for label in known})

    def look_at_a_picture() -> detectors.Detector:
        network = detectors.opened(detector.name, detector.threshold, detector.inference_resolution)
        if labels:
            network.detects([BLANK], labels)
        return network

    return models.loaded(f"detector {detector.name}", look_at_a_picture)


def _check_steps(faults: Faults, params: Params, base: Path) -> None:
    """Refuse to draw or train in more steps than the base's schedule has, and an adversary that
    the base has no place for: it would be met after the trajectories.
    """
    steps = {"sampling.steps": params.sampling.steps}
    for name, preset in params.presets().items():
        if hasattr(preset.method, "steps"):
            steps[f"method.steps of the preset {name}"] = preset.method.steps
    scheduler = faults.among(OPERATOR, models.load_scheduler, base)
    if scheduler is None:
        return

    def check(key: str, number: int) -> None:
        try:
            diffusion.with_steps(scheduler, number)
        except BadInput as fault:
            raise BadInput(f"{key}: {fault}") from None

    for key, number in steps.items():
        faults.among(OPERATOR, check, key, number)
    for preset in params.presets().values():
        if robust := getattr(preset.method, "robust", None):
            times = scheduler.config.num_train_timesteps
            readers = len(models.family_of(base).readers)
            faults.among(OPERATOR, adversary.check_base, robust, readers, times)


# Prompts: the kept ones are the operator's, those of a concept its request's


Tables = dict[Stage, list[PromptRow]]


@dataclass(slots=True)
class _Prompts:
    """The prompts of a run as far as they were found to be in order."""

    faults: Faults
    params: Params
    tokenizers: "Sequence[CLIPTokenizer]"  # empty where the base has none that load
    directions: Directions | None  # none where the base's text encoder does not load
    numbers: int | None  # that the features make of a picture; none where they do not load
    restored: Sequence[Concept]
    honoured: frozenset[str] = frozenset()
    kept: Tables = field(default_factory=dict)
    left: Tables = field(default_factory=dict)  # of `kept`, what none of `concepts` touches
    concepts: list[Concept] = field(default_factory=list)
    rows: Tables = field(default_factory=dict)  # of `concepts` and `restored`
    targets: dict[str, list[PromptRow]] = field(default_factory=dict)  # to report, by concept
    back: dict[str, Tables] = field(default_factory=dict)  # of each of `restored`, by its name
    states: dict[str, Tensor] = field(default_factory=dict)  # by prompt, as `encode` read it
    lacking: Mapping[str, str] = field(default_factory=dict)  # as `too_few` says of `concepts`

    def check(self, requests: Sequence[DeletionRequest]) -> None:
        """The operator's tables, then one request after the other.

        What one request lets through binds those after it: of two that clash, the later one waits.
        What the kept prompts are too few for without it is the operator's.
        """
        policy = self.params.policy
        for stage, where in self.sets().items():
            self.rows[stage] = []
            self.kept[stage] = self.faults.among(OPERATOR, self.table, where.kept) or []
            self.faults.among(OPERATOR, self.fits, [row.prompt for row in self.kept[stage]])
            self.faults.among(OPERATOR, measurable_sets.check_kept_labels, policy, self.kept[stage])
            self.left[stage] = self.kept[stage]
            for concept in self.restored:
                table = self.faults.among(OPERATOR, self.target, concept, stage) or []
                self.back.setdefault(concept.name, {})[stage] = table
                self.rows[stage] += table
                if table and stage == "report":
                    self.faults.among(
                        OPERATOR, measurable_sets.check_restored, policy, concept, table
                    )
        self.faults.among(OPERATOR, self.fits, self.protected)
        for rows in (self.kept, self.rows):  # so far of the restored
            self.faults.among(OPERATOR, self.apart, rows, [], self.protected)
        settings_fit = bool(self.faults.among(OPERATOR, _method_takes, self.params, [ANYTHING]))
        self.lacking = self.too_few([], self.left, self.rows, {})
        for request in requests:
            self.faults.all += self.of_request(request, settings_fit)
        for what, why in self.lacking.items():
            if what != PARTS or self.concepts or not requests:
                self.faults.all.append(Fault(OPERATOR, why))

    @property
    def protected(self) -> list[str]:
        """What the methods protect: what the settings say, and what the restored were asked by."""
        back = [prompt for concept in self.restored for prompt in concept.prompts]
        return self.params.protecting(back).protected

    def sets(self) -> dict[Stage, MeasuredSet]:
        """Where the prompts of each stage are."""
        found = {stage: measured_set(self.params, stage) for stage in STAGES}
        return {stage: where for stage, where in found.items() if where}

    def of_request(self, request: DeletionRequest, settings_fit: bool) -> list[Fault]:
        """The faults of one request; without any, it counts for those after it."""
        who, concept, own = str(request.subject_request_id), request.concept, Faults()
        policy = self.params.policy
        own.among(who, check_distinct, [*self.concepts, concept])
        # a circle of the honoured was released before circles were seen
        if self.touches(concept) and who not in self.honoured:
            own.among(who, check_replacements, [*self.concepts, concept])
        own.among(who, policy.limits, [concept])
        own.among(who, check_styles, self.params, [concept])
        if settings_fit:
            own.among(who, _method_takes, self.params, [concept])
        rows: Tables = {
            stage: own.among(who, self.target, concept, stage) or [] for stage in self.sets()
        }
        own.among(who, self.fits, trained_on(self.altered(concept), self.beside(concept)))
        for stage, table in rows.items():
            own.among(who, self.fits, [row.prompt for row in table])
            if table and concept.kind in policy.targets:
                if stage == "report":
                    instead = in_place(policy, concept, table, self.beside(concept))
                    own.among(who, self.fits, [row.prompt for row in instead])
                    own.among(who, measurable_sets.check_size, policy, concept, table)
                    own.among(who, measurable_sets.check_called, concept, table)
                    if self.numbers:
                        alone = policy, concept, table, self.numbers
                        own.among(who, measurable_sets.check_fid_instead, *alone)
                own.among(who, measurable_sets.check_label, policy, concept, table)
        if not own.all:
            own.among(who, self.sealed_off, concept, rows)
        if self.kept["report"] and concept.kind in policy.targets:
            given = self.params, concept, self.kept["report"], policy.tier, self.tokenizers
            own.among(who, measurable_attacks.check_attacks, *given)
        if measurable_sets.independent(self.kept["report"]) >= policy.min_n:
            own.among(who, measurable_sets.check_kept, policy, self.kept["report"], [concept])
        own.among(who, measurable_attacks.check_untrained, concept)
        own.among(who, self.leaves_restored, concept)
        if not own.all:
            own.all += self.joined(who, concept, rows)
        return own.all

    def joined(self, who: str, concept: Concept, rows: Tables) -> list[Fault]:
        """Let a concept count for those after it, unless the kept prompts, which were enough
        without it, are too few with it: these faults.
        """
        concepts = self.beside(concept)
        left = {stage: kept_rows(table, [concept]) for stage, table in self.left.items()}
        measured = {stage: [*table, *rows[stage]] for stage, table in self.rows.items()}
        targets = {**self.targets, concept.name: rows["report"]}
        lacking = self.too_few(concepts, left, measured, targets)
        if mine := [Fault(who, why) for what, why in lacking.items() if what not in self.lacking]:
            return mine
        self.concepts, self.left, self.rows, self.targets = concepts, left, measured, targets
        self.lacking = lacking
        return []

    def too_few(
        self,
        concepts: Sequence[Concept],
        left: Tables,
        rows: Tables,
        targets: Mapping[str, Sequence[PromptRow]],
    ) -> dict[str, str]:
        """What the kept prompts that are `left` are too few for, once `concepts` are erased
        together: for what, and why.
        """
        found, policy, kept = Faults(), self.params.policy, self.kept["report"]
        if kept:
            shown = left["report"]
            found.among("kept", measurable_sets.check_left, policy, shown, concepts, len(kept))
            found.among(PARTS, self.kept_parts_suffice, shown, concepts)
            erased = [concept.name for concept in concepts]
            for concept in concepts:
                given = concept, targets[concept.name], shown, erased
                found.among(f"neighbours of {concept.name}", self.neighbours_suffice, *given)
        for stage in self.sets():
            if self.kept[stage]:
                named = [*left[stage], *rows[stage]]
                found.among(f"names to {stage}", self.can_be_named, stage, named, concepts)
        return {fault.who: fault.what for fault in found.all}

    def leaves_restored(self, concept: Concept) -> None:
        """Refuse a concept with which the prompt set of a restored one is left out of what is
        measured, to its last row: `BadInput`.
        """
        for name, tables in self.back.items():
            for table in tables.values():
                if kept_rows(table, self.concepts) and not kept_rows(
                    table, [*self.concepts, concept]
                ):
                    raise BadInput(
                        f"every row of the prompt set of the restored '{name}' shows or names "
                        f"{concept.name} or another concept that is erased: nothing would show "
                        f"that '{name}' is there again; add rows that do not"
                    )

    def sealed_off(self, concept: Concept, rows: Tables) -> None:
        """Refuse a concept that shares a prompt or a seed with what is measured, or whose rows do
        with what is trained on or measured for another purpose: `BadInput`.
        """
        beside, altered = self.beside(concept), self.altered(concept)
        for stage, table in rows.items():
            kept = kept_rows(self.kept[stage], [concept])
            self.apart({stage: [*table, *self.rows[stage], *kept]}, altered, among=beside)
            self.apart({stage: table}, beside[:-1])  # what they show beside them was looked at
            for other in rows.keys() - {stage}:
                self.apart({stage: table, other: [*self.rows[other], *self.kept[other]]}, [])
        self.apart(rows, [], self.protected)

    def touches(self, concept: Concept) -> bool:
        """Whether what should stand in its place is one of the others, or it in one of theirs."""
        return any(
            concept.named_in(c.replacement) or c.named_in(concept.replacement)
            for c in self.concepts
        )

    def beside(self, concept: Concept) -> list[Concept]:
        """The others and `concept`, as they are erased together."""
        asked = (*self.concepts, concept)
        return [*(together(asked) if self.touches(concept) else asked)]

    def altered(self, concept: Concept) -> list[Concept]:
        """Those of `beside` in whose place, or beside whose, something else stands by it, and
        itself.
        """
        *others, itself = self.beside(concept)
        pairs = zip(others, self.concepts, strict=True)
        said = [c for c, alone in pairs if c != alone or concept.named_in("\n".join(c.prompts))]
        return [*said, itself]

    def apart(
        self,
        rows: Mapping[Stage, Sequence[PromptRow]],
        concepts: Sequence[Concept],
        protected: Sequence[str] = (),
        among: Sequence[Concept] = (),
    ) -> None:
        """Refuse what training, choosing and reporting have in common: `BadInput`."""
        sealed.check_stages(rows, concepts, self.tokenizers, self.directions, protected, among)

    def table(self, path: Path) -> list[PromptRow]:
        """A well formed prompt set without copies of a row. `BadInput` if it is none."""
        validate_prompt_sets.fn([path], self.params.reading)
        rows = read_prompt_set(path, self.params.reading)
        for tokenizer in self.tokenizers:
            sealed.check_rows(tokenizer, rows, str(path))
        return rows

    def target(self, concept: Concept, stage: Stage) -> list[PromptRow]:
        """What the erasure or the return of `concept` is measured on; `BadInput` without it."""
        return self.table(target_set(self.sets()[stage].targets, concept))

    def fits(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that a tokenizer of the base would cut: `BadInput`."""
        for tokenizer in self.tokenizers:
            diffusion.check_prompts(tokenizer, prompts)

    def kept_parts_suffice(self, left: Sequence[PromptRow], concepts: Sequence[Concept]) -> None:
        """Refuse limits that the kept prompts, or a part of them, are too few to meet."""
        measurable_sets.check_kept_parts(self.params.policy, left, concepts)
        if self.numbers:
            measurable_sets.check_fid(self.params.policy, left, concepts, self.numbers)

    def neighbours_suffice(
        self,
        concept: Concept,
        targets: Sequence[PromptRow],
        left: Sequence[PromptRow],
        erased: Sequence[str],
    ) -> None:
        """Refuse neighbours that are not shown, and limits that they are too few to meet."""
        policy = self.params.policy
        measurable_sets.check_neighbours(policy, concept, self.kept["report"], erased)
        if self.directions:
            measurable_sets.check_near(policy, concept, targets, left, self.encode, erased)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """The text states of prompts, (n, tokens, d), each read once: neighbours are looked for
        again with every concept more.
        """
        assert self.directions  # who asks knows that the text encoder loads
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.states]
        if new:
            self.states.update(zip(new, self.directions.encode(new), strict=True))
        return torch.stack([self.states[prompt] for prompt in prompts])

    def can_be_named(
        self, stage: Stage, rows: Sequence[PromptRow], concepts: Sequence[Concept]
    ) -> None:
        """Refuse a run in which a picture has no two things to be named by: `BadInput`."""
        check_names(labels_of(rows, concepts, self.restored), self.sets()[stage].kept)
