"""The adversary inside the loop: its states are what they are said to be, and it can be resumed."""

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.methods import all_but_one as abo
from erasure_core.network import adversary, diffusion, layers, training
from erasure_core.network.adversary import Adversary, Robust
from erasure_core.network.closed_form import edited_pairs, ridge_map
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work

SMALL = {"pictures": 2, "batch": 2, "vectors": 2, "attack_steps": 2, "restart": 2, "renew": 2}


def attacker(teacher, concept, **changes) -> Adversary:
    return Adversary(teacher, [concept], Robust(**{**SMALL, **changes}), 4.0, 3, 7)


def student_of(teacher, scale: float):
    """The teacher's network with other keys and values."""
    student = training.student_of(teacher, abo.Settings())
    generator = torch.Generator().manual_seed(1)
    for weight in layers.select(student, "kv").values():
        weight.data += scale * torch.randn(weight.shape, generator=generator)
    return student


def erased(teacher, concepts, robust=True, **work) -> WeightDelta:
    settings = abo.Settings.model_validate(
        {
            "target": "replace",
            "steps": 4,
            "updates": 3,
            "batch": 2,
            "lr": 1e-3,
            "trajectories": 2,
            "robust": SMALL if robust else None,
        }
    )
    return abo.erase(teacher, concepts, settings, Work(7, **work))


def test_adam_is_torchs():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, generator=generator)
    ours, mean, square, taken = x.clone(), torch.zeros(5), torch.zeros(5), torch.zeros(1)
    theirs = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.05)
    for _ in range(4):
        gradient = torch.randn(5, generator=generator)
        adversary.adam_step(ours, gradient, mean, square, taken, 0.05)
        theirs.grad = gradient
        optimiser.step()
    assert_close(ours, theirs.detach())
    assert not torch.allclose(ours, x)


@pytest.mark.parametrize("lamb", [0.1, 0.001])
def test_ridge_states_minimise_what_they_should(lamb, tiny_teacher):
    student = student_of(tiny_teacher, 0.3)
    c = torch.randn(32, generator=torch.Generator().manual_seed(2)).double()
    x = (ridge_map(edited_pairs(tiny_teacher.unet, student), lamb) @ c).requires_grad_()
    old, new = layers.select(tiny_teacher.unet, "kv"), layers.select(student, "kv")
    misses = [(new[n].double() @ x - old[n].double() @ c).square().sum() for n in old]
    (slope,) = torch.autograd.grad(torch.stack(misses).sum() + lamb * x.square().sum(), x)
    assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)


def test_before_any_change_small_ridge_leaves_a_state_where_the_keys_see_it(tiny_teacher):
    m = ridge_map(edited_pairs(tiny_teacher.unet, tiny_teacher.unet), 1e-9)
    weight = next(iter(layers.select(tiny_teacher.unet, "kv").values())).double()
    assert_close(weight @ m, weight, atol=1e-4, rtol=0)


def test_the_names_own_embedding_gives_the_erased_prompts_own_states(tiny_teacher, astronaut):
    attack = attacker(tiny_teacher, astronaut)
    token = tiny_teacher.tokenizer("astronaut").input_ids[1:-1]
    rows = torch.arange(len(astronaut.prompts))
    own = attack.table.weight.detach()[token[0]]
    assert len(token) == 1
    assert_close(attack.token_states(rows, own).states, attack.erased.states)
    assert not torch.allclose(attack.token_states(rows, own + 1).states, attack.erased.states)
    # and the text encoder is as it was
    after = diffusion.encode_prompts(tiny_teacher, astronaut.prompts).states
    assert torch.equal(after, attack.erased.states)


def test_an_attack_lowers_the_students_noise_loss(tiny_teacher, astronaut):
    attack = attacker(tiny_teacher, astronaut, vectors=1, restart=1000)
    student = tiny_teacher.unet
    attack._restart()

    @torch.no_grad()
    def loss() -> float:
        attack.draws.manual_seed(5)
        z, noise, t = attack._noised(0, 64)
        rows = torch.arange(64) % len(astronaut.prompts)
        told = attack.token_states(rows, attack.tensors["vectors"][0])
        return float(
            (diffusion.predict_noise(tiny_teacher, student, z, t, told) - noise).square().mean()
        )

    before = loss()
    for _ in range(40):
        attack._attack(student, 0)
    assert loss() < before


def test_no_gradient_of_the_attack_reaches_the_student(tiny_teacher, astronaut):
    attack = attacker(tiny_teacher, astronaut)
    student = student_of(tiny_teacher, 0.1)
    student.requires_grad_(True)
    attack._restart()
    attack._attack(student, 0)
    assert all(parameter.grad is None for parameter in student.parameters())
    attack.term(student).backward()
    assert any(parameter.grad is not None for parameter in student.parameters())


def test_it_changes_what_is_learnt_and_off_it_is_not_there(tiny_teacher, astronaut):
    told: list[dict] = []
    with_it = erased(tiny_teacher, [astronaut], on_step=lambda _, terms: told.append(dict(terms)))
    assert all(terms["robust"] > 0 for terms in told)
    assert with_it.sha256 != erased(tiny_teacher, [astronaut], robust=False).sha256
    assert with_it.sha256 == erased(tiny_teacher, [astronaut]).sha256


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [2, 3])
def test_killed_it_goes_on_to_the_same_hash(
    killed_at, tiny_teacher, astronaut, tmp_path, monkeypatch
):
    def kill(step: int, _terms: object) -> None:
        if step == killed_at:
            raise InterruptedError

    whole = erased(tiny_teacher, [astronaut]).sha256
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    with pytest.raises(InterruptedError):
        erased(tiny_teacher, [astronaut], on_step=kill, resume=tmp_path / "state")
    assert erased(tiny_teacher, [astronaut], resume=tmp_path / "state").sha256 == whole


def test_each_concept_has_its_own_vectors_and_pictures(tiny_teacher, astronaut):
    cat = astronaut.model_copy(update={"name": "cat", "prompts": ("a photo of a cat",), "keep": ()})
    attack = Adversary(tiny_teacher, [astronaut, cat], Robust(**SMALL), 4.0, 3, 7)
    assert attack.tensors["vectors"].shape == (4, 32)
    assert [rows.tolist() for rows in attack.rows] == [[0, 1], [2]]
    assert [len(latents) for latents in attack.latents] == [2, 2]


@pytest.mark.parametrize("wrong", [{"earliest": 5000}, {"ridge": (0.1, 0.0)}])
def test_settings_that_do_not_fit_are_refused(wrong, tiny_teacher, astronaut):
    with pytest.raises(BadInput, match=next(iter(wrong))):
        attacker(tiny_teacher, astronaut, **wrong)


@pytest.mark.parametrize("wrong", [{"batch": 3}, {"weight": 0}, {"ridge": ()}, {"vector": 4}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        Robust(**wrong)


def test_a_base_with_two_text_encoders_is_refused_before_its_trajectories():
    with pytest.raises(BadInput, match="reads by 2 text encoders; leave robust out"):
        adversary.check_base(Robust(**SMALL), 2, 1000)
    adversary.check_base(Robust(**SMALL), 1, 1000)
