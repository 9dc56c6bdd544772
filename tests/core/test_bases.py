"""A base is the files that it is loaded from; what lies beside them changes nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from erasure_core.errors import BadInput
from erasure_core.law import lineage
from erasure_core.network import bases, models
from erasure_core.network.weights import tensors_sha256
from tests.core.families import build, plain_pipeline
from tests.marks import slow

UNET = f"unet/{bases.UNET_WEIGHTS}"


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


def beside(folder: Path) -> dict[str, bytes]:
    """What a publisher, a download tool and a desktop leave in a base, by path."""
    weights = (folder / UNET).read_bytes()
    return {
        "v1-5-pruned.safetensors": weights,
        "v1-5-pruned.ckpt": weights,
        "unet/diffusion_pytorch_model.fp16.safetensors": weights,
        "unet/diffusion_pytorch_model.non_ema.safetensors": weights,
        "unet/diffusion_pytorch_model.bin": weights,
        "text_encoder/pytorch_model.bin": b"pickle",
        "unet_before/diffusion_pytorch_model.safetensors": weights,
        "README.md": b"# A model",
        ".DS_Store": b"\x00",
        "unet/.DS_Store": b"\x00",
        ".cache/huggingface/download/unet/config.json.metadata": b"1764040761.5",
        "tokenizer/README.md": b"",
    }


def publish(folder: Path) -> None:
    for name, content in beside(folder).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def name_in_index(folder: Path, **parts: list[str | None]) -> None:
    index = json.loads((folder / bases.INDEX).read_text())
    (folder / bases.INDEX).write_text(json.dumps({**index, **parts}))


def shard(folder: Path, whole: str) -> dict[str, torch.Tensor]:
    """Split a part's weights into two files and an index; return the weights."""
    tensors = load_file(folder / whole)
    part, stem = (folder / whole).parent, Path(whole).stem
    files = [f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    placed = {name: files[i % 2] for i, name in enumerate(sorted(tensors))}
    for file in files:
        save_file(
            {n: tensor for n, tensor in tensors.items() if placed[n] == file},
            part / file,
            metadata={"format": "pt"},
        )
    index = {"metadata": {"total_size": 1}, "weight_map": placed}
    (folder / f"{whole}.index.json").write_text(json.dumps(index))
    (folder / whole).unlink()
    return tensors


@pytest.mark.parametrize("base", ["tiny", "sdxl"])
def test_every_file_of_a_saved_pipeline_is_loaded(base, tiny_folder, tmp_path):
    """What diffusers writes is what diffusers reads, so the list is the whole folder."""
    folder = tiny_folder if base == "tiny" else build(base, tmp_path)
    assert set(bases.loaded_files(folder)) == set(lineage.files_in(folder))


def test_the_embedded_teacher_keeps_its_hash():
    teacher = Path(__file__).parents[2] / "models/gallery/teacher"
    assert bases.root(teacher) == lineage.root_sha256(lineage.manifest(teacher))


def test_what_lies_beside_the_parts_changes_no_hash(folder):
    before = bases.manifest(folder)
    publish(folder)
    assert bases.manifest(folder) == before


@pytest.mark.parametrize("name", sorted(["model_index.json", "unet/config.json", UNET]))
def test_a_changed_byte_of_a_loaded_file_changes_the_hash(folder, name):
    before = bases.root(folder)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert bases.root(folder) != before


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "special_tokens_map.json"])
def test_every_form_of_a_tokenizer_is_part_of_the_base(folder, name):
    (folder / "tokenizer" / name).write_text("{}")
    assert f"tokenizer/{name}" in bases.loaded_files(folder)


def test_the_loader_sees_nothing_but_the_list(folder, monkeypatch):
    """Whatever else the library would look for is not there while it loads."""
    from transformers import CLIPTextModel

    load, seen = CLIPTextModel.from_pretrained, []

    def looked_at(part, **options):
        seen.extend(lineage.files_in(Path(part).parent))
        return load(part, **options)

    monkeypatch.setattr(CLIPTextModel, "from_pretrained", looked_at)
    publish(folder)
    models.load_teacher(folder)
    assert sorted(seen) == sorted(bases.loaded_files(folder))


def test_a_pickle_beside_the_weights_is_never_opened(folder):
    expected = tensors_sha256(models.load_teacher(folder).unet.state_dict())
    publish(folder)
    assert tensors_sha256(models.load_teacher(folder).unet.state_dict()) == expected


