"""`dvc.yaml` says the same as the code and as what lies in the checkout."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
STAGES, LOCKED = (
    YAML(typ="safe").load((ROOT / name).read_text())["stages"] for name in ("dvc.yaml", "dvc.lock")
)


def outputs(stage: dict) -> set[str]:
    return {path for out in (*stage.get("outs", ()), *stage.get("metrics", ())) for path in out}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_a_module_that_it_depends_on(name):
    python, dash_m, module = shlex.split(STAGES[name]["cmd"])
    assert (python, dash_m) == ("python", "-m")
    source = Path(importlib.util.find_spec(module).origin).relative_to(ROOT).as_posix()
    assert source in STAGES[name]["deps"]


def test_make_teacher_runs_them_with_the_projects_python(tmp_path):
    """DVC takes the first `python` of the path, not the one that it runs on itself."""
    for name in ("dvc", "python"):
        (tmp_path / name).write_text("#!/bin/sh\ncommand -v python\n")
        (tmp_path / name).chmod(0o755)
    make = ["make", "--silent", "--old-file", ".venv/installed", "teacher", f"BIN={tmp_path}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/python\n"


def test_the_prompt_sets_depend_on_all_that_words_them():
    source = (ROOT / "erasure_core/planning/families.py").read_text()
    words = set(re.findall(r"^from erasure_core\.law\.(\w+) import", source, re.MULTILINE))
    needed = {f"erasure_core/law/{name}.py" for name in words - {"concepts"}}  # a type
    assert needed <= set(STAGES["prompts"]["deps"])


@pytest.mark.parametrize("name", STAGES)
def test_outputs_lie_in_git_so_that_a_clone_works(name):
    stage = STAGES[name]
    assert all(
        options.items() - {("persist", True)} == {("cache", False)}
        for out in (*stage.get("outs", ()), *stage.get("metrics", ()))
        for options in out.values()
    )
    tracked = subprocess.run(
        ["git", "ls-files", "--", *outputs(stage)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    missing = {
        path
        for path in outputs(stage)
        if not any(f == path or f.startswith(f"{path}/") for f in tracked.split("\n"))
    }
    assert missing == set()


@pytest.mark.parametrize("folder", ["prompts/targets", "prompts/choose"])
def test_a_rebuild_leaves_the_sets_that_were_written_beside_its_own(folder):
    outs = {path: options for out in STAGES["prompts"]["outs"] for path, options in out.items()}
    assert outs[folder]["persist"]


def test_every_output_is_recorded_and_unchanged():
    """`dvc commit -f` (or `dvc repro`) was run after the outputs were made."""
    recorded = {out["path"] for stage in LOCKED.values() for out in stage["outs"]}
    assert recorded == {path for stage in STAGES.values() for path in outputs(stage)}
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    status = json.loads(
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )
    changed = [
        part
        for parts in status.values()
        for part in parts
        if isinstance(part, dict) and "changed outs" in part
    ]
    assert changed == []
