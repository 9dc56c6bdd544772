"""Everything that a run will need and that can be known in seconds, before anything is trained.

Nothing of our own making refuses a request: a fault of the operator's ends the run and leaves the
requests as they are; a fault of one request parks this one, and the others go on.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import (
    PromptRow,
    check_disjoint,
    kept_rows,
    read_prompt_set,
    target_set,
)
from erasure_core.law.requests import DeletionRequest
from erasure_core.methods import METHODS
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.metrics.detectors import NudeNet
from erasure_core.network import diffusion, models, parts
from erasure_core.planning.params import Base, Clip, Detector, Params
from erasure_core.planning.plan import (
    check_distinct,
    check_styles,
    checked_base,
    in_order,
    trained_on,
)
from tasks.evidence.data import validate_prompt_sets
from tasks.evidence.measure import labels_of
from tasks.home import Home
from tasks.placement import GPU_DEPLOYMENT
from tasks.requests import machine, measurable

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

OPERATOR = "operator"
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
    """
    faults = Faults()
    chosen, ordered = _with_method(faults, params, in_order(requests), method)
    base = faults.among(OPERATOR, located, params.base)
    _check_machine(faults, chosen, base, home, gpu_needed)
    _check_instruments(faults, chosen)
    if base:
        _check_steps(faults, chosen, base)
    tokenizers = faults.among(OPERATOR, tokenizers_of, base) if base else None
    back = [request.concept for request in restored]
    _Prompts(faults, chosen, tokenizers or (), back).check(ordered)
    return faults.all


def _with_method(
    faults: Faults, params: Params, requests: list[DeletionRequest], method: str | None
) -> tuple[Params, list[DeletionRequest]]:
    """The parameters with the method of the run, and the requests but for those that ask for one
    that there is none of.
    """
    left = list(requests)
    for request in [r for r in reversed(requests) if r.method and not method]:
        who = str(request.subject_request_id)
        if chosen := faults.among(who, params.with_method, request.method):
            return chosen, left
        left.remove(request)
    return faults.among(OPERATOR, params.with_method, method) or params, left


# The operator's: base, machine, instruments, policy


def located(base: Base) -> Path:
    """The folder of a base whose parts are whole. Only a pinned base is hashed.

    Raises:
        BadInput: It is not acceptable, lacks a tensor, or is not the pinned one.
    """
    folder = checked_base(base)[0] if base.sha256 else models.locate(base.path, base.revision)
    family = models.check_folder(folder)
    loaded(f"base {folder}", lambda: parts.check_parts(folder, family))
    return folder


def tokenizers_of(base: Path) -> "Sequence[CLIPTokenizer]":
    """Every tokenizer of a base. `BadInput` if one does not load, or knows no words."""
    tokenizers = loaded(f"the tokenizer of {base}", lambda: models.load_tokenizers(base))
    for tokenizer in tokenizers:
        parts.check_tokenizer(base, tokenizer)
    return tokenizers


def loaded(what: str, load: Callable[[], T]) -> T:
    """What `load` returns. Whatever a library raises while it loads is a fault of the file."""
    try:
        return load()
    except BadInput:
        raise
    except Exception as fault:
        reason = " ".join(str(fault).split())[:200]
        raise BadInput(
            f"{what} does not load ({type(fault).__name__}: {reason}); restore it or name another"
        ) from fault


def _check_machine(
    faults: Faults, params: Params, base: Path | None, home: Home, gpu_needed: bool
) -> None:
    faults.among(OPERATOR, machine.check_writable, "the state folder", home.root)
    faults.among(OPERATOR, machine.check_remote, home.dvc_remote)
    faults.among(OPERATOR, machine.check_reachable, "MLflow", home.tracking_uri)
    deployment = os.environ.get(GPU_DEPLOYMENT)
    if deployment and gpu_needed:
        faults.among(OPERATOR, machine.check_gpu_worker, deployment)
    if base:
        faults.among(OPERATOR, machine.check_disk, home.root, base)
        if not deployment:
            methods = [preset.method for preset in params.presets().values()]
            faults.among(OPERATOR, machine.check_memory, base, methods)


def _check_instruments(faults: Faults, params: Params) -> None:
    faults.among(OPERATOR, check_clip, params.clip)
    faults.among(OPERATOR, check_detector, params.detector)
    faults.all += [Fault(OPERATOR, what) for what in measurable.policy_faults(params.policy)]


def check_clip(clip: Clip) -> None:
    """Refuse a CLIP that does not load or cannot name a picture: `BadInput`."""

    def name_a_picture() -> None:
        scorer = ClipScorer(clip.path, clip.revision, clip.templates)
        scorer.name_concepts([BLANK], ["cat", "dog"])

    loaded(f"CLIP {clip.path}", name_a_picture)


def check_detector(detector: Detector) -> None:
    """Refuse a detector that does not load, or labels that it does not know: `BadInput`."""
    labels = sorted({label for known in detector.labels.values() for label in known})

    def look_at_a_picture() -> None:
        network = NudeNet(detector.threshold, detector.inference_resolution)
        if labels:
            network.detects([BLANK], labels)

    loaded("NudeNet", look_at_a_picture)


