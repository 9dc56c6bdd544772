"""ESD against the paper and its two codes: the target, whose trajectories, which weights move, and
what survives a kill.
"""

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import esd
from erasure_core.network import diffusion, layers, training
from erasure_core.network.weights import tensors_sha256
from erasure_core.network.work import Work
from tests.marks import slow

FAST = {"steps": 3, "updates": 2, "lr": 1e-3, "batch": 2}
SHARED = {"walker": "teacher", "trajectories": 2}


def settings(**changes) -> esd.Settings:
    return esd.Settings.model_validate({**FAST, **changes})


def terms(teacher, concepts, chosen) -> list[dict[str, float]]:
    seen = []
    esd.erase(
        teacher, concepts, chosen, Work(3, on_step=lambda _update, named: seen.append(dict(named)))
    )
    return seen


# --- the target
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.5])
def test_target_of_the_rewrite_is_the_papers_with_eta_one_higher(eta):
    generator = torch.Generator().manual_seed(0)
    null, cond = (
        torch.randn(2, 3, 4, 4, generator=generator),
        torch.randn(2, 3, 4, 4, generator=generator),
    )
    rewrite = cond - (eta + 1) * (cond - null)
    assert_close(esd.target(null, cond, eta), rewrite)
    assert not torch.allclose(esd.target(null, cond, eta + 1), rewrite, atol=0.1)


def test_target_lies_beyond_the_unconditional_prediction_on_the_far_side_of_the_concept():
    assert esd.target(torch.tensor(2.0), torch.tensor(5.0), 0.5).item() == 2.0 - 0.5 * 3.0


def test_initial_loss_is_the_squared_guidance_of_the_teacher_times_one_plus_eta_squared(
    tiny_teacher, astronaut
):
    chosen = settings(eta=1.5, batch=8, updates=1, **SHARED)
    first = terms(tiny_teacher, [astronaut], chosen)[0]
    bank = esd.prepare(tiny_teacher, [astronaut], chosen, Work(3)).points
    drawn, expected = bank.draw(8, seeding.generator(3, "updates")), []
    for row in range(8):  # independently: plain UNet calls, one sample at a time
        prompts = ("", astronaut.prompts[drawn.prompt[row]])
        null, cond = (
            tiny_teacher.unet(
                drawn.z[row : row + 1],
                drawn.timestep[row],
                diffusion.encode_prompts(tiny_teacher, [p]).states,
            ).sample
            for p in prompts
        )
        expected.append((2.5 * (cond - null)).square().mean())
    assert first["concept"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-3)
    assert first["concept"] > 0
    assert set(first) == {"concept"}


def test_training_reaches_the_target_on_trajectories_it_did_not_see(tiny_teacher, astronaut):
    chosen = settings(updates=60, batch=8, lr=5e-3, variant="x", walker="teacher", trajectories=8)
    trajectories = diffusion.Trajectories.of(
        tiny_teacher, astronaut.prompts, chosen.guidance, chosen.steps
    )
    at = trajectories.bank(tiny_teacher.unet, 6, torch.Generator().manual_seed(99))
    contexts = [trajectories.nothing.expand(len(at.z)), trajectories.prompts[at.prompt]]
    with torch.no_grad():
        null, cond = diffusion.predict_each(
            tiny_teacher, tiny_teacher.unet, at.z, at.timestep, contexts
        )
    wanted = null - (cond - null)
    before = (cond - wanted).square().mean().item()
    with (
        esd.erase(tiny_teacher, [astronaut], chosen, Work(1)).applied(tiny_teacher.unet),
        torch.no_grad(),
    ):
        after = diffusion.predict_noise(
            tiny_teacher, tiny_teacher.unet, at.z, at.timestep, contexts[1]
        )
    assert (after - wanted).square().mean().item() < 0.5 * before


# --- whose trajectories
# ---------------------------------------------------------------------------------------------


def test_walkers_agree_only_until_the_student_has_changed(tiny_teacher, astronaut):
    chosen = {"updates": 12, "lr": 1e-2, "guidance": 8.0}
    student, teacher = (
        terms(tiny_teacher, [astronaut], settings(walker=who, **chosen))
        for who in ("student", "teacher")
    )
    assert student[0]["concept"] == pytest.approx(teacher[0]["concept"], rel=1e-4)
    assert student[-1]["concept"] != pytest.approx(teacher[-1]["concept"], rel=1e-4)


def test_what_is_prepared_changes_nothing(tiny_teacher, astronaut):
    chosen = settings(keep_weight=2, **SHARED)
    prepared = esd.prepare(tiny_teacher, [astronaut], chosen, Work(7))
    given = esd.erase(tiny_teacher, [astronaut], chosen, Work(7), prepared=prepared)
    assert given.sha256 == esd.erase(tiny_teacher, [astronaut], chosen, Work(7)).sha256


# --- the whole method
# ---------------------------------------------------------------------------------------------

