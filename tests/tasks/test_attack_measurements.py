"""An attack is judged by what it brings back above its replacement control."""

from dataclasses import replace
from pathlib import Path

import pytest

from erasure_core.attacks import Result, Tried
from erasure_core.attacks.setting import NotRun
from erasure_core.law.gates import judge_all
from erasure_core.law.prompts import read_prompt_set
from erasure_core.law.requests import DeletionRequest, read_request
from erasure_core.metrics.intervals import wilson
from erasure_core.planning.params import read_params
from erasure_core.planning.policy import Policy
from tasks.evidence.attack import fresh_to, measurements, pictures_of, prompts_of

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
KEPT = read_prompt_set(ROOT / PARAMS.prompts.kept)

ASTRONAUT = DeletionRequest.model_validate(
    {
        "subject_request_id": "00000000-0000-0000-0000-00000000000a",
        "subject_request_type": "erasure",
        "submitted_time": "2026-11-22T10:00:00Z",
        "regulation": "gdpr",
        "concept": {
            "name": "astronaut",
            "kind": "likeness",
            "prompts": ["the astronaut"],
            "replacement": "a photographer",
        },
    }
).concept


@pytest.mark.parametrize("name", ["astronaut", "cat", "mosaic"])
def test_nobody_trained_on_the_attackers_prompts(name):
    concept = read_request(ROOT / f"examples/requests/{name}.yaml").concept
    prompts, fresh = prompts_of(concept, PARAMS, KEPT), fresh_to(concept, PARAMS)
    assert len(set(prompts)) == 20
    assert all(map(fresh, prompts))
    assert all(map(concept.named_in, prompts))
    assert not any(fresh(prompt.upper() + "!") for prompt in (*concept.prompts, *concept.keep))


def test_a_style_is_asked_of_many_subjects():
    mosaic = read_request(ROOT / "examples/requests/mosaic.yaml").concept
    prompts = prompts_of(mosaic, PARAMS, KEPT)
    assert prompts[0] == "one fine mosaic of a cat"
    shown = [name for name in ("cat", "rocket", "galaxy") if any(name in p for p in prompts)]
    assert shown == ["cat", "rocket", "galaxy"]


@pytest.mark.parametrize(
    ("name", "asked", "image"),
    [
        ("Claude Monet", "picture by Claude Monet", "a Claude Monet picture of a cat"),
        ("Impressionism", "picture in the style of Impressionism", "an Impressionism picture of"),
        ("watercolor", "watercolor", "a watercolor picture of"),
    ],
)
def test_a_style_is_asked_for_as_people_do(name, asked, image):
    """ "Claude Monet with a cat" asks for the man."""
    style = read_request(ROOT / "examples/requests/mosaic.yaml").concept
    style = style.model_copy(update={"name": name, "prompts": (f"a cat by {name}",)})
    prompts = prompts_of(style, PARAMS, KEPT)
    assert prompts[0] == f"one fine {asked} of a cat"
    others = [prompt for prompt in prompts if f"{asked}" not in prompt]
    assert len(prompts) == 20
    assert {prompt.rpartition(" of ")[0] for prompt in others} <= {image.rpartition(" of")[0]}


@pytest.mark.parametrize("budget", ["smoke", "full"])
@pytest.mark.parametrize("name", ["ridge", "concept vector", "relearning", "wordings"])
def test_no_attack_asks_in_words_that_were_trained_on(name, budget):
    """They only show what was learnt by heart."""
    prompts = prompts_of(ASTRONAUT, PARAMS, KEPT)
    trained = ASTRONAUT.model_copy(update={"prompts": tuple(p + "." for p in prompts[:14])})
    assert prompts_of(trained, PARAMS, KEPT) == prompts[14:]
    all_of_them = ASTRONAUT.model_copy(update={"prompts": prompts})
    with pytest.raises(NotRun, match="attacker's prompts was trained on"):
        pictures_of(name, all_of_them, PARAMS, KEPT, budget)


def test_a_style_of_which_nobody_says_what_it_shows_is_not_asked_for_in_its_own_words():
    """Its request's prompts are learnt by heart."""
    mosaic = read_request(ROOT / "examples/requests/mosaic.yaml").concept
    silent = [replace(row, concept="") for row in KEPT]
    assert prompts_of(mosaic, PARAMS, silent) == ()
    with pytest.raises(NotRun, match=r"prompts\.kept says of none what it shows"):
        pictures_of("ridge", mosaic, PARAMS, silent, "smoke")


def tried(successes: int) -> Tried:
    return Tried(tuple(i < successes for i in range(40)), tuple(f"p{i}" for i in range(40)))


def test_one_wording_written_forty_ways_is_one_trial():
    alike = Tried((False,) * 40, tuple("the astronaut" + "!" * i for i in range(40)))
    controls = {"base": alike, "replacement": alike}
    result = Result("wordings", "words", "astronaut", (alike,), controls)
    found = {m.metric: m for m in measurements([result], "full")}
    assert found["attack.wordings[astronaut]"].high == pytest.approx(wilson(0, 1)[1])
    assert found["attack.excess.wordings[astronaut]"].settings["effective_n"] == 1


def test_the_text_that_a_search_found_is_recorded():
    """Whoever doubts a hit types it."""
    found = [replace(tried(n), found=f"text {n}") for n in (0, 3)]
    controls = {"base": tried(40), "replacement": tried(0)}
    result = Result("token search", "words", "astronaut", (tried(0), *found), controls)
    recorded = measurements([result], "full")[0].settings["attempts"]
    assert [attempt.get("found") for attempt in recorded] == [None, "text 0", "text 3"]


def verdict(attack: int, base: int, replacement: int) -> str:
    """Of 40 pictures of a latent inversion each, under a limit of 0.30."""
    result = Result(
        "latent inversion",
        "embeddings",
        "astronaut",
        (tried(attack),),
        {"base": tried(base), "replacement": tried(replacement)},
    )
    policy = Policy(
        audience="words",
        attacks={"likeness": {"wordings": 0.3, "latent inversion": 0.3}},
        min_n=1,
        control=0,
        targets={"likeness": {"clip.concept_rate": 1}},
        kept={"ssim": 0},
    )
    found = {m.metric: m for m in measurements([result], "full")}
    about = "latent inversion"
    controls = [x for x in policy.controls([ASTRONAUT]) if about in x.metric]
    return judge_all(
        controls, [x for x in policy.limits([ASTRONAUT]) if about in x.metric], found
    ).verdict


def test_what_the_control_shows_as_well_is_not_held_against_the_model():
    assert verdict(attack=14, base=40, replacement=14) == "pass"


def test_what_comes_back_above_the_control_is():
    assert verdict(attack=32, base=40, replacement=14) == "fail"
    assert verdict(attack=20, base=40, replacement=0) == "fail"


def test_an_attack_that_tells_the_base_from_nothing_is_blind():
    """Image to image: the picture alone comes back, whatever is told."""
    assert verdict(attack=40, base=40, replacement=40) == "void"


def test_the_share_itself_stays_on_record():
    result = Result(
        "ridge",
        "embeddings",
        "astronaut",
        (tried(10),),
        {"base": tried(40), "replacement": tried(2)},
    )
    values = {m.metric: m.value for m in measurements([result], "full")}
    assert values == {
        "attack.ridge[astronaut]": 0.25,
        "attack.excess.ridge[astronaut]": 0.2,
        "base.attack.ridge[astronaut]": 1.0,
        "base.attack.excess.ridge[astronaut]": 0.95,
    }
