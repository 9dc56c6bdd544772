"""The plan of one run: every input by value or by hash, fixed before anything is trained, and where
its files go.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from erasure_core.errors import BadInput, ErasureError
from erasure_core.files import pretty_json, write_text
from erasure_core.law import lineage
from erasure_core.law.concepts import (
    RECORDED,
    Concept,
    in_turn,
    kept_prompts,
    letters_of,
    stand_in,
    together,
)
from erasure_core.law.prompts import (
    PromptRow,
    kept_rows,
    part_of,
    read_prompt_set,
    target_set,
)
from erasure_core.law.requests import DeletionRequest
from erasure_core.methods import METHODS, AnySettings
from erasure_core.network import bases, diffusion, hub, models
from erasure_core.planning import sealed
from erasure_core.planning.params import (
    DEFAULT_PRESET,
    Base,
    MeasuredSet,
    Params,
    has_lambda,
    shown,
)
from erasure_core.planning.policy import Policy

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

KEPT = "kept"
KEPT_BASES = "bases"  # folder of a state folder with the bases that were one file, by content
CHOOSING = "choose-"  # begins the names of prompt sets that choose
BASE = "base"
Stage = Literal["choose", "report"]  # what a prompt set is for
STAGES: tuple[Stage, ...] = ("choose", "report")
PLAN_FILE = "plan.json"
PATHS = (
    ("base", "path"),
    ("clip", "path"),
    ("features", "path"),
    ("prompts", "targets"),
    ("prompts", "kept"),
    ("prompts", "choose", "targets"),
    ("prompts", "choose", "kept"),
)
# where things lie on this machine; what lies there is in the plan by its hash
PLACES: Any = {
    "params": {"base": {"path"}, "clip": {"path"}, "features": {"path"}, "prompts": True}
}
KEY = 16  # characters of a run key


@dataclass(frozen=True, slots=True)
class Candidate:
    """One erasure of the plan: a preset, at one lambda if its method has one. Only the default
    preset can be promoted.
    """

    preset: str
    lambda_: float | None
    settings: AnySettings

    @property
    def name(self) -> str:
        """Used for files and runs."""
        return (
            self.preset if self.lambda_ is None else f"{self.preset}-lambda={shown(self.lambda_)}"
        )

    @property
    def lambda_eff(self) -> float | None:
        """All-but-One's lambda / gamma2^2, which compares settings; None where there is none."""
        found: float | None = getattr(self.settings, "lambda_eff", None)
        return found