VARIANTS = [
    {"variant": "x"},
    {"variant": "u"},
    {"variant": "strict"},
    {"walker": "teacher"},
    {"variant": "u", **SHARED},
    {"keep_weight": 3.0},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_what_is_declared_changes_and_the_teacher_stays(tiny_teacher, astronaut, changes):
    chosen, before = settings(**changes), tensors_sha256(tiny_teacher.unet.state_dict())
    delta = esd.erase(tiny_teacher, [astronaut], chosen, Work(7))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == esd.declared(tiny_teacher.unet, chosen)
    assert max(t.abs().max().item() for t in delta.tensors.values()) > 0


@pytest.mark.parametrize("changes", [VARIANTS[0], *map(slow, VARIANTS[1:])], ids=str)
def test_one_seed_gives_one_hash(tiny_teacher, astronaut, changes):
    first, again, other = (
        esd.erase(tiny_teacher, [astronaut], settings(**changes), Work(seed)).sha256
        for seed in (7, 7, 8)
    )
    assert first == again != other


def test_each_variant_moves_its_own_weights(tiny_teacher):
    names = {
        variant: esd.declared(tiny_teacher.unet, settings(variant=variant))
        for variant in ("x", "u", "strict")
    }
    assert all(".attn2." in name for name in names["x"])
    assert {name for name in names["x"] if name.endswith(("to_k.weight", "to_v.weight"))} == names[
        "strict"
    ]
    assert not names["x"] & names["u"]
    left = set(layers.select(tiny_teacher.unet, "full")) - names["x"] - names["u"]
    assert {name.split(".")[0] for name in left} == {"time_embedding", "conv_norm_out", "conv_out"}


@pytest.mark.parametrize(
    "changes",
    [{}, {"keep_weight": 3.0, **SHARED}],
    ids=["student's trajectories", "shared trajectories"],
)
def test_killed_and_resumed_gives_the_same_delta(
    tiny_teacher, astronaut, tmp_path, monkeypatch, changes
):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    chosen, file = settings(updates=5, **changes), tmp_path / "state.safetensors"
    whole = esd.erase(tiny_teacher, [astronaut], chosen, Work(7))

    def kill(update: int, _terms) -> None:
        if update == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        esd.erase(tiny_teacher, [astronaut], chosen, Work(7, on_step=kill, resume=file))
    assert file.exists()
    assert esd.erase(tiny_teacher, [astronaut], chosen, Work(7, resume=file)).sha256 == whole.sha256


@pytest.mark.slow
def test_each_concept_has_its_updates_and_its_prompts_are_drawn(tiny_teacher, astronaut):
    cat = Concept(name="cat", kind="object", prompts=("a photo of a cat",), replacement="a rocket")
    chosen = settings(updates=30, batch=8, lr=2e-3, **SHARED | {"trajectories": 6})
    assert (
        esd.steps([astronaut, cat], chosen)
        == 60
        == len(terms(tiny_teacher, [astronaut, cat], chosen))
    )
    bank = esd.prepare(tiny_teacher, [astronaut, cat], chosen, Work(1)).points
    assert set(bank.prompt.tolist()) == {0, 1, 2}


@pytest.mark.slow
def test_kept_prompts_are_held_when_asked_for(tiny_teacher, astronaut):
    trajectories = diffusion.Trajectories.of(tiny_teacher, astronaut.keep, 3.0, 3)
    kept = diffusion.Kept.of(trajectories, torch.Generator().manual_seed(12))
    drift = {}
    for weight in (0.0, 50.0):
        delta = esd.erase(
            tiny_teacher,
            [astronaut],
            settings(updates=30, batch=4, lr=5e-3, keep_weight=weight, **SHARED),
            Work(1),
        )
        edited = training.student_of(tiny_teacher, settings())
        delta.apply(edited)
        with torch.no_grad():
            drift[weight] = kept.drift(edited, 64, torch.Generator().manual_seed(0)).item()
    assert drift[0.0] > 0
    assert drift[50.0] < 0.5 * drift[0.0]


# --- refusals
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        {"eta": 0},
        {"eta": float("nan")},
        {"variant": "all"},
        {"etta": 1},
        {"steps": 1},
        {"trajectories": 0},
        {"walker": "ema"},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        esd.Settings.model_validate(bad)


def test_sharing_trajectories_of_a_student_is_refused(tiny_teacher, astronaut):
    with pytest.raises(BadInput, match=r"trajectories=2 .* but walker=student; set walker=teacher"):
        esd.erase(tiny_teacher, [astronaut], settings(trajectories=2), Work(0))


def test_nothing_to_erase_is_refused(tiny_teacher):
    with pytest.raises(BadInput, match="no concept to erase"):
        esd.erase(tiny_teacher, [], settings(), Work(0))


def test_the_papers_code_is_the_default():
    paper = esd.Settings()
    assert (
        paper.variant,
        paper.eta,
        paper.walker,
        paper.guidance,
        paper.steps,
        paper.trajectories,
    ) == ("x", 1, "student", 3, 50, "fresh")
    assert (
        paper.updates,
        paper.batch,
        paper.lr,
        paper.weight_decay,
        paper.clip,
        paper.keep_weight,
    ) == (1000, 1, 1e-5, 0, None, 0)
