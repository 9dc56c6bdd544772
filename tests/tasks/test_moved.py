"""A copied state folder is on its own: what it does never reaches the folder it was copied from."""

import shutil

import pytest

from tasks.home import Home
from tasks.registry.runs import CandidateRun, mirror_run


@pytest.fixture
def copied(tmp_path, mlflow_template, monkeypatch):
    """The state folder that a run was mirrored in, and a copy of it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    old, new = Home(tmp_path / "old"), Home(tmp_path / "new")
    old.root.mkdir()
    shutil.copy(mlflow_template, old.root / "mlflow.db")
    mirrored(old, "toy/1", tmp_path)
    shutil.copytree(old.root, new.root)
    return old, new


def mirrored(home: Home, key: str, folder) -> str:
    page = folder / "report.html"
    page.write_text(key)
    candidates = [CandidateRun("default", {}, [])]
    return mirror_run(home, key, name=key, tags={}, candidates=candidates, artifacts=[page])


def files(home: Home) -> set[str]:
    return {f.relative_to(home.root).as_posix() for f in home.artifacts.rglob("*") if f.is_file()}


def test_a_copy_writes_into_itself(copied, tmp_path):
    old, new = copied
    before = files(old)
    run_id = mirrored(new, "toy/2", tmp_path)
    assert any(run_id in name for name in files(new))
    assert files(old) == before


def test_what_was_stored_before_is_read_from_the_copy(copied, tmp_path):
    from tasks.registry.client import connected

    old, new = copied
    shutil.rmtree(old.root)
    run_id = mirrored(new, "toy/1", tmp_path)  # known: nothing is written anew
    with connected(new) as client:
        assert [f.path for f in client.list_artifacts(run_id)] == ["report.html"]
