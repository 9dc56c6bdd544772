"""One cell of the comparison: a request, a method in one form, a seed. It is erased, drawn,
attacked and measured by what every run uses, written once, and not done again.

What the base draws is made once for all cells of a set, and so is what equal weights draw and come
to under attack: a closed form gives the same weights for every seed.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from erasure_core.attacks.setting import counted
from erasure_core.errors import ContentChanged, ErasureError
from erasure_core.files import pretty_json, write_text
from erasure_core.law.gates import Check, Gate, Measurement, Tier
from erasure_core.law.lineage import sha256_json
from erasure_core.law.requests import DeletionRequest
from erasure_core.methods import AnySettings
from erasure_core.network.models import copied
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import Params, PromptSets, has_lambda
from erasure_core.planning.plan import BASE, Plan, make_plan
from erasure_core.planning.policy import COMPOSED
from tasks.erasing.erase import erase
from tasks.erasing.generate import generate
from tasks.erasing.snapshot import snapshot, teacher_of
from tasks.evidence.attack import Memory, Shown, attack_model, facts, measurements, write_sheets
from tasks.evidence.decide import by_values, decide
from tasks.evidence.measure import Evidence, Found, measure
from tasks.home import Home


class NotTrained(ErasureError):
    """A method could not be trained by the settings of a cell, or draws nothing since; and why."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell is asked for."""

    request: DeletionRequest
    form: str  # "published", "tuned", or "trial <number>"
    seed: int
    settings: AnySettings

    @property
    def method(self) -> str:
        return self.settings.method

    @property
    def is_trial(self) -> bool:
        """Whether it only chooses settings."""
        return self.form.startswith("trial")

    @property
    def name(self) -> str:
        """How the cell is called in messages and in MLflow."""
        return f"{self.request.concept.name}, {self.method} {self.form}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Written:
    """What a cell came to, as its file holds it."""

    concept: str
    kind: str
    method: str
    form: str
    seed: int
    settings: Mapping[str, Any]
    seconds: float  # of the erasure, with all that it prepares; nothing from a cache
    evaluations: int  # of the UNet in the erasure, counted in pictures, with gradient or without
    delta_sha256: str
    gate: Gate  # of a trial by values, as it is chosen by
    measurements: tuple[Measurement, ...]
    attacks: tuple[Mapping[str, Any], ...]  # facts of each, those that were not run included
    attacked_by: tuple[str, ...]  # what attacked it, as the bench had it; nothing attacks a trial
    folder: Path = field(compare=False)

    def found(self) -> Found:
        """The measurements by name."""
        return {m.metric: m for m in self.measurements}

    @classmethod
    def read(cls, file: Path) -> "Written":
        """A cell's file back."""
        content = json.loads(file.read_bytes())
        gate = content["gate"]
        content["gate"] = Gate(gate["verdict"], tuple(Check(**check) for check in gate["checks"]))
        content["measurements"] = tuple(Measurement(**m) for m in content["measurements"])
        for name in ("attacks", "attacked_by"):
            content[name] = tuple(content[name])
        return cls(**content, folder=file.parent)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all cells share."""

    params: Params  # as they were read
    made_with: Mapping[str, str]
    out: Path
    attacks: tuple[str, ...]
    budget: Tier
    memory: dict[str, Memory] = field(default_factory=dict)  # by concept

    def attacking(self, cell: Cell) -> tuple[str, ...]:
        """What attacks a cell: the names, then the budget."""
        return () if cell.is_trial else (*self.attacks, self.budget)

    def plan(self, cell: Cell) -> Plan:
        """The plan of a cell: its one candidate, on the report set; of a trial, on the set that
        chooses, where nobody attacks and nothing is composed. Pictures are of the same seeds
        whatever the training's.
        """
        settings, policy, prompts = cell.settings, self.params.policy, self.params.prompts
        if cell.is_trial:
            assert prompts.choose is not None  # `compare` asked for it
            policy = policy.without(COMPOSED)
            prompts = PromptSets(targets=prompts.choose.targets, kept=prompts.choose.kept)
        changed: dict[str, Any] = {
            "method": settings,
            "lambdas": (settings.lambda_,) if has_lambda(settings) else None,  # type: ignore[attr-defined]
            "methods": {},
            "comparisons": {},
            "seed": cell.seed,
            "sampling": self.params.sampling.model_copy(update={"seed": self.params.reading.seed}),
            "policy": policy,
            "prompts": prompts,
        }
        params = self.params.model_copy(update=changed)
        return make_plan(
            [cell.request], params, self.out / "cells", self.made_with, settings.method
        )


def file_of(plan: Plan) -> Path:
    """Where a cell is written."""
    return plan.folder / "cell.json"


def run_cell(bench: Bench, cell: Cell) -> Written:
    """Do one cell, if it was not done before. Of one that other attacks judged, what is not theirs
    is there already; a cell of equal settings in another form is the same cell.

    Raises:
        NotTrained: Its settings leave nothing to change, the training diverged, or what it came to
            draws pictures that are not finite.
    """
    plan = bench.plan(cell)
    if (done := _done(plan)) and done.attacked_by == bench.attacking(cell):
        return replace(done, form=cell.form)
    (candidate,) = plan.eligible
    home = Home(plan.folder)  # of its own: what a method prepares is part of what it costs
    snapshot.fn(plan, home)
    seconds, evaluations = _erased(plan, candidate, home)
    delta = WeightDelta.load(plan.delta_file(candidate))
    for who, content in ((BASE, plan.base_sha256), (candidate, delta.sha256)):
        _share_pictures(bench, plan, who, content)
        with contextlib.nullcontext() if who == BASE else _by_its_settings():
            generate.fn(plan, who, home)
    found = measure.fn(plan, "report", [candidate])[candidate]
    attacked: Sequence[Mapping[str, Any]] = ()
    if cell.is_trial:
        gate = by_values(plan, found)
    else:
        results, attacked = _attacked(bench, plan, candidate, delta, home)
        found |= {m.metric: m for m in results}
        gate = decide.fn(plan, Evidence({}, {candidate: found})).gate
    written = {
        "concept": cell.request.concept.name,
        "kind": cell.request.concept.kind,
        "method": cell.method,
        "form": cell.form,
        "seed": cell.seed,
        "settings": cell.settings.model_dump(mode="json", by_alias=True),
        "seconds": seconds,
        "evaluations": evaluations,
        "delta_sha256": delta.sha256,
        "gate": asdict(gate),
        "measurements": [asdict(m) for m in found.values()],
        "attacks": list(attacked),
        "attacked_by": bench.attacking(cell),
    }
    write_text(file_of(plan), pretty_json(written))
    shutil.rmtree(home.prepared, ignore_errors=True)
    return Written.read(file_of(plan))


def _done(plan: Plan) -> Written | None:
    """What a cell came to when it was last done; None where it was not."""
    return Written.read(file_of(plan)) if file_of(plan).exists() else None


def pictures_of(written: Written, who: str, prompt_set: str) -> list[Path]:
    """A cell's pictures of one set, or the base's (`who`), in the order of their rows."""
    plan = Plan.read(written.folder)
    name = BASE if who == BASE else plan.eligible[0]
    rows = dict(plan.rows())[prompt_set]
    return [plan.picture(name, prompt_set, row) for row in rows]


def _erased(plan: Plan, candidate: str, home: Home) -> tuple[float, int]:
    """Seconds and evaluations of the erasure. One that was killed is begun again: half of an effort
    is none.
    """
    file, delta = plan.folder / "effort.json", plan.delta_file(candidate)
    if not file.exists():
        for rest in (delta, delta.with_suffix(".resume")):
            rest.unlink(missing_ok=True)
        shutil.rmtree(home.prepared, ignore_errors=True)
        teacher = teacher_of(plan, home)  # loaded before the clock runs
        # copies of the network count in the same list
        with counted(teacher.unet) as seen, _by_its_settings():
            erase.fn(plan, candidate, home)
        seconds = json.loads(plan.losses_file(candidate).read_bytes())["seconds"]
        write_text(file, pretty_json({"seconds": seconds, "evaluations": sum(seen)}))
    effort = json.loads(file.read_bytes())
    return effort["seconds"], effort["evaluations"]


@contextlib.contextmanager
def _by_its_settings() -> Iterator[None]:
    """What goes wrong is the settings' doing, but for files that were changed."""
    try:
        yield
    except ContentChanged:
        raise
    except ErasureError as why:
        raise NotTrained(str(why)) from None


