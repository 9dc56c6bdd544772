"""A copied state folder is on its own: what it does never reaches the folder it was copied from."""

import shutil
from dataclasses import replace

import pytest

from erasure_core.errors import ErasureError
from tasks.home import Home
from tasks.registry.moved import clear_deleted
from tasks.registry.packaging import VersionFacts
from tasks.registry.runs import CandidateRun, RunFacts, mirror_run
from tasks.registry.versions import expected, mirror_version, seen


def test_clearing_executes_no_file_of_the_working_folder(tmp_path, monkeypatch):
    """One that is named mlflow.py would end well, and nothing would be cleared."""
    working, library = tmp_path / "working", tmp_path / "library"
    for folder, does in ((working, "pass"), (library, "raise SystemExit('the library')")):
        folder.mkdir()
        (folder / "mlflow.py").write_text(does)
    monkeypatch.chdir(working)
    monkeypatch.setenv("PYTHONPATH", str(library))
    with pytest.raises(ErasureError, match="the library"):
        clear_deleted(tmp_path / "mlflow.db", ["run"])


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
    facts = RunFacts("gallery", key, key)
    return mirror_run(home, key, facts, candidates=candidates, artifacts=[page])


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


def test_a_version_that_changed_is_stored_in_the_copy(copied):
    old, new = copied
    shutil.rmtree(new.root)
    facts = VersionFacts("toy", 1, {}, b"{}", "outs: []", 12, 4.0, "0" * 32, "as it was")
    mirror_version(old, facts)
    shutil.copytree(old.root, new.root)
    changed = replace(facts, pointer=None)  # as after a purge
    mirror_version(new, changed)
    assert seen(new, "toy", 1) == expected(changed)
    assert seen(old, "toy", 1) == expected(facts)
