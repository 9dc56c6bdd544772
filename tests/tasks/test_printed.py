"""What a release prints can be pasted, and is about the same model."""

import shlex
from pathlib import Path

import pytest

from flows.cli.printed import RepeatedCommand
from flows.cli.show import show_release, trial_lines
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


def test_a_refused_trial_gives_the_gates_advice_on_the_parameters_it_used():
    advice = "try `erasure run cat --lambdas 5`"
    gate = {"verdict": "fail", "checks": [], "advice": [advice]}
    asked = RepeatedCommand(Path("mine.yaml"), ("cat",), (("--trial",),))
    lines = trial_lines({**OUTCOME, "gate": gate, "report": "r.html"}, asked)
    assert "  try `erasure run cat --trial --lambdas 5 --params mine.yaml`" in lines
