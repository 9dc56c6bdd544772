"""What is exported draws, in diffusers' own pipelines, the picture that the applied delta draws
here; and it says whose it is.
"""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import diffusers
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from erasure_core import export
from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.network import diffusion, layers, models
from erasure_core.network.weights import WeightDelta
from tests.core.families import ROWS, build, plain_picture, plain_pipeline

FACTS = export.Facts(("4f1c", "9a02"), "r" * 64, "uce", "c" * 64)
PROMPT, SEED, GUIDANCE, STEPS = "a photo of a cat", 3, 5.0, 3
RANK = 2


@pytest.fixture(scope="module", params=[*ROWS, "tiny"])
def base(request, tmp_path_factory):
    if request.param == "tiny":
        # what published networks do not have: one resnet a block, no attention in the autoencoder
        return request.getfixturevalue("tiny_folder")
    return build(request.param, tmp_path_factory.mktemp("base"))


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


def says_whose_it_is(file: Path, delta: Path) -> None:
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
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
    folder = export.export(base, delta_file, FACTS, "diffusers", tmp_path / "out")
    theirs = plain_picture(plain_pipeline(folder), PROMPT, SEED, GUIDANCE, STEPS)
    assert_close(theirs, ours, atol=1e-5, rtol=0)
    assert (before - ours).abs().max() > 0.01
    weights = sorted(folder.rglob("*.safetensors"))
    assert {f.parent.name for f in weights} == set(models.check_folder(base).parts)
    for file in weights:
        says_whose_it_is(file, delta_file)


def test_one_file_draws_the_same_picture_in_a_plain_pipeline(base, delta_file, pictures, tmp_path):
    file = export.export(base, delta_file, FACTS, "single-file", tmp_path / "all.safetensors")
    pipeline = getattr(diffusers, models.check_folder(base).pipeline).from_single_file(
        str(file), config=str(base), local_files_only=True
    )
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    assert_close(
        plain_picture(pipeline, PROMPT, SEED, GUIDANCE, STEPS), pictures[0], atol=1e-5, rtol=0
    )
    says_whose_it_is(file, delta_file)


def test_a_lora_draws_the_same_picture_once_fused(base, delta_file, pictures, tmp_path):
    file = export.export(base, delta_file, FACTS, "lora", tmp_path / "lora.safetensors")
    pipeline, factors = plain_pipeline(base), load_file(file)
    for name, down in factors.items():
        if name.endswith(".lora_A.weight"):
            up = factors[name.replace("lora_A", "lora_B")]
            assert down.shape[0] == up.shape[1] == RANK
            module = pipeline.unet.get_submodule(
                name.removeprefix("unet.").removesuffix(".lora_A.weight")
            )
            module.weight.data += up @ down
    assert_close(
        plain_picture(pipeline, PROMPT, SEED, GUIDANCE, STEPS), pictures[0], atol=1e-4, rtol=0
    )
    says_whose_it_is(file, delta_file)
    if find_spec("peft"):  # without it diffusers cannot
        pipeline = plain_pipeline(base)
        pipeline.load_lora_weights(str(file))
        assert_close(
            plain_picture(pipeline, PROMPT, SEED, GUIDANCE, STEPS), pictures[0], atol=1e-4, rtol=0
        )


def test_a_delta_reads_back_as_it_was(base, delta_file, pictures, tmp_path):
    file = export.export(base, delta_file, FACTS, "delta", tmp_path / "delta.safetensors")
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
    folder = export.export(*toy, FACTS, "diffusers", tmp_path / "out")
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
    folder = export.export(*toy, FACTS, "diffusers", tmp_path / "out")
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
    folder = export.export(*toy, FACTS, "diffusers", tmp_path / "out")
    assert not (folder / "safety_checker").exists()
    assert plain_pipeline(folder).safety_checker is None


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
    assert (export.export(*toy, FACTS, "diffusers", tmp_path / "out") / "model_index.json").exists()


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

    monkeypatch.setattr(export.shutil, "copyfileobj", full)
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


@pytest.mark.parametrize(("error", "rank"), [(0.05, 3), (0.15, 2), (0.7, 1)])
def test_the_rank_is_the_least_within_the_error(error, rank):
    """Singular values 4, 3, 0.5, 0.1: what ranks 1, 2, 3 leave out is 0.605, 0.102 and 0.020 of the
    whole.
    """
    change = change_with([4, 3, 0.5, 0.1])
    factors = export.lora(linear(40, 30), WeightDelta("b", {"to_k.weight": change}), error)
    down, up = factors["unet.to_k.lora_A.weight"], factors["unet.to_k.lora_B.weight"]
    assert (down.shape, up.shape) == ((rank, 30), (40, rank))
    assert (up @ down - change).norm() <= error * change.norm()


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
    factors = export.lora(
        unet, WeightDelta("b", {f"{name}.weight": change for name, change in changes.items()}), 1e-3
    )
    for name, change in changes.items():
        down, up = factors[f"unet.{name}.lora_A.weight"], factors[f"unet.{name}.lora_B.weight"]
        assert down.shape[0] == up.shape[1] == 3
        assert_close(up @ down, change, atol=1e-5, rtol=1e-4)


def test_a_change_that_is_not_of_low_rank_is_refused_with_the_rank_it_needs():
    change = change_with([1.0] * 30)
    with pytest.raises(
        BadInput,
        match=(
            r"to_k\.weight needs rank 30 of 30 to be within 0\.001 .* 2100 numbers, "
            r"the delta 1200"
        ),
    ):
        export.lora(linear(40, 30), WeightDelta("b", {"to_k.weight": change}), 1e-3)


@pytest.mark.parametrize("name", ["to_k.bias", "conv.weight"])
def test_what_is_no_linear_weight_is_refused_by_name_unless_it_did_not_change(name):
    unet = linear(40, 30)
    tensors = {"to_k.weight": change_with([1.0]), name: torch.zeros_like(unet.get_parameter(name))}
    assert len(export.lora(unet, WeightDelta("b", tensors), 1e-3)) == 2
    tensors[name] = torch.ones_like(unet.get_parameter(name))
    with pytest.raises(BadInput, match=rf"linear weights only; 1 others changed, such as {name}"):
        export.lora(unet, WeightDelta("b", tensors), 1e-3)


def test_a_delta_that_changes_nothing_has_no_lora():
    with pytest.raises(BadInput, match="changes nothing"):
        export.lora(linear(40, 30), WeightDelta("b", {"to_k.weight": torch.zeros(40, 30)}), 1e-3)


@pytest.mark.parametrize("error", [0.0, 1.0, float("nan")])
def test_an_error_that_bounds_nothing_is_refused(error):
    with pytest.raises(BadInput, match="must be above 0 and below 1"):
        export.lora(linear(40, 30), WeightDelta("b", {"to_k.weight": change_with([1.0])}), error)


def test_a_network_without_a_place_in_the_original_layout_is_refused():
    with pytest.raises(
        BadInput, match=r"has no place in the original checkpoint layout; export diffusers"
    ):
        export._unet_name("mid_block.motion_modules.0.norm.weight", None)
