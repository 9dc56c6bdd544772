"""All-but-One against the paper: identities of the loss at the start, where gradients may flow, which way they point."""

import itertools

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from erasure_core import diffusion, seeding
from erasure_core.errors import BadInput
from erasure_core.methods import all_but_one as abo
from erasure_core.weights import tensors_sha256

FAST = {"steps": 4, "updates": 2, "lr": 1e-3, "trajectories": 2, "instructions": ({"warmup": 1, "kappa": 0.5},)}


def settings(**changes) -> abo.Settings:
    return abo.Settings.model_validate({**FAST, **changes})


def first_terms(teacher, concept, chosen) -> dict[str, float]:
    seen = {}
    abo.erase(teacher, [concept], chosen, seed=3, on_step=lambda step, terms: seen.setdefault(step, dict(terms)))
    return seen[1]


def points(teacher, concept, chosen, elapsed: int) -> abo.Points:
    bank = abo.prepare(teacher, [concept], chosen, seed=5).erase
    return bank[bank.elapsed == elapsed]


# --- the signal -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.5, 0.75, 0.9])
def test_mask_keeps_one_minus_kappa_of_each_channel_and_scales_it(kappa):
    generator = torch.Generator().manual_seed(0)
    null, directed = torch.zeros(2, 3, 20, 20), torch.randn(2, 3, 20, 20, generator=generator)
    delta = abo.semantic_delta(9, null, [directed], [abo.Instruction(scale=3.0, kappa=kappa)])
    kept = (delta != 0).flatten(2).float().mean(2)
    assert_close(kept, torch.full((2, 3), 1 - kappa), atol=1 / 400, rtol=0)
    assert_close(delta[delta != 0], 3.0 * directed[delta != 0])
    assert directed.abs()[delta != 0].min() >= directed[0, 0].abs().quantile(kappa).item() * 0.5  # the large ones are kept


@pytest.mark.parametrize(("elapsed", "active"), [(4, False), (5, True), (8, True), (9, False)])
def test_instruction_acts_from_warmup_until_stop_in_elapsed_steps(elapsed, active):
    null, directed = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    delta = abo.semantic_delta(elapsed, null, [directed], [abo.Instruction(warmup=5, stop=9)])
    assert bool(delta.any()) is active


def test_instructions_add_up_and_a_negative_scale_pushes_away():
    null, a, b = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 5.0)
    both = abo.semantic_delta(9, null, [a, b], [abo.Instruction(scale=1.5, kappa=0), abo.Instruction(scale=-0.5, kappa=0)])
    assert_close(both, torch.full((1, 1, 2, 2), 1.5 * 2 - 0.5 * 5))


# --- the loss at the start: student == teacher ------------------------------------------------------------------------


def test_initial_concept_loss_is_the_mean_square_of_delta_and_the_penalty_is_zero(tiny_teacher, astronaut):
    chosen = settings(updates=1, batch=8)
    terms = first_terms(tiny_teacher, astronaut, chosen)
    bank = abo.prepare(tiny_teacher, [astronaut], chosen, seed=3).erase
    drawn = bank[torch.randint(len(bank.z), (8,), generator=seeding.generator(3, "updates"))]
    guide, _ = abo._guides(tiny_teacher, [astronaut], chosen)
    expected = []
    for row in range(8):  # independently: plain UNet calls, one sample at a time
        z, t = drawn.z[row : row + 1], guide.timesteps[drawn.elapsed[row]]
        prompt = astronaut.prompts[drawn.prompt[row]]
        null, toward = (
            tiny_teacher.unet(z, t, diffusion.encode_prompts(tiny_teacher, [text]).states).sample
            for text in ("", astronaut.replaced(prompt))
        )
        direction = toward - null
        strong = direction.abs() >= direction.abs().flatten(2).quantile(0.5, dim=2).view(1, -1, 1, 1)
        expected.append((7.5 * direction * strong * (drawn.elapsed[row] >= 1)).square().mean())
    assert terms["concept"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-3)
    assert terms["concept"] > 0
    assert terms["penalty"] < 1e-9


def test_outside_the_window_the_initial_loss_is_zero(tiny_teacher, astronaut):
    late = points(tiny_teacher, astronaut, settings(), elapsed=0)
    guide, _ = abo._guides(tiny_teacher, [astronaut], settings())
    contexts = [guide.null.expand(len(late.z)), guide.walked[late.prompt]]
    null, cond = diffusion.predict_each(tiny_teacher, tiny_teacher.unet, late.z, guide.timesteps[late.elapsed], contexts)
    assert abo.concept_loss(cond, null, late.target, 7.5).item() < 1e-8


