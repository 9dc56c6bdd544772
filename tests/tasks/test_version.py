"""DVC, for real: a checkpoint goes to a remote and comes back from its pointer alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law.lineage import manifest, root_sha256
from tasks.home import Home
from tasks.versions.dvc_store import (
    add_checkpoint,
    check_checkpoint,
    ensure_repo,
    md5_of_outputs,
    pull_checkpoint,
)

FILES = {
    "model_index.json": b"{}",
    "unet/weights.safetensors": bytes(range(256)) * 64,
    "delta.safetensors": b"delta",
}


@pytest.fixture
def remote(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(tmp_path / "remote"))
    return tmp_path / "remote"


def checkpoint(home: Home) -> Path:
    draft = home.checkpoints / "draft"
    for name, content in FILES.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(content)
    return draft.rename(home.checkpoints / root_sha256(manifest(draft)))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()
    }


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def test_a_pointer_alone_restores_a_checkpoint_in_another_folder(tmp_path, remote):
    here, there = Home(tmp_path / "here"), Home(tmp_path / "there")
    folder = checkpoint(here)
    pointer = add_checkpoint(here, folder)
    assert pointer.md5.endswith(".dir")
    alone = shutil.copy(
        pointer.path, tmp_path / "checkpoint.dvc"
    )  # as it lies beside the registered version
    shutil.rmtree(here.root)

    restored = pull_checkpoint(there, Path(alone))

    assert restored == there.checkpoints / folder.name
    assert contents(restored) == FILES


def test_adding_again_changes_nothing_and_repairs_a_lost_cache_and_remote(tmp_path, remote):
    home = Home(tmp_path / "home")
    first = add_checkpoint(home, checkpoint(home))
    shutil.rmtree(home.dvc / "cache")
    shutil.rmtree(remote)
    folder = first.path.with_suffix("")

    assert add_checkpoint(home, folder) == first

    shutil.rmtree(folder)
    shutil.rmtree(home.dvc / "cache")
    assert contents(pull_checkpoint(home, first.path)) == FILES


def test_a_changed_byte_is_found_and_repaired_from_the_cache(tmp_path, remote):
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home))
    folder = pointer.path.with_suffix("")
    check_checkpoint(folder)
    shutil.rmtree(
        remote
    )  # the cache must suffice: a hard link would have carried the change into it
    flip_a_byte(folder / "unet/weights.safetensors")
    with pytest.raises(ContentChanged, match=folder.name[:16]):
        check_checkpoint(folder)

    pull_checkpoint(home, pointer.path)

    assert contents(folder) == FILES


def test_bytes_that_are_nowhere_are_an_error_and_not_an_empty_folder(tmp_path, remote):
    home, other = Home(tmp_path / "home"), Home(tmp_path / "other")
    pointer = add_checkpoint(home, checkpoint(home))
    shutil.rmtree(remote)
    with pytest.raises(ErasureError, match="dvc pull failed"):
        pull_checkpoint(other, pointer.path)


@pytest.mark.parametrize(
    "text",
    [
        "not: a pointer\n",
        "[unclosed",
        "outs:\n- md5: abc.dir\n  path: ../../outside\n",
        "outs:\n- md5: a.dir\n  path: " + "0" * 64 + "\n- md5: b.dir\n  path: " + "1" * 64 + "\n",
    ],
)
def test_what_is_no_pointer_of_one_checkpoint_is_refused(tmp_path, text):
    bad = tmp_path / "bad.dvc"
    bad.write_text(text)
    with pytest.raises(BadInput, match="pointer"):
        pull_checkpoint(Home(tmp_path / "home"), bad)
    assert not (tmp_path / "home").exists()


def test_only_a_checkpoint_can_be_added(tmp_path):
    home = Home(tmp_path / "home")
    with pytest.raises(BadInput, match="<sha256>"):
        add_checkpoint(home, tmp_path)


def test_the_remote_follows_the_environment(tmp_path, monkeypatch):
    home = Home(tmp_path / "home")
    ensure_repo(home)
    assert str(home.root / "dvc-remote") in (home.dvc / "config.local").read_text()
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(tmp_path / "shared"))
    ensure_repo(home)
    assert str(tmp_path / "shared") in (home.dvc / "config.local").read_text()


def test_a_state_folder_inside_the_project_leaves_the_projects_own_dvc_clean(tmp_path):
    project = tmp_path / "project"
    project.mkdir()

    def dvc(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=project,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    dvc("init", "--quiet")
    (project / "prompts").mkdir()
    (project / "prompts" / "kept.csv").write_text("prompt\n")
    (project / "dvc.yaml").write_text(
        "stages:\n  prompts:\n    cmd: 'true'\n    outs:\n      - prompts:\n          "
        "cache: false\n"
    )
    dvc("commit", "--force", "--quiet", "prompts")

    home = Home(project / ".erasure")
    shutil.rmtree(
        add_checkpoint(home, checkpoint(home)).path.with_suffix("")
    )  # the project would report it missing if it looked

    assert dvc("status", "--json").strip() == "{}"
    assert set(md5_of_outputs(project)) == {"prompts"}
    assert md5_of_outputs(project)["prompts"].endswith(".dir")
    assert md5_of_outputs(tmp_path) == {}
