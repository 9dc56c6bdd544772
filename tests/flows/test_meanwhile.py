"""What a person does to one request while a run works on it and on others."""

from contextlib import contextmanager

import pytest

from flows import erase
from tasks.book.door import open_book
from tasks.home import Home
from tasks.requests.steps import hold, refuse, withdraw
from tests.flows.command import erasure, shown, told
from tests.marks import slow
from tests.toy import ASTRONAUT, CAT


@pytest.fixture
def meanwhile(home, monkeypatch):
    """Take the cat's request out by `step` when the first candidate was measured."""

    def arrange(step) -> None:
        decide, seen = erase.decide, []

        def taken_out(plan, evidence):
            if not seen:
                step(open_book(Home(home)), CAT, "asked by the person")
            seen.append(plan)
            return decide(plan, evidence)

        monkeypatch.setattr(erase, "decide", taken_out)

    return arrange


def versions(home):
    return open_book(Home(home)).ask(lambda reader: reader.versions("toy"))


@pytest.mark.parametrize("step", [slow(withdraw), slow(hold)])
def test_one_that_is_taken_out_stops_no_other(step, home, inputs, meanwhile):
    meanwhile(step)
    both = (inputs / "cat.yaml", inputs / "astronaut.yaml")
    answer = erasure(home, "run", *both, "--params", inputs / "passing.yaml", "--json")
    assert answer.exit_code == 0, answer.stderr
    assert [version.requests for version in versions(home)] == [(ASTRONAUT,)]
    assert shown(home, ASTRONAUT)["state"] == "honoured"
    assert shown(home, CAT)["state"] in ("withdrawn", "on_hold")
    assert told(home, "audit")["findings"] == []


@pytest.mark.slow
def test_a_run_of_nothing_but_what_is_taken_out_says_so(home, inputs, meanwhile):
    meanwhile(withdraw)
    answer = erasure(home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml")
    assert answer.exit_code == 1
    assert f"nothing was released: meanwhile request {CAT} is withdrawn" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_a_nightly_of_nothing_but_what_is_taken_out_is_no_failure(home, inputs, meanwhile):
    meanwhile(withdraw)
    answer = erasure(home, "run", "--params", inputs / "passing.yaml")
    assert answer.exit_code == 0, answer.stderr
    assert versions(home) == []


@pytest.mark.parametrize("others", [False, slow(True)])
@pytest.mark.parametrize(
    ("step", "why"), [(withdraw, ("agreed",)), slow((refuse, ("gdpr-17-1", None)))]
)
def test_one_that_is_ended_while_its_run_waits_for_the_lease_releases_nothing(
    step, why, others, home, inputs, monkeypatch
):
    how = ("--params", inputs / "passing.yaml")
    if others:
        assert erasure(home, "run", inputs / "astronaut.yaml", *how).exit_code == 0
    before, holding = versions(home), erase.holding

    @contextmanager
    def waited_for(book, *given, **more):
        step(book, CAT, *why)
        with holding(book, *given, **more) as held:
            yield held

    monkeypatch.setattr(erase, "holding", waited_for)
    answer = erasure(home, "run", inputs / "cat.yaml", *how)
    assert answer.exit_code == 1, answer.stdout
    assert f"nothing was released: meanwhile request {CAT} is {step.__name__}" in answer.stderr
    assert versions(home) == before