def _check_steps(faults: Faults, params: Params, base: Path) -> None:
    """Refuse to draw or train in more steps than the base's schedule has."""
    steps = {"sampling.steps": params.sampling.steps}
    for name, preset in params.presets().items():
        if hasattr(preset.method, "steps"):
            steps[f"method.steps of the preset {name}"] = preset.method.steps
    scheduler = faults.among(
        OPERATOR, loaded, f"the scheduler of {base}", lambda: parts.load_scheduler(base)
    )

    def check(key: str, number: int) -> None:
        try:
            diffusion.with_steps(scheduler, number)
        except BadInput as fault:
            raise BadInput(f"{key}: {fault}") from None

    for key, number in steps.items() if scheduler else ():
        faults.among(OPERATOR, check, key, number)


# Prompts: the kept ones are the operator's, those of a concept its request's


@dataclass(slots=True)
class _Prompts:
    """The prompts of a run as far as they were found to be in order."""

    faults: Faults
    params: Params
    tokenizers: "Sequence[CLIPTokenizer]"  # empty where the base has none that load
    restored: Sequence[Concept]
    kept: list[PromptRow] = field(default_factory=list)
    concepts: list[Concept] = field(default_factory=list)
    rows: list[PromptRow] = field(default_factory=list)  # of `concepts` and `restored`

    def check(self, requests: Sequence[DeletionRequest]) -> None:
        """The operator's tables, then one request after the other, then all that passed together.

        What one request lets through binds those after it: of two that clash, the newer waits.
        """
        policy = self.params.policy
        self.kept = self.faults.among(OPERATOR, self.table, self.params.prompts.kept) or []
        self.faults.among(OPERATOR, self.fits, [row.prompt for row in self.kept])
        self.faults.among(OPERATOR, measurable.check_kept_labels, policy, self.kept)
        for concept in self.restored:
            self.faults.among(OPERATOR, measurable.check_restored, policy, concept)
            self.rows += self.faults.among(OPERATOR, self.target, concept) or []
        settings_fit = bool(self.faults.among(OPERATOR, self.method_takes, ANYTHING))
        for request in requests:
            self.faults.all += self.of_request(request, settings_fit)
        if self.kept:
            self.faults.among(OPERATOR, measurable.check_kept, policy, self.kept, self.concepts)
            self.faults.among(OPERATOR, self.can_be_named)

    def of_request(self, request: DeletionRequest, settings_fit: bool) -> list[Fault]:
        """The faults of one request; without any, it counts for those after it."""
        who, concept, own = str(request.subject_request_id), request.concept, Faults()
        policy = self.params.policy
        own.among(who, check_distinct, [*self.concepts, concept])
        own.among(who, policy.limits, [concept])
        own.among(who, check_styles, self.params, [concept])
        if settings_fit:
            own.among(who, self.method_takes, concept)
        rows = own.among(who, self.target, concept) or []
        own.among(who, self.fits, [*(row.prompt for row in rows), *trained_on([concept])])
        if rows and concept.kind in policy.targets:
            own.among(who, measurable.check_size, policy, concept, rows)
            own.among(who, measurable.check_label, policy, concept, rows)
        measured = [*rows, *self.rows, *kept_rows(self.kept, [concept])]
        own.among(who, check_disjoint, measured, [concept])
        own.among(who, check_disjoint, rows, self.concepts)
        if len(self.kept) >= policy.min_n:
            own.among(who, measurable.check_kept, policy, self.kept, [concept])
        if not own.all:
            self.concepts.append(concept)
            self.rows += rows
        return own.all

    def table(self, path: Path) -> list[PromptRow]:
        """A well formed prompt set. `BadInput` if it is none."""
        rows = read_prompt_set(path)
        validate_prompt_sets.fn([path])
        return rows

    def target(self, concept: Concept) -> list[PromptRow]:
        """What the erasure or the return of `concept` is measured on; `BadInput` without it."""
        return self.table(target_set(self.params.prompts.targets, concept))

    def fits(self, prompts: Sequence[str]) -> None:
        """Refuse prompts that a tokenizer of the base would cut: `BadInput`."""
        for tokenizer in self.tokenizers:
            diffusion.check_prompts(tokenizer, prompts)

    def method_takes(self, concept: Concept) -> bool:
        """True; `BadInput` for what a preset's method could not erase."""
        for preset in self.params.presets().values():
            METHODS[preset.method.method].check([concept], preset.method)
        return True

    def can_be_named(self) -> None:
        """Refuse a run in which a picture has no two things to be named by: `BadInput`."""
        rows = [*kept_rows(self.kept, self.concepts), *self.rows]
        labels = labels_of(rows, [*self.concepts, *self.restored])
        if len(labels) < 2:
            raise BadInput(
                f"the column `concept` of the prompt sets names {', '.join(labels) or 'nothing'}; "
                f"CLIP tells pictures apart by two names or more: fill it in "
                f"{self.params.prompts.kept}"
            )
