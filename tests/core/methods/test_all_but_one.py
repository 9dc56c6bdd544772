"""All-but-One against the paper: identities of the loss at the start, where gradients may flow,
which way they point.
"""

import itertools
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import all_but_one as abo
from erasure_core.network import attention, diffusion, guided, training
from erasure_core.network.weights import read_tensors, tensors_sha256, write_tensors
from erasure_core.network.work import Work
from tests.marks import slow

FAST = {
    "steps": 4,
    "updates": 2,
    "lr": 1e-3,
    "trajectories": 2,
    "instructions": ({"warmup": 1, "kappa": 0.5},),
}


def settings(**changes) -> abo.Settings:
    return abo.Settings.model_validate({**FAST, **changes})


def first_terms(teacher, concept, chosen) -> dict[str, float]:
    seen = {}
    abo.erase(
        teacher,
        [concept],
        chosen,
        Work(3, on_step=lambda step, terms: seen.setdefault(step, dict(terms))),
    )
    return seen[1]


def points(teacher, concept, chosen, elapsed: int) -> abo.GuidedPoints:
    bank = abo.prepare(teacher, [concept], chosen, Work(5)).erase
    return bank[bank.elapsed == elapsed]


# --- the signal
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [0.5, 0.75, 0.9])
def test_mask_keeps_one_minus_kappa_of_each_channel_and_scales_it(kappa):
    generator = torch.Generator().manual_seed(0)
    null, directed = torch.zeros(2, 3, 20, 20), torch.randn(2, 3, 20, 20, generator=generator)
    delta = abo.semantic_delta(9, null, [directed], [abo.Instruction(scale=3.0, kappa=kappa)])
    kept = (delta != 0).flatten(2).float().mean(2)
    assert_close(kept, torch.full((2, 3), 1 - kappa), atol=1 / 400, rtol=0)
    assert_close(delta[delta != 0], 3.0 * directed[delta != 0])
    # the large ones are kept
    assert directed.abs()[delta != 0].min() >= directed[0, 0].abs().quantile(kappa).item() * 0.5


@pytest.mark.parametrize(("elapsed", "active"), [(4, False), (5, True), (8, True), (9, False)])
def test_instruction_acts_from_warmup_until_stop_in_elapsed_steps(elapsed, active):
    null, directed = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    delta = abo.semantic_delta(
        elapsed, null, [directed], [abo.Instruction(scale=7.5, warmup=5, stop=9)]
    )
    assert bool(delta.any()) is active


def test_a_scale_that_is_not_told_is_gamma2_and_one_that_is_told_stays():
    chosen = abo.Settings(gamma2=3.0, instructions=(abo.Instruction(), abo.Instruction(scale=-2)))
    assert [i.scale for i in chosen.scaled] == [3.0, -2]
    assert [i.scale for i in abo.Settings().scaled] == [7.5]  # the paper's


def test_lambda_eff_is_the_penalty_in_units_of_an_error_of_eps():
    chosen = abo.Settings.model_validate({"lambda": 5, "gamma2": 4})
    error, zero = torch.full((1, 1, 2, 2), 0.3), torch.zeros(1, 1, 2, 2)
    concept = abo.concept_loss(error, zero, zero, chosen.gamma2)
    penalty = chosen.lambda_ * abo.penalty_loss(error, zero)
    assert_close(float(penalty / concept), chosen.lambda_eff)
    assert chosen.lambda_eff == 0.3125


def test_instructions_add_up_and_a_negative_scale_pushes_away():
    null, a, b = (
        torch.zeros(1, 1, 2, 2),
        torch.full((1, 1, 2, 2), 2.0),
        torch.full((1, 1, 2, 2), 5.0),
    )
    both = abo.semantic_delta(
        9, null, [a, b], [abo.Instruction(scale=1.5, kappa=0), abo.Instruction(scale=-0.5, kappa=0)]
    )
    assert_close(both, torch.full((1, 1, 2, 2), 1.5 * 2 - 0.5 * 5))


# --- the loss at the start: student == teacher
# ------------------------------------------------------------------------


