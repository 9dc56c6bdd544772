"""Whole runs as a user types them, on the embedded teacher, in a state folder of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


Erasure = Callable[..., Answer]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


def clean_environment(home: Path) -> dict[str, str]:
    """What a new user's shell holds: this state folder, no server, all cores."""
    dropped = ("PREFECT_", "MLFLOW_", "DVC_", "ERASURE_", "OMP_NUM_THREADS")
    return {k: v for k, v in os.environ.items() if not k.startswith(dropped)} | {
        "ERASURE_HOME": str(home)
    }


@pytest.fixture(scope="session")
def environment(home: Path) -> dict[str, str]:
    return clean_environment(home)


@pytest.fixture(scope="module")
def erasure(environment: dict[str, str]) -> Erasure:
    """Run the command line in a process of its own, from the checkout."""

    def run(*arguments: str | Path, **more: str) -> Answer:
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment | more, capture_output=True, text=True, timeout=3600
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
