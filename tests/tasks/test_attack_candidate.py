"""A run's candidate is attacked by what the run sealed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from erasure_core.attacks import Result
from erasure_core.law.prompts import PromptRow, read_prompt_set
from erasure_core.law.requests import read_request
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.plan import kept_name, target_name
from tasks.evidence import attack_candidate
from tasks.evidence.attack import Attacked
from tasks.evidence.measure import attacked, attacks_not_run
from tasks.home import Home

ROOT = Path(__file__).parents[2]
CAT = read_request(ROOT / "examples/requests/cat.yaml").concept
HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance,concept,also\n"


@dataclass
class SealedPlan:
    """A plan with its own copies of its prompt sets."""

    folder: Path
    params: Params
    whole, concepts, restored_concepts = (CAT,), (CAT,), ()

    def attacks_file(self, candidate: str) -> Path:
        return self.folder / "attacks.json"

    def delta_file(self, candidate: str) -> Path:
        return self.folder / "delta"

    def prompt_file(self, prompt_set: str) -> Path:
        return self.folder / f"{prompt_set}.csv"

    def rows(self) -> list[tuple[str, list[PromptRow]]]:
        return [(name, read_prompt_set(self.prompt_file(name))) for name in SETS]


SETS = {
    target_name(CAT): HEADER
    + "0,a cat,1,7,cat,\n1,the cat,4,7.5,cat,\n2,a cat by a rocket,2,9,cat,rocket\n",
    kept_name(): HEADER + "0,a photo of a retina,3,4,retina,\n",
}


def sealed(tmp_path: Path) -> SealedPlan:
    """A plan after the user's own file changed."""
    edited = tmp_path / "edited.csv"
    edited.write_text(HEADER + "0,a dog,3,9,dog,\n")
    plan = SealedPlan(tmp_path, read_params(ROOT / "params.yaml", [f"prompts.kept={edited}"]))
    for name, rows in SETS.items():
        plan.prompt_file(name).write_text(rows)
    return plan


def attack(monkeypatch, plan: SealedPlan, attack_model: Callable[..., Attacked]) -> None:
    """Attack its candidate, without models."""
    model = SimpleNamespace(unet=None)
    stubs = {
        "attack_model": attack_model,
        "teacher_of": lambda *_: model,
        "copied": lambda _: model,
        "WeightDelta": SimpleNamespace(load=lambda _: SimpleNamespace(apply=lambda _: None)),
        "Instruments": SimpleNamespace(of=lambda _: None),
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(attack_candidate, name, stub)
    attack_candidate.attack.fn(plan, "candidate", Home(plan.folder))


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """What the attacks are shown."""
    given = []

    def attack_model(*arguments):
        given.append(arguments[4])
        return Attacked((), {})

    attack(monkeypatch, sealed(tmp_path), attack_model)
    return given[0]


def test_why_an_attack_was_not_run_is_kept_for_the_record(monkeypatch, tmp_path):
    why = "no photographs of the subject"
    unrun = Result("relearning", "weights", "cat", not_run=why)
    attack(monkeypatch, plan := sealed(tmp_path), lambda *_: Attacked((unrun,), {}))
    assert attacked(plan, "candidate") == []
    assert attacks_not_run(plan, "candidate") == {"attack.excess.relearning[cat]": why}


def test_what_another_process_found_meanwhile_stays(monkeypatch, tmp_path):
    """This one was paused: the other took over, and its version rests on that file."""
    plan, theirs = sealed(tmp_path), '{"measurements": []}'

    def attack_model(*_):
        plan.attacks_file("candidate").write_text(theirs)
        return Attacked((Result("relearning", "weights", "cat", not_run="no photographs"),), {})

    attack(monkeypatch, plan, attack_model)
    assert plan.attacks_file("candidate").read_text() == theirs


def test_the_kept_rows_are_those_that_the_run_sealed(shown):
    assert [(r.prompt, r.evaluation_guidance) for r in shown.kept] == [("a photo of a retina", 4.0)]


def test_the_attacker_draws_by_the_guidance_that_the_gate_measures_with(shown):
    """The median of the concept's report set; what has none, of the kept rows."""
    assert shown.guidance(CAT) == 7.5
    assert shown.guidance(CAT.model_copy(update={"name": "dog"})) == 4.0


def test_pictures_may_be_named_by_all_that_the_gate_names_them_by(shown):
    assert shown.labels == ["cat", "retina", "rocket"]
