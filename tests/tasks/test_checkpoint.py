"""A released folder is the loaded files of its base, erased; it can be built again."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law.lineage import files_in, manifest, root_sha256
from erasure_core.network import bases, layers, models
from erasure_core.network.checkpoints import originals_left
from erasure_core.network.weights import WeightDelta, tensors_sha256
from tasks.home import Home
from tasks.release.checkpoint import build_checkpoint, rebuild_checkpoint
from tasks.versions.dvc_store import add_checkpoint
from tests.core.families import plain_pipeline
from tests.core.test_bases import UNET, publish

TEACHER = Path(__file__).parents[2] / "models/gallery/teacher"


def edit(base: Path, file: Path, seed: int = 5) -> Path:
    """A random delta of the keys and values of the base's UNet, written to `file`."""
    unet, draws = models.load_unet(base), torch.Generator().manual_seed(seed)
    changes = {
        name: 0.1 * torch.randn(weight.shape, generator=draws)
        for name, weight in layers.select(unet, "kv").items()
    }
    WeightDelta(tensors_sha256(unet.state_dict()), changes).save(file)
    return file


@pytest.fixture
def base(tiny_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


@pytest.fixture
def delta(base, tmp_path) -> Path:
    return edit(base, tmp_path / "delta.safetensors")


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def built(base, delta, home) -> Path:
    return home.checkpoints / build_checkpoint(base, delta, home, keep=True)


def test_a_checkpoint_is_the_loaded_files_and_the_delta(base, delta, home):
    publish(base)
    folder = home.checkpoints / build_checkpoint(base, delta, home, keep=True)
    assert set(files_in(folder)) == {*bases.loaded_files(base), "delta.safetensors"}


def test_a_published_base_releases_the_same_bytes(base, delta, home, built):
    publish(base)
    assert build_checkpoint(base, delta, home, keep=False) == built.name


def test_a_checkpoint_is_named_by_its_content(built):
    assert root_sha256(manifest(built)) == built.name


def test_a_checkpoint_draws_with_the_edited_weights(base, delta, built):
    expected = models.load_unet(base)
    WeightDelta.load(delta).apply(expected)
    released = plain_pipeline(built).unet.state_dict()
    assert tensors_sha256(released) == tensors_sha256(expected.state_dict())


def test_half_precision_is_kept_where_nothing_changed(base, delta, home):
    halved = {name: tensor.half() for name, tensor in load_file(base / UNET).items()}
    save_file(halved, base / UNET, metadata={"format": "pt"})
    edit(base, delta)
    folder = home.checkpoints / build_checkpoint(base, delta, home, keep=True)
    names = {n for n, t in load_file(folder / UNET).items() if t.dtype == torch.float32}
    assert names == WeightDelta.load(delta).names


def test_half_precision_draws_with_the_edited_weights(base, delta, home):
    halved = {name: tensor.half() for name, tensor in load_file(base / UNET).items()}
    save_file(halved, base / UNET, metadata={"format": "pt"})
    edit(base, delta)
    folder = home.checkpoints / build_checkpoint(base, delta, home, keep=True)
    expected = models.load_unet(base)
    WeightDelta.load(delta).apply(expected)
    for released in (plain_pipeline(folder).unet, models.load_teacher(folder).unet):
        assert tensors_sha256(released.state_dict()) == tensors_sha256(expected.state_dict())


def test_where_the_base_lies_changes_no_byte(base, delta, home, built, tmp_path):
    elsewhere = shutil.move(base, tmp_path / "elsewhere")
    assert build_checkpoint(Path(elsewhere), delta, home, keep=False) == built.name


def test_a_refused_candidate_leaves_no_folder(base, delta, home):
    build_checkpoint(base, delta, home, keep=False)
    assert not list(home.checkpoints.iterdir())


def test_the_delta_of_another_base_builds_nothing(base, delta, home):
    weights = load_file(base / UNET)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, base / UNET)
    with pytest.raises(ContentChanged):
        build_checkpoint(base, delta, home, keep=True)
    assert not list(home.checkpoints.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_every_file_of_a_checkpoint_is_open_to_whom_the_umask_allows(base, delta, home, umask):
    before = os.umask(umask)
    try:
        folder = home.checkpoints / build_checkpoint(base, delta, home, keep=True)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in files_in(folder).values()}
    assert modes == {0o666 & ~umask}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


# --- built again
# ---------------------------------------------------------------------------------------------


def test_a_lost_checkpoint_is_built_again(base, delta, home, built):
    before = manifest(built)
    shutil.rmtree(built)
    assert manifest(rebuild_checkpoint(base, delta, built.name, home)) == before


def test_a_damaged_checkpoint_is_built_again(base, delta, home, built):
    (built / UNET).write_bytes(b"damaged")
    rebuild_checkpoint(base, delta, built.name, home)
    assert root_sha256(manifest(built)) == built.name


def test_what_base_and_delta_no_longer_make_is_not_passed_off_as_it(base, delta, home, built):
    shutil.rmtree(built)
    file = base / "scheduler/scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "steps_offset": 7}))
    with pytest.raises(ContentChanged, match=built.name[:16]):
        rebuild_checkpoint(base, delta, built.name, home)
    assert not list(home.checkpoints.iterdir())


def test_only_a_content_hash_is_built_again(base, delta, home):
    with pytest.raises(BadInput, match="is no content hash"):
        rebuild_checkpoint(base, delta, f"../../elsewhere/{'0' * 64}", home)


