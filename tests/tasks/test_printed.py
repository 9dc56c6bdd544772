"""What a release prints can be pasted, and is about the same model."""

import io
import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from flows.cli.printed import RepeatedCommand
from flows.cli.show import escape_what_cannot_be_written, show, show_release, trial_lines
from tasks.home import Home

OUTCOME = {
    "model_name": "toy",
    "model_version": 3,
    "promoted": True,
    "answered": False,
    "chosen_lambda": None,
    "params": {"method": {"method": "uce"}},
    "gate": {"verdict": "pass", "checks": []},
    "folder": None,
    "seconds": {},
    "run_key": "0" * 16,
}
DRAW = ["generate", "PROMPT", "--model", "3", "--seed", "1", "--out", "pictures"]


@pytest.mark.parametrize(
    ("promoted", "params", "expected"),
    [
        (True, "params.yaml", DRAW),
        (True, "my params.yaml", [*DRAW, "--params", "my params.yaml"]),
        (False, "my params.yaml", ["audit", "3", "--name", "toy"]),
    ],
)
def test_the_next_command_is_about_the_model_of_the_run(
    promoted, params, expected, tmp_path, capsys
):
    show_release({**OUTCOME, "promoted": promoted}, Home(tmp_path), RepeatedCommand(Path(params)))
    *_, line = capsys.readouterr().out.splitlines()
    assert shlex.split(line) == ["next", "erasure", *expected]


def test_only_what_can_be_done_afresh_is_told_of_it(tmp_path, capsys):
    told = {**OUTCOME, "answered": True}
    for options in ((), (("--reason", "a mistake"),)):
        show_release(told, Home(tmp_path), RepeatedCommand(Path("params.yaml"), ("cat",), options))
        assert ("--fresh does it again" in capsys.readouterr().out) is (not options)


SECONDS = {
    "validate": 1.2,
    "snapshot": 0.4,
    "erase and generate, choose": 190.0,
    "measure, choose": 15.4,
    "erase and generate, report": 40.0,
    "measure, report": 49.6,
    "checkpoint": 8.0,
    "erase lambda=5": 100.0,
    "erase lambda=20": 28.0,
}
TIME = (
    "  time    5:05: erase and generate, choose 3:10; measure, report 0:50; "
    "erase and generate, report 0:40; measure, choose 0:15; the rest 0:10; "
    "within these, erasing 2:08"
)


def test_a_release_and_a_trial_say_where_their_time_went(tmp_path, capsys):
    timed, asked = (
        {**OUTCOME, "seconds": SECONDS, "report": "r.html"},
        RepeatedCommand(Path("params.yaml")),
    )
    show_release(timed, Home(tmp_path), asked)
    assert TIME in capsys.readouterr().out.splitlines()
    assert TIME in trial_lines(timed, asked)
    assert not [line for line in trial_lines({**timed, "seconds": {}}, asked) if "time" in line]


def test_a_refused_trial_gives_the_gates_advice_on_the_parameters_it_used():
    advice = "try `erasure run cat --lambdas 5`"
    gate = {"verdict": "fail", "checks": [], "advice": [advice]}
    asked = RepeatedCommand(Path("mine.yaml"), ("cat",), (("--trial",),))
    lines = trial_lines({**OUTCOME, "gate": gate, "report": "r.html"}, asked)
    assert "  try `erasure run cat --trial --lambdas 5 --params mine.yaml`" in lines


def test_a_check_that_is_advised_is_of_the_run_that_was_asked_for():
    options = (("--trial",), ("--base", "sd15"), ("--seed", "3"), ("--set", "method.updates=9"))
    asked = RepeatedCommand(Path("mine.yaml"), ("cat",), options)
    assert asked.advised("`erasure request check cat` says why") == (
        "`erasure request check cat --base sd15 --set method.updates=9 --params mine.yaml` says why"
    )


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("ascii", rb"Beyonc\u00e9, \u5bae, \ud83e\udd84"),
        ("latin-1", b"Beyonc\xe9" + rb", \u5bae, \ud83e\udd84"),
        ("utf-8", "Beyonc\u00e9, \u5bae, \U0001f984".encode()),
    ],
)
def test_what_a_terminal_cannot_write_is_written_as_json_does(encoding, said, monkeypatch):
    """The work is done by then: a name may not make it look as if it had failed."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    escape_what_cannot_be_written()
    show("Beyonc\u00e9, \u5bae, \U0001f984")
    show({"name": "\u5bae \U0001f984"})
    text, facts = raw.getvalue().split(b"\n", 1)
    assert text == said
    assert json.loads(facts.decode(encoding)) == {"name": "\u5bae \U0001f984"}


def test_who_reads_no_further_is_no_fault(monkeypatch):
    """As `head` does."""
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        show("a line")
        show("another")
