"""What is exported draws, in diffusers' own pipelines, the picture that the applied delta draws
here; and it says whose it is.
"""

import copy
import hashlib
import json
import shutil
import sys
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from diffusers.utils import convert_unet_state_dict_to_peft
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import CLIPTextModel

from erasure_core import export
from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.export.header import HASH, LEFT_OUT, UNHASHED
from erasure_core.export.lora import lora
from erasure_core.export.single_file import unet_name
from erasure_core.network import bases, diffusion, layers, models
from erasure_core.network.weights import WeightDelta
from tests.core.families import build, plain_picture, plain_pipeline
from tests.core.published import PUBLISHED, lay_over, publish
from tests.marks import slow

FACTS = export.Facts(
    request_ids=("4f1c", "9a02"),
    base_sha256="r" * 64,
    method="uce",
    recipe_sha256="c" * 64,
    model="gallery",
    version=3,
    verdict="pass",
    audience="words",
    date="2026-11-25T10:00:00+00:00",
)
PROMPT, SEED, GUIDANCE, STEPS = "a photo of a cat", 3, 5.0, 3
RANK = 2
FLOAT32 = {"torch_dtype": torch.float32, "local_files_only": True}


def exported(base: Path, delta: Path | None, facts: export.Facts, form: str, target: Path) -> Path:
    """Where it was written."""
    export.export(base, delta, facts, form, target)
    return target


# one of each kind of network; the others differ in what is written beside it
OF_EACH_KIND = ("sd-1.4", "sd-2.1", "sdxl")
OTHERS = [slow(name) for name in (*PUBLISHED, "sd-2.1-base") if name not in OF_EACH_KIND]


