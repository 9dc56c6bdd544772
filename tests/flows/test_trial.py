"""A trial does what a run does and registers nothing; numbers given in the command are checked."""

import json
from pathlib import Path

import pytest

from tests.flows.command import book, erasure, state
from tests.toy import ASTRONAUT

UCE = ("--method", "uce", "--set", "methods.uce.target=replacement")


def trial_of(answer) -> dict:
    """The plan of the trial that was answered, as it was kept."""
    return json.loads((Path(json.loads(answer.stdout)["report"]).parent / "plan.json").read_text())


@pytest.fixture
def tried(inputs, home):
    """Call a trial of the astronaut."""

    def call(*words: object, params: str = "passing.yaml"):
        request = inputs / "astronaut.yaml"
        return erasure(home, "run", request, "--params", inputs / params, "--trial", *words)

    return call


@pytest.fixture(scope="module")
def passed(write_inputs, begin, tmp_path_factory):
    """A trial that passes: its answer, and the state folder before and after."""
    folder = tmp_path_factory.mktemp("passed")
    home, inputs = begin(folder), write_inputs(folder / "inputs")
    how = ("--params", inputs / "passing.yaml")
    assert erasure(home, "request", "add", inputs / "cat.yaml", *how).exit_code == 0
    changed = ("--seed", 3, "--lambdas", "2", "--set", "method.updates=1")
    before = state(home)
    trial = ("--trial", "--json", *changed)
    answer = erasure(home, "run", inputs / "astronaut.yaml", *how, *trial)
    assert answer.exit_code == 0, answer.stderr
    return answer, before, state(home)


def test_a_trial_says_that_it_is_one(passed):
    found = json.loads(passed[0].stdout)
    assert (found["trial"], found["gate"]["verdict"]) == (True, "pass")
    assert found["request_ids"] == [ASTRONAUT]


def test_a_trial_registers_nothing(passed):
    _, before, after = passed
    new = {file: sha256 for file, sha256 in after.items() if before.get(file) != sha256}
    (key,) = {file.split("/")[1] for file in new if file.startswith("runs/")}
    assert key.startswith("trial-")
    assert {file.split("/")[0] for file in new} <= {"runs", "snapshots", "prepared"}


@pytest.mark.slow
def test_a_trial_says_its_verdict_and_where_its_report_is(tried, home):
    answer = tried("--set", "method.updates=1", params="void.yaml")
    assert answer.exit_code == 3, answer.stderr
    first, *_, last = answer.stdout.splitlines()
    assert first == "trial (all_but_one, lambda 5): void; nothing was registered"
    report = Path(last.split(maxsplit=1)[1])
    assert "nothing was put into use" in report.read_text().casefold()


def test_a_trial_advises_to_try_the_same_again(tried, inputs):
    answer = tried("--set", "method.updates=1", params="void.yaml")
    again = f"erasure run {inputs / 'astronaut.yaml'} --trial --set method.updates=1"
    assert f"then `{again} --params {inputs / 'void.yaml'}`" in answer.stdout


def test_the_report_of_a_trial_that_passes_says_that_it_is_one(passed):
    assert "Trial: passes" in Path(json.loads(passed[0].stdout)["report"]).read_text()


def test_seed_lambdas_and_settings_take_the_place_of_the_parameters(passed):
    params = trial_of(passed[0])["params"]
    assert (params["seed"], params["lambdas"], params["method"]["updates"]) == (3, [2], 1)


@pytest.mark.slow
def test_a_release_takes_them_too(inputs, home):
    request, params = inputs / "astronaut.yaml", inputs / "passing.yaml"
    changed = ("--seed", 3, "--set", "method.updates=1")
    answer = erasure(home, "run", request, "--params", params, *changed, "--json")
    assert answer.exit_code == 0, answer.stderr
    (record,) = [json.loads(f.read_text()) for f in (home / "records").rglob("*.json")]
    assert (record["params"]["seed"], record["params"]["method"]["updates"]) == (3, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "method.update=1"), "(did you mean updates?)"),
        (("--set", "polcy.min_n=1"), "polcy: unknown key"),
        (("--set", "seed"), "'seed' is no change; write key=value"),
        (("--set", "seed.a=1"), "seed is a value and has no keys"),
        (("--set", "seed=[1"), "is not valid YAML"),
        (("--set", "seed=half"), "seed: found 'half'"),
        (("--set", "=1"), "is no change"),
        (("--lambdas", "1,1"), "each lambda once"),
        (("--lambdas", "a"), "lambdas.0: found 'a'"),
        (("--lambdas", "1", *UCE), "uce has no lambda"),
        (("--set", "lambdas=[1]", *UCE), "uce has no lambda"),
        (("--set", "method.updates=1", *UCE), "write --set methods.uce.updates=1"),
        (UCE[2:], "write --set method.target=replacement, or name the method with --method uce"),
        (("--seed", 3, "--set", "seed=4"), "seed is given twice ('seed=3', 'seed=4'); give it"),
        (("--seed", "-1"), "seed: found -1"),
        (("--fresh",), "--fresh is of a release"),
    ],
)
def test_what_is_no_setting_is_refused_in_one_line(tried, home, words, said):
    before = state(home)
    answer = tried(*words)
    assert answer.exit_code == 2, answer.output
    assert [said in line for line in answer.stderr.splitlines()].count(True) == 1
    assert "Traceback" not in answer.stderr
    assert (answer.stdout, state(home)) == ("", before)


def test_a_change_of_another_method_than_the_requests_own_is_refused(inputs, home):
    request = inputs / "astronaut.yaml"
    request.write_text("method: uce\n" + request.read_text())
    own = ("--params", inputs / "passing.yaml", "--set", "methods.uce.target=replacement")
    for kind in ((), ("--trial",)):
        answer = erasure(home, "run", request, *own, "--set", "method.updates=1", *kind)
        assert answer.exit_code == 2, answer.output
        assert "changes all_but_one, and this run erases by uce" in answer.stderr


def test_a_trial_of_nothing_is_refused(inputs, home):
    answer = erasure(home, "run", "--trial", "--params", inputs / "passing.yaml")
    assert (answer.exit_code, "name them" in answer.stderr) == (2, True)


@pytest.mark.slow
def test_the_book_of_a_trial_need_not_be_there(inputs, tmp_path):
    words = ("--params", inputs / "passing.yaml", "--trial", *UCE)
    answer = erasure(tmp_path / "new", "run", inputs / "cat.yaml", *words)
    assert answer.exit_code == 0, answer.stderr
    assert book(tmp_path / "new") == ""
