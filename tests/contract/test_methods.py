"""Every method is asked the same questions, on the toy pipeline."""

import math
import pkgutil
import re
from typing import Annotated

import pytest
import torch
from pydantic import Field, TypeAdapter, ValidationError

from erasure_core import methods
from erasure_core.errors import BadInput
from erasure_core.export.lora import lora
from erasure_core.headers import header
from erasure_core.law.concepts import Concept
from erasure_core.methods import METHODS, AnySettings
from erasure_core.network import diffusion, layers, training
from erasure_core.network.models import halved
from erasure_core.network.weights import WeightDelta, tensors_sha256
from erasure_core.network.work import Work

SMALL = {  # of the settings with these names: enough to do all that a method does, once or twice
    "images": 2,
    "steps": 3,
    "updates": 3,
    "batch": 2,
    "lr": 1e-3,
    "trajectories": 2,
    "epochs": 2,
}
SPECIAL: dict[str, dict] = {  # what one method needs besides to show an effect on the toy pipeline
    "all_but_one": {"target": "replace", "steps": 4},
    "ablating": {"images": 4},
    "esd": {"walker": "teacher"},
    "sdd": {"lr": 1e-2, "decay": 0.5},
    "sepme": {"lr": 1e-2, "beta": 1, "stop": None, "tolerance": 0.1},
}
TRAINED = [name for name in METHODS if issubclass(METHODS[name].Settings, training.Training)]


LORA = [name for name in METHODS if issubclass(METHODS[name].Settings, training.LoraTraining)]
NO_LORA = sorted(METHODS.keys() - LORA)


class Killed(Exception):
    """Stands for the signal."""


OURS = re.compile(
    r"`(\w+)(?:: (\w+))?`"
)  # of a header's "Ours, off ...": `setting`, `setting: value`


@pytest.mark.parametrize("name", METHODS)
def test_what_a_header_calls_ours_is_marked_so_and_nothing_else(name):
    """A comparison names what is ours by the marks."""
    fields = METHODS[name].Settings.model_fields
    _, _, said = header(METHODS[name])["Departs"].partition("Ours, off ")
    told = {(key, value) for key, value in OURS.findall(said) if key in fields}
    marked = {
        (key, value if isinstance(value, str) else "")
        for key, field in fields.items()
        for value in _marks((field.json_schema_extra or {}).get("ours", []))
    }
    assert marked == told


def _marks(ours: bool | list[str]) -> list[bool | str]:
    return ours if isinstance(ours, list) else [ours]


def settings(name: str):
    kind = METHODS[name].Settings
    small = {key: value for key, value in SMALL.items() if key in kind.model_fields}
    return kind.model_validate({**small, **SPECIAL.get(name, {})})


def erased(name: str, teacher, concepts, prepared=None, **work) -> WeightDelta:
    return METHODS[name].erase(teacher, concepts, settings(name), Work(7, **work), prepared)


def hashes(teacher) -> dict[str, str]:
    return {
        part: tensors_sha256(getattr(teacher, part).state_dict())
        for part in ("unet", "text_encoder", "vae")
    }


@pytest.fixture
def cat() -> Concept:
    return Concept(
        name="cat",
        kind="object",
        prompts=("a photo of a cat", "cat"),
        replacement="a rocket",
        keep=("a photo of a retina",),
    )


# --- what a method says of itself
# ---------------------------------------------------------------------------------------------


def test_every_file_is_a_method_and_every_method_a_file():
    files = {module.name for module in pkgutil.iter_modules(methods.__path__)}
    assert METHODS.keys() == files


def test_any_settings_are_those_of_the_methods():
    read = TypeAdapter(Annotated[AnySettings, Field(discriminator="method")])
    for name, method in METHODS.items():
        assert type(read.validate_python({"method": name})) is method.Settings


@pytest.mark.parametrize("name", METHODS)
def test_its_header_says_everything(name):
    said = header(METHODS[name])
    assert {"Title", "Paper", "Reference", "Departs", "Changes", "Cost", "Restore"} <= said.keys()
    assert all(said.values())


@pytest.mark.parametrize("name", METHODS)
def test_its_settings_name_it_and_describe_themselves(name):
    described = dict(METHODS[name].Settings.model_fields)
    assert described.pop("method").default == name
    assert [key for key, field in described.items() if not field.description] == []


@pytest.mark.parametrize("name", METHODS)
def test_its_settings_refuse_what_they_do_not_know(name):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        METHODS[name].Settings.model_validate({"concept": "cat"})


@pytest.mark.parametrize("name", METHODS)
def test_its_settings_are_frozen(name):
    with pytest.raises(ValidationError, match="frozen"):
        METHODS[name].Settings().method = "other"