class Plan(BaseModel):
    """What a run does, decided.

    `sha256` is the hash of all of it, `run_key` its beginning: the same key gives the same model on
    the same kind of processor with the same number of threads. Where the run's files and the base
    lie is each machine's own business and not part of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: str
    requests: tuple[DeletionRequest, ...]
    restored: tuple[DeletionRequest, ...] = ()  # erased once and brought back: to be there again
    params: Params
    base_sha256: str
    # prompt set -> sha256 of its file; sets are "kept" and "target-<slug>", and those that choose
    # "choose-kept" and "choose-target-<slug>"
    prompt_sha256: dict[str, str]
    # concept -> which of how many parts of its prompt sets is measured; all of what is not named
    parts: dict[str, tuple[int, int]] = {}
    made_with: dict[str, str]  # what else decides the result: code, instruments, libraries
    choices: tuple[str, ...] = ()  # methods that the parameters hold; they decide no result
    folder: Path = Field(exclude=True)  # of the run's files
    base_folder: Path = Field(exclude=True)

    @property
    def run_key(self) -> str:
        """Short for the plan's hash."""
        return self.sha256[:KEY]

    @property
    def requests_sha256(self) -> str:
        """Hash of what is asked and how, by all requests in their order."""
        return lineage.sha256_json([request.sha256 for request in self.requests])

    @property
    def concepts(self) -> list[Concept]:
        """Everything that is to be erased, oldest request first, none in the place of another."""
        return [*together(tuple(request.concept for request in self.requests))]

    @property
    def whole(self) -> list[Concept]:
        """Those of the concepts that are measured by all their pictures."""
        return [concept for concept in self.concepts if concept.name not in self.parts]

    @property
    def in_part(self) -> list[Concept]:
        """Those that were honoured before, of which this release measures a part."""
        return [concept for concept in self.concepts if concept.name in self.parts]

    @property
    def restored_concepts(self) -> list[Concept]:
        """What was erased once and is to be there again."""
        return [request.concept for request in self.restored]

    def candidates(self) -> list[Candidate]:
        """The sweep of the default preset, then the comparisons."""
        return [
            Candidate(name, lam, settings)
            for name, preset in self.params.presets().items()
            for lam, settings in preset.candidates()
        ]

    def candidate(self, name: str) -> Candidate:
        """The candidate called `name`."""
        return next(c for c in self.candidates() if c.name == name)

    @property
    def eligible(self) -> list[str]:
        """The names of the candidates that can be promoted: those of the default preset."""
        return [c.name for c in self.candidates() if c.preset == DEFAULT_PRESET]

    @property
    def comparisons(self) -> list[str]:
        """The names of the candidates that are only reported."""
        return [c.name for c in self.candidates() if c.preset != DEFAULT_PRESET]

    @property
    def chooses(self) -> bool:
        """Whether there is something to choose among."""
        return choosing_set(self.params) is not None

    def sources(self) -> list[Path]:
        """The prompt sets as the user keeps them."""
        return list(prompt_paths(self.params, self.concepts, self.restored_concepts).values())

    def prompt_file(self, prompt_set: str) -> Path:
        """The run's own copy of a prompt set."""
        return self.folder / "prompts" / f"{prompt_set}.csv"

    def rows(self, stage: Stage = "report") -> Iterator[tuple[str, list[PromptRow]]]:
        """Every prompt set of a stage with the rows that are measured."""
        for prompt_set in self.prompt_sha256:
            if stage_of(prompt_set) != stage:
                continue
            rows = read_prompt_set(self.prompt_file(prompt_set), self.params.reading)
            erased = {target_name(c, stage): c for c in self.concepts}.get(prompt_set)
            if erased is None:  # a restored cat, but not in an erased style
                yield prompt_set, kept_rows(rows, self.concepts)
            elif erased.name in self.parts:
                yield prompt_set, part_of(rows, *self.parts[erased.name])
            else:
                yield prompt_set, rows

    def instead(self) -> Iterator[tuple[str, list[PromptRow]]]:
        """What should stand in place of each concept whose replacement is judged: the rows of its
        report set with the concept replaced, to be drawn by the base.
        """
        for concept in self.whole:
            if self.params.policy.of_replacement(concept.kind):
                rows = read_prompt_set(self.prompt_file(target_name(concept)), self.params.reading)
                instead = in_place(self.params.policy, concept, rows, self.concepts)
                yield instead_name(concept), instead

    def picture(self, who: str, prompt_set: str, row: PromptRow) -> Path:
        """Where the picture of one row lies; `who` is "base" or a candidate's name."""
        return self.folder / "images" / who / prompt_set / f"{row.case_number}.png"

    def delta_file(self, candidate: str) -> Path:
        """The weight delta of one candidate."""
        return self.folder / "deltas" / f"{candidate}.safetensors"

    def losses_file(self, candidate: str) -> Path:
        """The loss terms of every update of one candidate, and the seconds it took."""
        return self.folder / "deltas" / f"{candidate}.losses.json"

    def attacks_file(self, candidate: str) -> Path:
        """What attacks on one candidate came to."""
        return self.folder / "attacks" / f"{candidate}.json"

    @property
    def file(self) -> Path:
        """Where the plan itself is kept."""
        return self.folder / PLAN_FILE

    def write(self) -> None:
        """Keep the plan, so that another process or machine can take a step of it. Paths below the
        working directory are kept relative to it: checkouts lie elsewhere on other machines.
        """
        content = self.model_dump(mode="json", by_alias=True)
        for *sections, key in PATHS:
            section = content["params"]
            for name in sections:
                section = section.get(name) or {}
            if key in section:
                section[key] = _below_here(section[key])
        write_text(self.file, pretty_json(content))

    @classmethod
    def read(cls, folder: Path, *, with_base: bool = True) -> Self:
        """Read the plan of a run's folder back; its base is looked up on this machine.

        Args:
            folder: Of the run, in the state folder.
            with_base: Whether the base must be here; what shows a finished run needs none.

        Raises:
            ErasureError: It is not there, or not readable.
            BadInput: The base is not on this machine.
        """
        file = folder / PLAN_FILE
        try:
            content = json.loads(file.read_bytes())
            base = own_base(Base.model_validate(content["params"]["base"]), folder.parent.parent)
            content["params"]["base"]["path"] = base.path
            found = hub.locate(base.path, base.revision) if with_base else Path(base.path)
            places = {"folder": folder, "base_folder": found.absolute()}
            return cls.model_validate({**content, **places}, context=RECORDED)
        except FileNotFoundError:
            raise ErasureError(
                f"{file} does not exist; the state folder of the run must be shared with the "
                "machine that works on it"
            ) from None
        except (ValueError, KeyError, TypeError) as fault:
            said = str(fault).splitlines()[0]
            raise ErasureError(
                f"{file} is not a plan of this version ({said}); plan again"
            ) from None


