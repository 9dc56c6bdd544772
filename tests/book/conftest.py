"""One released state, made once by the command line: version 1 promoted, version 2 refused."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tasks.book.door import open_book
from tasks.book.store import Book
from tasks.home import Home
from tasks.registry.runs import unfinished_runs
from tasks.requests.steps import approve
from tests import toy
from tests.once import made_once

ROOT = Path(__file__).parents[2]
FOREIGN = ("PREFECT_", "MLFLOW_", "DVC_", "ERASURE_")
IN_ONE_PROCESS = """
import json, sys
from typer.testing import CliRunner
from flows.cli import app
answers = [CliRunner().invoke(app, words) for words in json.loads(sys.argv[1])]
print("".join(answer.output for answer in answers))
print(json.dumps([answer.exit_code for answer in answers]))
"""
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
        done = self._python("-m", "flows.cli", *map(str, arguments))
        assert done.returncode in allowed, done.stdout + done.stderr
        return done

    def one_after_another(self, *commands: tuple[object, ...], codes: list[int]) -> None:
        """Run commands in one process, which costs its imports once; they must end with `codes`."""
        words = [list(map(str, command)) for command in commands]
        done = self._python("-c", IN_ONE_PROCESS, json.dumps(words))
        assert json.loads(done.stdout.splitlines()[-1]) == codes, done.stdout + done.stderr

    def _python(self, *arguments: str) -> subprocess.CompletedProcess:
        own = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=own | {"ERASURE_HOME": str(self.home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
        )

    def run(self, request: str, params: str, *more: object, allowed: tuple[int, ...] = (0,)):
        """`erasure run` of one of the toy requests."""
        files = (self.inputs / f"{request}.yaml", "--params", self.inputs / f"{params}.yaml")
        return self("run", *files, *more, allowed=allowed)

    @property
    def book(self) -> Book:
        return open_book(Home(self.home), make=False)


@pytest.fixture(scope="session")
def released_state(tmp_path_factory, mlflow_template) -> Shell:
    """Not to be changed: tests work on copies. Made once for all processes of the tests."""
    folder = made_once(tmp_path_factory, "released", partial(_release, mlflow_template))
    return Shell(folder / "state", folder / "inputs")


@pytest.fixture(scope="session")
def inputs(released_state) -> Path:
    """Requests, prompt sets and parameters of the toy world."""
    return released_state.inputs


def _release(mlflow_template: Path, folder: Path) -> None:
    toy.world(folder)
    shell = Shell(folder / "state", folder / "inputs")
    Home(shell.home).begin()
    shutil.copy(mlflow_template, shell.home / "mlflow.db")
    passing, void = (("--params", shell.inputs / f"{name}.yaml") for name in ("passing", "void"))
    out = ("--format", "delta", "--out", folder / "exported")
    shell.one_after_another(
        ("run", shell.inputs / "cat.yaml", *passing),
        ("run", shell.inputs / "astronaut.yaml", *void),
        ("export", "--model", "champion", *out, *passing),
        codes=[0, 3, 0],
    )
    facts = {"plan": PLAN, "model": "toy", "requests": [toy.ASTRONAUT]}
    shell.book.change(lambda tx: tx.append("plan.proposed", **facts))
    for who in ("ada", "grace"):
        approve(shell.book, PLAN, who)


def copied(released: Shell, root: Path, patch: pytest.MonkeyPatch) -> Shell:
    """A copy of a released state, which the environment names as long as `patch` holds."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        patch.delenv(name)
    home = Home(root)
    shutil.copytree(released.home, home.root, ignore=shutil.ignore_patterns("prefect"))
    patch.setenv("ERASURE_HOME", str(home.root))
    patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    unfinished_runs(home, "")  # MLflow's absolute places follow to the copy
    return Shell(home.root, released.inputs)


@pytest.fixture
def state(released_state, tmp_path, monkeypatch) -> Shell:
    """A copy of the released state, to be tampered with."""
    return copied(released_state, tmp_path / "state", monkeypatch)


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
