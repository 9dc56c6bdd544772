"""The benchmark of all methods reads what the command line answers."""

import json

from benchmarks import methods
from tests.flows.command import told


def test_a_row_is_what_the_run_was_recorded_with(ran):
    request, params = ran.inputs / "astronaut.yaml", ran.inputs / "passing.yaml"
    row = methods.measured("all_but_one", request, params, ran.home)
    (version,) = told(ran.home, "audit", 2)["versions"]
    assert (row["verdict"], row["promoted"], row["lambda"]) == ("pass", True, 5)
    assert row["delta_sha256"] == version["delta_sha256"]
    assert row["seconds"] == json.loads(ran.answers[-1].stdout)["seconds"]["erase default-lambda=5"]
    assert methods.row("all_but_one", row).startswith("| `all_but_one` | ")
