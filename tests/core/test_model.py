"""What the Python face refuses, and the paths that it takes."""

from pathlib import Path

import pytest
import torch

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.model import Model
from erasure_core.network import hub, one_file

PROMPT = "a photo of an astronaut"


@pytest.fixture
def base(tiny_folder) -> Model:
    return Model.load(tiny_folder)


def test_a_tilde_is_the_home_folder(tiny_folder, base, astronaut, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_folder.parent))
    assert Model.load(f"~/{tiny_folder.name}").folder == tiny_folder
    monkeypatch.setenv("HOME", str(tmp_path))
    base.erased(astronaut).save("~/change.safetensors")
    assert (tmp_path / "change.safetensors").is_file()
    assert base.opened("~/change.safetensors").delta is not None


def test_one_prompt_is_no_list_of_prompts(base):
    """A text is a sequence of its letters, and would be a picture of each."""
    with pytest.raises(BadInput, match=rf"prompts is the text '{PROMPT}'; give a list: \["):
        base.draw(PROMPT)


@pytest.mark.parametrize(
    ("prompts", "labels", "said"), [(PROMPT, ["a"], "prompts"), ([PROMPT], "astronaut", "labels")]
)
def test_beside_takes_no_single_text_either(base, prompts, labels, said):
    with pytest.raises(BadInput, match=f"{said} is the text"):
        base.beside(base, prompts, labels, clip=None)


@pytest.mark.parametrize(
    ("prompts", "said"),
    [([], "prompts is empty"), ([3], "holds 3, which is no text"), (None, "prompts is None")],
)
def test_what_is_no_list_of_prompts_is_refused(base, prompts, said):
    with pytest.raises(BadInput, match=said):
        base.draw(prompts)


def test_a_generator_of_prompts_is_drawn(base):
    assert len(base.draw((PROMPT for _ in "ab"), steps=1)) == 2


def test_a_name_is_no_concept(base):
    with pytest.raises(BadInput, match="'astronaut' is no concept; give Concept"):
        base.erased("astronaut")


@pytest.mark.parametrize(
    ("where", "advice"), [(".", "where no folder is"), ("gone/x.safetensors", "make its folder")]
)
def test_a_change_that_cannot_be_written_is_told_why(base, astronaut, tmp_path, where, advice):
    with pytest.raises(ErasureError, match=advice):
        base.erased(astronaut).save(tmp_path / where)


def test_a_file_that_is_there_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("README.md").touch()
    with pytest.raises(BadInput, match=r"'README\.md': is a file, no folder"):
        Model.load("README.md")


def test_a_checkpoint_in_one_file_is_told_how_it_becomes_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(one_file, "check", lambda file: None)  # it is a whole one
    (tmp_path / "sd15.safetensors").touch()
    with pytest.raises(BadInput, match=r"in one file; .*one_file\.convert\(file, configurations"):
        Model.load(tmp_path / "sd15.safetensors")


def test_a_hub_id_is_loaded_by_its_commit(tiny_folder, monkeypatch):
    monkeypatch.setattr(hub, "_snapshot", lambda hub_id, commit: tiny_folder)
    assert Model.load(f"owner/name@{'0' * 40}").folder == tiny_folder
    with pytest.raises(BadInput, match="owner/name@COMMIT"):
        Model.load("owner/name")


@pytest.mark.parametrize("kind", [str, Path])
def test_a_change_is_saved_and_opened_at_a_path_in_either_form(base, astronaut, tmp_path, kind):
    student, file = base.erased(astronaut), kind(tmp_path / "gone.safetensors")
    student.save(file)
    assert base.opened(file).delta.sha256 == student.delta.sha256


def test_another_bases_change_is_refused_when_it_is_opened(base, astronaut, tiny_folder, tmp_path):
    base.erased(astronaut).save(tmp_path / "gone.safetensors")
    other = Model.load(tiny_folder)
    with torch.no_grad():
        next(other.teacher.unet.parameters()).add_(1)
    with pytest.raises(ContentChanged, match="the network a delta is applied to"):
        other.opened(tmp_path / "gone.safetensors")