def test_initial_concept_loss_is_the_mean_square_of_delta_and_the_penalty_is_zero(
    tiny_teacher, astronaut
):
    chosen = settings(updates=1, batch=8)
    terms = first_terms(tiny_teacher, astronaut, chosen)
    bank = abo.prepare(tiny_teacher, [astronaut], chosen, Work(3)).erase
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
        strong = direction.abs() >= direction.abs().flatten(2).quantile(0.5, dim=2).view(
            1, -1, 1, 1
        )
        expected.append((7.5 * direction * strong * (drawn.elapsed[row] >= 1)).square().mean())
    assert terms["concept"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-3)
    assert terms["concept"] > 0
    assert terms["penalty"] < 1e-9


def test_outside_the_window_the_initial_loss_is_zero(tiny_teacher, astronaut):
    late = points(tiny_teacher, astronaut, settings(), elapsed=0)
    guide, _ = abo._guides(tiny_teacher, [astronaut], settings())
    contexts = [guide.null.expand(len(late.z)), guide.prompts[late.prompt]]
    null, cond = diffusion.predict_each(
        tiny_teacher, tiny_teacher.unet, late.z, guide.timesteps[late.elapsed], contexts
    )
    assert abo.concept_loss(cond, null, late.target, 7.5).item() < 1e-8


def test_replace_target_is_the_teachers_guidance_towards_the_replacement(tiny_teacher, astronaut):
    chosen = settings(target="replace", gamma1=3.0)
    at = points(tiny_teacher, astronaut, chosen, elapsed=2)
    t = diffusion.timesteps(tiny_teacher, chosen.steps)[2]
    for row in range(len(at.z)):
        z = at.z[row : row + 1]
        replaced = astronaut.replaced(astronaut.prompts[at.prompt[row]])
        null, cond = (
            tiny_teacher.unet(z, t, diffusion.encode_prompts(tiny_teacher, [p]).states).sample
            for p in ("", replaced)
        )
        assert_close(at.target[row : row + 1], 3.0 * (cond - null), atol=1e-4, rtol=1e-4)


# --- several concepts, several instructions
# -----------------------------------------------------------------------------

ROCKET = Concept(
    name="rocket", kind="object", prompts=("a poster of a rocket", "a rocket"), replacement="a cat"
)


@pytest.mark.slow
def test_each_concept_is_pulled_to_its_own_replacement_and_every_instruction_is_heard(
    tiny_teacher, astronaut
):
    """Targets of both concepts, against a sum over two instructions written out here."""
    both = (
        {"warmup": 1, "kappa": 0.5, "scale": 3.0},
        {"prompt": "old coins", "warmup": 2, "kappa": 0.75, "scale": -2.0},
    )
    chosen = settings(instructions=both, trajectories=8)
    bank = abo.prepare(tiny_teacher, [astronaut, ROCKET], chosen, Work(5)).erase
    prompts = (*astronaut.prompts, *ROCKET.prompts)
    replaced = ("a photo of a photographer", "a photographer", "a poster of a cat", "a cat")
    assert set(bank.prompt.tolist()) == {0, 1, 2, 3}
    for row in range(len(bank.z)):
        z, p, elapsed = bank.z[row : row + 1], int(bank.prompt[row]), int(bank.elapsed[row])
        t = diffusion.timesteps(tiny_teacher, chosen.steps)[elapsed]
        null, cond, own, coins = (
            tiny_teacher.unet(z, t, diffusion.encode_prompts(tiny_teacher, [text]).states).sample
            for text in ("", prompts[p], replaced[p], "old coins")
        )
        expected = 7.5 * (cond - null)
        for direction, scale, kappa, warmup in (
            (own - null, 3.0, 0.5, 1),
            (coins - null, -2.0, 0.75, 2),
        ):
            strong = direction.abs() >= direction.abs().flatten(2).quantile(kappa, dim=2).view(
                1, -1, 1, 1
            )
            expected = expected + scale * direction * strong * (elapsed >= warmup)
        assert_close(bank.target[row : row + 1], expected, atol=1e-4, rtol=1e-3)


