"""Bases: the Stable Diffusion 1.x layout loads at any width, everything else is refused before any work."""

import json
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel

from erasure_core import diffusion, layers, models
from erasure_core.errors import BadInput
from erasure_core.methods import all_but_one as abo


@pytest.fixture
def folder(tiny_folder, tmp_path):
    copy = tmp_path / "base"
    shutil.copytree(tiny_folder, copy)
    return copy


def test_the_teacher_is_frozen_float32_and_knows_its_size(tiny_folder):
    teacher = models.load_teacher(tiny_folder)
    for part in (teacher.unet, teacher.vae, teacher.text_encoder):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())
        assert {p.dtype for p in part.parameters()} == {torch.float32}
    assert teacher.size == 16


def test_weights_stored_in_half_precision_load_in_float32(folder):
    from safetensors.torch import load_file, save_file

    file = next((folder / "unet").glob("*.safetensors"))
    save_file({k: v.half() for k, v in load_file(file).items()}, file)
    assert {p.dtype for p in models.load_teacher(folder).unet.parameters()} == {torch.float32}


def test_a_neighbouring_family_is_refused_by_name(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(BadInput, match="is a StableDiffusionXLPipeline; supported: StableDiffusionPipeline"):
        models.load_teacher(folder)


def test_v_prediction_is_refused(folder):
    config = folder / "scheduler/scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "prediction_type": "v_prediction"}))
    with pytest.raises(BadInput, match="predicts v_prediction; supported"):
        models.load_teacher(folder)


def test_pickle_weights_are_refused_and_not_opened(folder):
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BadInput, match=r"holds only pickle weights \(diffusion_pytorch_model\.bin\)"):
        models.load_teacher(folder)


def test_a_folder_without_weights_is_refused(folder):
    shutil.rmtree(folder / "vae")
    with pytest.raises(BadInput, match="vae holds no weights"):
        models.load_teacher(folder)


def test_a_truncated_file_is_named(folder):
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"unet/diffusion_pytorch_model\.safetensors is not a whole safetensors file"):
        models.load_teacher(folder)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"has no model_index\.json"):
        models.check_folder(tmp_path)


@pytest.mark.parametrize(
    ("base", "said"), [("no/such/folder", "neither an existing folder nor a hub id"), ("owner/name", "needs base.revision")]
)
def test_what_is_neither_a_folder_nor_a_pinned_hub_id_is_refused(base, said):
    with pytest.raises(BadInput, match=said):
        models.locate(base)


def test_a_hub_that_cannot_be_reached_is_one_clear_line():
    with pytest.raises(BadInput, match=r"could not be fetched .* give a local folder"):
        models.locate("CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b")


SD14_LAYOUT = {  # the published unet/config.json of Stable Diffusion 1.4, widths divided by ten
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "block_out_channels": (32, 64, 128, 128),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 32, "attention_head_dim": 8, "norm_num_groups": 32, "act_fn": "silu", "mid_block_scale_factor": 1,
    "downsample_padding": 1, "flip_sin_to_cos": True, "freq_shift": 0, "center_input_sample": False, "norm_eps": 1e-05,
}  # fmt: skip


@pytest.mark.parametrize("group", ["full", "xattn", "kv"])
def test_stable_diffusion_1_4_at_reduced_width_is_erased_saved_and_read_back(folder, astronaut, tmp_path, group):
    """The real block layout and scheduler (PNDM, as published) with random weights, through the code that real weights take."""
    torch.manual_seed(0)
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(**{**SD14_LAYOUT, "sample_size": 8}).save_pretrained(folder / "unet")
    published = {
        "_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
        "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "trained_betas": None, "clip_sample": False,
    }  # fmt: skip
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(published))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "scheduler": ["diffusers", "PNDMScheduler"]}))

    teacher = models.load_teacher(folder)
    assert diffusion.timesteps(teacher, 35)[:2] == [953, 925]
    assert diffusion.timesteps(teacher, 35)[-1] == 1
    assert len(layers.select(teacher.unet, "kv")) == 32
    paper = abo.Settings(group=group, updates=1, steps=6, instructions=(abo.Instruction(warmup=1),))
    delta = abo.erase(teacher, [astronaut], paper, seed=0)
    delta.save(tmp_path / "delta.safetensors")
    before = diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1)
    assert before.shape == (1, 3, 16, 16)
    with type(delta).load(tmp_path / "delta.safetensors").applied(teacher.unet):
        assert not torch.equal(diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1), before)
    assert torch.equal(diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1), before)
