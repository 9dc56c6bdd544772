"""The harness of faults: its kills are real, its checks can fail, a short run of it passes."""

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import checks, killer
from tests.faults.every_write import numbers

ROOT = Path(__file__).parents[2]
WRITES = """
import os, sys
from pathlib import Path
root = Path(sys.argv[1])
(root / "folder").mkdir()
(root / "folder").mkdir(exist_ok=True)
(root / "draft").write_text("whole")
os.replace(root / "draft", root / "file")
os.link(root / "file", root / "link")
(root / "file").unlink()
"""
# what each effect finds, so: what dying at it leaves
STATES = (
    {},
    {"folder": None},
    {"folder": None, "draft": ""},
    {"folder": None, "draft": "wh"},
    {"folder": None, "draft": "whole"},
    {"folder": None, "file": "whole"},
    {"folder": None, "file": "whole", "link": "whole"},
)
LAST = {"folder": None, "link": "whole"}


def state(root: Path) -> dict[str, str | None]:
    return {f.name: f.read_text() if f.is_file() else None for f in root.iterdir()}


def die_at(number: int, folder: Path) -> tuple[int, dict[str, str | None]]:
    root = folder / "root"
    root.mkdir()
    hook = killer.environment(root, number, folder / "counter", folder / "log")
    command = [sys.executable, "-c", WRITES, str(root)]
    done = subprocess.run(command, env=os.environ | hook, start_new_session=True)
    return done.returncode, state(root)


@pytest.mark.parametrize("number", range(1, len(STATES) + 1))
def test_a_process_dies_at_the_effect_that_was_named(number, tmp_path):
    assert die_at(number, tmp_path) == (-signal.SIGKILL, STATES[number - 1])


def test_a_process_that_only_counts_ends_by_itself(tmp_path):
    assert die_at(0, tmp_path) == (0, LAST)
    assert len((tmp_path / "log").read_text().splitlines()) == len(STATES)


@pytest.mark.parametrize("count", [1, 2, 7, 64, 100])
def test_every_effect_has_its_turn_once(count):
    assert sorted(numbers(count)) == list(range(1, count + 1))


WHOLE = {
    "events": ["request.added id=a", "version.decided version=1", "request.honoured id=a"],
    "leases": 0,
    "versions": [{"model": "toy", "version": 1, "checkpoint": "c" * 64, "requests": ["a"]}],
    "aliases": {"toy candidate": 1, "toy champion": 1},
    "requests": {"a": ["honoured", 1]},
    "together": {},
    "mlflow": {"toy": [[1], {"candidate": 1, "champion": 1}, []]},
    "behind": [],
    "audit": [],
    "files": ["book.db", "head.json"],
}


def test_what_is_as_it_was_has_no_fault():
    assert list(checks.faults(copy.deepcopy(WHOLE), WHOLE)) == []


SPOILT = {
    "an event lost": (lambda f: f["events"].pop(), "event lost: request.honoured"),
    "an event doubled": (
        lambda f: f["events"].append("request.honoured id=a"),
        "2 times: request.honoured",
    ),
    "other bytes": (lambda f: f["versions"][0].update(checkpoint="d" * 64), "versions: "),
    "a second version": (
        lambda f: f["mlflow"]["toy"][0].append(2),
        "MLflow has versions [1, 2] of toy, the book [1]",
    ),
    "half a promotion": (
        lambda f: f["requests"].update(a=["ready", None]),
        "the champion erases ['a'], honoured are []",
    ),
    "another champion outside": (
        lambda f: f["mlflow"]["toy"][1].update(champion=None),
        "MLflow's champion of toy is None, the book's 1",
    ),
    "a run for ever": (lambda f: f["mlflow"]["toy"][2].append("r"), "1 run(s) as running"),
    "a lease for ever": (lambda f: f.update(leases=1), "1 lease(s) are still held"),
    "a file left": (lambda f: f["files"].append(".head.json.x"), "left over: .head.json.x"),
    "a file lost": (lambda f: f["files"].remove("head.json"), "missing: head.json"),
    "an audit that finds something": (lambda f: f["audit"].append("gone"), "audit: gone"),
    "something behind": (lambda f: f["behind"].append("report"), "behind: report"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_the_checks_find(what):
    spoil, expected = SPOILT[what]
    found = copy.deepcopy(WHOLE)
    spoil(found)
    assert [fault for fault in checks.faults(found, WHOLE) if expected in fault]


def test_a_process_that_outlives_its_command_is_found():
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    assert checks.left_alive(child.pid, 0.1) == ["outlived its command: sleep 60"]
    assert child.wait(5) == -signal.SIGKILL


@pytest.mark.slow
def test_a_short_run_of_the_harness(tmp_path):
    command = [sys.executable, "-m", "tests.faults", "--quick", "--folder", str(tmp_path)]
    command += [
        "--on",
        "sqlite",
        "--parts",
        "every-write",
        "--jobs",
        "1",
        "--only",
        "request add",
        "run",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "6 passed, 0 failed", done.stdout + done.stderr
    assert done.returncode == 0