def test_two_concepts_take_twice_the_updates_of_one_and_both_are_drawn(
    tiny_teacher, astronaut, monkeypatch
):
    seen, drawn = [], set()
    inside = abo.concept_loss

    def watched(cond, null, target, gamma2):
        drawn.update(target.flatten(1)[:, 0].tolist())
        return inside(cond, null, target, gamma2)

    monkeypatch.setattr(abo, "concept_loss", watched)
    chosen, concepts = settings(updates=10, batch=4), [astronaut, ROCKET]
    abo.erase(
        tiny_teacher, concepts, chosen, Work(5, on_step=lambda update, _: seen.append(update))
    )
    assert seen == list(range(1, abo.steps(concepts, chosen) + 1)) == list(range(1, 21))
    bank = abo.prepare(tiny_teacher, concepts, chosen, Work(5)).erase
    owner = {
        first: int(prompt) // 2
        for first, prompt in zip(bank.target.flatten(1)[:, 0].tolist(), bank.prompt, strict=True)
    }
    assert {owner[first] for first in drawn} == {0, 1}


# --- the implicit signal
# ---------------------------------------------------------------------------------------------


def implicit(**changes) -> abo.Settings:
    return settings(signal="implicit", instructions=(), implicit=changes)


@pytest.mark.parametrize(("include_eot", "tail"), [(False, "none"), (True, "padded")])
def test_implicit_target_is_the_guidance_of_the_prediction_that_does_not_look_at_the_name(
    tiny_teacher, astronaut, include_eot, tail
):
    chosen = implicit(scale=-1.0, include_eot=include_eot)
    bank = abo.prepare(tiny_teacher, [astronaut], chosen, Work(5)).erase
    columns = attention.concept_columns(tiny_teacher, [astronaut], tail)
    for row in range(len(bank.z)):
        z, p = bank.z[row : row + 1], int(bank.prompt[row])
        t = diffusion.timesteps(tiny_teacher, chosen.steps)[bank.elapsed[row]]
        null, cond = (
            diffusion.encode_prompts(tiny_teacher, [text]).states
            for text in ("", astronaut.prompts[p])
        )
        with attention.reweighted(tiny_teacher.unet, columns[p : p + 1], -1.0):
            edited = tiny_teacher.unet(z, t, cond).sample
        assert (edited - tiny_teacher.unet(z, t, cond).sample).abs().max() > 1e-5
        assert_close(
            bank.target[row : row + 1],
            7.5 * (edited - tiny_teacher.unet(z, t, null).sample),
            atol=1e-4,
            rtol=1e-3,
        )


def test_implicit_signal_acts_for_a_share_of_the_steps_only(tiny_teacher, astronaut):
    bank = abo.prepare(
        tiny_teacher, [astronaut], implicit(scale=-2.0, include_eot=True, fraction=0.5), Work(5)
    ).erase
    guide = abo.Guide(
        tiny_teacher, implicit(), astronaut.prompts
    )  # neither directions nor hidden tokens: plain guidance
    for elapsed in range(4):
        at = bank[bank.elapsed == elapsed]
        _, plain = guide.signal(at.z, elapsed, at.prompt)
        assert torch.allclose(at.target, plain, atol=2e-5) is (elapsed >= 2)


def test_implicit_delta_puts_the_edited_prediction_in_the_place_of_the_concepts():
    null, cond, edited = torch.tensor(0.2), torch.tensor(0.9), torch.tensor(0.5)
    assert_close(6 * (cond - null) + abo.implicit_delta(cond, edited, 6.0), 6 * (edited - null))


def test_implicit_signal_trains_and_leaves_the_teachers_processors(tiny_teacher, astronaut):
    before = tiny_teacher.unet.attn_processors
    delta = abo.erase(tiny_teacher, [astronaut], implicit(include_eot=True), Work(7))
    assert max(t.abs().max().item() for t in delta.tensors.values()) > 0
    assert all(after is before[name] for name, after in tiny_teacher.unet.attn_processors.items())


def test_implicit_signal_needs_the_name_in_each_prompt_and_a_residual_target(astronaut):
    unnamed = astronaut.model_copy(
        update={"prompts": ("the astronaut", "a person in a space suit")}
    )
    with pytest.raises(BadInput, match="'a person in a space suit' does not hold"):
        abo.check([unnamed], implicit())
    robust = abo.Settings.model_validate({"robust": {}})
    with pytest.raises(BadInput, match=r"robust puts vectors in .* suit' does not hold"):
        abo.check([unnamed], robust)
    abo.check([astronaut], robust)
    with pytest.raises(BadInput, match="target replace has none"):
        abo.check([astronaut], implicit().model_copy(update={"target": "replace"}))
    abo.check([astronaut], implicit())