def own_base(base: Base, state_folder: Path) -> Base:
    """`base`, or where that is a folder in which a state folder keeps a base that was one file, the
    folder of that content in `state_folder`: it may be a copy of the other, or was moved.
    """
    path = Path(base.path)
    own = state_folder / KEPT_BASES / path.name
    if path.parent.name != KEPT_BASES or not own.is_dir():
        return base
    return base.model_copy(update={"path": str(own)})


def _below_here(path: str) -> str:
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _named(name: str, stage: Stage) -> str:
    return name if stage == "report" else CHOOSING + name


def stage_of(prompt_set: str) -> Stage:
    """What a prompt set is for, by its name."""
    return "choose" if prompt_set.startswith(CHOOSING) else "report"


def kept_name(stage: Stage = "report") -> str:
    """The prompt set on which what stays is measured."""
    return _named(KEPT, stage)


def target_name(concept: Concept, stage: Stage = "report") -> str:
    """The prompt set on which the erasure of `concept` is measured."""
    return _named(f"target-{concept.slug}", stage)


def instead_name(concept: Concept) -> str:
    """The base's pictures of what should stand in place of `concept`."""
    return f"instead-{concept.slug}"


def restored_name(concept: Concept, stage: Stage = "report") -> str:
    """The prompt set on which the return of `concept` is measured: the one its erasure was measured
    on.
    """
    return _named(f"restored-{concept.slug}", stage)


def measured_set(params: Params, stage: Stage) -> MeasuredSet | None:
    """Where the prompts of a stage are; None where nothing is chosen."""
    return params.prompts if stage == "report" else choosing_set(params)


def choosing_set(params: Params) -> MeasuredSet | None:
    """The set that chooses among several lambdas of one method; None where there is one."""
    swept = has_lambda(params.method) and len(params.lambdas or ()) > 1
    return params.prompts.choose if swept else None


def prompt_paths(
    params: Params, concepts: Sequence[Concept], restored: Sequence[Concept] = ()
) -> dict[str, Path]:
    """Prompt set -> the file the parameters name for it: of each stage the targets in the concepts'
    order, kept, restored.
    """
    paths: dict[str, Path] = {}
    for stage in STAGES:
        if where := measured_set(params, stage):
            paths |= {target_name(c, stage): target_set(where.targets, c) for c in concepts}
            paths[kept_name(stage)] = where.kept
            paths |= {restored_name(c, stage): target_set(where.targets, c) for c in restored}
    return paths


def checked_base(wanted: Base) -> tuple[Path, str]:
    """The folder of a base and its content hash. `BadInput` if it is not acceptable, or not what
    the parameters pin.
    """
    base = hub.locate(wanted.path, wanted.revision)
    models.check_folder(base)
    root = bases.root(base)
    if wanted.sha256 not in (None, root):
        raise BadInput(
            f"base {base} has content hash {root}, but base.sha256 pins {wanted.sha256}; "
            f"restore the base or change the pin"
        )
    return base, root


