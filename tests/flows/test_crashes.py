"""A run that is stopped, killed or fails anywhere leaves a book that is whole, and the next command
finishes what was begun.
"""

import contextlib
import errno
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from erasure_core.errors import ErasureError
from tasks.home import Home
from tests.flows.command import edit, erasure, in_a_terminal, shown, state, states, told
from tests.toy import CAT


def weights(home: Path) -> dict[str, str]:
    return {name: sha for name, sha in state(home).items() if name.endswith(".safetensors")}


def fail(fault: Exception):
    def failing(*_: object, **__: object) -> None:
        raise fault

    return failing


# Stopped before anything was decided


@pytest.fixture(scope="module")
def interrupted(write_inputs, begin, tmp_path_factory):
    """What Ctrl-C in training left, as a terminal sends it: to the whole group, the embedded
    server included. Gives the state folder, what it held before, the exit code and both streams.
    """
    folder = tmp_path_factory.mktemp("interrupted")
    home, inputs = begin(folder), write_inputs(folder / "inputs")
    edit(inputs / "passing.yaml", "updates: 2,", "updates: 1000000,")
    parameters = ("--params", inputs / "passing.yaml")
    assert erasure(home, "request", "add", inputs / "cat.yaml", *parameters).exit_code == 0
    before = state(home)
    process = in_a_terminal(home, "run", *parameters, "--json")
    try:
        while not list(home.glob("runs/*/images/base/kept")):  # what comes next is training
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)
        time.sleep(3)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return home, before, process.returncode, out, err


def test_ctrl_c_in_training_is_one_line(interrupted):
    _, _, code, out, err = interrupted
    assert (code, out) == (130, "")
    assert [line for line in err.splitlines() if "error" in line.lower()] == [
        "error: interrupted; what was finished is kept, the same command goes on from there"
    ]
    assert "Traceback" not in err


def test_ctrl_c_leaves_nothing_half_written(interrupted):
    home, before, *_ = interrupted
    work = ("runs", "snapshots", "prepared", "head.json", "mlflow.db")
    after, before = (
        {n: h for n, h in s.items() if n.split("/")[0] not in work and n != "book"}
        for s in (state(home), before)
    )
    assert after == before
    partial = [p for p in home.rglob("*") if "partial" in p.name or p.parent.name == "deltas"]
    assert [p for p in partial if p.suffix != ".resume"] == []


def test_ctrl_c_is_seen_in_mlflow(interrupted):
    client = MlflowClient(Home(interrupted[0]).tracking_uri)
    experiment = client.get_experiment_by_name("erasure").experiment_id
    found = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {name: run.info.status for name, run in found.items()} == {
        "erase cat": "KILLED",
        "default-lambda=5": "KILLED",
    }
    assert found["default-lambda=5"].data.metrics.keys() == {"loss"}


def test_ctrl_c_leaves_the_request_due_and_the_lease_free(interrupted):
    home = interrupted[0]
    assert states(home, CAT) == ["added", "ready"]
    assert told(home, "status")["models"][0]["released_now"] is None


def test_the_book_is_whole_after_ctrl_c(interrupted):
    assert told(interrupted[0], "audit")["findings"] == []


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


def test_a_crash_before_the_decision_decides_nothing(finished):
    _, seen = finished
    history, _, findings = seen["after crash"]
    assert seen["crashed"].exit_code == 1
    assert history == ["added", "ready"]
    assert findings == []


def test_the_next_run_trains_nothing_again(finished):
    _, seen = finished
    _, before, _ = seen["after crash"]
    assert before  # it was trained
    assert before.items() <= seen["after behind"][1].items()


def test_a_request_is_honoured_though_the_world_outside_is_away(finished):
    _, seen = finished
    answer = json.loads(seen["behind"].stdout)
    assert seen["behind"].exit_code == 0
    assert (answer["promoted"], answer["model"]["version"]) == (True, 1)
    assert seen["after behind"][0] == ["added", "ready", "honoured"]


def test_what_is_behind_is_told(finished):
    _, seen = finished
    line = "toy/1/mlflow run: MLflow is away"
    assert json.loads(seen["behind"].stdout)["behind"][0] == line
    assert line in seen["after behind"][2]["behind"]
    assert f"error: behind: {line}" in seen["behind"].stderr


def test_an_audit_finds_what_is_behind(finished):
    answer = finished[1]["found behind"]
    assert answer.exit_code == 1
    assert "toy/1/mlflow run has not followed yet: MLflow is away" in answer.stderr


def test_reconcile_finishes_it(finished):
    home, seen = finished
    assert seen["reconciled"].exit_code == 0, seen["reconciled"].stderr
    assert told(home, "status")["behind"] == []
    assert told(home, "audit")["findings"] == []


def test_the_aliases_moved_once(finished):
    (version,) = told(finished[0], "audit", 1)["versions"]
    assert [m["alias"] for m in version["alias_history"]] == ["candidate", "champion"]
