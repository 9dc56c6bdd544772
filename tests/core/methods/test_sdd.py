"""SDD: the student distils its own unconditional noise, a moving average makes the
trajectories, and that average is what comes out.
"""

import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import sdd
from erasure_core.network import diffusion, training
from erasure_core.network.weights import read_tensors, tensors_sha256
from erasure_core.network.work import Work
from tests.marks import slow

FAST = {"steps": 3, "updates": 2, "lr": 1e-3, "batch": 2, "decay": 0.7}


def settings(**changes) -> sdd.Settings:
    return sdd.Settings.model_validate({**FAST, **changes})


def states(
    teacher, concept, chosen, folder, monkeypatch
) -> tuple[list[dict[str, torch.Tensor]], list[dict[str, float]]]:
    """What the loop wrote after each update but the last, and the terms of every update."""
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    written, heard, file = [], [], folder / "state.safetensors"

    def on_step(_update, terms) -> None:
        heard.append(dict(terms))
        if file.exists():
            written.append(read_tensors(file)[0])

    sdd.erase(teacher, [concept], chosen, Work(3, on_step=on_step, resume=file))
    return written, heard


# --- the moving average
# ---------------------------------------------------------------------------------------------


def test_moving_average_has_its_closed_form():
    generator, decay = torch.Generator().manual_seed(0), 0.8
    start, *students = (
        torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(7)
    )
    average = start.clone()
    for student in students:
        sdd.move_average([average], [student], decay)
    n = len(students)
    expected = decay**n * start + (1 - decay) * sum(
        decay ** (n - k) * student for k, student in enumerate(students, 1)
    )
    assert_close(average, expected)
    assert not torch.allclose(average, students[-1], atol=0.1)


def test_after_one_update_the_output_is_one_minus_decay_of_the_students_step(
    tiny_teacher, astronaut
):
    student = sdd.erase(tiny_teacher, [astronaut], settings(updates=1, decay=0.0), Work(7))
    average = sdd.erase(tiny_teacher, [astronaut], settings(updates=1, decay=0.7), Work(7))
    assert max(t.abs().max().item() for t in student.tensors.values()) > 1e-4
    for name, change in student.tensors.items():
        assert_close(average.tensors[name], 0.3 * change, atol=1e-7, rtol=1e-3)


def test_the_average_of_a_run_has_the_closed_form_of_its_students(
    tiny_teacher, astronaut, tmp_path, monkeypatch
):
    written, _ = states(
        tiny_teacher, astronaut, settings(updates=6, lr=1e-2), tmp_path, monkeypatch
    )
    assert len(written) == 5
    for name in sdd.declared(tiny_teacher.unet, settings()):
        start = tiny_teacher.unet.state_dict()[name]
        expected = 0.7**5 * start + 0.3 * sum(
            0.7 ** (4 - k) * state[f"weight/{name}"] for k, state in enumerate(written)
        )
        assert_close(written[-1][f"extra/average/{name}"], expected, atol=1e-6, rtol=1e-5)


# --- the loss
# ---------------------------------------------------------------------------------------------


def test_no_gradient_reaches_the_unconditional_prediction():
    cond, null = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    loss = sdd.distillation_loss(cond, null)
    assert loss.item() == pytest.approx((cond - null).square().mean().item())
    loss.backward()
    assert null.grad is None
    assert_close(cond.grad, 2 * (cond - null).detach() / 6)


def test_loss_is_the_students_guidance_on_the_averages_trajectories(
    tiny_teacher, astronaut, tmp_path, monkeypatch
):
    """Recomputed from the state after four updates, by which student, average and teacher are three
    networks.
    """
    chosen = settings(updates=6, lr=1e-2, guidance=6.0)
    written, heard = states(tiny_teacher, astronaut, chosen, tmp_path, monkeypatch)
    state = written[3]
    networks = {
        part: training.student_of(tiny_teacher, chosen) for part in ("weight/", "extra/average/")
    }
    for part, network in networks.items():
        saved = {
            name.removeprefix(part): tensor
            for name, tensor in state.items()
            if name.startswith(part)
        }
        network.load_state_dict(saved, strict=False)
    student, average = networks.values()
    trajectories = diffusion.Trajectories.of(tiny_teacher, astronaut.prompts, 6.0, 3)

    @torch.no_grad()
    def loss(maker, conditional, unconditional) -> float:
        generator = torch.Generator()
        generator.set_state(state["generator/0"])
        at = trajectories.fresh(maker, 2, generator)
        cond = diffusion.predict_noise(
            tiny_teacher, conditional, at.z, at.timestep, trajectories.prompts[at.prompt]
        )
        null = diffusion.predict_noise(
            tiny_teacher, unconditional, at.z, at.timestep, trajectories.nothing.expand(2)
        )
        return (cond - null).square().mean().item()

    assert heard[4]["concept"] == pytest.approx(loss(average, student, student), rel=1e-4)
    assert heard[4]["concept"] != pytest.approx(loss(average, student, tiny_teacher.unet), rel=1e-3)
    assert set(heard[4]) == {"concept"}