def in_order(requests: Sequence[DeletionRequest]) -> list[DeletionRequest]:
    """Oldest first; training depends on the order."""
    return sorted(requests, key=lambda r: (r.submitted_time, r.subject_request_id))


def check_distinct(concepts: Sequence[Concept]) -> None:
    """Refuse two erasures of one concept, and two of one name, whose prompt set and column would be
    the same: `BadInput`.
    """
    alike: dict[str, list[Concept]] = {}
    for concept in concepts:
        alike.setdefault(letters_of(concept.name), []).append(concept)
    for one, other in chain.from_iterable(combinations(some, 2) for some in alike.values()):
        if one.is_also(other):
            raise BadInput(_twice(one, other))
        if one.name.casefold() == other.name.casefold():
            raise BadInput(
                f"{one.name} is to be erased as {one.kind} and as {other.kind}, and a release "
                f"measures one concept of a name; ask for the one that waits under a fuller name, "
                f"in a request of its own subject_request_id"
            )


def _twice(one: Concept, other: Concept) -> str:
    """That two requests erase one concept, and how both can be honoured."""
    said = f"more than one request erases {' and '.join(dict.fromkeys((one.name, other.name)))}"
    if one.covers(other):
        return (
            f"{said}; `erasure request retry` of the newer lets it be honoured together with the "
            f"older"
        )
    lacking = ", ".join(one.lacks_of(other))  # the later one waits
    return (
        f"{said}, and one of them by {lacking} too, which the other leaves; write these names into "
        f"the other (`also`, with wordings; `erasure request add`), after which `erasure request "
        f"retry` of the one that waits lets it be honoured together with that; or, where the other "
        f"is honoured, ask for {lacking} in a request of that name"
    )


def check_replacements(concepts: Sequence[Concept]) -> None:
    """Refuse concepts that stand in each other's place, so that nothing is left to appear there:
    `BadInput`.
    """
    for concept in concepts:
        if in_turn(concept, concepts) is None:
            raise BadInput(
                f"the replacement of '{concept.name}', {concept.replacement!r}, leads back to what "
                f"is erased: {_stand(concepts)}; give one of them a replacement that is not erased"
            )


def _stand(concepts: Sequence[Concept]) -> str:
    """What stands in whose place, of the concepts whose replacement names another, for people."""
    return ", ".join(
        f"{c.replacement!r} for '{c.name}'"
        for c in concepts
        if any(other.named_in(c.replacement) for other in concepts)
    )


def check_styles(params: Params, concepts: Sequence[Concept]) -> None:
    """Refuse a style that has no others to be told from: `BadInput`."""
    if any(c.kind == "style" and not {*params.clip.styles} - {c.name} for c in concepts):
        raise BadInput(
            "a style is named among others: list the base's styles in clip.styles of the parameters"
        )


def trained_on(concepts: Sequence[Concept], among: Sequence[Concept] = ()) -> list[str]:
    """Every prompt that a method may read of `concepts`: those that go, as written and as they are
    replaced where `among` are erased together, and the kept.
    """
    pairs = [(c, prompt) for c in concepts for prompt in c.prompts]
    gone = [p for c, said in pairs for p in (said, stand_in(c, said, among))]
    return [*gone, *kept_prompts(concepts)]


def in_place(
    policy: Policy, concept: Concept, report: Sequence[PromptRow], among: Sequence[Concept]
) -> list[PromptRow]:
    """The rows that the base draws of what should stand in a concept's place where `among` are
    erased together; none where the policy does not judge that.
    """
    judged = bool(policy.of_replacement(concept.kind))
    return [
        replace(row, prompt=stand_in(concept, row.prompt, among))
        for row in report
        if judged and not row.also
    ]


