"""Every method is asked the same questions, on the toy pipeline."""

import pytest
import torch
from pydantic import ValidationError

from erasure_core.errors import BadInput
from erasure_core.headers import header
from erasure_core.law.concepts import Concept
from erasure_core.methods import METHODS
from erasure_core.network import diffusion, training
from erasure_core.network.weights import WeightDelta, tensors_sha256

TINY: dict[str, dict] = {
    "all_but_one": {
        "target": "replace",
        "steps": 4,
        "updates": 3,
        "batch": 2,
        "lr": 1e-3,
        "trajectories": 2,
    },
    "ablating": {"images": 4, "steps": 3, "updates": 3, "batch": 2, "lr": 1e-3},
    "esd": {
        "walker": "teacher",
        "steps": 3,
        "updates": 3,
        "batch": 2,
        "lr": 1e-3,
        "trajectories": 2,
    },
    "forget_me_not": {"images": 2, "steps": 3, "updates": 3, "batch": 2, "lr": 1e-3},
    "rece": {"epochs": 2},
    "sdd": {"steps": 3, "updates": 3, "batch": 2, "lr": 1e-2, "decay": 0.5},
    "sepme": {
        "images": 2,
        "steps": 3,
        "updates": 3,
        "batch": 2,
        "lr": 1e-2,
        "beta": 1,
        "stop": None,
        "tolerance": 0.1,
    },
    "uce": {},
}
TRAINED = [name for name in METHODS if issubclass(METHODS[name].Settings, training.Training)]


class Killed(Exception):
    """Stands for the signal."""


def settings(name: str):
    return METHODS[name].Settings.model_validate(TINY[name])


def erased(name: str, teacher, concepts, **more) -> WeightDelta:
    return METHODS[name].erase(teacher, concepts, settings(name), **{"seed": 7, **more})


@pytest.fixture
def cat() -> Concept:
    return Concept(
        name="cat",
        kind="object",
        prompts=("a photo of a cat", "cat"),
        replacement="a rocket",
        keep=("a photo of a retina",),
    )


@pytest.mark.parametrize("name", METHODS)
def test_its_header_says_everything_and_its_settings_refuse_what_they_do_not_know(name):
    said = header(METHODS[name])
    assert {"Title", "Paper", "Reference", "Departs", "Changes", "Cost", "Restore"} <= said.keys()
    assert all(said.values())
    chosen = METHODS[name].Settings()
    assert chosen.method == name
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        METHODS[name].Settings.model_validate({"concept": "cat"})
    with pytest.raises(ValidationError, match="frozen"):
        chosen.method = "other"


@pytest.mark.parametrize("name", METHODS)
def test_the_teacher_stays_only_what_is_declared_changes_and_one_seed_gives_one_hash(
    name, tiny_teacher, astronaut, tmp_path
):
    before = {
        part: tensors_sha256(getattr(tiny_teacher, part).state_dict())
        for part in ("unet", "text_encoder", "vae")
    }
    heard = []
    first = erased(
        name,
        tiny_teacher,
        [astronaut],
        on_step=lambda step, terms: heard.append((step, dict(terms))),
    )
    assert {
        part: tensors_sha256(getattr(tiny_teacher, part).state_dict()) for part in before
    } == before
    assert tiny_teacher.unet.training is False
    assert first.names
    assert first.names <= METHODS[name].declared(tiny_teacher.unet, settings(name))
    assert any(tensor.abs().max() > 0 for tensor in first.tensors.values())
    assert all(torch.isfinite(tensor).all() for tensor in first.tensors.values())
    assert 0 < len(heard) <= METHODS[name].steps([astronaut], settings(name))
    prepared = METHODS[name].prepare(
        tiny_teacher, [astronaut], settings(name), seed=7, cache=tmp_path / "cache"
    )
    assert erased(name, tiny_teacher, [astronaut], prepared=prepared).sha256 == first.sha256
    again = METHODS[name].prepare(
        tiny_teacher, [astronaut], settings(name), seed=7, cache=tmp_path / "cache"
    )  # from the cache
    assert erased(name, tiny_teacher, [astronaut], prepared=again).sha256 == first.sha256


@pytest.mark.parametrize("name", METHODS)
def test_the_concept_moves_the_change_can_be_kept_in_a_file_and_taken_back(
    name, tiny_teacher, astronaut, tmp_path
):
    context = diffusion.encode_prompts(tiny_teacher, astronaut.prompts)
    z = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def prediction() -> torch.Tensor:
        return diffusion.predict_noise(tiny_teacher, tiny_teacher.unet, z, 500, context)

    before, base = prediction(), tensors_sha256(tiny_teacher.unet.state_dict())
    delta = erased(name, tiny_teacher, [astronaut])
    delta.save(tmp_path / "delta.safetensors", method=name)
    loaded = WeightDelta.load(tmp_path / "delta.safetensors")
    assert loaded.sha256 == delta.sha256
    with loaded.applied(tiny_teacher.unet):
        assert not torch.allclose(prediction(), before, atol=1e-7)
    assert torch.equal(prediction(), before)
    assert tensors_sha256(tiny_teacher.unet.state_dict()) == base


@pytest.mark.parametrize("name", METHODS)
def test_several_concepts_are_erased_together(name, tiny_teacher, astronaut, cat):
    both = erased(name, tiny_teacher, [astronaut, cat])
    alone = {erased(name, tiny_teacher, [concept]).sha256 for concept in (astronaut, cat)}
    assert len({both.sha256, *alone}) == 3
    assert METHODS[name].steps([astronaut, cat], settings(name)) >= METHODS[name].steps(
        [astronaut], settings(name)
    )


@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_erase_and_prompts_that_would_be_cut_are_refused(name, tiny_teacher, astronaut):
    with pytest.raises(BadInput, match="no concept"):
        METHODS[name].check([], settings(name))
    METHODS[name].check([astronaut], settings(name))
    long = astronaut.model_copy(update={"prompts": ("a photo of the astronaut " * 4,)})
    with pytest.raises(BadInput, match="this base reads 16"):
        erased(name, tiny_teacher, [long])


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
    heard: list[int] = []
    assert (
        erased(
            name,
            tiny_teacher,
            [astronaut],
            on_step=lambda step, _: heard.append(step),
            resume=tmp_path / "state",
        ).sha256
        == whole
    )
    assert heard == sorted(heard)
    assert heard[0] == 1