# --- the hard constraint
# ---------------------------------------------------------------------------------------------

HARD = {"group": "kv", "hard": True, "target": "replace", "updates": 20, "batch": 4, "lr": 1e-2}


def drift(teacher, delta, prompt: str) -> float:
    """Largest change of eps at random z and t, relative to its size."""
    generator = torch.Generator().manual_seed(0)
    z, t = (
        torch.randn(6, 4, 8, 8, generator=generator),
        torch.randint(1000, (6,), generator=generator),
    )
    states = diffusion.encode_prompts(teacher, [prompt]).expand(6).states
    before = teacher.unet(z, t, states).sample
    with delta.applied(teacher.unet):
        return (
            (teacher.unet(z, t, states).sample - before).abs().max() / before.abs().max()
        ).item()


def test_hard_leaves_the_unconditional_prediction_alone_at_any_state(tiny_teacher, astronaut):
    hard = abo.erase(tiny_teacher, [astronaut], settings(**HARD), Work(7))
    soft = abo.erase(tiny_teacher, [astronaut], settings(**{**HARD, "hard": False}), Work(7))
    assert drift(tiny_teacher, hard, "") < 1e-5
    assert drift(tiny_teacher, soft, "") > 1e-3
    assert drift(tiny_teacher, hard, astronaut.prompts[0]) > 1e-3  # and yet the concept moves


def test_every_row_of_the_hard_change_is_blind_to_the_null_prompt(tiny_teacher, astronaut):
    delta = abo.erase(tiny_teacher, [astronaut], settings(**HARD), Work(7))
    states = diffusion.encode_prompts(tiny_teacher, [""]).states[0].double()
    for change in delta.tensors.values():
        sizes = change.norm(dim=1)[:, None] * states.norm(dim=1)
        assert ((change.double() @ states.T).abs() / sizes).max() < 1e-5


def test_lambda_does_not_matter_where_the_constraint_is_hard(tiny_teacher, astronaut):
    chosen = settings(**HARD, **{"lambda": 0})
    same = abo.erase(tiny_teacher, [astronaut], settings(**HARD, **{"lambda": 50}), Work(7))
    assert abo.erase(tiny_teacher, [astronaut], chosen, Work(7)).sha256 == same.sha256


def test_hard_is_refused_outside_keys_and_values(astronaut):
    with pytest.raises(BadInput, match="use group kv"):
        abo.check([astronaut], settings(**{**HARD, "group": "xattn"}))


def test_hard_is_refused_where_the_null_prompt_fills_the_text_space(tiny_teacher):
    full = diffusion.Context(torch.eye(32)[None], torch.zeros(1, 32, dtype=torch.long))
    with pytest.raises(BadInput, match="fill all 32 directions"):
        abo.projection(tiny_teacher.unet, {}, full)


# --- the bank on disk
# ---------------------------------------------------------------------------------------------


def kept_files(folder) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_kept_bank_is_not_made_again_and_changes_nothing(
    tiny_teacher, astronaut, tmp_path, monkeypatch
):
    chosen = settings(keep_weight=2)
    without = abo.erase(tiny_teacher, [astronaut], chosen, Work(7)).sha256
    first = abo.prepare(tiny_teacher, [astronaut], chosen, Work(7, cache=tmp_path / "kept"))
    # of the concept's prompts and of those to keep
    assert len(kept_files(tmp_path / "kept")) == 2
    monkeypatch.setattr(guided.GuidedTrajectories, "whole", lambda *_: pytest.fail("made again"))
    again = abo.prepare(
        tiny_teacher,
        [astronaut],
        settings(keep_weight=2, updates=2, **{"lambda": 9}),
        Work(7, cache=tmp_path / "kept"),
    )
    for banks in (first, again):
        assert (
            abo.erase(tiny_teacher, [astronaut], chosen, Work(7), prepared=banks).sha256 == without
        )