def check_sealed(
    rows: Mapping[str, Sequence[PromptRow]],
    concepts: Sequence[Concept],
    tokenizers: Sequence["CLIPTokenizer"],
    directions: sealed.Directions | None = None,
    protected: Sequence[str] = (),
) -> None:
    """Refuse copies of a row, and what the training, the choosing and the report have in common.

    Args:
        rows: Prompt set -> its rows.
        concepts: All that is erased.
        tokenizers: The base's.
        directions: Of the base's text encoder, where it is at hand.
        protected: Prompts that the method's settings name.

    Raises:
        BadInput: Names the rows.
    """
    stages: dict[Stage, list[PromptRow]] = {}
    for name, table in rows.items():
        for tokenizer in tokenizers:
            sealed.check_rows(tokenizer, table, f"the prompt set {name}")
        stages.setdefault(stage_of(name), []).extend(table)
    sealed.check_stages(stages, concepts, tokenizers, directions, protected, concepts)


def make_plan(
    requests: Sequence[DeletionRequest],
    params: Params,
    runs: Path,
    made_with: Mapping[str, str],
    method: str | None = None,
    restored: Sequence[DeletionRequest] = (),
) -> Plan:
    """Check every input and fix the plan; writes nothing.

    One release is made by one method: `method`, or what the newest request that names one asks for,
    or the parameters'.

    Raises:
        BadInput: For any input that the run could not finish with: base, prompt sets, prompts too
            long, settings.
    """
    requests, restored = in_order(requests), in_order(restored)
    choices = tuple(sorted({*params.methods, params.method.method}))
    params = _of_run(params, requests, restored, method)
    concepts = [*together(tuple(request.concept for request in requests))]
    check_distinct(concepts)
    params.policy.check_kinds(concepts)
    check_styles(params, concepts)
    base, root = checked_base(params.base)
    paths = prompt_paths(params, concepts, [request.concept for request in restored])
    _check_prompts(params, base, concepts, paths)
    plan = Plan(
        sha256="",
        requests=tuple(requests),
        restored=tuple(restored),
        params=params,
        base_sha256=root,
        prompt_sha256={name: lineage.sha256_file(path) for name, path in paths.items()},
        made_with=dict(made_with),
        choices=choices,
        folder=runs,
        base_folder=base.absolute(),
    )
    return _keyed(plan, runs)


def _of_run(
    params: Params,
    requests: Sequence[DeletionRequest],
    restored: Sequence[DeletionRequest],
    method: str | None,
) -> Params:
    """The parameters with the one method of a run, as it is published for the kinds of what is
    erased, and protecting what was restored.
    """
    named = next((r.method for r in reversed(requests) if r.method), None)
    params = params.with_method(method or named)
    params = params.of_kinds(request.concept.kind for request in requests)
    return params.protecting([p for request in restored for p in request.concept.prompts])


def _check_prompts(
    params: Params, base: Path, concepts: Sequence[Concept], paths: Mapping[str, Path]
) -> None:
    """Refuse prompt sets that are malformed, too long for the base or not sealed, and concepts that
    a method of the run could not erase: `BadInput`.
    """
    rows = {name: read_prompt_set(path, params.reading) for name, path in paths.items()}
    for kept in {kept_name(stage) for stage in STAGES} & rows.keys():
        rows[kept] = kept_rows(rows[kept], concepts)
    for preset in params.presets().values() if concepts else ():  # none: the base is released
        METHODS[preset.method.method].check(concepts, preset.method)
    instead = [in_place(params.policy, c, rows[target_name(c)], concepts) for c in concepts]
    measured = [row.prompt for table in (*rows.values(), *instead) for row in table]
    tokenizer = models.load_tokenizer(base)
    protected = params.protected
    diffusion.check_prompts(tokenizer, [*measured, *trained_on(concepts, concepts), *protected])
    check_sealed(rows, concepts, [tokenizer], protected=protected)


def in_parts(plan: Plan, parts: Mapping[str, tuple[int, int]]) -> Plan:
    """The same plan with some concepts measured by a part of their pictures: another plan."""
    return _keyed(plan.model_copy(update={"parts": dict(parts)}), plan.folder.parent)


def _keyed(plan: Plan, runs: Path) -> Plan:
    content = plan.model_dump(
        mode="json", by_alias=True, exclude={**PLACES, "sha256": True, "choices": True}
    )
    sha256 = lineage.sha256_json(content)
    return plan.model_copy(update={"sha256": sha256, "folder": (runs / sha256[:KEY]).absolute()})