# --- no original in it
# ---------------------------------------------------------------------------------------------


def changed_name(delta: Path) -> str:
    return min(WeightDelta.load(delta).names)


def original(base: Path, delta: Path) -> torch.Tensor:
    return load_file(base / UNET)[changed_name(delta)]


def test_a_built_checkpoint_holds_no_original(base, delta, built):
    assert originals_left(built, base, delta) == []


def test_the_base_itself_holds_every_original(base, delta):
    expected = {f"{UNET}: {name}" for name in WeightDelta.load(delta).names}
    assert set(originals_left(base, base, delta)) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", ["its own", "flat", "a 1x1 convolution"])
def test_an_original_is_found_in_any_dtype_and_shape(base, delta, built, dtype, shape):
    tensor = original(base, delta).to(dtype)
    shaped = {
        "its own": tensor,
        "flat": tensor.flatten(),
        "a 1x1 convolution": tensor[..., None, None],
    }
    save_file({"hidden": shaped[shape].contiguous()}, built / "extra.safetensors")
    assert originals_left(built, base, delta) == ["extra.safetensors: hidden"]


def test_an_original_is_found_in_a_hidden_folder(base, delta, built):
    (built / ".cache").mkdir()
    save_file({"w": original(base, delta)}, built / ".cache/.w.safetensors")
    assert originals_left(built, base, delta) == [".cache/.w.safetensors: w"]


def test_one_tensor_put_back_is_found(base, delta, built):
    weights, name = load_file(built / UNET), changed_name(delta)
    save_file({**weights, name: original(base, delta)}, built / UNET)
    assert originals_left(built, base, delta) == [f"{UNET}: {name}"]


def test_a_weight_that_the_delta_leaves_is_no_original(base, built, delta, tmp_path):
    changes, name = dict(WeightDelta.load(delta).tensors), changed_name(delta)
    changes[name] = torch.zeros_like(changes[name])
    narrower = tmp_path / "narrower.safetensors"
    WeightDelta(WeightDelta.load(delta).base_sha256, changes).save(narrower)
    save_file({"w": original(base, delta)}, built / "extra.safetensors")
    assert originals_left(built, base, narrower) == []


def test_zeros_are_no_original(base, home, tmp_path):
    """A fresh network's biases are all zeros: one that is changed, others that are not."""
    unet = models.load_unet(base)
    name = next(n for n, t in unet.state_dict().items() if n.endswith("bias") and not t.any())
    change = {name: torch.ones_like(unet.state_dict()[name])}
    delta = tmp_path / "bias.safetensors"
    WeightDelta(tensors_sha256(unet.state_dict()), change).save(delta)
    assert build_checkpoint(base, delta, home, keep=False)


def test_a_checkpoint_with_an_original_in_it_is_not_built(base, delta, home):
    """A file that is loaded, and goes along, was given a tensor of the UNet."""
    file = base / "text_encoder/model.safetensors"
    smuggled = {**load_file(file), "spare": original(base, delta)}
    save_file(smuggled, file, metadata={"format": "pt"})
    with pytest.raises(ErasureError, match="would hold 1 original weights"):
        build_checkpoint(base, delta, home, keep=True)


def test_a_delta_of_weights_that_the_base_lacks_cannot_be_scanned_for(base, built, tmp_path):
    delta = tmp_path / "other.safetensors"
    WeightDelta("0" * 64, {"no.such.weight": torch.ones(2)}).save(delta)
    with pytest.raises(BadInput, match=r"changes no\.such\.weight, which .* does not have"):
        originals_left(built, base, delta)


# --- what it costs
# ---------------------------------------------------------------------------------------------


def on_disk(*folders: Path) -> int:
    """Bytes of every file, each inode once."""
    files = [file.stat() for folder in folders for file in folder.rglob("*") if file.is_file()]
    return sum({(f.st_dev, f.st_ino): f.st_size for f in files}.values())


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> dict[str, float]:
    """Disk that state folders take in models, on the gallery with a delta of keys and values."""
    home = Home(tmp_path_factory.mktemp("gallery"))
    kept, model, costs = home.runs / "key/deltas", on_disk(TEACHER), {}
    kept.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ERASURE_DVC_REMOTE", raising=False)
        delta = edit(TEACHER, kept / "a.safetensors")
        build_checkpoint(TEACHER, delta, home, keep=False)
        costs["refusal"] = on_disk(home.root) / model
        for which, seed in {"release": 5, "second": 6}.items():
            file = edit(TEACHER, kept / f"{seed}.safetensors", seed=seed)
            before = on_disk(home.root)
            folder = home.checkpoints / build_checkpoint(TEACHER, file, home, keep=True)
            add_checkpoint(home, folder)
            costs[which] = (on_disk(home.root) - before + file.stat().st_size) / model
    costs["shared"] = on_disk(TEACHER / "vae", TEACHER / "text_encoder") / model
    return costs


def test_a_release_costs_at_most_one_and_a_half_models(gallery):
    assert 1 <= gallery["release"] <= 1.5


def test_a_refusal_costs_at_most_a_tenth_of_the_model(gallery):
    assert 0 < gallery["refusal"] <= 0.1


def test_a_second_release_stores_no_shared_part_again(gallery):
    assert gallery["second"] == pytest.approx(gallery["release"] - gallery["shared"], abs=0.01)