@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_erase_is_refused(name, astronaut):
    METHODS[name].check([astronaut], settings(name))
    with pytest.raises(BadInput, match="no concept"):
        METHODS[name].check([], settings(name))


@pytest.mark.parametrize("name", METHODS)
def test_prompts_that_would_be_cut_are_refused(name, tiny_teacher, astronaut):
    long = astronaut.model_copy(update={"prompts": ("a photo of the astronaut " * 4,)})
    with pytest.raises(BadInput, match="this base reads 16"):
        erased(name, tiny_teacher, [long])


# --- what it does
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_the_teacher_stays(name, tiny_teacher, astronaut):
    before = hashes(tiny_teacher)
    erased(name, tiny_teacher, [astronaut])
    assert hashes(tiny_teacher) == before
    assert tiny_teacher.unet.training is False


@pytest.mark.parametrize("name", METHODS)
def test_only_what_is_declared_changes(name, tiny_teacher, astronaut):
    delta = erased(name, tiny_teacher, [astronaut])
    assert delta.names
    assert delta.names <= METHODS[name].declared(tiny_teacher.unet, settings(name))


@pytest.mark.parametrize("name", METHODS)
def test_the_change_is_finite_and_not_zero(name, tiny_teacher, astronaut):
    tensors = erased(name, tiny_teacher, [astronaut]).tensors.values()
    assert any(tensor.abs().max() > 0 for tensor in tensors)
    assert all(torch.isfinite(tensor).all() for tensor in tensors)


@pytest.mark.parametrize("name", METHODS)
def test_it_tells_its_steps(name, tiny_teacher, astronaut):
    told = []
    erased(name, tiny_teacher, [astronaut], on_step=lambda step, terms: told.append((step, terms)))
    assert [step for step, _ in told] == list(range(1, len(told) + 1))
    assert 0 < len(told) <= METHODS[name].steps([astronaut], settings(name))
    assert all(math.isfinite(value) for _, terms in told for value in terms.values())


@pytest.mark.parametrize("name", METHODS)
def test_what_is_prepared_and_kept_changes_nothing(name, tiny_teacher, astronaut, tmp_path):
    expected = erased(name, tiny_teacher, [astronaut]).sha256
    for _ in ("made", "kept"):
        prepared = METHODS[name].prepare(
            tiny_teacher, [astronaut], settings(name), Work(7, cache=tmp_path)
        )
        assert erased(name, tiny_teacher, [astronaut], prepared).sha256 == expected


@pytest.fixture
def prediction(tiny_teacher, astronaut):
    """What the toy network predicts for the concept, as it is when asked."""
    context = diffusion.encode_prompts(tiny_teacher, astronaut.prompts)
    z = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def predict() -> torch.Tensor:
        return diffusion.predict_noise(tiny_teacher, tiny_teacher.unet, z, 500, context)

    return predict


@pytest.mark.parametrize("name", METHODS)
def test_the_concept_moves_and_comes_back(name, tiny_teacher, astronaut, prediction):
    before, base = prediction(), hashes(tiny_teacher)
    with erased(name, tiny_teacher, [astronaut]).applied(tiny_teacher.unet):
        assert not torch.allclose(prediction(), before, atol=1e-7)
    assert torch.equal(prediction(), before)
    assert hashes(tiny_teacher) == base


@pytest.mark.parametrize("name", TRAINED)
def test_a_teacher_in_half_precision_teaches_nearly_the_same(name, tiny_teacher, astronaut):
    """Weights are trained in float32 either way, and the teacher is given back as it was."""
    before = tensors_sha256(tiny_teacher.unet.state_dict())

    def change(precision: str) -> torch.Tensor:
        chosen = settings(name).model_copy(update={"teacher": precision})
        assert methods.precision_of(chosen) == precision
        with halved(tiny_teacher, precision) as guide:
            delta = METHODS[name].erase(guide, [astronaut], chosen, Work(3))
        assert {t.dtype for t in delta.tensors.values()} == {torch.float32}
        assert delta.base_sha256 == before
        return torch.cat([delta.tensors[n].flatten() for n in sorted(delta.names)])

    exact, near = change("fp32"), change("bf16")
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == before
    assert torch.isfinite(near).all()
    assert torch.nn.functional.cosine_similarity(exact, near, dim=0) > 0.7


@pytest.mark.parametrize("name", METHODS)
def test_the_change_can_be_kept_in_a_file(name, tiny_teacher, astronaut, tmp_path):
    delta = erased(name, tiny_teacher, [astronaut])
    delta.save(tmp_path / "delta.safetensors", method=name)
    assert WeightDelta.load(tmp_path / "delta.safetensors").sha256 == delta.sha256


