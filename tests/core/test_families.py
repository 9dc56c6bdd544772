"""Every supported family: what diffusers' own pipeline reads, predicts and draws is what this
package reads, predicts and draws.
"""

import copy
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.methods import all_but_one as abo
from erasure_core.methods import rece, sepme, speed, uce
from erasure_core.network import diffusion, layers, models
from erasure_core.network.weights import WeightDelta, tensors_sha256
from erasure_core.network.work import Work
from tests.core.families import ROWS, SIDE, build, plain_picture, plain_pipeline
from tests.core.published import lay_over
from tests.marks import slow

PROMPTS = ["a photo of a cat", "", "a sketch of the astronaut"]
# cross-attention layers of the published networks, and the name of one that only this network has
LAYERS = {
    "sd-1.4": (16, "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight"),
    "sd-2.1": (16, "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight"),
    "sd-2.1-base": (16, "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k.weight"),
    "sdxl": (70, "mid_block.attentions.0.transformer_blocks.9.attn2.to_v.weight"),
}


@pytest.fixture(scope="module", params=ROWS)
def row(request, tmp_path_factory):
    """A row's name, its folder, and the pipeline in diffusers' hands."""
    folder = build(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, folder, plain_pipeline(folder)


@pytest.fixture(scope="module")
def loaded(row):
    return models.load_teacher(row[1])


@pytest.fixture
def teacher(loaded):
    return copy.deepcopy(loaded)


def read_by_diffusers(pipeline, prompt: str):
    """(states, pooled or None) of one prompt; the empty one as diffusers reads an absent negative
    prompt.
    """
    said = pipeline.encode_prompt(
        prompt or "cat", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
    )
    states, null_states, *pooled = said
    return (
        (states, pooled[0] if pooled else None)
        if prompt
        else (null_states, pooled[1] if pooled else None)
    )


def test_a_folder_is_recognised_as_its_family(row, teacher):
    name, folder, _ = row
    number = {"sd-1.4": 0, "sd-2.1": 1, "sd-2.1-base": 1, "sdxl": 2}[name]
    assert models.check_folder(folder) is models.FAMILIES[number]
    assert teacher.size == 8 * SIDE
    for part in (teacher.unet, teacher.vae, *teacher.text_encoders):
        assert not part.training
        assert {(p.dtype, p.requires_grad) for p in part.parameters()} == {(torch.float32, False)}


def test_groups_name_the_published_layers(row, teacher):
    number, one = LAYERS[row[0]]
    kv = layers.select(teacher.unet, "kv")
    assert len(kv) == 2 * number
    assert one in kv
    assert (
        kv.keys()
        < layers.select(teacher.unet, "xattn").keys()
        < layers.select(teacher.unet, "full").keys()
    )


def test_prompts_are_read_as_diffusers_reads_them(row, teacher):
    read = diffusion.encode_prompts(teacher, PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        states, pooled = read_by_diffusers(row[2], prompt)
        assert_close(read.states[i : i + 1], states, atol=1e-6, rtol=1e-5)
        assert (read.pooled is None) == (pooled is None)
        if pooled is not None:
            assert_close(read.pooled[i : i + 1], pooled, atol=1e-6, rtol=1e-5)
    assert read.ids.shape == read.states.shape[:2] == (3, 77)
    assert not torch.allclose(read.states[0], read.states[2], atol=1e-3)


def test_rows_of_a_context_stay_together(row, teacher):
    """Selected, repeated and joined, a prompt keeps all that belongs to it."""
    both = diffusion.encode_prompts(teacher, PROMPTS[:2])
    first, second = (diffusion.encode_prompts(teacher, [prompt]) for prompt in PROMPTS[:2])
    z, t = torch.randn(4, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), 500
    made = [
        both[torch.tensor([0, 1, 0, 0])],
        diffusion.Context.cat([first, second, first.expand(2)]),
    ]
    expected = [
        diffusion.predict_noise(teacher, teacher.unet, z[i : i + 1], t, c)
        for i, c in enumerate([first, second, first, first])
    ]
    for context in made:
        assert_close(
            diffusion.predict_noise(teacher, teacher.unet, z, t, context),
            torch.cat(expected),
            atol=1e-4,
            rtol=1e-4,
        )


def test_noise_is_what_diffusers_network_and_schedule_say(row, teacher):
    """For v-prediction: the noise that is left when the schedule's own estimate of the picture is
    taken out.
    """
    name, _, pipeline = row
    z, t = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(2)), 481
    states, pooled = read_by_diffusers(pipeline, PROMPTS[0])
    added = {}
    if name == "sdxl":
        size = (teacher.size, teacher.size)
        ids = pipeline._get_add_time_ids(
            size, (0, 0), size, torch.float32, text_encoder_projection_dim=pooled.shape[-1]
        )
        added = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": ids}}
    with torch.no_grad():
        said = pipeline.unet(z, t, encoder_hidden_states=states, **added).sample
    expected = said
    if name == "sd-2.1":
        scheduler = pipeline.scheduler
        scheduler.set_timesteps(50)
        picture = scheduler.step(said, t, z).pred_original_sample
        kept = scheduler.alphas_cumprod[t]
        expected = (z - kept.sqrt() * picture) / (1 - kept).sqrt()
        assert not torch.allclose(expected, said, atol=1e-2)
    with torch.no_grad():
        predicted = diffusion.predict_noise(
            teacher, teacher.unet, z, t, diffusion.encode_prompts(teacher, PROMPTS[:1])
        )
    assert_close(predicted, expected, atol=1e-4, rtol=1e-4)


def test_pictures_are_those_of_diffusers_own_pipeline(row, teacher):
    ours = diffusion.sample(teacher, [PROMPTS[0]], [3], [5.0], 4, 1)[0]
    assert_close(ours, plain_picture(row[2], PROMPTS[0], 3, 5.0, 4), atol=1e-5, rtol=0)
    assert not torch.allclose(ours, plain_picture(row[2], "old coins", 3, 5.0, 4), atol=1e-2)


def test_a_network_of_any_family_may_predict_a_velocity(row, teacher, tmp_path):
    name, built, plain = row
    folder = shutil.copytree(built, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
    lay_over(folder / "scheduler/scheduler_config.json", {"prediction_type": "v_prediction"})
    assert models.family_of(folder) == teacher.family
    scheduler = type(teacher.scheduler).from_config(
        teacher.scheduler.config, prediction_type="v_prediction"
    )
    pipeline = copy.copy(plain)
    pipeline.scheduler = scheduler
    ours = diffusion.sample(replace(teacher, scheduler=scheduler), [PROMPTS[0]], [3], [5.0], 4, 1)
    assert_close(ours[0], plain_picture(pipeline, PROMPTS[0], 3, 5.0, 4), atol=1e-5, rtol=0)


def test_trailing_steps_are_those_of_diffusers(row, teacher):
    scheduler = type(teacher.scheduler).from_config(
        teacher.scheduler.config, timestep_spacing="trailing"
    )
    teacher, pipeline = replace(teacher, scheduler=scheduler), copy.copy(row[2])
    pipeline.scheduler = scheduler
    ours = diffusion.sample(teacher, [PROMPTS[0]], [3], [5.0], 4, 1)[0]
    assert diffusion.timesteps(teacher, 4)[0] == 999
    assert_close(ours, plain_picture(pipeline, PROMPTS[0], 3, 5.0, 4), atol=1e-5, rtol=0)


def test_a_gradient_method_erases_and_its_delta_reads_back(row, teacher, astronaut, tmp_path):
    settings = abo.Settings(
        group="kv", updates=1, steps=4, lr=1e-3, instructions=(abo.Instruction(warmup=1),)
    )
    before, file = tensors_sha256(teacher.unet.state_dict()), tmp_path / "delta.safetensors"
    abo.erase(teacher, [astronaut], settings, Work(0)).save(file)
    assert tensors_sha256(teacher.unet.state_dict()) == before
    _reads_back(teacher, file, layers.select(teacher.unet, "kv").keys())


def test_a_closed_form_method_erases_and_its_delta_reads_back(row, teacher, astronaut, tmp_path):
    before, file = tensors_sha256(teacher.unet.state_dict()), tmp_path / "delta.safetensors"
    uce.erase(teacher, [astronaut], uce.Settings(), Work(0)).save(file)
    assert tensors_sha256(teacher.unet.state_dict()) == before
    _reads_back(teacher, file, layers.select(teacher.unet, "kv").keys())


SHORT = 14  # tokens, so that "" and its padding do not fill the narrow text states
# method, its settings, and how far it may move the keys and values of the marker, as a share of
# them: what a ridge leaves, or the rounding of float32
SPARING = {
    "uce": (uce, uce.PRESETS["object"], 0.15),
    "rece": (rece, rece.PRESETS["object"], 0.3),
    "speed": (speed, speed.Settings(projections="kv", target="nothing"), 1e-5),
    "sepme": (
        sepme,
        sepme.Settings(images=1, steps=2, updates=1, lr=0.1, beta=1.0, stop=None, tolerance=0.2),
        1e-5,
    ),
    "all_but_one": (
        abo,
        abo.Settings(group="kv", hard=True, target="replace", updates=1, steps=2, lr=1e-2),
        1e-5,
    ),
}


def _told(unet, states: torch.Tensor) -> torch.Tensor:
    """The keys and values of all layers, (rows, sum of widths)."""
    return torch.cat([states @ w.T for w in layers.select(unet, "kv").values()], dim=-1)


@pytest.mark.parametrize("name", [slow(n) if n in ("rece", "sepme") else n for n in SPARING])
def test_the_start_marker_that_every_prompt_shares_stays(teacher, astronaut, name):
    """Of prompts with words, on a base that tells an absent prompt as zeros too."""
    method, settings, bound = SPARING[name]
    for tokenizer in teacher.tokenizers:
        tokenizer.model_max_length = SHORT
    states = diffusion.encode_prompts(teacher, ["a cat", "astronaut"]).states
    before = _told(teacher.unet, states)
    if name == "uce":  # no kept prompt, which would hold the marker too
        astronaut = astronaut.model_copy(update={"keep": ()})
    with method.erase(teacher, [astronaut], settings, Work(0)).applied(teacher.unet):
        moved = (_told(teacher.unet, states) - before).norm(dim=-1) / before.norm(dim=-1)
    assert moved[:, 0].max() < bound < moved[1].max()


def _reads_back(teacher, file, names) -> None:
    delta = WeightDelta.load(file)
    assert delta.names == frozenset(names)
    assert all(t.abs().max() > 0 for t in delta.tensors.values())
    base = diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1)
    with delta.applied(teacher.unet):
        assert not torch.equal(diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1), base)
    assert torch.equal(diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1), base)