def _share_pictures(bench: Bench, plan: Plan, who: str, content: str) -> None:
    """Let the pictures of a network lie where every cell of the same sets finds them."""
    folder = bench.out / "pictures" / pictures_key(plan, content)
    folder.mkdir(parents=True, exist_ok=True)
    link = plan.folder / "images" / who
    link.parent.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):  # made before the cell was killed
        link.symlink_to(Path("../../..") / folder.relative_to(bench.out))


def pictures_key(plan: Plan, content: str) -> str:
    """Of all that the pictures of a network, named by its content, follow from."""
    key = {
        "network": [plan.base_sha256, content],
        "request": plan.requests[0].sha256,  # the base draws what should stand in its place too
        "sets": plan.prompt_sha256,
        "sampling": plan.params.sampling.model_dump(),
        "made with": plan.made_with,
    }
    return sha256_json(key)[:16]


def attacks_key(bench: Bench, plan: Plan, delta_sha256: str) -> str:
    """Of all that attacks on a network follow from. The attacker's seed is that of the parameters,
    whatever the training's.
    """
    key = {
        "network": [plan.base_sha256, delta_sha256],
        "request": plan.requests[0].sha256,
        "sets": plan.prompt_sha256,  # whose rows say what pictures may be named
        "attacks": [*bench.attacks, bench.budget],
        "params": bench.params.sha256,
        "made with": plan.made_with,
    }
    return sha256_json(key)[:16]


def _attacked(
    bench: Bench, plan: Plan, candidate: str, delta: WeightDelta, home: Home
) -> tuple[list[Measurement], list[Mapping[str, Any]]]:
    """Attack the erased network, if the same weights were not attacked before."""
    (concept,) = plan.concepts
    file = bench.out / "attacks" / f"{attacks_key(bench, plan, delta.sha256)}.json"
    if not file.exists():
        base = teacher_of(plan, home)
        victim = copied(base)
        delta.apply(victim.unet)
        found = attack_model(
            base,
            victim,
            concept,
            bench.params,
            Shown.of(plan),
            bench.attacks,
            bench.budget,
            memory=bench.memory.setdefault(concept.name, Memory()),
        )
        write_sheets(found, file.with_suffix(""))
        measured = [asdict(m) for m in measurements(found.results, bench.budget)]
        write_text(
            file,
            pretty_json({"measured": measured, "facts": [facts(r) for r in found.results]}),
        )
    content = json.loads(file.read_bytes())
    return [Measurement(**m) for m in content["measured"]], content["facts"]