CONTENT = [
    {"gamma1": 3.0},
    {"gamma2": 2.0},  # the scale of an instruction that tells none
    {"steps": 5},
    {"trajectories": 3},
    {"target": "replace"},
    {"instructions": ({"warmup": 2},)},
    {"signal": "implicit"},
    {"signal": "implicit", "implicit": {"scale": -1}},
    {"signal": "implicit", "implicit": {"include_eot": True}},
]


@pytest.fixture
def kept(tiny_teacher, astronaut, tmp_path):
    """How many files a `prepare` adds to the cache; the bank of the default settings is there."""

    def added(chosen: abo.Settings, concept=astronaut, seed=7) -> int:
        before = kept_files(tmp_path)
        abo.prepare(tiny_teacher, [concept], chosen, Work(seed, cache=tmp_path))
        return len(kept_files(tmp_path) - before)

    assert added(settings()) == 1
    return added


@pytest.mark.parametrize(
    "changes",
    [
        {"lambda": 0},
        {"lr": 0.5},
        {"batch": 3},
        {"updates": 9},
        {"gamma2": 2, "instructions": ({"warmup": 1, "kappa": 0.5, "scale": 7.5},)},
        {"group": "kv", "hard": True},
    ],
    ids=str,
)
def test_a_bank_is_used_again_under_settings_of_the_training(kept, changes):
    assert kept(settings(**changes)) == 0


def test_each_setting_of_a_bank_has_a_bank_of_its_own(kept):
    assert [kept(settings(**changes)) for changes in CONTENT] == [1] * len(CONTENT)


def test_a_bank_is_made_anew_for_another_seed_concept_or_base(kept, tiny_teacher, astronaut):
    assert kept(settings(), seed=8) == 1
    for change in ({"prompts": ("an astronaut", "astronaut")}, {"replacement": "a cat"}):
        assert kept(settings(), concept=astronaut.model_copy(update=change)) == 1
    tiny_teacher.unet.conv_in.weight.data[0, 0] += 0.1
    assert kept(settings()) == 1


def test_making_it_in_smaller_batches_gives_the_same_bank(tiny_teacher, astronaut, monkeypatch):
    chosen = settings(trajectories=5)
    together = abo.prepare(tiny_teacher, [astronaut], chosen, Work(7)).erase
    monkeypatch.setattr(guided, "GUIDED_TOGETHER", 2)
    apart = abo.prepare(tiny_teacher, [astronaut], chosen, Work(7)).erase
    for name, tensor in together.tensors().items():
        assert_close(getattr(apart, name), tensor, atol=1e-3, rtol=1e-3)
    assert together.elapsed.tolist() == [i for i in range(4) for _ in range(5)]


def test_only_the_drawn_rows_of_a_large_bank_are_read(tmp_path):
    """As the kernel counts the pages of the file that are in this process."""
    n, file = 2000, tmp_path / "trajectories.safetensors"
    z, whole = torch.randn(n, 4, 32, 32), torch.arange(n)
    write_tensors(
        file, abo.GuidedPoints(z, whole, whole.clone(), z.clone(), z.clone()).tensors(), {}
    )

    def resident() -> int:
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        return sum(
            int(next(s for s in lines if s.startswith("Rss:")).split()[1])
            for line in lines
            if line.endswith(file.name)
        )

    bank = abo.GuidedPoints(**read_tensors(file)[0])
    drawn = bank[torch.tensor([3, 1500])]
    assert_close(drawn.z, z[[3, 1500]])
    size = file.stat().st_size / 1024
    assert resident() < 0.2 * size
    assert bank.z.sum() == z.sum()
    assert resident() > 0.3 * size  # the measure sees what is read


def test_a_bank_larger_than_what_is_held_trains_the_same(
    tiny_teacher, astronaut, tmp_path, monkeypatch
):
    chosen = settings(keep_weight=2)
    held = abo.erase(tiny_teacher, [astronaut], chosen, Work(7)).sha256
    monkeypatch.setattr(diffusion, "RESIDENT", 0)
    banks = abo.prepare(tiny_teacher, [astronaut], chosen, Work(7, cache=tmp_path))
    assert abo.erase(tiny_teacher, [astronaut], chosen, Work(7), prepared=banks).sha256 == held


