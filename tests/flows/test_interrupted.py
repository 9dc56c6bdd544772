"""Ctrl-C in training, as a terminal sends it: one line, nothing half written, everything due."""

import contextlib
import os
import shutil
import signal
import time
from shutil import ignore_patterns

import pytest
from mlflow import MlflowClient

from erasure_core.planning.params import Retention
from tasks.book.door import open_book
from tasks.home import Home
from tasks.release.purge import purge
from tasks.requests.steps import withdraw
from tests.flows.command import edit, erasure, in_a_terminal, state, states, told
from tests.toy import CAT

pytestmark = pytest.mark.slow


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


def test_a_purge_leaves_nothing_of_it_once_its_request_is_purged(interrupted, tmp_path):
    home = shutil.copytree(interrupted[0], tmp_path / "home", ignore=ignore_patterns("prefect"))
    book = open_book(Home(home), make=False)
    (folder,) = book.home.runs.iterdir()
    assert (folder / "prompts/target-cat.csv").exists()
    withdraw(book, CAT, "no longer asked for")
    purge(book, "toy", Retention(personal=0))
    assert list(book.home.runs.iterdir()) == []


def test_ctrl_c_leaves_the_request_due_and_the_lease_free(interrupted):
    home = interrupted[0]
    assert states(home, CAT) == ["added", "ready"]
    assert told(home, "status")["models"][0]["released_now"] is None


def test_the_book_is_whole_after_ctrl_c(interrupted):
    assert told(interrupted[0], "audit")["findings"] == []
