"""A base that cannot be used ends a command in one line, exit 2, and nothing is drawn."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tasks.requests.plan import Inputs
from tests import toy
from tests.core.published import lay_over
from tests.flows.command import edit, erasure, told


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "base"))


@pytest.fixture
def params(folder, tiny_clip, tmp_path) -> Path:
    return toy.write_inputs(tmp_path / "inputs", folder, tiny_clip) / "passing.yaml"


def lacks_a_weight(folder: Path) -> None:
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["conv_out.bias"]
    save_file(tensors, file, metadata={"format": "pt"})


def lacks_a_weight_of_the_text(folder: Path) -> None:
    file = folder / "text_encoder/model.safetensors"
    tensors = load_file(file)
    del tensors[max(tensors)]
    save_file(tensors, file, metadata={"format": "pt"})


def is_distilled(folder: Path) -> None:
    lay_over(folder / "scheduler/scheduler_config.json", {"_class_name": "LCMScheduler"})


def says_no_limit(folder: Path) -> None:
    lay_over(folder / "tokenizer/tokenizer_config.json", {"model_max_length": None})


SPOILT = {
    "lacks a weight": (lacks_a_weight, "unet lacks 1 tensors"),
    "lacks a weight of the text encoder": (lacks_a_weight_of_the_text, "text_encoder lacks 1"),
    "is distilled": (is_distilled, "was distilled"),
    "tokenizer without a limit": (says_no_limit, "set model_max_length to 16"),
}


@pytest.mark.parametrize("name", SPOILT)
@pytest.mark.parametrize("by", ["base", "folder"])
def test_it_draws_nothing(name, by, folder, params, tmp_path):
    spoil, said = SPOILT[name]
    spoil(folder)
    which = "base" if by == "base" else folder
    how = ("--model", which, "--seed", 1, "--out", tmp_path / "out", "--params", params)
    answer = erasure(tmp_path / "home", "generate", "a cat", *how)
    assert answer.exit_code == 2
    errors = [line for line in answer.stderr.splitlines() if "error" in line]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "out").exists()


def test_what_is_never_loaded_may_be_absent(folder, params, tmp_path):
    """Named in the index, and no folder of it: a feature extractor, a safety checker."""
    lay_over(
        folder / "model_index.json",
        {
            "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        },
    )
    how = ("--model", "base", "--seed", 1, "--out", tmp_path / "out", "--params", params)
    (file,) = told(tmp_path / "home", "generate", "a cat", *how)["files"]
    assert Path(file).is_file()


@pytest.mark.parametrize(
    ("changes", "config"),
    [((), None), (("base.config=its own",), "its own")],
    ids=["none", "given"],
)
def test_another_base_does_not_take_the_configurations_of_the_parameters(
    changes, config, folder, params
):
    """They would be another family's, or another model's."""
    edit(params, f"path: {folder}", f"path: gone.safetensors, config: {folder}")
    assert Inputs.read(params, str(folder), changes=changes).params.base.config == config


def test_a_pickle_is_refused_with_the_command_that_converts_it(params, tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"")
    params.write_text(params.read_text().replace(str(tmp_path / "base"), f"{tmp_path}/model.ckpt"))
    how = ("--model", "base", "--seed", 1, "--out", tmp_path / "out", "--params", params)
    answer = erasure(tmp_path / "home", "generate", "a cat", *how)
    assert (answer.exit_code, "model.ckpt model.safetensors" in answer.stderr) == (2, True)
