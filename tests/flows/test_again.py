"""What was honoured before is measured by a part in the next release, and whole when that was too
long ago (docs/again.md).
"""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from erasure_core.law.prompts import read_prompt_set
from tasks.book.door import open_book
from tasks.home import Home
from tasks.requests import again
from tasks.requests.again import overdue
from tasks.requests.plan import Inputs, plan_release
from tests.flows.command import erasure
from tests.toy import ASTRONAUT, CAT

pytestmark = pytest.mark.slow  # whole runs, one after another


class Later(datetime):
    """Eight days from now."""

    @classmethod
    def now(cls, tz=UTC):
        return datetime.now(tz) + timedelta(days=8)


@pytest.fixture(scope="module")
def released(write_inputs, begin, tmp_path_factory):
    """The cat was honoured, then the astronaut: state folder, inputs, and how to run there."""
    folder = tmp_path_factory.mktemp("again")
    home, inputs = begin(folder), write_inputs(folder / "inputs")
    params = yaml.safe_load((inputs / "passing.yaml").read_text())
    params["policy"]["again"] = {"parts": 2, "days": 7}
    (inputs / "again.yaml").write_text(yaml.safe_dump(params))
    how = ("--params", inputs / "again.yaml", "--json")
    for name in ("cat", "astronaut"):
        answer = erasure(home, "run", inputs / f"{name}.yaml", *how)
        assert answer.exit_code == 0, answer.stderr
    return home, inputs, how


def record(home, version: int) -> dict:
    return json.loads((home / f"records/toy-v{version}.json").read_text())


def planned(home, params):
    """The plan of a release in which nothing is new."""
    return plan_release(open_book(Home(home), make=False), Inputs.read(params, None, None), []).plan


def test_what_is_new_is_measured_whole_and_what_was_there_by_a_part(released):
    home, _, _ = released
    assert record(home, 1)["parts"] == {}
    ((request, (_, of)),) = record(home, 2)["parts"].items()
    assert (request, of) == (CAT, 2)
    folder = home / "runs" / record(home, 2)["folder"]
    drawn = {
        name: len(list((folder / "images/base" / name).iterdir()))
        for name in ("target-cat", "target-astronaut")
    }
    rows = {name: len(read_prompt_set(folder / f"prompts/{name}.csv")) for name in drawn}
    assert drawn["target-astronaut"] == rows["target-astronaut"]
    assert rows["target-cat"] // 2 <= drawn["target-cat"] < rows["target-cat"]


def test_a_check_of_a_part_says_so(released):
    checks = record(released[0], 2)["gate"]["checks"]
    of_part = {c["metric"] for c in checks if "a part of them" in c["reason"]}
    assert of_part == {"base.clip.concept_rate[cat]", "clip.concept_rate[cat]"}
    shown = erasure(released[0], "audit", 2).stdout.splitlines()
    assert sum(line.endswith("(of a part)") for line in shown) == len(of_part)


def test_the_same_again_is_answered_from_the_record(released):
    home, inputs, how = released
    again = erasure(home, "run", inputs / "astronaut.yaml", *how)
    assert (again.exit_code, json.loads(again.stdout)["model"]["version"]) == (0, 2)
    assert json.loads(erasure(home, "audit", "--json").stdout)["findings"] == []


def test_other_parameters_measure_all_of_it(released, tmp_path):
    home, inputs, _ = released
    assert planned(home, inputs / "again.yaml").parts
    params = yaml.safe_load((inputs / "again.yaml").read_text())
    params["policy"]["kept"]["ssim"] = -0.9
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(params))
    assert planned(home, tmp_path / "other.yaml").parts == {}


def test_a_record_that_cannot_be_read_vouches_for_nothing_and_stops_nobody(released, tmp_path):
    home = shutil.copytree(released[0], tmp_path / "home")
    (home / "records/toy-v1.json").write_text("{")
    assert planned(home, released[1] / "again.yaml").parts == {}


def test_too_long_after_the_nightly_measures_all_of_it(released, tmp_path, monkeypatch):
    home, params = shutil.copytree(released[0], tmp_path / "home"), released[1] / "again.yaml"
    assert erasure(home, "run", "--params", params).stdout == "nothing pending\n"
    monkeypatch.setattr(again, "datetime", Later)
    book = open_book(Home(home), make=False)
    assert overdue(book, planned(home, params)) == [CAT]
    answer = erasure(home, "run", *released[2])
    assert answer.exit_code == 0, answer.stderr
    assert record(home, 3)["parts"] == {}
    assert {*record(home, 3)["request_ids"]} == {CAT, ASTRONAUT}
    monkeypatch.undo()
    assert overdue(book, planned(home, params)) == []
    assert erasure(home, "run", "--params", params).stdout == "nothing pending\n"