def test_training_brings_the_concept_to_the_unconditional_prediction(tiny_teacher, astronaut):
    chosen = settings(updates=50, batch=8, lr=5e-3, decay=0.8)
    trajectories = diffusion.Trajectories.of(
        tiny_teacher, astronaut.prompts, chosen.guidance, chosen.steps
    )
    at = trajectories.bank(tiny_teacher.unet, 6, torch.Generator().manual_seed(99))

    @torch.no_grad()
    def guidance() -> float:
        contexts = [trajectories.nothing.expand(len(at.z)), trajectories.prompts[at.prompt]]
        null, cond = diffusion.predict_each(
            tiny_teacher, tiny_teacher.unet, at.z, at.timestep, contexts
        )
        return (cond - null).square().mean().item()

    before = guidance()
    with sdd.erase(tiny_teacher, [astronaut], chosen, Work(1)).applied(tiny_teacher.unet):
        assert guidance() < 0.5 * before


# --- the whole method
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"group": "full"}, {"group": "kv"}, {"keep_weight": 3.0}], ids=str
)
def test_what_is_declared_changes_and_the_teacher_stays(tiny_teacher, astronaut, changes):
    chosen, before = settings(**changes), tensors_sha256(tiny_teacher.unet.state_dict())
    delta = sdd.erase(tiny_teacher, [astronaut], chosen, Work(7))
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before == delta.base_sha256
    assert delta.names == sdd.declared(tiny_teacher.unet, chosen)
    assert max(t.abs().max().item() for t in delta.tensors.values()) > 0


@pytest.mark.parametrize(
    "changes",
    [{}, slow({"group": "full"}), slow({"group": "kv"}), slow({"keep_weight": 3.0})],
    ids=str,
)
def test_one_seed_gives_one_hash(tiny_teacher, astronaut, changes):
    first, again, other = (
        sdd.erase(tiny_teacher, [astronaut], settings(**changes), Work(seed)).sha256
        for seed in (7, 7, 8)
    )
    assert first == again != other


@pytest.mark.parametrize("changes", [{}, {"keep_weight": 3.0}], ids=str)
def test_killed_and_resumed_gives_the_same_delta(
    tiny_teacher, astronaut, tmp_path, monkeypatch, changes
):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    chosen, file = settings(updates=5, **changes), tmp_path / "state.safetensors"
    whole = sdd.erase(tiny_teacher, [astronaut], chosen, Work(7))

    def kill(update: int, _terms) -> None:
        if update == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sdd.erase(tiny_teacher, [astronaut], chosen, Work(7, on_step=kill, resume=file))
    assert file.exists()
    assert sdd.erase(tiny_teacher, [astronaut], chosen, Work(7, resume=file)).sha256 == whole.sha256


def test_each_concept_has_its_updates(tiny_teacher, astronaut):
    cat = Concept(name="cat", kind="object", prompts=("a photo of a cat",), replacement="a rocket")
    heard = []
    sdd.erase(
        tiny_teacher,
        [astronaut, cat],
        settings(),
        Work(7, on_step=lambda update, _terms: heard.append(update)),
    )
    assert heard == [1, 2, 3, 4]
    assert sdd.steps([astronaut, cat], settings()) == 4


def test_what_was_prepared_changes_nothing_and_holds_kept_prompts_only_when_asked(
    tiny_teacher, astronaut
):
    chosen = settings(keep_weight=3.0)
    prepared = sdd.prepare(tiny_teacher, [astronaut], chosen, Work(7))
    given = sdd.erase(tiny_teacher, [astronaut], chosen, Work(7), prepared=prepared)
    assert given.sha256 == sdd.erase(tiny_teacher, [astronaut], chosen, Work(7)).sha256
    assert set(prepared.points.prompt.tolist()) == {0, 1}
    assert sdd.prepare(tiny_teacher, [astronaut], settings(), Work(7)) is None


@pytest.mark.slow
def test_kept_prompts_are_held_when_asked_for(tiny_teacher, astronaut):
    trajectories = diffusion.Trajectories.of(tiny_teacher, astronaut.keep, 3.0, 3)
    kept = diffusion.Kept.of(trajectories, torch.Generator().manual_seed(12))
    drift = {}
    for weight in (0.0, 50.0):
        delta = sdd.erase(
            tiny_teacher,
            [astronaut],
            settings(updates=30, batch=4, lr=5e-3, keep_weight=weight),
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
    "bad", [{"decay": 1.0}, {"decay": -0.1}, {"ema": 0.9}, {"steps": 1}, {"group": "x"}]
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValidationError):
        sdd.Settings.model_validate(bad)


def test_factors_whose_average_is_not_the_students_are_refused():
    with pytest.raises(ValidationError, match="lora"):
        settings(lora=True)


def test_nothing_to_erase_is_refused(tiny_teacher):
    with pytest.raises(BadInput, match="no concept to erase"):
        sdd.erase(tiny_teacher, [], settings(), Work(0))


def test_the_references_settings_are_the_default():
    paper = sdd.Settings()
    assert (paper.decay, paper.guidance, paper.steps, paper.updates, paper.batch, paper.group) == (
        0.999,
        3,
        50,
        1500,
        1,
        "xattn",
    )
    assert (paper.lr, paper.weight_decay, paper.clip, paper.keep_weight) == (1e-5, 1e-4, 1.0, 0)