def test_replace_target_is_the_teachers_guidance_towards_the_replacement(tiny_teacher, astronaut):
    chosen = settings(target="replace", gamma1=3.0)
    at = points(tiny_teacher, astronaut, chosen, elapsed=2)
    t = diffusion.timesteps(tiny_teacher, chosen.steps)[2]
    for row in range(len(at.z)):
        z = at.z[row : row + 1]
        replaced = astronaut.replaced(astronaut.prompts[at.prompt[row]])
        null, cond = (tiny_teacher.unet(z, t, diffusion.encode_prompts(tiny_teacher, [p]).states).sample for p in ("", replaced))
        assert_close(at.target[row : row + 1], 3.0 * (cond - null), atol=1e-4, rtol=1e-4)


# --- gradients ------------------------------------------------------------------------------------------------------


def test_no_gradient_reaches_the_unconditional_prediction_through_the_concept_loss():
    cond, null = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    loss = abo.concept_loss(cond, null, torch.randn(2, 3), 7.5)
    loss.backward()
    assert null.grad is None
    assert cond.grad.abs().sum() > 0


def test_the_penalty_does_reach_it():
    null = torch.zeros(2, 3, requires_grad=True)
    abo.penalty_loss(null, torch.ones(2, 3)).backward()
    assert_close(null.grad, torch.full((2, 3), -2 / 6))


def test_descent_moves_guidance_towards_delta_where_equation_13_as_printed_moves_away():
    """With Eq. 13's parenthesis both losses start at mean(delta^2); only the direction of the gradient tells them apart."""
    guidance, delta, gamma = torch.tensor([0.4]), torch.tensor([0.9]), 2.0
    steps = {}
    for name in ("algorithm 1", "equation 13"):
        cond = guidance.clone().requires_grad_()
        if name == "algorithm 1":
            loss = abo.concept_loss(cond, torch.zeros(1), gamma * guidance + delta, gamma)
        else:
            loss = (gamma * cond - gamma * guidance + delta).square().mean()
        assert loss.item() == pytest.approx(0.81)
        loss.backward()
        steps[name] = -cond.grad.item()
    assert steps["algorithm 1"] == pytest.approx(2 * gamma * 0.9)
    assert steps["equation 13"] == pytest.approx(-2 * gamma * 0.9)


def test_fixed_point_is_teacher_guidance_plus_delta_over_gamma2():
    null, guidance, delta, gamma1, gamma2 = torch.tensor(0.2), torch.tensor(0.7), torch.tensor(1.5), 6.0, 3.0
    best = null + gamma1 / gamma2 * guidance + delta / gamma2
    assert abo.concept_loss(best, null, gamma1 * guidance + delta, gamma2).item() == pytest.approx(0, abs=1e-12)


# --- walks ----------------------------------------------------------------------------------------------------------


def test_bank_and_fresh_walks_agree_at_the_same_noise(tiny_teacher, astronaut):
    chosen = settings()
    guide, _ = abo._guides(tiny_teacher, [astronaut], chosen)
    bank = guide.bank(1, seeding.generator(11, "w"))
    start = seeding.generator(11, "w")
    z, prompt = guide._start(1, start)
    for elapsed in range(chosen.steps):
        assert_close(bank.z[elapsed : elapsed + 1], z, atol=1e-4, rtol=1e-4)
        null, target = guide.signal(z, elapsed, prompt)
        z = diffusion.walk(tiny_teacher, bank.z[:1], chosen.steps, elapsed + 1, lambda z, t: sum(guide.signal(z, _at(guide, t), prompt)))
        assert_close(bank.null[elapsed : elapsed + 1], null, atol=1e-4, rtol=1e-4)
        assert_close(bank.target[elapsed : elapsed + 1], target, atol=1e-3, rtol=1e-3)


def _at(guide: abo.Guide, timestep: int) -> int:
    return guide.timesteps.tolist().index(timestep)


def test_t_equal_to_T_takes_no_step(tiny_teacher):
    z = torch.randn(1, 4, 8, 8)
    assert diffusion.walk(tiny_teacher, z, 4, 0, lambda *_: pytest.fail("a step was taken")) is z


def test_fresh_points_cover_every_elapsed_step(tiny_teacher, astronaut):
    guide, _ = abo._guides(tiny_teacher, [astronaut], settings())
    seen = guide.fresh(40, torch.Generator().manual_seed(0)).elapsed
    assert set(seen.tolist()) == {0, 1, 2, 3}


# --- the whole method -----------------------------------------------------------------------------------------------

