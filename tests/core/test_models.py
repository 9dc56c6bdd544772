"""Bases: the Stable Diffusion 1.x layout loads at any width, everything else is refused before any
work.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from erasure_core.errors import BadInput
from erasure_core.methods import all_but_one as abo
from erasure_core.network import diffusion, hub, layers, models, parts
from erasure_core.network.work import Work
from tests.marks import slow


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


def rewrite(file, **changes) -> None:
    """Change keys of a JSON file; None takes a key out."""
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def without_weights(folder) -> None:
    """So that a refusal cannot have read them."""
    for file in folder.rglob("*.safetensors"):
        file.unlink()


@pytest.mark.parametrize(
    "pipeline",
    ["StableDiffusionInpaintPipeline", "StableDiffusionXLImg2ImgPipeline", "KandinskyPipeline"],
)
def test_another_family_is_refused_by_name_before_its_weights_are_read(folder, pipeline):
    rewrite(folder / "model_index.json", _class_name=pipeline)
    without_weights(folder)
    with pytest.raises(
        BadInput,
        match=(
            f"is a {pipeline}; supported: Stable Diffusion 1.x .*; Stable Diffusion "
            f"2.x .*; Stable Diffusion XL"
        ),
    ):
        models.load_teacher(folder)


@pytest.mark.parametrize(
    "pipeline", ["StableDiffusion3Pipeline", "FluxPipeline", "FluxImg2ImgPipeline"]
)
def test_joint_attention_is_refused_with_the_reason(folder, pipeline):
    rewrite(folder / "model_index.json", _class_name=pipeline)
    without_weights(folder)
    with pytest.raises(
        BadInput,
        match=rf"is a {pipeline}: .*joint attention.*velocity.*supported: Stable Diffusion 1\.x",
    ):
        models.load_teacher(folder)


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        (
            "scheduler/scheduler_config.json",
            {
                "prediction_type": "v_prediction",
                "_class_name": "EulerDiscreteScheduler",
                "rescale_betas_zero_snr": True,
                "timestep_spacing": "trailing",
            },
            "where no signal is left",
        ),
        (
            "scheduler/scheduler_config.json",
            {"prediction_type": "sample"},
            "predicts sample; supported",
        ),
        (
            "scheduler/scheduler_config.json",
            {"beta_schedule": None, "_class_name": "EDMEulerScheduler"},
            "EDMEulerScheduler without a beta",
        ),
        (
            "scheduler/scheduler_config.json",
            {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
            "where no signal is left",
        ),
        ("unet/config.json", {"in_channels": 9}, "in_channels=9, supported is 4"),
        (
            "unet/config.json",
            {"addition_embed_type": "text_time"},
            "addition_embed_type='text_time', supported is None",
        ),
        (
            "unet/config.json",
            {"time_cond_proj_dim": 256},
            "time_cond_proj_dim=256, supported is None",
        ),
        (
            "unet/config.json",
            {"class_embed_type": "projection"},
            "class_embed_type='projection', supported is None",
        ),
        ("vae/config.json", {"latents_mean": [0.1] * 4}, "latents_mean="),
        ("unet/config.json", {"sample_size": None}, "sample_size=None, and .* square: set it to"),
        ("unet/config.json", {"sample_size": [64, 96]}, r"sample_size=\[64, 96\], and"),
        (
            "scheduler/scheduler_config.json",
            {"beta_schedule": None, "_class_name": "FlowMatchEulerDiscreteScheduler"},
            "FlowMatch.* another schedule would not say how its network was trained",
        ),
        (
            "model_index.json",
            {"text_encoder": ["transformers", "BertModel"]},
            "has a BertModel as its text_encoder, supported is CLIPTextModel or CLIPTextModelWith",
        ),
        (
            "model_index.json",
            {"vae": ["diffusers", "AutoencoderTiny"]},
            "has a AutoencoderTiny as its vae, supported is AutoencoderKL; this is another kind",
        ),
        (
            "model_index.json",
            {"_name_or_path": "Lykon/dreamshaper-xl-v2-turbo"},
            "made from Lykon/dreamshaper-xl-v2-turbo, which calls itself turbo .* distilled",
        ),
    ],
    ids=str,
)
def test_a_relative_that_would_be_misread_is_refused_before_its_weights_are_read(
    folder, file, changes, said
):
    rewrite(folder / file, **changes)
    without_weights(folder)
    with pytest.raises(BadInput, match=said):
        models.load_teacher(folder)


@pytest.mark.parametrize("where", ["/tmp/tmp-lcm-1/pipeline", "a/b/turbo", "runwayml/sd-v1-5"])
def test_where_a_base_lay_says_nothing_of_it(folder, where):
    rewrite(folder / "model_index.json", _name_or_path=where)
    models.check_folder(folder)


def test_the_side_that_early_versions_wrote_too_small_is_that_of_plain_diffusers(folder):
    config = folder / "unet/config.json"
    rewrite(config, _diffusers_version="0.6.0")
    with pytest.warns(FutureWarning, match="smaller than 64"):
        plain = StableDiffusionPipeline.from_pretrained(folder)
    assert models.load_teacher(folder).size == plain.unet.config.sample_size * 2
    rewrite(config, _diffusers_version="0.10.0")
    assert models.load_teacher(folder).size == json.loads(config.read_text())["sample_size"] * 2


@pytest.mark.parametrize("end", ["processor.to_k_lora.down.weight", "to_qkv.weight"])
def test_a_tensor_that_nobody_reads_is_another_model(folder, end):
    """A LoRA that a trainer left in the folder draws in its program, and not in another."""
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    held = load_file(file)
    name = next(n for n in held if n.endswith("attn2.to_k.weight")).replace("to_k.weight", end)
    save_file({**held, name: torch.ones(2, 2)}, file, metadata={"format": "pt"})
    said = "holds 1 tensors that its config.json has no place for, .* fuse the LoRA"
    with pytest.raises(BadInput, match=said):
        models.load_teacher(folder)
    with pytest.raises(BadInput, match=said):
        parts.check_parts(folder, models.check_folder(folder))


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"beta_schedule": "laplace"}, "scheduler of .* does not load .*laplace"),
        ({"trained_betas": [0.1] * 10}, "has 10 trained_betas for 1000 timesteps"),
    ],
)
def test_a_schedule_that_ddim_cannot_follow_is_one_line(folder, schedule, said):
    rewrite(folder / "scheduler/scheduler_config.json", **schedule)
    with pytest.raises(BadInput, match=said):
        models.load_teacher(folder)


def test_latents_are_never_thresholded(folder):
    rewrite(folder / "scheduler/scheduler_config.json", thresholding=True)
    assert models.load_teacher(folder).scheduler.config.thresholding is False


def test_a_network_in_eight_bits_loads(folder):
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    eight = {name: t.to(torch.float8_e4m3fn) for name, t in load_file(file).items()}
    save_file(eight, file, metadata={"format": "pt"})
    found = models.load_teacher(folder).unet.state_dict()
    assert all(torch.equal(t, eight[name].float()) for name, t in found.items())


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_configuration_is_named(folder, text):
    (folder / "unet/config.json").write_text(text)
    with pytest.raises(BadInput, match=r"unet/config\.json .*; restore the base"):
        models.load_teacher(folder)


def test_latents_are_never_clipped_even_where_the_schedule_does_not_say(folder):
    """DDIM's own default would clip, and a schedule that was saved for another sampler says
    nothing.
    """
    rewrite(
        folder / "scheduler/scheduler_config.json", clip_sample=None, _class_name="PNDMScheduler"
    )
    rewrite(folder / "model_index.json", scheduler=["diffusers", "PNDMScheduler"])
    teacher = models.load_teacher(folder)
    assert diffusion.noise_scheduler(teacher).config.clip_sample is False


def test_a_trajectory_never_starts_where_no_signal_is_left(folder):
    """With 500 leading steps the first is 999, where a schedule of zero terminal SNR keeps nothing
    of the picture.
    """
    rewrite(folder / "scheduler/scheduler_config.json", rescale_betas_zero_snr=True)
    teacher = models.load_teacher(folder)
    assert teacher.scheduler.alphas_cumprod[999] == 0
    assert torch.isfinite(diffusion.sample(teacher, ["cat"], [1], [2.0], 4, 1)).all()
    with pytest.raises(
        BadInput, match="a trajectory of 500 steps begins at timestep 999, where no signal is left"
    ):
        diffusion.timesteps(teacher, 500)


@pytest.mark.parametrize("steps", [0, 1000, 1001])
def test_a_trajectory_has_fewer_steps_than_the_schedule(folder, steps):
    with pytest.raises(
        BadInput, match=rf"a trajectory of {steps} steps; this base allows 1\.\.999"
    ):
        diffusion.timesteps(models.load_teacher(folder), steps)


def test_pickle_weights_are_refused_and_not_opened(folder):
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(
        BadInput, match=r"holds only pickle weights \(diffusion_pytorch_model\.bin\)"
    ):
        models.load_teacher(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "vae holds no weights"),
        ("diffusion_pytorch_model.non_ema.safetensors", "vae holds only variants"),
    ],
)
def test_a_folder_without_weights_is_refused(folder, name, said):
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.rename(weights.with_name(name)) if name else weights.unlink()
    with pytest.raises(BadInput, match=said):
        models.load_teacher(folder)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_quantised_part_is_refused_in_words(folder, part):
    rewrite(folder / part / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(BadInput, match=rf"{part}: its weights are quantised \(bitsandbytes\)"):
        models.check_folder(folder)


def test_a_truncated_file_is_named(folder):
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(
        BadInput, match=r"unet/diffusion_pytorch_model\.safetensors is not a whole safetensors file"
    ):
        models.load_teacher(folder)


def test_a_folder_beside_the_base_is_told_from_it(folder, tmp_path):
    cache, lora = tmp_path / "models--a--b", tmp_path / "trained"
    (cache / "snapshots").mkdir(parents=True)
    folder.rename(cache / "snapshots" / "abc")
    base = cache / "snapshots" / "abc"
    lora.mkdir()
    (lora / "pytorch_lora_weights.safetensors").touch()
    for given, said in (
        (base / "unet", f"it is a part of the base {base}"),
        (cache, f"the base in it is {base}"),
        (lora, "what it holds is a LoRA"),
    ):
        with pytest.raises(BadInput, match=said):
            models.check_folder(given)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"has no model_index\.json"):
        models.check_folder(tmp_path)


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("no/such/folder", "neither an existing folder nor a hub id"),
        ("owner/name", "needs its commit, .*: owner/name@COMMIT"),
        ("models/teecher", "no such file or folder"),  # one slash, as a hub id has
        ("models/sd15.safetensors", "no such file or folder"),
        ("owner/sd15.safetensors", "no such file or folder"),
        ("owner/sd15.ckpt", "no such file or folder"),
        ("models/one.safetensors", "is a file, no folder"),
        ("Lykon/dreamshaper-xl-lightning", "calls itself lightning: its network was distilled"),
    ],
)
def test_what_is_neither_a_folder_nor_a_pinned_hub_id_is_refused(base, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/one.safetensors").touch()
    with pytest.raises(BadInput, match=said):
        hub.locate(base)


ID, COMMIT = "CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b"


@pytest.mark.parametrize("named", [(ID, COMMIT), (f"{ID}@{COMMIT}",)])
def test_a_hub_that_cannot_be_reached_is_one_clear_line(named):
    """A commit stands beside the id, or behind its @, as the pages write it."""
    said = rf"'{ID}' at {COMMIT} could not be fetched .* give a local folder"
    with pytest.raises(BadInput, match=said):
        hub.locate(*named)


def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models/sd15@best").mkdir(parents=True)
    assert hub.locate("models/sd15@best") == Path("models/sd15@best")
    assert hub.pinned("models/sd15@best") == ("models/sd15@best", None)
    Path("models/sd15@best").rename("models/sd15")
    with pytest.raises(BadInput, match="'models/sd15@best': no such file or folder"):
        hub.locate("models/sd15@best")


def test_a_folder_around_a_checkpoint_in_one_file_names_that(tmp_path):
    (tmp_path / "dreamshaper_8.safetensors").touch()
    with pytest.raises(BadInput, match=r"in one file: name that \(.*dreamshaper_8\.safetensors\)"):
        models.check_folder(tmp_path)


SD14_LAYOUT = {  # the published unet/config.json of Stable Diffusion 1.4, widths divided by ten
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (32, 64, 128, 128),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "act_fn": "silu",
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "center_input_sample": False,
    "norm_eps": 1e-05,
}


@pytest.mark.parametrize("group", [slow("full"), "xattn", slow("kv")])
def test_stable_diffusion_1_4_at_reduced_width_is_erased_saved_and_read_back(
    folder, astronaut, tmp_path, group
):
    """The real block layout and scheduler (PNDM, as published) with random weights, through the
    code that real weights take.
    """
    torch.manual_seed(0)
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(**{**SD14_LAYOUT, "sample_size": 8}).save_pretrained(folder / "unet")
    published = {
        "_class_name": "PNDMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "trained_betas": None,
        "clip_sample": False,
    }
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(published))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps({**index, "scheduler": ["diffusers", "PNDMScheduler"]})
    )

    teacher = models.load_teacher(folder)
    assert diffusion.timesteps(teacher, 35)[:2] == [953, 925]
    assert diffusion.timesteps(teacher, 35)[-1] == 1
    assert len(layers.select(teacher.unet, "kv")) == 32
    paper = abo.Settings(group=group, updates=1, steps=6, instructions=(abo.Instruction(warmup=1),))
    delta = abo.erase(teacher, [astronaut], paper, Work(0))
    delta.save(tmp_path / "delta.safetensors")
    before = diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1)
    assert before.shape == (1, 3, 16, 16)
    with type(delta).load(tmp_path / "delta.safetensors").applied(teacher.unet):
        assert not torch.equal(diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1), before)
    assert torch.equal(diffusion.sample(teacher, ["astronaut"], [1], [7.5], 3, 1), before)
