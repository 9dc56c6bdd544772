"""The inbox: what is added, shown and decided about requests from the command line."""

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from erasure_core.law import clock
from erasure_core.law.chain import read
from flows.cli import app
from tasks.book.door import open_book
from tasks.home import Home
from tests.flows.command import edit, erasure, shown, state, states
from tests.toy import ASTRONAUT, CAT, TWIN

NOBODY = "00000000-0000-0000-0000-000000000009"


def add(home, inputs, name: str):
    """Add a request of the inputs."""
    return erasure(
        home, "request", "add", inputs / f"{name}.yaml", "--params", inputs / "void.yaml"
    )


def test_a_request_is_added_with_its_clock(inputs, home):
    answer = add(home, inputs, "astronaut")
    assert answer.exit_code == 0
    assert re.fullmatch(
        rf"{ASTRONAUT}  astronaut: received  due 2026-12-22, (\d+ days left|LATE by \d+ days)\n",
        answer.stdout,
    )


def test_a_request_under_no_known_law_is_said_to_be_so_before_it_is_entered(inputs, home):
    edit(inputs / "astronaut.yaml", "regulation: gdpr", "regulation: gddpr")
    note, added = add(home, inputs, "astronaut").stdout.splitlines()
    assert added.startswith(ASTRONAUT)
    assert note == (
        "note: no law is known by the name 'gddpr': the operator's own 30 days run; did you mean "
        "gdpr?"
    )


def test_a_request_is_added_once(inputs, home):
    before = state(home)
    again = add(home, inputs, "cat")
    assert again.exit_code == 0
    assert again.stdout.startswith(f"{CAT}  cat: received")
    assert state(home) == before


def test_several_requests_are_added_at_once_or_none(inputs, home):
    params = ("--params", inputs / "void.yaml")
    files = [inputs / f"{name}.yaml" for name in ("cat", "astronaut")]
    bad = inputs / "bad.yaml"
    bad.write_text((inputs / "astronaut.yaml").read_text().replace("kind: likeness", "kind: x"))
    before = state(home)
    assert erasure(home, "request", "add", files[1], bad, *params).exit_code == 2
    assert state(home) == before
    answer = erasure(home, "request", "add", *files, *params)
    assert [line.split()[0] for line in answer.stdout.splitlines()] == [CAT, ASTRONAUT]


def test_a_terminals_encoding_changes_no_byte_of_the_chain(home):
    """`sha256sum` hashes what was written, and the chain's lines are UTF-8."""
    hold = ("request", "hold", CAT, "--reason", "a court asks", "--by", "José Müller")
    assert erasure(home, *hold).exit_code == 0
    where = {"ERASURE_HOME": str(home)}
    answer = CliRunner(charset="latin-1").invoke(app, ["audit", "export"], env=where)
    line = answer.stdout_bytes.splitlines()[-1].decode()
    event = read(line)
    assert (event.actor["by"], event.line) == ("José Müller", line)
    assert event.sha256 == hashlib.sha256(event.body.encode()).hexdigest()


def test_requests_are_listed_oldest_first(inputs, home):
    edit(inputs / "astronaut.yaml", "2026-11-22T10:00:00Z", "2026-11-22T09:00:00Z")
    add(home, inputs, "astronaut")
    ids = [line.split()[0] for line in erasure(home, "request", "list").stdout.splitlines()]
    assert ids == [ASTRONAUT, CAT]


def test_a_request_belongs_to_the_model_of_its_parameters(home):
    assert shown(home, CAT)["model"] == "toy"


def test_a_request_is_shown_with_who_did_what(inputs, home):
    hold = ("request", "hold", CAT, "--reason", "a court asks", "--by", "clerk")
    assert erasure(home, *hold).exit_code == 0
    last = shown(home, CAT)["history"][-1]
    assert (last["state"], last["reason"], last["actor"]["by"]) == (
        "on_hold",
        "a court asks",
        "clerk",
    )


def test_a_second_request_for_a_concept_is_a_duplicate(inputs, home):
    text = (inputs / "cat.yaml").read_text().replace(CAT, TWIN)
    (inputs / "twin.yaml").write_text(text)
    assert add(home, inputs, "twin").stdout.startswith(f"{TWIN}  cat: duplicate of {CAT}")