@pytest.fixture(scope="module", params=[*OF_EACH_KIND, *OTHERS, "tiny"])
def base(request, tmp_path_factory):
    if request.param == "tiny":
        # what published networks do not have: one resnet a block, no attention in the autoencoder
        return request.getfixturevalue("tiny_folder")
    make = publish if request.param in PUBLISHED else build
    return make(request.param, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def plain_base(base, tmp_path_factory):
    """The base as today's plain diffusers reads it: without what it has no class for, and in one
    precision.
    """
    folder = tmp_path_factory.mktemp("plain") / "base"
    bases.lay_out(bases.loaded_files(base), folder, shutil.copyfile)
    for config in folder.glob("text_encoder*/config.json"):
        lay_over(config, {"torch_dtype": "float32", "dtype": None})
    return folder


def erased(
    folder: Path, file: Path, group: str = "kv", rank: int = RANK
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write a delta of low rank to `file`; the picture with it, and without."""
    teacher, generator = models.load_teacher(folder), torch.Generator().manual_seed(5)
    changes = {}
    for name, weight in layers.select(teacher.unet, group).items():
        left, right = (
            torch.randn(*shape, generator=generator)
            for shape in ((weight.shape[0], rank), (rank, weight[0].numel()))
        )
        changes[name] = 0.1 * (left @ right).reshape(weight.shape)
    delta = WeightDelta(
        WeightDelta.between(teacher.unet, teacher.unet, frozenset()).base_sha256, changes
    )
    delta.save(file)
    arguments = (teacher, [PROMPT], [SEED], [GUIDANCE], STEPS, 1)
    before = diffusion.sample(*arguments)[0]
    with delta.applied(teacher.unet):
        return diffusion.sample(*arguments)[0], before


@pytest.fixture(scope="module")
def delta_file(base, tmp_path_factory):
    return tmp_path_factory.mktemp("delta") / "delta.safetensors"


@pytest.fixture(scope="module")
def pictures(base, delta_file):
    return erased(base, delta_file)


def said_by(file: Path) -> dict[str, str]:
    with safe_open(file, framework="pt") as opened:
        return opened.metadata()


def says_whose_it_is(file: Path, delta: Path) -> None:
    metadata = said_by(file)
    assert (metadata["request_ids"], metadata["method"], metadata["recipe_sha256"]) == (
        "4f1c,9a02",
        "uce",
        "c" * 64,
    )
    assert (metadata["base_root_sha256"], metadata["base_sha256"]) == (
        "r" * 64,
        WeightDelta.load(delta).base_sha256,
    )


def test_a_folder_draws_the_same_picture_in_a_plain_pipeline(base, delta_file, pictures, tmp_path):
    ours, before = pictures
    folder = exported(base, delta_file, FACTS, "diffusers", tmp_path / "out")
    theirs = plain_picture(plain_pipeline(folder), PROMPT, SEED, GUIDANCE, STEPS)
    assert_close(theirs, ours, atol=1e-5, rtol=0)
    assert (before - ours).abs().max() > 0.01
    weights = sorted(folder.rglob("*.safetensors"))
    assert {f.parent.name for f in weights} == set(models.check_folder(base).parts)
    for file in weights:
        says_whose_it_is(file, delta_file)


def from_single_file(file: Path, base: Path):
    """The documented line, in docs/export.md."""
    pipeline_class = getattr(diffusers, models.check_folder(base).pipeline)
    return pipeline_class.from_single_file(
        str(file), config=str(base), safety_checker=None, feature_extractor=None, **FLOAT32
    )


def test_one_file_draws_the_same_picture_in_a_plain_pipeline(base, delta_file, pictures, tmp_path):
    file = exported(base, delta_file, FACTS, "single-file", tmp_path / "all.safetensors")
    pipeline = from_single_file(file, base)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    assert_close(
        plain_picture(pipeline, PROMPT, SEED, GUIDANCE, STEPS), pictures[0], atol=1e-5, rtol=0
    )
    says_whose_it_is(file, delta_file)


@pytest.fixture(scope="module")
def lora_file(base, delta_file, pictures, tmp_path_factory):
    target = tmp_path_factory.mktemp("lora") / "lora.safetensors"
    return exported(base, delta_file, FACTS, "lora", target)


def as_diffusers_reads(file: Path, base: Path) -> dict[str, torch.Tensor]:
    """Weight -> change, by diffusers' own reading of kohya's keys."""
    unet = diffusers.UNet2DConditionModel.from_pretrained(base / "unet")
    tensors = load_file(file)
    if "sdxl" in base.name:
        tensors = _maybe_map_sgm_blocks_to_diffusers(tensors, unet.config)
    factors, alphas = _convert_non_diffusers_lora_to_diffusers(tensors)
    scales = {peft_layer(name): alpha for name, alpha in alphas.items()}
    factors, changes = convert_unet_state_dict_to_peft(factors), {}
    for name in factors:
        if name.endswith(".lora_A.weight"):
            layer = name.removeprefix("unet.").removesuffix(".lora_A.weight")
            down, up = factors[name], factors[name.replace("lora_A", "lora_B")]
            changes[f"{layer}.weight"] = scales[layer] / len(down) * up @ down
    return changes


def peft_layer(alpha: str) -> str:
    """The layer that a name among diffusers' alphas means."""
    name = alpha.removeprefix("unet.").removesuffix(".alpha")
    if not name.endswith(".weight"):
        name += ".lora.down.weight"
    (layer,) = convert_unet_state_dict_to_peft({name: 0})
    return layer.removesuffix(".lora_A.weight")


def test_a_lora_is_read_by_diffusers_as_the_change_that_it_was(base, delta_file, lora_file):
    changes, delta = as_diffusers_reads(lora_file, base), WeightDelta.load(delta_file)
    assert changes.keys() == delta.names
    for name, change in delta.tensors.items():
        assert_close(changes[name], change, atol=1e-5, rtol=0)


def test_a_lora_draws_the_same_picture_once_fused(base, plain_base, lora_file, pictures):
    pipeline = plain_pipeline(plain_base)
    for name, change in as_diffusers_reads(lora_file, base).items():
        pipeline.unet.get_parameter(name).data += change
    drawn = plain_picture(pipeline, PROMPT, SEED, GUIDANCE, STEPS)
    assert_close(drawn, pictures[0], atol=1e-4, rtol=0)


def test_a_loras_keys_are_those_of_the_readers(base, delta_file, lora_file):
    """As ComfyUI and AUTOMATIC1111 make them of a loaded network's own names, and kohya of the
    network that it trains: a layer's name with underscores for points.
    """
    names = [name.removesuffix(".weight") for name in WeightDelta.load(delta_file).names]
    if "sdxl" in base.name:
        unet = diffusers.UNet2DConditionModel.from_pretrained(base / "unet")
        names = [unet_name(name, unet) for name in names]
    expected = {
        f"lora_unet_{name.replace('.', '_')}.{part}"
        for name in names
        for part in ("lora_down.weight", "lora_up.weight", "alpha")
    }
    assert set(load_file(lora_file)) == expected


def test_alpha_is_the_rank_so_that_nothing_is_scaled(lora_file):
    tensors = load_file(lora_file)
    ranks = {len(t) for name, t in tensors.items() if name.endswith("lora_down.weight")}
    alphas = {float(t) for name, t in tensors.items() if name.endswith(".alpha")}
    assert ranks == alphas == {RANK}


def test_a_lora_says_whose_it_is(lora_file, delta_file):
    says_whose_it_is(lora_file, delta_file)


def a1111(metadata: dict[str, str]) -> str:
    """For which family AUTOMATIC1111 (1.10, `NetworkOnDisk.detect_version`) offers a LoRA."""
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "SDXL"
    if metadata.get("ss_v2") == "True":
        return "SD2"
    return "SD1" if metadata else "any"


def test_a_lora_is_offered_for_its_own_family(base, lora_file):
    metadata = said_by(lora_file)
    family = {"Stable Diffusion 2.x": "SD2", "Stable Diffusion XL": "SDXL"}
    assert a1111(metadata) == family.get(models.check_folder(base).name, "SD1")
    keys = ("ss_network_module", "ss_network_dim", "ss_network_alpha")
    assert [metadata[key] for key in keys] == ["networks.lora", str(RANK), str(RANK)]


@pytest.mark.parametrize(
    ("family", "prediction", "version"),
    [
        (0, "epsilon", "sd_v1"),
        (1, "epsilon", "sd_v2"),
        (1, "v_prediction", "sd_v2_v"),
        (2, "epsilon", "sdxl_base_v1-0"),
    ],
)
def test_a_lora_has_the_version_that_its_trainer_gives_it(family, prediction, version):
    said = export.header.trainer(models.FAMILIES[family], prediction, 4)
    assert said["ss_base_model_version"] == version


def test_a_lora_draws_the_same_picture_once_loaded(plain_base, lora_file, pictures):
    pipeline = plain_pipeline(plain_base)
    pipeline.load_lora_weights(str(lora_file))
    drawn = plain_picture(pipeline, PROMPT, SEED, GUIDANCE, STEPS)
    assert_close(drawn, pictures[0], atol=1e-4, rtol=0)


def test_a_delta_reads_back_as_it_was(base, delta_file, pictures, tmp_path):
    file = exported(base, delta_file, FACTS, "delta", tmp_path / "delta.safetensors")
    assert WeightDelta.load(file).sha256 == WeightDelta.load(delta_file).sha256
    says_whose_it_is(file, delta_file)


# --- the rest at toy size
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tiny_folder, tmp_path):
    """A base of its own, and a delta of it."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "toy"))
    erased(folder, tmp_path / "toy.safetensors")
    return folder, tmp_path / "toy.safetensors"


def test_the_files_of_other_parts_are_copied_byte_for_byte_but_for_their_header(toy, tmp_path):
    folder = exported(*toy, FACTS, "diffusers", tmp_path / "out")
    for part in ("vae", "text_encoder"):
        old, new = (
            next((root / part).glob("*.safetensors")).read_bytes() for root in (toy[0], folder)
        )
        tensors = [data[8 + int.from_bytes(data[:8], "little") :] for data in (old, new)]
        assert tensors[0] == tensors[1]
        assert int.from_bytes(new[:8], "little") % 8 == 0
    assert (folder / "tokenizer/tokenizer.json").read_bytes() == (
        toy[0] / "tokenizer/tokenizer.json"
    ).read_bytes()


def test_no_other_copy_of_the_unchanged_network_leaves_with_it(toy, tmp_path):
    weights = next((toy[0] / "unet").glob("*.safetensors"))
    for left_behind in (
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.bin",
    ):
        shutil.copyfile(weights, toy[0] / left_behind)
    (toy[0] / "onnx").mkdir()
    shutil.copyfile(weights, toy[0] / "onnx/model.safetensors")
    folder = exported(*toy, FACTS, "diffusers", tmp_path / "out")
    assert [f.name for f in (folder / "unet").iterdir() if f.suffix != ".json"] == [
        "diffusion_pytorch_model.safetensors"
    ]
    assert not (folder / "onnx").exists()
    assert not list(folder.glob("*.safetensors"))


def test_a_part_that_cannot_come_along_is_named(toy, tmp_path):
    shutil.rmtree(toy[0] / "tokenizer")
    with pytest.raises(BadInput, match="tokenizer holds nothing that may be loaded"):
        export.export(*toy, FACTS, "diffusers", tmp_path / "out")


def test_a_safety_checker_stays_behind(toy, tmp_path):
    """It is never loaded, so that nobody measured what it does to an erased model's pictures."""
    index = json.loads((toy[0] / "model_index.json").read_text())
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (toy[0] / "model_index.json").write_text(json.dumps({**index, "safety_checker": checker}))
    (toy[0] / "safety_checker").mkdir()
    (toy[0] / "safety_checker/pytorch_model.bin").write_bytes(b"")
    folder = exported(*toy, FACTS, "diffusers", tmp_path / "out")
    assert not (folder / "safety_checker").exists()
    assert plain_pipeline(folder).safety_checker is None


@pytest.mark.parametrize("says", [None, "float16"])
def test_a_text_encoder_in_half_precision_is_in_float32_beside_the_network(toy, tmp_path, says):
    """Also where its configuration says nothing: transformers then takes the weights' precision."""
    part = toy[0] / "text_encoder"
    lay_over(part / "config.json", {"dtype": None, "torch_dtype": says})
    weights = part / "model.safetensors"
    save_file({n: t.half() for n, t in load_file(weights).items()}, weights, {"format": "pt"})
    folder = exported(*toy, FACTS, "diffusers", tmp_path / "out")
    pipeline = plain_pipeline(folder)
    assert {p.dtype for p in pipeline.text_encoder.parameters()} == {torch.float32}
    assert torch.isfinite(plain_picture(pipeline, PROMPT, SEED, GUIDANCE, STEPS)).all()


@pytest.mark.parametrize("form", ["diffusers", "delta", "lora", "single-file"])
def test_what_is_there_is_never_overwritten(toy, tmp_path, form):
    target = tmp_path / ("out" if form == "diffusers" else "out.safetensors")
    if form == "diffusers":
        target.mkdir()
    (target / "notes" if form == "diffusers" else target).write_text("mine")
    with pytest.raises(BadInput, match="is already there; export to a new name"):
        export.export(*toy, FACTS, form, target)


def test_an_empty_folder_may_be_filled(toy, tmp_path):
    (tmp_path / "out").mkdir()
    assert (exported(*toy, FACTS, "diffusers", tmp_path / "out") / "model_index.json").exists()


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("onnx", "out", "export format 'onnx' is none of diffusers, delta, lora, single-file"),
        ("delta", "out", r"name it out\.safetensors"),
        ("diffusers", "no/such", "no is no folder"),
    ],
)
def test_a_target_that_cannot_be_is_refused(toy, tmp_path, form, name, said):
    with pytest.raises(BadInput, match=said):
        export.export(*toy, FACTS, form, tmp_path / name)


