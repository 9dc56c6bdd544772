"""Trajectories as a source of points: each state is the one DDIM arrives at, under the timestep
that it belongs to.
"""

import copy

import pytest
import torch
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.network import diffusion

PROMPTS, STEPS, W = ["a photo of a cat", "a sketch of a rocket", "old coins"], 5, 3.0


def trajectories(teacher, w: float = W) -> diffusion.Trajectories:
    return diffusion.Trajectories.of(teacher, PROMPTS, w, STEPS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def ddim(teacher, unet, z: torch.Tensor, prompt: str, stop: int) -> torch.Tensor:
    """A second implementation, one sample at a time: guided DDIM with eta 0, straight from the
    formula.
    """
    kept = teacher.scheduler.alphas_cumprod
    times = [1 + 1000 // STEPS * i for i in reversed(range(STEPS))]
    null, cond = (diffusion.encode_prompts(teacher, [text]).states for text in ("", prompt))
    for t in times[:stop]:
        e_null, e_cond = (
            unet(z, t, encoder_hidden_states=states).sample for states in (null, cond)
        )
        eps = e_null + W * (e_cond - e_null)
        clean = (z - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()
        after = kept[max(t - 1000 // STEPS, 0)]
        z = after.sqrt() * clean + (1 - after).sqrt() * eps
    return z


def test_bank_holds_every_state_under_its_own_timestep(tiny_teacher):
    bank = trajectories(tiny_teacher).bank(tiny_teacher.unet, 4, seeded(1))
    assert bank.z.shape == (4 * STEPS, 4, 8, 8)
    for row in range(4 * STEPS):
        elapsed, start = divmod(row, 4)
        expected = ddim(
            tiny_teacher,
            tiny_teacher.unet,
            bank.z[start : start + 1],
            PROMPTS[bank.prompt[row]],
            elapsed,
        )
        assert_close(bank.z[row : row + 1], expected, atol=1e-4, rtol=1e-4)
        assert bank.timestep[row] == [801, 601, 401, 201, 1][elapsed]
    assert not torch.allclose(bank.z[:4], bank.z[-4:], atol=0.1)


def test_bank_has_each_prompt_before_any_twice(tiny_teacher):
    for seed in range(5):
        prompts = (
            trajectories(tiny_teacher).bank(tiny_teacher.unet, 4, seeded(seed)).prompt[:4].tolist()
        )
        assert sorted(prompts[:3]) == [0, 1, 2]


def test_fresh_points_are_on_trajectories_of_the_network_given(tiny_teacher):
    other = copy.deepcopy(tiny_teacher.unet)
    for parameter in other.parameters():
        parameter.data.mul_(1.3)
    seen, generator, again = set(), seeded(2), seeded(2)
    for _ in range(30):
        at = trajectories(tiny_teacher).fresh(other, 2, generator)
        elapsed = int(torch.randint(STEPS, (), generator=again))
        prompt, noise = (
            torch.randint(3, (2,), generator=again),
            torch.randn((2, 4, 8, 8), generator=again),
        )
        assert at.prompt.tolist() == prompt.tolist()
        assert at.timestep.tolist() == [801 - 200 * elapsed] * 2
        for row in range(2):
            expected = ddim(
                tiny_teacher, other, noise[row : row + 1], PROMPTS[prompt[row]], elapsed
            )
            assert_close(at.z[row : row + 1], expected, atol=1e-4, rtol=1e-4)
        seen.add(elapsed)
    assert seen == set(range(STEPS))


def test_zero_steps_are_noise_labelled_as_noise_whatever_the_guidance(tiny_teacher):
    def first(w: float) -> torch.Tensor:
        generator = seeded(5)
        return next(
            at.z
            for _ in range(50)
            if (
                at := trajectories(tiny_teacher, w).fresh(tiny_teacher.unet, 16, generator)
            ).timestep[0]
            == 801
        )

    noise = first(3.0)
    assert noise.std().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(noise, first(9.0))


@pytest.fixture
def uneven(tiny_teacher, astronaut) -> diffusion.Trajectories:
    """Those of five prompts of a concept, and of one of another."""
    many = ("a cat", "cat", "a photo of a cat", "a sketch of a cat", "a poster of a cat")
    concepts = [
        Concept(name="cat", kind="object", prompts=many, replacement="a rocket"),
        astronaut.model_copy(update={"prompts": ("astronaut",)}),
    ]
    return diffusion.Trajectories.erased(tiny_teacher, concepts, W, STEPS)


def test_a_concept_of_few_prompts_has_as_many_trajectories_as_one_of_many(uneven):
    bank = uneven.bank(uneven.teacher.unet, 3, seeded(1))
    assert (bank.prompt == 5).sum() == (bank.prompt < 5).sum() == 3 * STEPS


def test_a_concept_of_few_prompts_has_as_many_fresh_points_as_one_of_many(uneven):
    prompts = uneven.fresh(uneven.teacher.unet, 400, seeded(1)).prompt
    assert 170 <= (prompts == 5).sum() <= 230  # half of them, within three standard deviations


@pytest.mark.parametrize("resident", [0, 2**30])
def test_a_bank_is_made_a_few_at_a_time(tiny_teacher, monkeypatch, resident):
    """As many prompts as a policy keeps would not fit into memory at once."""
    monkeypatch.setattr(diffusion, "RESIDENT", resident)
    whole = trajectories(tiny_teacher).bank(tiny_teacher.unet, 7, seeded(1))
    seen: list[int] = []
    tiny_teacher.unet.register_forward_pre_hook(lambda _unet, given: seen.append(len(given[0])))
    monkeypatch.setattr(diffusion, "BANKED_TOGETHER", 3)
    bank = trajectories(tiny_teacher).bank(tiny_teacher.unet, 7, seeded(1))
    assert seen == [6] * STEPS + [6] * STEPS + [2] * STEPS  # guidance doubles them
    assert_close(bank.z, whole.z, atol=1e-4, rtol=1e-4)
    assert torch.equal(bank.timestep, whole.timestep)
    assert torch.equal(bank.prompt, whole.prompt)


def test_a_draw_keeps_state_timestep_and_prompt_together(tiny_teacher):
    bank = trajectories(tiny_teacher).bank(tiny_teacher.unet, 3, seeded(1))
    drawn = bank.draw(40, seeded(4))
    for row in range(40):
        places = [i for i in range(len(bank.z)) if torch.equal(bank.z[i], drawn.z[row])]
        assert [(bank.timestep[i], bank.prompt[i]) for i in places] == [
            (drawn.timestep[row], drawn.prompt[row])
        ]


def test_too_long_a_prompt_is_refused(tiny_teacher):
    with pytest.raises(BadInput, match="this base reads 16"):
        diffusion.Trajectories.of(tiny_teacher, ["cat " * 20], W, STEPS)


def test_drift_is_the_mean_square_between_student_and_teacher_on_every_kept_prompt(tiny_teacher):
    kept = diffusion.Kept.of(trajectories(tiny_teacher), seeded(1))
    assert kept.drift(tiny_teacher.unet, 8, seeded(3)).item() == 0
    student = copy.deepcopy(tiny_teacher.unet).requires_grad_(True)
    student.conv_out.bias.data += 0.25  # the prediction of every prompt moves by exactly this
    drift = kept.drift(student, 8, seeded(3))
    assert drift.item() == pytest.approx(0.25**2, rel=1e-4)
    drift.backward()
    assert student.conv_out.bias.grad.sum().item() == pytest.approx(2 * 0.25, rel=1e-4)
    assert all(parameter.grad is None for parameter in tiny_teacher.unet.parameters())
    assert set(kept.points.prompt.tolist()) == {0, 1, 2}


def test_more_kept_prompts_than_trajectories_all_have_one(tiny_teacher, monkeypatch):
    monkeypatch.setattr(diffusion, "KEPT_TRAJECTORIES", 2)
    assert set(diffusion.Kept.of(trajectories(tiny_teacher), seeded(1)).points.prompt.tolist()) == {
        0,
        1,
        2,
    }