# --- gradients
# ---------------------------------------------------------------------------------------------


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
    """With Eq. 13's parenthesis both losses start at mean(delta^2); only the direction of the
    gradient tells them apart.
    """
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
    null, guidance, delta, gamma1, gamma2 = (
        torch.tensor(0.2),
        torch.tensor(0.7),
        torch.tensor(1.5),
        6.0,
        3.0,
    )
    best = null + gamma1 / gamma2 * guidance + delta / gamma2
    assert abo.concept_loss(best, null, gamma1 * guidance + delta, gamma2).item() == pytest.approx(
        0, abs=1e-12
    )


# --- trajectories
# ---------------------------------------------------------------------------------------------


def test_bank_and_fresh_points_agree_at_the_same_noise(tiny_teacher, astronaut):
    chosen = settings()
    guide, _ = abo._guides(tiny_teacher, [astronaut], chosen)
    bank = guide.bank(1, "w", Work(11))
    z, prompt = diffusion.drawn_noise(tiny_teacher, 1, seeding.generator(11, "w")), bank.prompt[:1]
    for elapsed in range(chosen.steps):
        assert_close(bank.z[elapsed : elapsed + 1], z, atol=1e-4, rtol=1e-4)
        null, target = guide.signal(z, elapsed, prompt)
        z = diffusion.denoise(
            tiny_teacher,
            bank.z[:1],
            chosen.steps,
            elapsed + 1,
            lambda z, t: sum(guide.signal(z, _at(guide, t), prompt)),
        )
        assert_close(bank.null[elapsed : elapsed + 1], null, atol=1e-4, rtol=1e-4)
        assert_close(bank.target[elapsed : elapsed + 1], target, atol=1e-3, rtol=1e-3)


def _at(guide: abo.Guide, timestep: int) -> int:
    return guide.timesteps.tolist().index(timestep)


def test_t_equal_to_T_takes_no_step(tiny_teacher):
    z = torch.randn(1, 4, 8, 8)
    assert diffusion.denoise(tiny_teacher, z, 4, 0, lambda *_: pytest.fail("a step was taken")) is z


def test_a_bank_has_every_prompt_before_any_twice_for_each_concept(tiny_teacher, astronaut):
    bank = abo.prepare(tiny_teacher, [astronaut, ROCKET], settings(trajectories=4), Work(5)).erase
    prompts = bank.prompt[bank.elapsed == 0].tolist()
    assert sorted(prompts[:4]) == [0, 0, 1, 1]
    assert sorted(prompts[4:]) == [2, 2, 3, 3]
    assert {*prompts[:2]} == {0, 1}
    assert {*prompts[4:6]} == {2, 3}


MANY = Concept(
    name="cat",
    kind="object",
    prompts=("a cat", "cat", "a photo of a cat", "a sketch of a cat", "a poster of a cat"),
    replacement="a rocket",
)


def test_a_concept_of_few_prompts_has_as_many_trajectories_as_one_of_many(tiny_teacher, astronaut):
    few = astronaut.model_copy(update={"prompts": ("astronaut",)})
    bank = abo.prepare(tiny_teacher, [MANY, few], settings(trajectories=3), Work(5)).erase
    assert (bank.prompt == 5).sum() == (bank.prompt < 5).sum() == 3 * 4


@pytest.mark.slow
def test_a_concept_of_few_prompts_has_as_many_fresh_points_as_one_of_many(tiny_teacher, astronaut):
    few = astronaut.model_copy(update={"prompts": ("astronaut",)})
    guide, _ = abo._guides(tiny_teacher, [MANY, few], settings())
    prompts = guide.points(None, 40, torch.Generator().manual_seed(0)).prompt
    assert 12 <= (prompts == 5).sum() <= 28  # half of them, within 2.5 standard deviations
    assert set(prompts.tolist()) == {0, 1, 2, 3, 4, 5}


@pytest.mark.slow
def test_fresh_points_cover_every_elapsed_step(tiny_teacher, astronaut):
    guide, _ = abo._guides(tiny_teacher, [astronaut], settings())
    seen = guide.points(None, 40, torch.Generator().manual_seed(0)).elapsed
    assert set(seen.tolist()) == {0, 1, 2, 3}


# --- the whole method
# ---------------------------------------------------------------------------------------------

