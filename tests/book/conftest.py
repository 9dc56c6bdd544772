"""One released state, made once by the command line: version 1 promoted, version 2 refused."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tasks.book.door import open_book
from tasks.book.store import Book
from tasks.home import Home
from tasks.registry.runs import unfinished_runs
from tasks.requests.steps import approve
from tests import toy

ROOT = Path(__file__).parents[2]
FOREIGN = ("PREFECT_", "MLFLOW_", "DVC_", "ERASURE_")
PLAN = "1" * 64  # of a proposal that two people approved


@dataclass(frozen=True)
class Shell:
    """The command line in processes of its own, in one state folder."""

    home: Path
    inputs: Path

    def __call__(
        self, *arguments: object, allowed: tuple[int, ...] = (0,)
    ) -> subprocess.CompletedProcess:
        """Run one command; its exit code must be one of `allowed`."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=ROOT,
            env=own | {"ERASURE_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode in allowed, done.stdout + done.stderr
        return done

    def run(self, request: str, params: str, *more: object, allowed: tuple[int, ...] = (0,)):
        """`erasure run` of one of the toy requests."""
        files = (self.inputs / f"{request}.yaml", "--params", self.inputs / f"{params}.yaml")
        return self("run", *files, *more, allowed=allowed)

    @property
    def book(self) -> Book:
        return open_book(Home(self.home), make=False)


@pytest.fixture(scope="session")
def released_state(tmp_path_factory) -> Shell:
    """Not to be changed: tests work on copies. Made once for all processes of the tests."""
    mine = tmp_path_factory.getbasetemp()
    shared = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    folder = shared / "released"
    shell = Shell(folder / "state", folder / "inputs")
    with FileLock(shared / "released.lock"):
        if not (folder / "whole").exists():
            _release(shell)
            (folder / "whole").touch()
    return shell


@pytest.fixture(scope="session")
def inputs(released_state) -> Path:
    """Requests, prompt sets and parameters of the toy world."""
    return released_state.inputs


def _release(shell: Shell) -> None:
    toy.world(shell.home.parent)
    shell.run("cat", "passing")
    shell.run("astronaut", "void", allowed=(3,))
    out = ("--format", "delta", "--out", shell.home.parent / "exported")
    shell("export", "--model", "champion", *out, "--params", shell.inputs / "passing.yaml")
    facts = {"plan": PLAN, "model": "toy", "requests": [toy.ASTRONAUT]}
    shell.book.change(lambda tx: tx.append("plan.proposed", **facts))
    for who in ("ada", "grace"):
        approve(shell.book, PLAN, who)


@pytest.fixture
def state(released_state, tmp_path, monkeypatch) -> Shell:
    """A copy of the released state, to be tampered with."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    home = Home(tmp_path / "state")
    shutil.copytree(released_state.home, home.root, ignore=shutil.ignore_patterns("prefect"))
    monkeypatch.setenv("ERASURE_HOME", str(home.root))
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    unfinished_runs(home)  # MLflow's absolute places follow to the copy
    return Shell(home.root, released_state.inputs)


@pytest.fixture(autouse=True)
def _own_registry():
    """`mlflow.set_tracking_uri` also sets the environment, for every later test of the process."""
    yield
    if "mlflow" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