def test_a_prompt_must_fit_every_tokenizer(row, teacher):
    fits = " ".join(["cat"] * 75)
    assert diffusion.encode_prompts(teacher, [fits]).states.shape[1] == 77
    with pytest.raises(BadInput, match="has 78 tokens with its two markers; this base reads 77"):
        diffusion.encode_prompts(teacher, [fits + " cat"])
    teacher.tokenizers[-1].model_max_length = 70
    with pytest.raises(BadInput, match="has 77 tokens with its two markers; this base reads 70"):
        diffusion.encode_prompts(teacher, [fits])


def test_tokenizers_are_read_without_weights(row):
    assert [t.pad_token for t in models.load_tokenizers(row[1])] == list(ROWS[row[0]]["pads"])
    assert models.load_tokenizer(row[1]).pad_token == ROWS[row[0]]["pads"][0]


# --- what only XL has
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    return build("sdxl", tmp_path_factory.mktemp("xl"))


@pytest.fixture
def xl_copy(xl, tmp_path):
    """The same files under names of its own."""
    return Path(shutil.copytree(xl, tmp_path / "copy", copy_function=os.link))


def test_the_empty_prompt_is_zeros_only_where_the_base_says_so(xl, xl_copy):
    index = json.loads((xl / "model_index.json").read_text())
    assert index["force_zeros_for_empty_prompt"] is True
    (xl_copy / "model_index.json").unlink()
    (xl_copy / "model_index.json").write_text(
        json.dumps({**index, "force_zeros_for_empty_prompt": False})
    )
    zeroed, read = (
        diffusion.encode_prompts(models.load_teacher(folder), ["", "cat"])
        for folder in (xl, xl_copy)
    )
    states, pooled = read_by_diffusers(plain_pipeline(xl_copy), "")
    assert_close(read.states[:1], states, atol=1e-6, rtol=1e-5)
    assert_close(read.pooled[:1], pooled, atol=1e-6, rtol=1e-5)
    assert read.states[0].abs().sum() > 0
    assert zeroed.states[0].abs().sum() == zeroed.pooled[0].abs().sum() == 0
    assert_close(zeroed.states[1], read.states[1], atol=1e-6, rtol=1e-5)


def test_a_context_that_lost_its_pooled_embedding_is_refused(xl):
    teacher = models.load_teacher(xl)
    read = diffusion.encode_prompts(teacher, ["cat"])
    bare = diffusion.Context(read.states, read.ids)
    with pytest.raises(ValueError, match="needs the pooled embedding"):
        diffusion.predict_noise(teacher, teacher.unet, torch.zeros(1, 4, SIDE, SIDE), 1, bare)


@pytest.mark.parametrize("part", ["text_encoder_2", "text_encoder", "unet", "vae"])
def test_pickle_weights_of_any_part_are_refused(xl_copy, part):
    weights = next((xl_copy / part).glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BadInput, match=rf"{part} holds only pickle weights"):
        models.load_teacher(xl_copy)