@pytest.mark.parametrize("form", ["diffusers", "delta", "lora", "single-file"])
def test_the_delta_of_another_base_is_refused_and_leaves_nothing(toy, tmp_path, form):
    weights = next((toy[0] / "unet").glob("*.safetensors"))
    tensors = load_file(weights)
    save_file(
        {name: tensor + 1e-3 for name, tensor in tensors.items()},
        weights,
        metadata={"format": "pt"},
    )
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ContentChanged):
        export.export(
            *toy, FACTS, form, out / ("folder" if form == "diffusers" else "file.safetensors")
        )
    assert not list(out.iterdir())


def test_a_disk_that_fills_up_while_copying_leaves_nothing(toy, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export.header, "copy_with", full)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ErasureError, match=r"folder could not be written .*No space left"):
        export.export(*toy, FACTS, "diffusers", out / "folder")
    assert not list(out.iterdir())


@pytest.mark.parametrize("form", ["diffusers", "delta", "lora", "single-file"])
def test_a_disk_that_fills_up_leaves_nothing(toy, tmp_path, monkeypatch, form):
    from safetensors import SafetensorError

    from erasure_core.network import weights

    def full(*_arguments, **_named):
        raise SafetensorError("no space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ErasureError, match="could not be written"):
        export.export(
            *toy, FACTS, form, out / ("folder" if form == "diffusers" else "file.safetensors")
        )
    assert not list(out.iterdir())


# --- LoRA's bound
# ---------------------------------------------------------------------------------------------


def linear(rows: int, columns: int) -> torch.nn.Module:
    return torch.nn.ModuleDict(
        {"to_k": torch.nn.Linear(columns, rows, bias=True), "conv": torch.nn.Conv2d(2, 2, 1)}
    )


def change_with(values: list[float], rows: int = 40, columns: int = 30) -> torch.Tensor:
    """A matrix with exactly these singular values."""
    generator = torch.Generator().manual_seed(0)
    u, v = (
        torch.linalg.qr(torch.randn(n, len(values), generator=generator, dtype=torch.float64))[0]
        for n in (rows, columns)
    )
    return ((u * torch.tensor(values, dtype=torch.float64)) @ v.T).float()


def delta_of(**changes: torch.Tensor) -> WeightDelta:
    return WeightDelta("b", {f"{name}.weight": change for name, change in changes.items()})


@pytest.mark.parametrize(("error", "rank"), [(0.05, 3), (0.15, 2), (0.7, 1)])
def test_the_rank_is_the_least_within_the_error(error, rank):
    """Singular values 4, 3, 0.5, 0.1: what ranks 1, 2, 3 leave out is 0.605, 0.102 and 0.020 of the
    whole.
    """
    change = change_with([4, 3, 0.5, 0.1])
    (down, up) = lora(linear(40, 30), delta_of(to_k=change), error=error)["to_k.weight"]
    assert (down.shape, up.shape) == ((rank, 30), (40, rank))
    assert (up @ down - change).norm() <= error * change.norm()


@pytest.mark.parametrize(("rank", "left"), [(1, 0.605), (2, 0.102), (3, 0.020)])
def test_a_rank_that_is_asked_for_is_what_is_written(rank, left):
    change = change_with([4, 3, 0.5, 0.1])
    (down, up) = lora(linear(40, 30), delta_of(to_k=change), rank=rank)["to_k.weight"]
    assert (down.shape, up.shape) == ((rank, 30), (40, rank))
    assert float((up @ down - change).norm() / change.norm()) == pytest.approx(left, abs=1e-3)


def test_a_rank_that_leaves_out_more_than_the_error_is_refused_with_the_one_that_does_not():
    delta = delta_of(to_k=change_with([4, 3, 0.5, 0.1]))
    said = (
        r"rank 1 leaves out 0\.61 of the change of to_k\.weight, more than 0\.05; rank 3 is needed"
    )
    with pytest.raises(BadInput, match=said):
        lora(linear(40, 30), delta, rank=1, error=0.05)


def test_every_weight_gets_the_rank_that_the_worst_one_needs():
    unet = torch.nn.ModuleDict(
        {
            "a": torch.nn.Linear(30, 40),
            "b": torch.nn.Linear(40, 30),
            "narrow": torch.nn.Linear(50, 2),
        }
    )
    changes = {
        "a": change_with([1.0]),
        "b": change_with([3.0, 2.0, 1.0], 30, 40),
        "narrow": torch.ones(2, 50),
    }
    factors = lora(unet, delta_of(**changes))
    for name, change in changes.items():
        down, up = factors[f"{name}.weight"]
        assert down.shape[0] == up.shape[1] == 3
        assert_close(up @ down, change, atol=1e-5, rtol=1e-4)


def test_a_change_that_is_not_of_low_rank_is_refused_with_the_rank_that_pays():
    """Of 30 equal singular values, 17 are the most that are fewer numbers: 17 x 70 < 40 x 30."""
    change = change_with([1.0] * 30)
    left = (13 / 30) ** 0.5
    said = (
        rf"a LoRA of rank 30, of 30 that to_k\.weight has, is 2100 numbers, the delta 1200; "
        rf"export diffusers or delta, or --rank 17, which leaves out {left:.2g} of the change"
    )
    with pytest.raises(BadInput, match=said):
        lora(linear(40, 30), delta_of(to_k=change))
    assert lora(linear(40, 30), delta_of(to_k=change), rank=17)


@pytest.mark.parametrize("name", ["to_k.bias", "conv.weight"])
def test_what_is_no_linear_weight_is_refused_by_name_with_the_setting_that_avoids_it(name):
    unet = linear(40, 30)
    tensors = {"to_k.weight": change_with([1.0]), name: torch.ones_like(unet.get_parameter(name))}
    said = rf"linear weights only; 1 others changed, such as {name}; .* `lora: true`"
    with pytest.raises(BadInput, match=said):
        lora(unet, WeightDelta("b", tensors))


def test_what_did_not_change_may_be_anything():
    unet = linear(40, 30)
    tensors = {"to_k.weight": change_with([1.0]), "to_k.bias": torch.zeros(40)}
    assert list(lora(unet, WeightDelta("b", tensors))) == ["to_k.weight"]


def test_a_delta_that_changes_nothing_has_no_lora():
    with pytest.raises(BadInput, match="changes nothing"):
        lora(linear(40, 30), delta_of(to_k=torch.zeros(40, 30)))


@pytest.mark.parametrize("error", [0.0, 1.0, float("nan")])
def test_an_error_that_bounds_nothing_is_refused(error):
    with pytest.raises(BadInput, match="must be above 0 and below 1"):
        lora(linear(40, 30), delta_of(to_k=change_with([1.0])), error=error)


@pytest.mark.parametrize("form", ["diffusers", "delta", "single-file"])
@pytest.mark.parametrize("bound", [{"rank": 4}, {"error": 0.1}])
def test_what_bounds_a_lora_is_refused_for_other_forms(toy, tmp_path, form, bound):
    with pytest.raises(BadInput, match=f"rank and error bound a LoRA; {form} holds"):
        export.export(*toy, FACTS, form, tmp_path / "out", **bound)


def test_a_network_without_a_place_in_the_original_layout_is_refused():
    with pytest.raises(
        BadInput, match=r"has no place in the original checkpoint layout; export diffusers"
    ):
        unet_name("mid_block.motion_modules.0.norm.weight", None)


# --- what the header says


@pytest.fixture(params=["delta", "lora", "single-file", "diffusers"])
def written(request, toy, tmp_path):
    """A form, and a file of it."""
    whole = request.param == "diffusers"
    target = tmp_path / ("out" if whole else "out.safetensors")
    made = exported(*toy, FACTS, request.param, target)
    return request.param, made / "unet/diffusion_pytorch_model.safetensors" if whole else made


def test_a_file_names_its_version_verdict_and_audience(written):
    metadata = said_by(written[1])
    said = [metadata[key] for key in ("model", "version", "verdict", "audience")]
    assert said == ["gallery", "3", "pass", "words"]


@pytest.mark.parametrize(
    ("changes", "verdict", "left"),
    [
        ({"rank": RANK}, "pass", 0),
        ({"rank": 1}, "not measured, up to 6", 0.65),
        ({"error": 0.9}, "not measured, up to ", 0.65),
    ],
)
def test_a_lora_that_leaves_the_erasure_out_has_no_verdict(toy, tmp_path, changes, verdict, left):
    """The version passed whole; what is left out of its change is left in the model."""
    file = tmp_path / "out.safetensors"
    lacks = export.export(*toy, FACTS, "lora", file, **changes)
    said = said_by(file)
    assert said["verdict"].startswith(verdict)
    assert said["audience"] == ("words" if verdict == "pass" else "")
    assert f"verdict {said['verdict']}" in said["modelspec.description"]
    assert lacks == float(said[LEFT_OUT]) == pytest.approx(left, abs=0.15)


def test_a_file_has_the_keys_of_modelspec(written):
    form, file = written
    metadata = said_by(file)
    keys = {key.removeprefix("modelspec."): value for key, value in metadata.items()}
    assert keys["sai_model_spec"] == "1.0.1"
    assert keys["architecture"] == f"stable-diffusion-v1{'/lora' if form == 'lora' else ''}"
    assert (keys["title"], keys["date"]) == ("gallery version 3", FACTS.date)
    assert (keys["resolution"], keys["prediction_type"]) == ("16x16", "epsilon")
    assert keys["implementation"]
    assert "verdict pass; released to words" in keys["description"]


def test_a_files_hash_is_that_of_its_tensors(written):
    content = written[1].read_bytes()
    tensors = content[8 + int.from_bytes(content[:8], "little") :]
    assert said_by(written[1])[HASH] == f"0x{hashlib.sha256(tensors).hexdigest()}" != UNHASHED


def test_the_same_version_is_the_same_file(written, toy, tmp_path):
    form, file = written
    again = tmp_path / ("again" if form == "diffusers" else "again.safetensors")
    export.export(*toy, FACTS, form, again)
    same = again / "unet/diffusion_pytorch_model.safetensors" if form == "diffusers" else again
    assert same.read_bytes() == file.read_bytes()


def test_one_file_has_the_layers_that_its_readers_build(toy, tmp_path, monkeypatch):
    """Of a base that leaves its text encoder's last layers out; readers fill them at random."""
    encoder = models.load_teacher(toy[0]).text_encoder
    layers = encoder.config.num_hidden_layers
    module = sys.modules[unet_name.__module__]
    monkeypatch.setattr(module, "CLIP_WIDTH", encoder.config.hidden_size)
    monkeypatch.setattr(module, "CLIP_LAYERS", layers + 2)
    file = exported(*toy, FACTS, "single-file", tmp_path / "out.safetensors")
    begin = "cond_stage_model.transformer.text_model."
    config = copy.deepcopy(encoder.config)
    config.num_hidden_layers = layers + 2
    deeper = CLIPTextModel(config).eval()
    prefix = "text_model." if any(n.startswith("text_model.") for n in deeper.state_dict()) else ""
    text = {
        prefix + n.removeprefix(begin): t for n, t in load_file(file).items() if n.startswith(begin)
    }
    assert not deeper.load_state_dict(text, strict=False).missing_keys
    ids = torch.tensor([[0, 5, 7, 2]])
    with torch.no_grad():
        assert torch.equal(deeper(ids).last_hidden_state, encoder(ids).last_hidden_state)
    config = {"config": str(toy[0]), "safety_checker": None, "feature_extractor": None}
    diffusers.StableDiffusionPipeline.from_single_file(str(file), **config, **FLOAT32)


@pytest.mark.parametrize(
    ("schedule", "markers"),
    [
        ({}, set()),
        ({"prediction_type": "v_prediction"}, {"v_pred"}),
        (
            {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
            {"v_pred", "ztsnr"},
        ),
    ],
)
def test_one_file_says_of_a_velocity_what_its_readers_look_for(toy, tmp_path, schedule, markers):
    lay_over(toy[0] / "scheduler/scheduler_config.json", schedule)
    file = exported(*toy, FACTS, "single-file", tmp_path / "out.safetensors")
    assert {name for name in load_file(file) if "." not in name} == markers


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("sd-1.4", "stable-diffusion-v1"),
        ("sd-2.1", "stable-diffusion-v2-768-v"),
        ("sd-2.1-base", "stable-diffusion-v2-512"),
        ("sdxl", "stable-diffusion-xl-v1-base"),
    ],
)
def test_a_family_has_the_name_that_the_field_gives_it(row, name, tmp_path):
    folder = build(row, tmp_path)
    scheduler = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    prediction = scheduler.get("prediction_type", "epsilon")
    assert export.header.architecture(models.check_folder(folder), prediction) == name


# --- a version that is the base itself


def test_the_base_itself_draws_as_the_base(tiny_folder, tmp_path):
    folder = exported(tiny_folder, None, FACTS, "diffusers", tmp_path / "out")
    drawn = [
        plain_picture(plain_pipeline(f), PROMPT, SEED, GUIDANCE, STEPS)
        for f in (tiny_folder, folder)
    ]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("form", ["delta", "lora"])
def test_the_base_itself_is_no_change(tiny_folder, tmp_path, form):
    with pytest.raises(BadInput, match=f"without a change that a {form} could hold"):
        export.export(tiny_folder, None, FACTS, form, tmp_path / "out.safetensors")