STEPS = {
    "refuse": (("--code", "gdpr-17-3-a"), "refused"),
    "withdraw": (("--reason", "asked by mistake"), "withdrawn"),
    "hold": (("--reason", "a court asks"), "on_hold"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_person_decides_about_a_request(step, home):
    words, to = STEPS[step]
    assert erasure(home, "request", step, CAT, *words).exit_code == 0
    assert states(home, CAT) == ["added", to]


@pytest.mark.parametrize("step", STEPS)
def test_what_a_person_ended_or_holds_is_not_run(step, inputs, home):
    erasure(home, "request", step, CAT, *STEPS[step][0])
    idle = erasure(home, "run", "--params", inputs / "passing.yaml")
    assert (idle.exit_code, idle.stdout) == (0, "nothing pending\n")


def test_a_named_request_on_hold_is_not_run(inputs, home):
    erasure(home, "request", "hold", CAT, "--reason", "a court asks")
    before = state(home)
    answer = erasure(home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml")
    assert answer.exit_code == 2
    assert f"request {CAT} is on hold; `erasure request retry` ends that" in answer.stderr
    assert state(home) == before


@pytest.mark.parametrize("step", ["refuse", "hold"])
def test_what_was_refused_or_held_can_be_taken_up_again(step, home):
    erasure(home, "request", step, CAT, *STEPS[step][0])
    assert erasure(home, "request", "retry", CAT).exit_code == 0
    assert shown(home, CAT)["state"] == "received"


def test_the_next_of_two_stands_for_itself_when_the_first_ends(inputs, home):
    (inputs / "twin.yaml").write_text((inputs / "cat.yaml").read_text().replace(CAT, TWIN))
    add(home, inputs, "twin")
    erasure(home, "request", "withdraw", CAT, "--reason", "asked by mistake")
    twin = shown(home, TWIN)
    assert (twin["state"], twin["duplicate_of"]) == ("received", None)


def test_the_period_is_extended_as_far_as_the_law_allows(inputs, home):
    """Of a request that is not late on the day of this test."""
    submitted = datetime.now(UTC)
    edit(inputs / "astronaut.yaml", "2026-11-22T10:00:00Z", submitted.isoformat())
    add(home, inputs, "astronaut")
    extend = ("request", "extend", ASTRONAUT, "--reason", "many requests")
    answer, gdpr = erasure(home, *extend), clock.regulation("gdpr")
    assert answer.exit_code == 0
    due, tell_by = clock.extended(gdpr, submitted), clock.due(gdpr, submitted)
    assert shown(home, ASTRONAUT)["due"].startswith(f"{due:%Y-%m-%d}")  # three months on
    notice = f"{gdpr.extension.notice}, by {tell_by:%Y-%m-%d}\n"
    assert answer.stdout.endswith(notice)
    assert notice in erasure(home, "request", "show", ASTRONAUT).stdout
    before = state(home)
    assert erasure(home, *extend).exit_code == 2
    assert state(home) == before


REFUSED = {
    "an unknown request": (("refuse", NOBODY, "--code", "gdpr-17-3-a"), "is not in the book"),
    "a reason that is no ground": (("refuse", CAT, "--code", "no-time"), "is no reason code"),
    "no reason": (("hold", CAT, "--reason", " "), "nothing in it can be seen"),
    "a retry of what is due": (("retry", CAT), "cannot become received"),
    "an approval of nothing": (("approve", CAT), "no plan with request"),
    "another model": (("add", "INPUT", "--params", "OTHER"), "belongs to toy"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_step_that_is_not_allowed_changes_nothing(fault, inputs, home):
    edit(inputs / "void.yaml", "registered_model: toy", "registered_model: other")
    files = {"INPUT": inputs / "cat.yaml", "OTHER": inputs / "void.yaml"}
    words, expected = REFUSED[fault]
    before = state(home)
    answer = erasure(home, "request", *(files.get(word, word) for word in words))
    assert answer.exit_code == 2
    (line,) = answer.stderr.splitlines()
    assert expected in line
    assert state(home) == before


def test_what_is_due_is_told_in_json(home):
    (row,) = json.loads(erasure(home, "due", "--json").stdout)["due"]
    assert (row["subject_request_id"], row["state"], row["due"][:10]) == (
        CAT,
        "received",
        "2026-12-22",
    )


def test_what_is_late_is_an_error(inputs, home):
    edit(inputs / "astronaut.yaml", "2026-11-22T10:00:00Z", "2025-11-22T10:00:00Z")
    add(home, inputs, "astronaut")
    answer = erasure(home, "due")
    assert answer.exit_code == 1
    assert "LATE" in answer.stdout


def test_what_was_made_to_look_settled_is_no_reason_for_cron_to_be_quiet(home):
    with closing(sqlite3.connect(home / "book.db")) as book, book:
        book.execute("UPDATE requests SET state = 'withdrawn'")
    answer = erasure(home, "due")
    assert (answer.exit_code, answer.stdout) == (1, "nothing is due\n")
    assert f"{CAT} is state withdrawn, the chain says state received" in answer.stderr


def test_metrics_name_no_concept(home):
    answer = erasure(home, "due", "--prom")
    assert f'erasure_request_days_left{{model="toy",request="{CAT}"' in answer.stdout
    assert '"cat"' not in answer.stdout


# Approval


@pytest.fixture
def asked(inputs, home):
    """A run whose parameters ask for two approvals; gives its answer and how to run again."""
    edit(inputs / "passing.yaml", "seed: 7", "seed: 7\napproval: two")

    def run():
        return erasure(home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml")

    return run(), run


def approve(home, who: str, *more: str):
    return erasure(home, "request", "approve", CAT, "--by", who, *more)


PLAN = "1" * 64


@pytest.fixture
def proposed(inputs, home):
    """A plan for the cat that waits for approval, beside a request for the astronaut."""
    add(home, inputs, "astronaut")
    facts = {"plan": PLAN, "model": "toy", "requests": [CAT]}
    open_book(Home(home)).change(lambda tx: tx.append("plan.proposed", **facts))


@pytest.mark.parametrize("digits", [16, 64])
def test_a_plan_is_approved_by_the_hash_that_is_printed(proposed, digits, home):
    answer = approve(home, "ann", "--plan", PLAN[:digits])
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == f"plan {PLAN[:16]} is approved by ann\n"


@pytest.mark.parametrize("name", ["astronaut", "dog", NOBODY])
def test_a_plan_is_not_approved_under_another_requests_name(proposed, name, home):
    before = state(home)
    answer = erasure(home, "request", "approve", name, "--plan", PLAN)
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert state(home) == before


def test_blanks_around_a_name_make_no_second_person(proposed, home):
    assert approve(home, "ann").exit_code == 0
    again = approve(home, " ann ")
    assert again.exit_code == 2
    assert "ann has approved plan" in again.stderr


def test_a_plan_that_needs_approval_waits_for_it(asked, home):
    answer, _ = asked
    assert answer.exit_code == 3
    assert "needs 2 approval(s) and has 0" in answer.stderr
    request = shown(home, CAT)
    assert request["state"] == "waiting"
    assert re.fullmatch(r"approval of plan [0-9a-f]{16} \(0 of 2\)", request["reason"])


def test_nobody_approves_a_plan_twice(asked, home):
    assert approve(home, "ann").exit_code == 0
    before = state(home)
    again = approve(home, "ann")
    assert again.exit_code == 2
    assert "ann has approved plan" in again.stderr
    assert state(home) == before


def test_a_plan_is_carried_out_once_it_is_approved(asked, home, monkeypatch):
    def worked(_book, _held, planned, *_):
        raise RuntimeError(f"training of {planned.plan.concepts[0].name} begins")

    monkeypatch.setattr("flows.erase._worked", worked)
    _, run = asked
    approve(home, "ann")
    assert run().exit_code == 3
    approve(home, "bob")
    assert "training of cat begins" in run().stderr


def test_another_plan_needs_its_own_approval(asked, inputs, home):
    _, run = asked
    for who in ("ann", "bob"):
        approve(home, who)
    edit(inputs / "passing.yaml", "seed: 7", "seed: 8")
    answer = run()
    assert answer.exit_code == 3
    assert "needs 2 approval(s) and has 0" in answer.stderr