VARIANTS = [
    {"target": t, "trajectories": b, "keep_weight": k}
    for t, b, k in itertools.product(("residual", "replace"), ("fresh", 2), (0, 5))
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_what_is_declared_changes_and_the_teacher_stays(tiny_teacher, astronaut, changes):
    chosen, before = settings(**changes), tensors_sha256(tiny_teacher.unet.state_dict())
    delta = abo.erase(tiny_teacher, [astronaut], chosen, Work(7))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == abo.declared(tiny_teacher.unet, chosen)
    assert max(t.abs().max().item() for t in delta.tensors.values()) > 0


@pytest.mark.parametrize("changes", [VARIANTS[0], *map(slow, VARIANTS[1:])], ids=str)
def test_one_seed_gives_one_hash(tiny_teacher, astronaut, changes):
    first, again, other = (
        abo.erase(tiny_teacher, [astronaut], settings(**changes), Work(seed)).sha256
        for seed in (7, 7, 8)
    )
    assert first == again != other


@pytest.mark.parametrize("group", ["xattn", "kv"])
def test_only_the_group_changes(tiny_teacher, astronaut, group):
    delta = abo.erase(tiny_teacher, [astronaut], settings(group=group), Work(7))
    assert delta.names
    assert all(".attn2." in name for name in delta.names)
    if group == "kv":
        assert all("to_k" in name or "to_v" in name for name in delta.names)


@pytest.mark.parametrize(
    "changes",
    [{"trajectories": "fresh"}, {"keep_weight": 2}, HARD],
    ids=["fresh", "bank and keep", "hard"],
)
def test_a_run_killed_and_resumed_ends_at_the_same_weights(
    tiny_teacher, astronaut, tmp_path, monkeypatch, changes
):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    chosen, state = settings(**{**changes, "updates": 5}), tmp_path / "state"
    whole = abo.erase(tiny_teacher, [astronaut], chosen, Work(7))

    def killed(update, _terms):
        if update == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        abo.erase(tiny_teacher, [astronaut], chosen, Work(7, on_step=killed, resume=state))
    assert state.exists()
    assert (
        abo.erase(tiny_teacher, [astronaut], chosen, Work(7, resume=state)).sha256 == whole.sha256
    )


def test_what_is_prepared_changes_nothing(tiny_teacher, astronaut):
    chosen = settings(keep_weight=2)
    prepared = abo.prepare(tiny_teacher, [astronaut], chosen, Work(7))
    assert (
        abo.erase(tiny_teacher, [astronaut], chosen, Work(7), prepared=prepared).sha256
        == abo.erase(tiny_teacher, [astronaut], chosen, Work(7)).sha256
    )


@pytest.mark.slow
def test_keep_null_holds_the_unconditional_prediction_on_kept_trajectories(tiny_teacher, astronaut):
    drift = {}
    for held in (False, True):
        chosen = settings(
            updates=40, batch=4, lr=3e-3, keep_weight=300, keep_null=held, **{"lambda": 0}
        )
        banks = abo.prepare(tiny_teacher, [astronaut], chosen, Work(1))
        guide, _ = abo._guides(tiny_teacher, [astronaut], chosen)
        bank = banks.keep
        with (
            abo.erase(tiny_teacher, [astronaut], chosen, Work(1), prepared=banks).applied(
                tiny_teacher.unet
            ),
            torch.no_grad(),
        ):
            null = guide.null.expand(len(bank.z))
            predicted = diffusion.predict_noise(
                tiny_teacher, tiny_teacher.unet, bank.z, guide.timesteps[bank.elapsed], null
            )
        drift[held] = (predicted - bank.null).square().mean().item()
    assert drift[False] > 0
    assert drift[True] < 0.5 * drift[False]


def test_keep_null_is_refused_where_nothing_is_kept(astronaut):
    with pytest.raises(BadInput, match="set keep_weight > 0"):
        abo.check([astronaut], settings(keep_null=True, keep_weight=0))


def test_training_moves_the_student_towards_its_target(tiny_teacher, astronaut):
    chosen = settings(target="replace", updates=60, batch=8, lr=2e-3, **{"lambda": 60})
    bank = abo.prepare(tiny_teacher, [astronaut], chosen, Work(1)).erase
    guide, _ = abo._guides(tiny_teacher, [astronaut], chosen)
    erased = diffusion.encode_prompts(tiny_teacher, astronaut.prompts)[bank.prompt]

    @torch.no_grad()
    def distance() -> float:
        contexts = [guide.null.expand(len(bank.z)), erased]
        null, cond = diffusion.predict_each(
            tiny_teacher, tiny_teacher.unet, bank.z, guide.timesteps[bank.elapsed], contexts
        )
        return abo.concept_loss(cond, null, bank.target, chosen.gamma2).item()

    before = distance()
    with abo.erase(tiny_teacher, [astronaut], chosen, Work(1)).applied(tiny_teacher.unet):
        assert distance() < 0.5 * before


@pytest.mark.slow
def test_a_larger_lambda_holds_the_unconditional_prediction_closer(tiny_teacher, astronaut):
    z, empty = (
        torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)),
        diffusion.encode_prompts(tiny_teacher, [""]),
    )
    before = tiny_teacher.unet(z, 500, empty.expand(4).states).sample
    drift = {}
    for lam in (0.0, 50.0):
        delta = abo.erase(
            tiny_teacher,
            [astronaut],
            settings(target="replace", updates=60, batch=4, lr=3e-3, **{"lambda": lam}),
            Work(1),
        )
        with delta.applied(tiny_teacher.unet):
            drift[lam] = (
                (tiny_teacher.unet(z, 500, empty.expand(4).states).sample - before)
                .square()
                .mean()
                .item()
            )
    assert drift[0.0] > 0
    assert drift[50.0] < 0.5 * drift[0.0]


