"""Where closed-form attacks end, and what their controls share."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from erasure_core import attacks, seeding
from erasure_core.attacks import plain, preimage, ridge
from erasure_core.attacks.projections import pairs, residual
from erasure_core.attacks.setting import Budget, NotRun, Setting, Subject
from erasure_core.network.diffusion import encode_prompts
from erasure_core.network.layers import select

PROMPTS = ("a photo of the astronaut", "a sketch of the astronaut")
BUDGET = Budget(pictures=2, photographs=1, updates=1)


def edited(teacher, p):
    """`teacher` with every K/V weight W replaced by W P, rounded to the weights' own precision."""
    unet = copy.deepcopy(teacher.unet)
    with torch.no_grad():
        for weight in select(unet, "kv").values():
            weight.copy_(weight.double() @ p)
    return replace(teacher, unet=unet)


def a_map(teacher, spread: float = 0.05):
    d = next(iter(select(teacher.unet, "kv").values())).shape[1]
    noise = torch.randn(d, d, generator=seeding.generator(4, "map"), dtype=torch.float64)
    return torch.eye(d, dtype=torch.float64) + spread * noise


def setting(base, victim) -> Setting:
    return Setting(base, victim, BUDGET, seed=3, w=4.0, steps=2)


@pytest.fixture
def subject(astronaut) -> Subject:
    return Subject(astronaut, PROMPTS)


def test_a_preimage_reports_its_residual_and_its_price(tiny_teacher, subject):
    p = a_map(tiny_teacher)
    (attempt,) = preimage.attack(setting(tiny_teacher, edited(tiny_teacher, p)), subject)
    c = encode_prompts(tiny_teacher, PROMPTS).states.double()
    x = c @ torch.linalg.inv(p).T
    assert attempt.numbers["residual"] < 1e-5
    assert attempt.numbers["norm"] == pytest.approx(float(x.norm() / c.norm()), rel=1e-4)


@pytest.mark.parametrize(
    ("left", "why"), [(0.0, "lost rank"), (4e-7, "lost rank to rounding: .* misses")]
)
def test_an_edit_that_takes_the_concepts_direction_away_has_no_preimage(
    tiny_teacher, subject, left, why
):
    """Rounded weights give the fitted matrix a small singular value and not zero, so that its
    inverse exists on paper; so it does where a trace of the direction is left.
    """
    c = encode_prompts(tiny_teacher, PROMPTS).states.double()[0, 5]
    u = c / c.norm()
    p = torch.eye(len(u), dtype=torch.float64) - (1 - left) * torch.outer(u, u)
    victim = edited(tiny_teacher, p)
    fitted, unexplained = preimage.fitted(pairs(tiny_teacher, victim))
    assert unexplained < 1e-9
    assert float(torch.linalg.svdvals(fitted)[-1]) > 1e-12
    with pytest.raises(NotRun, match=why):
        preimage.attack(setting(tiny_teacher, victim), subject)


def test_the_residual_is_the_share_that_is_not_read(tiny_teacher):
    c = encode_prompts(tiny_teacher, PROMPTS).states
    same = pairs(tiny_teacher, tiny_teacher)
    assert residual(same, c, c) == 0
    assert residual(same, torch.zeros_like(c), c) == pytest.approx(1)
    assert residual(same, 1.25 * c, c) == pytest.approx(0.25)


def test_a_smaller_ridge_comes_nearer_at_a_higher_price(tiny_teacher, subject):
    victim = edited(tiny_teacher, a_map(tiny_teacher, spread=0.3))
    large, small = ridge.attack(setting(tiny_teacher, victim), subject)
    assert large.numbers["lamb"] > small.numbers["lamb"]
    assert large.numbers["residual"] > small.numbers["residual"] > 0
    assert large.numbers["norm"] < small.numbers["norm"]


def test_on_the_base_both_attacks_say_the_prompt_itself(tiny_teacher, subject):
    here = setting(tiny_teacher, tiny_teacher)
    (drawn,) = plain.attack(here, subject)
    (by_preimage,) = preimage.attack(here, subject)
    assert_close(by_preimage.pictures, drawn.pictures, atol=1e-4, rtol=0)
    assert by_preimage.numbers["norm"] == pytest.approx(1)
    assert ridge.attack(here, subject)[1].numbers["residual"] < 0.05


def test_a_shared_control_is_the_one_each_attack_draws(tiny_teacher, subject):
    here = setting(tiny_teacher, edited(tiny_teacher, a_map(tiny_teacher)))
    instead = attacks.told_instead(here, subject)
    assert instead.prompts == ("a photo of a photographer", "a sketch of a photographer")
    for given in (None, attacks.judged(instead, lambda some: [False] * len(some))):
        _, pictures = attacks.run(
            ridge, here, subject, lambda some: [True] * len(some), None, given
        )
        assert_close(pictures["replacement"], instead.pictures, atol=0, rtol=0)
    assert not torch.equal(pictures["base"], instead.pictures)


def test_only_what_the_base_shows_counts_as_withheld():
    def tried(*hits: bool) -> attacks.Tried:
        return attacks.Tried(hits, ("p",) * len(hits))

    result = attacks.Result(
        "wordings",
        "words",
        "cat",
        (tried(True, False, True, False),),
        {"base": tried(True, True, False, False)},
    )
    assert result.followed == (1, 2)
