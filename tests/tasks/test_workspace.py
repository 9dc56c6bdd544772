"""A working folder holds what a run needs, is never written over, and can be completed."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest
from typer.testing import CliRunner

from erasure_core.errors import BadInput
from flows.cli import app
from tasks import workspace
from tasks.book.door import open_book
from tasks.home import Home
from tasks.workspace import lay_out

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path) -> Path:
    lay_out(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def erasure(tmp_path, monkeypatch):
    """The command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ERASURE_HOME", raising=False)
    before = dict(os.environ)
    yield lambda *words: CliRunner().invoke(app, list(words))
    os.environ.clear()
    os.environ.update(before)


def test_every_path_of_the_parameters_leads_to_a_file_of_it(folder):
    from erasure_core.planning.params import read_params

    for name in ("params.yaml", "params.purify.yaml"):
        params = read_params(folder / name)
        chosen = params.prompts.choose
        places = [params.base.path, params.clip.path, params.prompts.targets, params.prompts.kept]
        places += [chosen.targets, chosen.kept] if chosen else []
        assert [place for place in places if not (folder / place).exists()] == []


def test_its_files_are_the_checkouts(folder):
    for name in ("params.yaml", "prompts/kept.csv", "models/gallery/clip/model.safetensors"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()


def test_they_are_all_that_git_has_there():
    """And not what else lies there: a request's own prompt sets, a system's files."""
    places = ["prompts", "examples/requests", "models/gallery"]
    tracked = subprocess.run(
        ["git", "ls-files", "--", ".dvcignore", "constraints.txt", "params*.yaml", *places],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert sorted(workspace._files()) == sorted(tracked)


def test_what_a_request_wrote_into_the_checkout_is_not_handed_on(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    for name in [*workspace._files(), "prompts/targets/jane-doe.csv", "prompts/.DS_Store"]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    shutil.copy(ROOT / "pyproject.toml", checkout)
    monkeypatch.setattr(workspace, "CHECKOUT", checkout)
    made = lay_out(tmp_path / "work")
    assert "prompts/targets/cat.csv" in made
    assert [name for name in made if "jane-doe" in name or "DS_Store" in name] == []


def test_a_second_call_writes_only_what_is_missing(folder):
    (folder / "prompts/kept.csv").unlink()
    assert lay_out(folder) == ["prompts/kept.csv"]
    assert lay_out(folder) == []


def test_what_somebody_changed_is_not_written_over_and_nothing_else_is_written(folder):
    (folder / "params.yaml").write_text("mine\n")
    (folder / "prompts/kept.csv").unlink()
    with pytest.raises(BadInput, match=r"params\.yaml is there and is another one"):
        lay_out(folder)
    assert (folder / "params.yaml").read_text() == "mine\n"
    assert not (folder / "prompts/kept.csv").exists()


def test_a_file_in_a_folders_place_is_said(tmp_path):
    (tmp_path / "prompts").write_text("")
    with pytest.raises(BadInput, match="prompts is no folder"):
        lay_out(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["prompts"]


def test_dvc_takes_it_in_without_git(folder):
    add = [sys.executable, "-m", "dvc", "add", "--quiet", "examples/requests/cat.yaml"]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(add, cwd=folder, env=environment, check=True, capture_output=True)
    assert (folder / "examples/requests/cat.yaml.dvc").exists()


@pytest.mark.skipif(not which("git"), reason="no git here")
def test_git_takes_in_what_was_laid_out_and_neither_state_nor_what_dvc_keeps(folder):
    open_book(Home(folder / ".erasure"))
    for own in (".dvc/tmp/lock", ".dvc/cache/files/md5/ab/cd"):
        (folder / own).parent.mkdir(parents=True, exist_ok=True)
        (folder / own).write_text("")
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    list_new = ["git", "-C", folder, "status", "--porcelain", "--untracked-files=all"]
    found = subprocess.run(list_new, capture_output=True, check=True, text=True).stdout
    names = {line.removeprefix("?? ").strip('"') for line in found.splitlines()}
    assert names == set(lay_out(folder.with_name("again")))


def test_the_command_that_init_prints_goes_to_a_folder_with_a_blank(erasure):
    answer = erasure("init", "my work")
    assert answer.exit_code == 0
    go = answer.stdout.splitlines()[-1].partition("&&")[0]
    assert shlex.split(go) == ["cd", "my work"]


def test_the_command_leaves_nothing_beside_it(erasure, tmp_path):
    assert erasure("init", "work").exit_code == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize(
    "words",
    [("run", "a.yaml"), ("request", "check"), ("evaluate", "--model", "base", "--prompts", "a")],
    ids=" ".join,
)
def test_where_there_are_no_parameters_the_error_names_init(erasure, words):
    answer = erasure(*words)
    assert answer.exit_code == 2
    (line,) = answer.stderr.splitlines()
    assert "there is no params.yaml in" in line
    assert "erasure init DIR" in line


def test_the_version_is_that_of_the_package(erasure):
    from importlib.metadata import version

    answer = erasure("--version")
    assert (answer.exit_code, answer.stdout) == (0, f"erasure {version('erasure')}\n")


def test_bash_completes_a_command(erasure, monkeypatch):
    monkeypatch.setenv("_ERASURE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "erasure reque")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert CliRunner().invoke(app, [], prog_name="erasure").stdout.split() == ["request"]