def test_bf16_trains_fp32_weights(tiny_teacher, astronaut):
    delta = abo.erase(tiny_teacher, [astronaut], settings(precision="bf16"), Work(7))
    assert all(t.dtype == torch.float32 for t in delta.tensors.values())
    assert delta.sha256 != abo.erase(tiny_teacher, [astronaut], settings(), Work(7)).sha256


# --- refusals
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"lambda": -1},
        {"lambda": float("nan")},
        {"lamda": 5},
        {"steps": 1},
        {"trajectories": 0},
        {"group": "cross"},
        {"instructions": [{"kappa": 1.0}]},
        {"instructions": [{"prompt": ""}]},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        abo.Settings.model_validate(bad)


def test_a_residual_target_without_an_acting_instruction_is_refused(tiny_teacher, astronaut):
    for instructions in ((), ({"warmup": 4},), ({"scale": 0.0},)):
        with pytest.raises(BadInput, match="nothing is erased"):
            abo.erase(tiny_teacher, [astronaut], settings(instructions=instructions), Work(0))


def test_a_prompt_longer_than_the_tokenizer_reads_is_refused(tiny_teacher, astronaut):
    long = astronaut.model_copy(update={"prompts": ("the astronaut " * 20,)})
    with pytest.raises(BadInput, match="42 tokens with its two markers; this base reads 16"):
        abo.erase(tiny_teacher, [long], settings(), Work(0))


def test_paper_preset_is_the_default():
    paper = abo.Settings()
    assert (
        paper.target,
        paper.lambda_,
        paper.gamma1,
        paper.gamma2,
        paper.steps,
        paper.updates,
    ) == ("residual", 5, 7.5, 7.5, 35, 200)
    assert (paper.lr, paper.adam_eps, paper.keep_weight, paper.trajectories, paper.group) == (
        1e-5,
        1e-8,
        0,
        "fresh",
        "full",
    )
    assert paper.instructions[0].warmup == 5


@pytest.mark.parametrize(
    ("gamma2", "expected"), [(7.5, 0.0889), (4.0, 0.3125)]
)  # lambda 5, methods.md
def test_lambda_eff_is_lambda_in_units_of_the_noise(gamma2, expected):
    assert settings(**{"lambda": 5, "gamma2": gamma2}).lambda_eff == pytest.approx(
        expected, rel=1e-3
    )


@pytest.mark.parametrize("other", [{"hard": True, "group": "kv"}, {"robust": {}}])
def test_what_works_on_whole_weights_is_refused_with_factors(astronaut, other):
    settings = abo.Settings.model_validate({"target": "replace", "lora": True, **other})
    with pytest.raises(BadInput, match="lora trains factors"):
        abo.check([astronaut], settings)
