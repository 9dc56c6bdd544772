"""Commands take a request however it is named, and refuse an option that they would not use."""

from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.planning.params import read_params
from tasks.book.door import open_book
from tasks.book.lease import holding
from tasks.evidence.attack_version import _concepts
from tasks.home import Home
from tests import toy
from tests.flows.command import erasure


@pytest.fixture
def home(tiny_folder, tiny_clip, tmp_path, monkeypatch) -> Path:
    """A state folder that holds the cat's request, from a folder with the toy's inputs."""
    monkeypatch.chdir(toy.write_inputs(tmp_path / "inputs", tiny_folder, tiny_clip))
    home = tmp_path / "home"
    added = erasure(home, "request", "add", "cat.yaml", "--params", "passing.yaml")
    assert added.exit_code == 0, added.stderr
    return home


@pytest.mark.parametrize("named", ["cat", toy.CAT, "cat.yaml"])
def test_an_attack_takes_a_request_however_it_is_named(named, home):
    params = read_params(Path("passing.yaml"))
    assert [c.name for c in _concepts("base", params, Home(home), None, named)] == ["cat"]


def test_an_attack_says_which_requests_there_are_to_name(home):
    with pytest.raises(BadInput, match="'coffee' is no file, and no request in requests or in"):
        _concepts("base", read_params(Path("passing.yaml")), Home(home), None, "coffee")


@pytest.mark.parametrize("named", [["cat", "astronaut.yaml"], [f"{toy.CAT},astronaut.yaml"]])
def test_a_comparison_takes_requests_however_they_are_named(named, home, tmp_path, monkeypatch):
    asked = []

    def compared(requests, *_given, **_how):
        asked.extend(request.concept.name for request in requests)
        raise BadInput("enough")

    monkeypatch.setattr("tasks.comparing.compare.compare", compared)
    requests = [word for name in named for word in ("--requests", name)]
    out = ("--out", tmp_path / "out", "--params", "passing.yaml")
    answer = erasure(home, "compare", *requests, *out)
    assert (asked, answer.exit_code) == (["cat", "astronaut"], 2), answer.stderr


IGNORED = {
    "request new tea --kind object --instead x --too-long cut --params passing.yaml": "--prompt",
    "attack --model base --request cat --concept dog --params passing.yaml": "--request names",
    "audit cat --name toy": "--name says whose version",
    f"audit {toy.CAT} --name toy": "--name says whose version",
    "audit --name toy": "--name says whose version",
    "audit export --name toy": "--name says whose version",
    "run cat --trial --by somebody --params passing.yaml": "--by is of a release",
    "run cat --trial --no-wait --params passing.yaml": "--no-wait is of a release",
    "run cat --trial --fresh --params passing.yaml": "--fresh is of a release",
    "due --prom --json": "--prom and --json are two forms",
    "request check --set seed=3 --params passing.yaml": "--lambdas and --set are for named",
    "run cat --set method.method=uce --params passing.yaml": "--set method.method: another",
}


@pytest.mark.parametrize("command", IGNORED)
def test_an_option_that_would_do_nothing_is_refused(command, home):
    answer = erasure(home, *command.split())
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.splitlines()[-1].startswith(f"error: {IGNORED[command]}")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--base", "./nowhere"), "neither an existing folder nor a hub id"),
        (("--set", "policy.min_n=500"), "500"),
        (("--method", "sdd"), "the parameters hold no method 'sdd'"),
    ],
)
def test_a_check_takes_what_the_run_will_be_given(option, said, home):
    answer = erasure(home, "request", "check", "cat", *option, "--params", "passing.yaml")
    assert answer.exit_code == 2
    assert said in answer.output


def test_a_new_request_is_looked_at_on_the_base_that_is_named(home):
    words = ("request", "new", "tea", "--kind", "object", "--instead", "a cat")
    answer = erasure(home, *words, "--base", "./nowhere", "--params", "passing.yaml")
    assert answer.exit_code == 2
    assert "'./nowhere' is neither an existing folder nor a hub id" in answer.stderr


def test_a_version_is_traced_by_the_model_that_is_named(home):
    answer = erasure(home, "audit", "1", "--name", "toy")
    assert "no toy version 1" in answer.stderr
    assert open_book(Home(home), make=False).ask(lambda reader: reader.models()) == ["toy"]


@pytest.mark.parametrize("command", ["rollback --to 1 --reason emergency", "purge", "run"])
def test_who_does_not_wait_is_told_at_once_who_is_at_work(command, home):
    book = open_book(Home(home), make=False)
    words = (*command.split(), "--no-wait", "--params", "passing.yaml")
    with holding(book, "toy", "releasing 1 request(s)"):
        answer = erasure(home, *words)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr.splitlines()[-1].startswith("error: toy: releasing 1 request(s) by ")
