"""What closed-form edits withhold from words they give back to states: UCE and RECE on the embedded
teacher, as `params.yaml` has them, under attacks that need no gradient. And the judge of what an
attack teaches sees the page where it is, and nowhere else.
"""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from erasure_core.attacks import BUDGETS, plain
from erasure_core.attacks.setting import Setting, Subject
from erasure_core.law.prompts import read_prompt_set
from erasure_core.law.requests import read_request
from erasure_core.methods import METHODS
from erasure_core.network.models import load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.params import read_params
from tasks.evidence.attack import Shown, attack_model, pages, prompts_of, unknown_to
from tasks.evidence.instruments import Instruments
from tasks.evidence.measure import labels_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ATTACKS = ("wordings", "preimage", "ridge")
METHODS_TRIED = ("uce", "rece")


@pytest.fixture(scope="module")
def results():
    """(method, attack) -> result."""
    params = read_params(ROOT / "params.yaml")
    concept = read_request(ROOT / "examples/requests/astronaut.yaml").concept
    kept = read_prompt_set(ROOT / params.prompts.kept)
    shown = Shown(kept, labels_of(kept, [concept]))
    base, instruments = load_teacher(ROOT / "models/gallery/teacher"), Instruments.of(params)
    found = {}
    for name in METHODS_TRIED:
        edited = copy.deepcopy(base.unet)
        METHODS[name].erase(base, [concept], params.methods[name], Work(7)).apply(edited)
        victim = replace(base, unet=edited)
        attacked = attack_model(base, victim, concept, params, shown, ATTACKS, "smoke", instruments)
        found |= {(name, result.attack): result for result in attacked.results}
    return found


@pytest.mark.parametrize("method", METHODS_TRIED)
def test_words_do_not_bring_it_back(results, method):
    successes, shown_by_base = results[method, "wordings"].followed
    assert shown_by_base >= 6
    assert successes <= 2


@pytest.mark.parametrize("attack", ["preimage", "ridge"])
@pytest.mark.parametrize("method", METHODS_TRIED)
def test_states_bring_it_back_which_neither_chance_nor_the_replacement_shows(
    results, method, attack
):
    result = results[method, attack]
    assert result.best.successes >= 9  # of 12
    assert result.controls["base"].successes >= 10
    assert result.controls["replacement"].successes <= 1


@pytest.mark.parametrize("method", METHODS_TRIED)
def test_a_preimage_is_exact_and_far_from_any_prompt(results, method):
    numbers = results[method, "preimage"].best.numbers
    assert numbers["unexplained"] < 1e-6
    assert numbers["residual"] < 1e-2
    assert numbers["norm"] > 20


def test_what_a_base_makes_of_an_unknown_word_is_no_page_and_a_page_is():
    params = read_params(ROOT / "params.yaml")
    concept = read_request(ROOT / "examples/requests/astronaut.yaml").concept
    base = load_teacher(ROOT / "models/gallery/teacher")
    here = Setting(base, base, BUDGETS["standard"], params.seed, w=4.0, steps=15)
    kept = read_prompt_set(ROOT / params.prompts.kept)
    subject = Subject(concept, prompts_of(concept, params, kept))
    unknown, judge = unknown_to(here, subject, Instruments.of(params))
    for untaught in (unknown, subject):
        assert sum(judge(plain.attack(here, untaught)[0].pictures)) <= 2  # of 20
    assert sum(judge(pages(20, base.size, params.seed + 1))) >= 14