VARIANTS = [
    {"target": t, "trajectories": b, "keep_weight": k} for t, b, k in itertools.product(("residual", "replace"), ("fresh", 2), (0, 5))
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_teacher_untouched_delta_declared_and_one_seed_one_hash(tiny_teacher, astronaut, changes):
    chosen, before = settings(**changes), tensors_sha256(tiny_teacher.unet.state_dict())
    first, again = (abo.erase(tiny_teacher, [astronaut], chosen, seed=7) for _ in range(2))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == first.base_sha256
    assert first.names == abo.declared(tiny_teacher.unet, chosen)
    assert max(t.abs().max().item() for t in first.tensors.values()) > 0
    assert first.sha256 == again.sha256
    assert abo.erase(tiny_teacher, [astronaut], chosen, seed=8).sha256 != first.sha256


@pytest.mark.parametrize("group", ["xattn", "kv"])
def test_only_the_group_changes(tiny_teacher, astronaut, group):
    delta = abo.erase(tiny_teacher, [astronaut], settings(group=group), seed=7)
    assert delta.names
    assert all(".attn2." in name for name in delta.names)
    if group == "kv":
        assert all("to_k" in name or "to_v" in name for name in delta.names)


def test_shared_walks_change_nothing(tiny_teacher, astronaut):
    chosen = settings(keep_weight=2)
    prepared = abo.prepare(tiny_teacher, [astronaut], chosen, seed=7)
    assert (
        abo.erase(tiny_teacher, [astronaut], chosen, seed=7, prepared=prepared).sha256
        == abo.erase(tiny_teacher, [astronaut], chosen, seed=7).sha256
    )


def test_training_moves_the_student_towards_its_target(tiny_teacher, astronaut):
    chosen = settings(target="replace", updates=150, batch=8, lr=1e-3, **{"lambda": 60})
    bank = abo.prepare(tiny_teacher, [astronaut], chosen, seed=1).erase
    guide, _ = abo._guides(tiny_teacher, [astronaut], chosen)
    erased = diffusion.encode_prompts(tiny_teacher, astronaut.prompts)[bank.prompt]

    @torch.no_grad()
    def distance() -> float:
        contexts = [guide.null.expand(len(bank.z)), erased]
        null, cond = diffusion.predict_each(tiny_teacher, tiny_teacher.unet, bank.z, guide.timesteps[bank.elapsed], contexts)
        return abo.concept_loss(cond, null, bank.target, chosen.gamma2).item()

    before = distance()
    with abo.erase(tiny_teacher, [astronaut], chosen, seed=1).applied(tiny_teacher.unet):
        assert distance() < 0.5 * before


def test_a_larger_lambda_holds_the_unconditional_prediction_closer(tiny_teacher, astronaut):
    z, empty = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)), diffusion.encode_prompts(tiny_teacher, [""])
    before = tiny_teacher.unet(z, 500, empty.expand(4).states).sample
    drift = {}
    for lam in (0.0, 50.0):
        delta = abo.erase(tiny_teacher, [astronaut], settings(target="replace", updates=60, batch=4, lr=3e-3, **{"lambda": lam}), seed=1)
        with delta.applied(tiny_teacher.unet):
            drift[lam] = (tiny_teacher.unet(z, 500, empty.expand(4).states).sample - before).square().mean().item()
    assert drift[0.0] > 0
    assert drift[50.0] < 0.5 * drift[0.0]


def test_bf16_trains_fp32_weights(tiny_teacher, astronaut):
    delta = abo.erase(tiny_teacher, [astronaut], settings(precision="bf16"), seed=7)
    assert all(t.dtype == torch.float32 for t in delta.tensors.values())
    assert delta.sha256 != abo.erase(tiny_teacher, [astronaut], settings(), seed=7).sha256


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad", [{"lambda": -1}, {"lambda": float("nan")}, {"lamda": 5}, {"steps": 1}, {"group": "cross"}, {"instructions": [{"kappa": 1.0}]}]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        abo.Settings.model_validate(bad)


def test_a_residual_target_without_an_acting_instruction_is_refused(tiny_teacher, astronaut):
    for instructions in ((), ({"warmup": 4},), ({"scale": 0.0},)):
        with pytest.raises(BadInput, match="nothing is erased"):
            abo.erase(tiny_teacher, [astronaut], settings(instructions=instructions), seed=0)


def test_a_prompt_longer_than_the_tokenizer_reads_is_refused(tiny_teacher, astronaut):
    long = astronaut.model_copy(update={"prompts": ("the astronaut " * 20,)})
    with pytest.raises(BadInput, match="42 tokens with its two markers; this base reads 16"):
        abo.erase(tiny_teacher, [long], settings(), seed=0)


def test_paper_preset_is_the_default():
    paper = abo.Settings()
    assert (paper.target, paper.lambda_, paper.gamma1, paper.gamma2, paper.steps, paper.updates) == ("residual", 5, 7.5, 7.5, 35, 200)
    assert (paper.lr, paper.adam_eps, paper.keep_weight, paper.trajectories, paper.group) == (1e-5, 1e-8, 0, "fresh", "full")
    assert paper.instructions[0].warmup == 5
