"""A run that is stopped, killed or fails anywhere leaves a book that is whole, and the next command
finishes what was begun.
"""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from erasure_core.errors import ErasureError
from tests.flows.command import erasure, shown, state, states, told
from tests.toy import CAT


def weights(home: Path) -> dict[str, str]:
    return {name: sha for name, sha in state(home).items() if name.endswith(".safetensors")}


def fail(fault: Exception):
    def failing(*_: object, **__: object) -> None:
        raise fault

    return failing


@pytest.mark.slow
def test_a_full_disk_is_one_line_with_the_path(inputs, home, monkeypatch):
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".safetensors"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    command = ("run", inputs / "cat.yaml", "--params", inputs / "passing.yaml", "--json")
    answer = erasure(home, *command)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert re.search(
        r"^error: .*No space left on device.*/trajectories-[0-9a-f]+\.safetensors",
        answer.stderr,
        re.M,
    )
    assert "Traceback" not in answer.stderr
    assert shown(home, CAT)["state"] == "ready"  # a disk is no fault of a request
    assert list((home / "runs").rglob("*.partial")) == []
    assert told(home, "versions", *command[2:4])["versions"] == []


def test_what_nobody_expected_is_one_line_too(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.book.status.status", fail(RuntimeError("first\nsecond")))
    answer = erasure(tmp_path, "status")
    assert answer.exit_code == 1
    assert answer.stderr == (
        "error: RuntimeError: first second; run again with `erasure --debug ...` for "
        "the traceback\n"
    )


def test_debug_shows_where(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.book.status.status", fail(RuntimeError("first")))
    answer = erasure(tmp_path, "--debug", "status")
    assert answer.exit_code == 1
    assert "in failing" in answer.stderr
    assert "Traceback" in answer.stderr


# A crash before the decision, one after it, and what finishes both


@pytest.fixture(scope="module")
def finished(write_inputs, begin, tmp_path_factory):
    """A run that fails when it would decide; the same one whose world outside is away; and
    `reconcile`. Gives the state folder and what was seen after each.
    """
    folder = tmp_path_factory.mktemp("finished")
    home, inputs = begin(folder), write_inputs(folder / "inputs")
    command = ("run", inputs / "cat.yaml", "--params", inputs / "passing.yaml", "--json")
    seen = {}
    with pytest.MonkeyPatch.context() as crash:
        crash.setattr("tasks.release.publish.settle", fail(OSError(errno.EIO, "input/output")))
        seen["crashed"] = erasure(home, *command)
    seen["after crash"] = (states(home, CAT), weights(home), told(home, "audit")["findings"])
    with pytest.MonkeyPatch.context() as away:
        away.setattr("tasks.release.errands.mirror_run", fail(ErasureError("MLflow is away")))
        seen["behind"] = erasure(home, *command)
    seen["after behind"] = (states(home, CAT), weights(home), told(home, "status"))
    seen["found behind"] = erasure(home, "audit")
    seen["reconciled"] = erasure(home, "reconcile")
    return home, seen


@pytest.mark.slow
def test_a_crash_before_the_decision_decides_nothing(finished):
    _, seen = finished
    history, _, findings = seen["after crash"]
    assert seen["crashed"].exit_code == 1
    assert history == ["added", "ready"]
    assert findings == []


@pytest.mark.slow
def test_the_next_run_trains_nothing_again(finished):
    _, seen = finished
    _, before, _ = seen["after crash"]
    assert before  # it was trained
    assert before.items() <= seen["after behind"][1].items()


@pytest.mark.slow
def test_a_request_is_honoured_though_the_world_outside_is_away(finished):
    _, seen = finished
    answer = json.loads(seen["behind"].stdout)
    assert seen["behind"].exit_code == 0
    assert (answer["promoted"], answer["model"]["version"]) == (True, 1)
    assert seen["after behind"][0] == ["added", "ready", "honoured"]


@pytest.mark.slow
def test_what_is_behind_is_told(finished):
    _, seen = finished
    line = "toy/1/mlflow run: MLflow is away"
    assert json.loads(seen["behind"].stdout)["behind"][0] == line
    assert line in seen["after behind"][2]["behind"]
    assert f"error: behind: {line}" in seen["behind"].stderr


@pytest.mark.slow
def test_an_audit_finds_what_is_behind(finished):
    answer = finished[1]["found behind"]
    assert answer.exit_code == 1
    assert "toy/1/mlflow run has not followed yet: MLflow is away" in answer.stderr


@pytest.mark.slow
def test_reconcile_finishes_it(finished):
    home, seen = finished
    assert seen["reconciled"].exit_code == 0, seen["reconciled"].stderr
    assert told(home, "status")["behind"] == []
    assert told(home, "audit")["findings"] == []


@pytest.mark.slow
def test_the_aliases_moved_once(finished):
    (version,) = told(finished[0], "audit", 1)["versions"]
    assert [m["alias"] for m in version["alias_history"]] == ["candidate", "champion"]
