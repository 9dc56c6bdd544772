"""Every benchmark runs the way its own text says: as a script and as a module."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text())


def test_there_are_some():
    assert {"all_but_one", "closed_form", "methods"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs_as_a_script(name):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    script = [sys.executable, f"benchmarks/{name}.py", "--help"]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