@pytest.mark.parametrize("name", METHODS)
def test_several_concepts_are_erased_together(name, tiny_teacher, astronaut, cat):
    both = erased(name, tiny_teacher, [astronaut, cat])
    alone = {erased(name, tiny_teacher, [concept]).sha256 for concept in (astronaut, cat)}
    assert len({both.sha256, *alone}) == 3


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("killed_at", [2, 3])
def test_a_killed_erasure_goes_on_to_the_same_hash(
    name, killed_at, tiny_teacher, astronaut, tmp_path, monkeypatch
):
    def kill(step: int, _terms: object) -> None:
        if step == killed_at:
            raise Killed

    whole = erased(name, tiny_teacher, [astronaut]).sha256
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    with pytest.raises(Killed):
        erased(name, tiny_teacher, [astronaut], on_step=kill, resume=tmp_path / "state")
    assert list(tmp_path.glob("state*"))  # it does go on from something
    assert erased(name, tiny_teacher, [astronaut], resume=tmp_path / "state").sha256 == whole


@pytest.mark.parametrize("name", TRAINED)
def test_a_resumed_erasure_tells_its_earlier_steps_again(
    name, tiny_teacher, astronaut, tmp_path, monkeypatch
):
    def kill(step: int, _terms: object) -> None:
        if step == 3:
            raise Killed

    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    with pytest.raises(Killed):
        erased(name, tiny_teacher, [astronaut], on_step=kill, resume=tmp_path / "state")
    told: list[int] = []
    erased(
        name,
        tiny_teacher,
        [astronaut],
        on_step=lambda step, _: told.append(step),
        resume=tmp_path / "state",
    )
    assert told == [1, 2, 3]


# --- what a LoRA can hold
# ---------------------------------------------------------------------------------------------


def low_rank(name: str, rank: int = 2):
    """Its settings, for a change that a LoRA can hold."""
    return settings(name).model_copy(update={"lora": True, "lora_rank": rank, "lr": 1e-2})


@pytest.fixture(params=LORA)
def as_lora(request, tiny_teacher, astronaut):
    """A method's name and its change by factors."""
    how = low_rank(request.param)
    return request.param, METHODS[request.param].erase(tiny_teacher, [astronaut], how, Work(7))


def test_a_change_by_factors_has_no_biases(as_lora, tiny_teacher):
    name, delta = as_lora
    declared = METHODS[name].declared(tiny_teacher.unet, low_rank(name))
    assert delta.names == declared <= layers.linear(tiny_teacher.unet)


def test_a_change_by_factors_has_their_rank(as_lora):
    ranks = {int(torch.linalg.matrix_rank(t, rtol=1e-4)) for t in as_lora[1].tensors.values()}
    assert max(ranks) == 2


def test_a_change_by_factors_moves_the_concept(as_lora, tiny_teacher, prediction):
    before = prediction()
    with as_lora[1].applied(tiny_teacher.unet):
        assert not torch.allclose(prediction(), before, atol=1e-7)


@pytest.mark.parametrize("name", LORA)
def test_a_change_by_factors_leaves_the_teacher(name, tiny_teacher, astronaut):
    before = hashes(tiny_teacher)
    METHODS[name].erase(tiny_teacher, [astronaut], low_rank(name), Work(7))
    assert hashes(tiny_teacher) == before


def test_a_change_by_factors_is_a_lora_of_their_rank(as_lora, tiny_teacher):
    written = lora(tiny_teacher.unet, as_lora[1], rank=2, error=1e-3)
    for name, (down, up) in written.items():
        torch.testing.assert_close(up @ down, as_lora[1].tensors[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", LORA)
def test_a_killed_training_of_factors_goes_on_to_the_same_hash(
    name, tiny_teacher, astronaut, tmp_path, monkeypatch
):
    def erase(**work) -> str:
        work = Work(7, **work)
        return METHODS[name].erase(tiny_teacher, [astronaut], low_rank(name), work).sha256

    def kill(step: int, _terms: object) -> None:
        if step == 2:
            raise Killed

    whole = erase()
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    with pytest.raises(Killed):
        erase(on_step=kill, resume=tmp_path / "state")
    assert list(tmp_path.glob("state*"))
    assert erase(resume=tmp_path / "state") == whole


@pytest.mark.parametrize("name", NO_LORA)
def test_other_methods_can_change_nothing_that_a_lora_could_not_hold(name, tiny_teacher):
    chosen = settings(name)
    if "group" in type(chosen).model_fields:
        chosen = chosen.model_copy(update={"group": "kv"})
    declared = METHODS[name].declared(tiny_teacher.unet, chosen)
    assert declared <= layers.linear(tiny_teacher.unet)
