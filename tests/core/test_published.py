"""Bases as they are published load; what would be misread or filled with random numbers is refused
in one line, before any picture.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from erasure_core.errors import BadInput
from erasure_core.model import Model
from erasure_core.network import bases, diffusion, models, parts
from erasure_core.network.hub import locate
from erasure_core.network.weights import tensors_sha256
from tests.core.families import build, plain_pipeline
from tests.core.published import PUBLISHED, lay_over, publish, turbo
from tests.marks import slow

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module", params=PUBLISHED)
def published(request, tmp_path_factory):
    return publish(request.param, tmp_path_factory.mktemp("published"))


def test_a_published_folder_draws(published):
    pictures = diffusion.sample(models.load_teacher(published), ["a cat"], [1], [4.0], 2, 1)
    assert torch.isfinite(pictures).all()


def test_a_published_folder_is_whole(published):
    parts.check_parts(published, models.check_folder(published))


def test_what_is_published_in_half_precision_loads_in_float32(published):
    teacher = models.load_teacher(published)
    networks = (teacher.unet, teacher.vae, *teacher.text_encoders)
    assert {p.dtype for network in networks for p in network.parameters()} == {torch.float32}


# --- as Python hands them on


@pytest.fixture(
    scope="module",
    params=[
        "sd-1.4",
        *(slow(name) for name in PUBLISHED if name not in ("sd-1.4", "sdxl")),
        "sdxl",
    ],
)
def pipeline(request, tmp_path_factory):
    folder = publish(request.param, tmp_path_factory.mktemp("handed"))
    halved(folder / "unet")
    return Model.load(folder).pipeline()


def test_its_pipeline_is_of_one_precision_and_has_no_pickle(pipeline):
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {p.dtype for network in networks for p in network.parameters()} == {torch.float32}
    assert pipeline.components.get("safety_checker") is None


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of XL's scheduler
def test_its_pipeline_draws(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    assert np.isfinite(pipeline("a cat", num_inference_steps=1, output_type="np").images).all()


# --- distilled models


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    return turbo(tmp_path_factory.mktemp("turbo"))


def test_a_turbo_model_is_refused_in_words(distilled):
    said = (
        r"is a EulerAncestralDiscreteScheduler with timestep_spacing trailing, as turbo .*: its "
        r"network was distilled .*; erase from the model that it was distilled from"
    )
    with pytest.raises(BadInput, match=said):
        models.check_folder(distilled)


def test_a_model_that_only_looks_like_turbo_has_a_way(distilled, tmp_path):
    """The setting that the refusal names is accepted."""
    folder = Path(shutil.copytree(distilled, tmp_path / "copy"))
    lay_over(folder / "scheduler/scheduler_config.json", {"timestep_spacing": "leading"})
    assert models.check_folder(folder).name == "Stable Diffusion XL"


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


@pytest.mark.parametrize(
    ("scheduler", "said"), [("LCMScheduler", "latent"), ("TCDScheduler", "trajectory")]
)
def test_a_schedule_of_distilled_models_is_refused_in_words(folder, scheduler, said):
    lay_over(folder / "scheduler/scheduler_config.json", {"_class_name": scheduler})
    with pytest.raises(BadInput, match=f"is a {scheduler}: its network was distilled by {said}"):
        models.check_folder(folder)


# --- what is missing or does not belong together


def without(file: Path, tensor: str) -> None:
    tensors = load_file(file)
    del tensors[tensor]
    save_file(tensors, file)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_missing_tensor_of_any_part_is_never_filled_with_random_numbers(folder, part):
    file = next((folder / part).glob("*.safetensors"))
    without(file, min(load_file(file)))
    with pytest.raises(BadInput, match=rf"{part} lacks 1 tensors that its config\.json asks for"):
        models.load_teacher(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(folder, part, value):
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    name = max(tensors)
    tensors[name].flatten()[0] = value
    save_file(tensors, file)
    with pytest.raises(BadInput, match=rf"{part}/.*'{name}' is NaN or infinite"):
        models.load_teacher(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_tensor_of_another_shape_is_refused_in_one_line(folder, part):
    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    name = max(tensors)
    tensors[name] = torch.zeros(3)
    save_file(tensors, file)
    with pytest.raises(BadInput, match=rf"{part} .*(does not load|lacks)") as refused:
        models.load_teacher(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_configuration_that_no_network_has_is_refused_in_one_line(folder, part):
    wrong = {"norm_num_groups": 7, "num_attention_heads": 7}
    lay_over(folder / part / "config.json", wrong)
    with pytest.raises(BadInput, match=f"{part} .*does not load") as refused:
        models.load_teacher(folder)
    assert "\n" not in str(refused.value)


def test_a_text_encoder_of_another_model_is_refused(folder):
    lay_over(folder / "unet/config.json", {"cross_attention_dim": 24})
    said = "unet reads text states of width 24, and its text encoders give 32"
    with pytest.raises(BadInput, match=said):
        models.check_folder(folder)


def test_a_tokenizer_that_says_no_limit_is_refused_with_the_limit(folder):
    lay_over(folder / "tokenizer/tokenizer_config.json", {"model_max_length": None})
    with pytest.raises(BadInput, match=r"its text encoder reads 16; set model_max_length to 16"):
        models.load_teacher(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    lay_over(folder / "text_encoder/config.json", {"vocab_size": 7})
    with pytest.raises(BadInput, match="tokens, and its text encoder rows for 7"):
        models.load_tokenizers(folder)


# --- half precision alone


def halved(folder: Path) -> None:
    """As `variant="fp16"` is published, and nothing else."""
    for file in list(folder.rglob("*.safetensors")):
        half = {name: tensor.half() for name, tensor in load_file(file).items()}
        save_file(half, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
        file.unlink()


def test_weights_in_half_precision_alone_are_the_base(folder):
    expected = {n: t.half().float() for n, t in models.load_unet(folder).state_dict().items()}
    halved(folder)
    found = models.load_teacher(folder).unet.state_dict()
    assert tensors_sha256(found) == tensors_sha256(expected)


def test_whole_weights_are_preferred(folder):
    before = bases.manifest(folder)
    half = folder / UNET.replace(".safetensors", ".fp16.safetensors")
    save_file({n: t.half() for n, t in load_file(folder / UNET).items()}, half)
    assert bases.manifest(folder) == before


@pytest.mark.parametrize("ending", [".fp16-0000{}-of-00002", "-0000{}-of-00002.fp16"])
def test_shards_in_half_precision_are_the_base(folder, ending, tmp_path):
    """As diffusers names them today, and as it did before 0.31."""
    halved(folder)
    file = folder / UNET.replace(".safetensors", ".fp16.safetensors")
    tensors, places = load_file(file), {}
    for i in (0, 1):
        name = f"diffusion_pytorch_model{ending.format(i + 1)}.safetensors"
        places |= dict.fromkeys(sorted(tensors)[i::2], name)
        shard = {n: tensors[n] for n in sorted(tensors)[i::2]}
        save_file(shard, file.with_name(name), metadata={"format": "pt"})
    index = folder / f"{UNET}.index.fp16.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    file.unlink()
    bases.lay_out(bases.loaded_files(folder), tmp_path / "out", shutil.copyfile)
    for base in (folder, tmp_path / "out"):
        found = models.load_teacher(base).unet.state_dict()
        assert tensors_sha256(found) == tensors_sha256(tensors)
    laid_out = plain_pipeline(tmp_path / "out").unet.state_dict()
    assert tensors_sha256(laid_out) == tensors_sha256(tensors)


def test_a_laid_out_variant_has_the_plain_name(folder, tmp_path):
    halved(folder)
    bases.lay_out(bases.loaded_files(folder), tmp_path / "out", shutil.copyfile)
    assert (tmp_path / "out" / UNET).is_file()
    assert not list((tmp_path / "out").rglob("*fp16*"))


# --- pins


HUB_ID = "CompVis/stable-diffusion-v1-4"
COMMIT = "133a221b8aa7292a167afc5127cb63fb5005638b"


@pytest.mark.parametrize("name", ["main", "fp16", "v1.0", COMMIT[:7], COMMIT.upper()])
def test_a_name_that_moves_is_no_pin(name):
    with pytest.raises(BadInput, match=f"@{name} is no pin: .* give a commit hash"):
        locate(HUB_ID, name)


def test_the_commit_that_a_name_has_today_is_told(monkeypatch):
    asked = []

    def repo_info(_self, hub_id, *, revision, timeout):
        asked.append((hub_id, revision))
        return SimpleNamespace(sha=COMMIT)

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    with pytest.raises(BadInput, match=f"today it is {HUB_ID}@{COMMIT}"):
        locate(HUB_ID, "main")
    assert asked == [(HUB_ID, "main")]


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """A hub that publishes `folder`: what was asked for is copied, and the requests are listed."""
    asked, snapshot = [], tmp_path / "snapshot"

    def snapshot_download(hub_id, *, revision, allow_patterns, ignore_patterns):
        assert (hub_id, revision) == (HUB_ID, COMMIT)
        asked.append(allow_patterns)
        names = [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()]
        for name in filter_repo_objects(
            names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, snapshot / name)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_base_that_is_published_in_half_precision_alone_is_fetched(folder, hub):
    halved(folder)
    found = locate(HUB_ID, COMMIT)
    assert len(hub) == 2
    assert bases.manifest(found) == bases.manifest(folder)


def test_half_precision_is_fetched_of_the_parts_that_have_no_other(folder, hub):
    whole = (folder / "vae/diffusion_pytorch_model.safetensors").read_bytes()
    halved(folder)
    (folder / "vae/diffusion_pytorch_model.safetensors").write_bytes(whole)
    found = locate(HUB_ID, COMMIT)
    assert [f.name for f in (found / "vae").glob("*.safetensors")] == [Path(UNET).name]
    assert [f.name for f in (found / "unet").glob("*.safetensors")] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]


def test_a_base_with_plain_weights_is_asked_for_once(folder, hub):
    assert bases.manifest(locate(HUB_ID, COMMIT)) == bases.manifest(folder)
    assert len(hub) == 1


def test_what_is_in_the_cache_whole_is_asked_for_once(folder, hub):
    halved(folder)
    locate(HUB_ID, COMMIT)
    hub.clear()
    locate(HUB_ID, COMMIT)
    assert len(hub) == 1


def test_a_base_that_is_published_as_pickles_alone_is_told_to_be(folder, hub, monkeypatch):
    pickled = {"unet": "diffusion_pytorch_model.bin", "text_encoder": "pytorch_model.bin"}
    for part, name in pickled.items():
        next((folder / part).glob("*.safetensors")).rename(folder / part / name)
    names = [f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, revision: names)
    said = (
        rf"{HUB_ID}@{COMMIT} holds text_encoder, unet as pickles only.*"
        rf"hf download {HUB_ID} --revision {COMMIT} --local-dir stable-diffusion-v1-4.*"
        r"text_encoder/pytorch_model.bin text_encoder/model.safetensors, "
        r"and likewise unet/diffusion_pytorch_model.bin; then give the folder"
    )
    with pytest.raises(BadInput, match=said):
        locate(HUB_ID, COMMIT)


def test_a_published_base_without_any_weights_is_refused_as_a_folder_is(folder, hub, monkeypatch):
    (folder / UNET).unlink()
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda *_, revision: [])
    with pytest.raises(BadInput, match="unet holds no weights"):
        models.check_folder(locate(HUB_ID, COMMIT))


# --- XL


def test_the_second_text_encoder_is_checked_too(tmp_path):
    folder = build("sdxl", tmp_path)
    file = folder / "text_encoder_2/model.safetensors"
    without(file, "text_projection.weight")
    with pytest.raises(BadInput, match="text_encoder_2 lacks 1 tensors"):
        models.load_teacher(folder)