@pytest.mark.parametrize("whole", [UNET, "text_encoder/model.safetensors"])
def test_sharded_weights_are_listed_with_their_index(folder, whole):
    shard(folder, whole)
    part = whole.partition("/")[0]
    names = {n for n in bases.loaded_files(folder) if n.startswith(f"{part}/")} - {
        f"{part}/config.json"
    }
    stem = whole.removesuffix(".safetensors")
    shards = {f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)}
    assert names == {f"{whole}.index.json", *shards}


@pytest.mark.parametrize("shards", [slow(1), 2])
@pytest.mark.parametrize(
    ("whole", "stem"),
    [(UNET, "diffusion_pytorch_model"), slow(("text_encoder/model.safetensors", "pytorch_model"))],
)
def test_pickles_of_a_folder_are_refused_with_a_command_that_converts_them(
    folder, whole, stem, shards
):
    """The command is run in the folder that the refusal names, and gives the weights back."""
    tensors, part = load_file(folder / whole), (folder / whole).parent
    (folder / whole).unlink()
    for i in range(shards):
        held = {name: t for j, (name, t) in enumerate(tensors.items()) if j % shards == i}
        of = f"-{i + 1:05}-of-{shards:05}" if shards > 1 else ""
        torch.save(held, part / f"{stem}{of}.bin")
    (part / f"{stem}.fp16.bin").write_bytes(b"no pickle at all")
    with pytest.raises(BadInput, match="never loaded; in that folder convert it on a") as refused:
        bases.loaded_files(folder)
    command = str(refused.value).partition("lost: python ")[2]
    subprocess.run(f"{sys.executable} {command}", shell=True, check=True, cwd=part)
    assert tensors_sha256(load_file(folder / whole)) == tensors_sha256(tensors)
    assert whole in bases.loaded_files(folder)


def test_sharded_weights_load_as_the_whole_ones(folder):
    tensors = shard(folder, UNET)
    assert tensors_sha256(models.load_teacher(folder).unet.state_dict()) == tensors_sha256(tensors)


@pytest.mark.parametrize(
    ("shard_name", "said"),
    [
        ("../vae/diffusion_pytorch_model.safetensors", "names no safetensors files beside it"),
        ("weights.bin", "names no safetensors files beside it"),
        ("absent.safetensors", "lacks absent.safetensors"),
    ],
)
def test_an_index_of_other_files_is_refused(folder, shard_name, said):
    (folder / UNET).unlink()
    index = {"weight_map": {"conv_in.weight": shard_name}}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=said):
        bases.loaded_files(folder)


def test_weights_both_whole_and_sharded_are_refused(folder):
    weights = (folder / UNET).read_bytes()
    shard(folder, UNET)
    (folder / UNET).write_bytes(weights)
    with pytest.raises(BadInput, match="keep the one that is meant"):
        bases.loaded_files(folder)


def test_a_named_part_without_its_files_is_refused(folder):
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(BadInput, match="tokenizer holds nothing that may be loaded"):
        bases.loaded_files(folder)


def test_a_part_that_is_not_named_is_refused_by_the_loader(folder):
    name_in_index(folder, vae=[None, None])
    with pytest.raises(BadInput, match=r"model_index\.json names no vae"):
        models.load_teacher(folder)


@pytest.fixture
def with_checker(folder) -> Path:
    """As Stable Diffusion 1.x is published: a safety checker in pickle, and what feeds it."""
    name_in_index(
        folder,
        safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
        feature_extractor=["transformers", "CLIPImageProcessor"],
        requires_safety_checker=True,
    )
    for part, file in {
        "safety_checker": "pytorch_model.bin",
        "feature_extractor": "preprocessor_config.json",
    }.items():
        (folder / part).mkdir()
        (folder / part / file).write_text("{}")
    return folder


def test_a_safety_checker_is_no_part_of_the_base(with_checker):
    assert not [n for n in bases.loaded_files(with_checker) if n.startswith(("safety", "feature"))]
    assert models.load_teacher(with_checker).size == 16


def test_a_laid_out_base_loads_in_plain_diffusers_without_it(with_checker, tmp_path):
    target = tmp_path / "out"
    bases.lay_out(bases.loaded_files(with_checker), target, shutil.copyfile)
    pipeline = plain_pipeline(target)
    assert (pipeline.safety_checker, pipeline.feature_extractor) == (None, None)
    assert pipeline.config.requires_safety_checker is False


def test_an_index_that_names_loaded_parts_only_keeps_its_bytes(folder, tmp_path):
    bases.lay_out(bases.loaded_files(folder), tmp_path / "out", shutil.copyfile)
    assert (tmp_path / "out" / bases.INDEX).read_bytes() == (folder / bases.INDEX).read_bytes()
