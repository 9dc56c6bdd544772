"""What people decide about a request, and what it does to those who ask for the same."""

import os
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from erasure_core.errors import BadInput
from erasure_core.law import clock
from erasure_core.law.chain import stamp
from flows.cli.show import show_status, show_trace
from tasks.book.actor import acting_as
from tasks.book.door import faults_of_chain
from tasks.book.status import left_of, shown, status
from tasks.book.store import Transaction
from tasks.release import trace
from tasks.release.rollback import _open_again
from tasks.release.trace import shown_request
from tasks.requests.intake import add, described
from tasks.requests.plan import NeedsApproval, Planned, check_approved, check_restorable
from tasks.requests.steps import (
    after_withdrawal,
    approve,
    extend,
    hold,
    proposed_for,
    refuse,
    retry,
    withdraw,
)
from tests.book.books import (
    MODEL,
    A,
    B,
    C,
    D,
    a_request,
    event_names,
    quick_book,
    released,
    state_of,
)

IN_TIME = datetime(2026, 12, 22, 23, 59, 59, tzinfo=UTC)  # the last second of the first month
PLAN, OTHER_PLAN = "1" * 64, "2" * 64


@pytest.fixture
def book(tmp_path):
    book = quick_book(tmp_path)
    add(book, [a_request(A)], MODEL)
    return book


def row(book, request_id):
    return book.ask(lambda reader: reader.request(request_id)).row


def proposed(book, plan=PLAN):
    book.change(lambda tx: tx.append("plan.proposed", plan=plan, model=MODEL, requests=[str(A)]))


# --- approval


def test_an_approval_holds_for_its_plan_alone(book):
    proposed(book)
    proposed(book, OTHER_PLAN)
    approve(book, PLAN, "ada")
    assert book.ask(lambda reader: reader.proposal(OTHER_PLAN)).approved_by == ()


def test_a_plan_that_was_never_proposed_cannot_be_approved(book):
    with pytest.raises(BadInput, match=r"no plan .* waits for approval"):
        approve(book, PLAN, "ada")


def test_the_same_person_cannot_approve_twice(book):
    proposed(book)
    approve(book, PLAN, "ada")
    with pytest.raises(BadInput, match="another person must"):
        approve(book, PLAN, "ada")


@pytest.mark.parametrize("again", ["Jose\u0301", "jos\u00e9", "JOS\u00c9", " Jos\u00e9"])
def test_another_spelling_is_no_other_person(book, again):
    proposed(book)
    approve(book, PLAN, "Jos\u00e9")
    with pytest.raises(BadInput, match="another person must"):
        approve(book, PLAN, again)
    assert approve(book, PLAN, "Jose").approved_by == ("Jos\u00e9", "Jose")


def test_what_joins_letters_makes_no_other_person(book):
    proposed(book)
    approve(book, PLAN, "علی\u200cرض\u0627")
    with pytest.raises(BadInput, match="another person must"):
        approve(book, PLAN, "علیرض\u0627")


def test_two_people_approve_together(book):
    proposed(book)
    approve(book, PLAN, "ada")
    assert approve(book, PLAN, "grace").approved_by == ("ada", "grace")


@pytest.mark.parametrize("others", [[], [B]])
def test_a_restoring_is_approved_by_the_request_that_it_takes_back(book, others):
    """Also of the last honoured one, without which the plan erases nothing."""
    left = [a_request(i, "dog") for i in others]
    add(book, left, MODEL)
    released(book, [A, *others])
    params = SimpleNamespace(approval="one", registered_model=MODEL)
    plan = SimpleNamespace(sha256=PLAN, params=params, requests=left)
    planned = Planned(plan, {}, 1)
    with pytest.raises(NeedsApproval, match=f"approve {A} --by NAME"):
        check_approved(book, planned, str(A))
    approve(book, proposed_for(book, A), "ada")
    check_approved(book, planned, str(A))
    assert state_of(book, A) == "honoured"  # until it is released without it


def test_a_plan_is_named_by_how_its_hash_begins(book):
    proposed(book)
    proposed(book, OTHER_PLAN)
    assert proposed_for(book, A) == OTHER_PLAN
    for digits in (8, 16, 64):
        assert proposed_for(book, A, PLAN[:digits]) == PLAN


@pytest.mark.parametrize("begins", ["", PLAN[:7], "3" * 16, PLAN + "1"])
def test_a_beginning_that_names_no_plan_is_refused(book, begins):
    proposed(book)
    with pytest.raises(BadInput, match=f"give at least 8 digits of one of {PLAN[:16]}"):
        proposed_for(book, A, begins)


def test_two_plans_that_begin_alike_are_told_apart(book):
    alike = PLAN[:-1] + "2"
    proposed(book)
    proposed(book, alike)
    with pytest.raises(BadInput, match="is not one of"):
        proposed_for(book, A, PLAN[:16])
    assert proposed_for(book, A, alike) == alike


def test_a_plan_is_approved_by_its_own_requests_alone(book):
    proposed(book)
    add(book, [a_request(B, "dog")], MODEL)
    with pytest.raises(BadInput, match=f"no plan '{PLAN}' with request {B} waits"):
        proposed_for(book, B, PLAN)


def test_an_approval_ends_the_waiting(book):
    proposed(book)
    book.change(lambda tx: tx.append("request.waiting", id=str(A)))
    approve(book, PLAN, "ada")
    assert state_of(book, A) == "received"


# --- the clock


def test_a_period_is_extended_once(book):
    before = row(book, A).due
    assert extend(book, A, "many requests", IN_TIME).row.due > before
    with pytest.raises(BadInput, match="allows 1 extension"):
        extend(book, A, "still many", IN_TIME)


def test_a_second_extension_changes_nothing(book):
    extend(book, A, "many requests", IN_TIME)
    once = row(book, A)
    with pytest.raises(BadInput, match="allows 1 extension"):
        extend(book, A, "still many", IN_TIME)
    assert row(book, A) == once


def facts_of(book, request_id):
    return shown_request(book, book.ask(lambda reader: reader.request(request_id)))


def test_what_must_be_told_of_an_extension_is_shown_until_the_first_period_ends(book):
    first = row(book, A).due
    assert facts_of(book, A)["notice"] is None
    extend(book, A, "many requests", IN_TIME)
    notice = clock.regulation("gdpr").extension.notice
    assert facts_of(book, A)["notice"] == {"tell": notice, "by": first}


@pytest.mark.parametrize(
    ("days", "said"),
    [(20, r"due \S{10}, \d+ days left"), (90, r"due \S{10}, LATE by \d+ days")],
)
def test_days_left_stand_wherever_a_request_is_shown_until_it_is_settled(
    tmp_path, capsys, days, said
):
    book, came = quick_book(tmp_path), datetime.now(UTC) - timedelta(days=days)
    (entry,) = add(book, [a_request(A, submitted_time=stamp(came))], MODEL)
    facts = facts_of(book, A)
    show_trace({"request": facts | {"honoured_by": []}, "versions": [], "intact": True})
    for text in (described(entry), capsys.readouterr().out):
        assert re.search(rf"  {said}$", text, re.MULTILINE)
    assert facts["days_left"] == shown(entry)["days_left"]
    settled = withdraw(book, A, "asked by mistake")
    assert (facts_of(book, A)["days_left"], "due" in described(settled)) == (None, False)


def test_what_was_edited_or_removed_stops_nobody_who_looks(book):
    """The audit, which names it, shows the request first."""
    extended = extend(book, A, "many requests", IN_TIME)
    events = book.ask(lambda reader: list(reader.events(str(A), kind="request.")))
    assert trace._notice(extended.row, events) is not None
    assert trace._notice(extended.row, events[1:]) is None
    for due in ("026-12-22T23:59:59.000Zx", "2026-12-22"):  # no date, and one of no time zone
        assert left_of(replace(extended.row, due=due)) is None


ZONES = ("-12:00", "-08:00", "-03:30", "+00:00", "+02:00", "+05:45", "+14:00")
TIMES = [
    f"{day}T{hour}{zone}"
    for day in ("2026-01-14", "2026-01-31", "2026-02-28", "2026-03-01", "2026-11-20")
    for hour in ("00:30:00", "22:00:00")
    for zone in ZONES
]


def extended_of(root, submitted: str) -> str:
    """Until when a request is due that was given at that time, once its period was extended."""
    book = quick_book(root)
    add(book, [a_request(A, submitted_time=submitted)], MODEL)
    return extend(book, A, "many requests", datetime.fromisoformat(submitted)).row.due


@pytest.mark.parametrize("submitted", TIMES)
def test_an_extension_counts_from_the_day_of_receipt_in_its_own_zone(tmp_path, submitted):
    right = clock.extended(clock.regulation("gdpr"), datetime.fromisoformat(submitted))
    assert extended_of(tmp_path, submitted) == stamp(right)


@pytest.mark.parametrize("submitted", TIMES)
def test_where_the_zone_is_not_known_an_extension_is_never_late(tmp_path, monkeypatch, submitted):
    """Of requests that were added before the book kept it."""
    append = Transaction.append

    def without_zone(tx, event, **facts):
        return append(tx, event, **{k: v for k, v in facts.items() if k != "offset"})

    monkeypatch.setattr(Transaction, "append", without_zone)
    law, received = clock.regulation("gdpr"), datetime.fromisoformat(submitted)
    first = stamp(clock.due(law, received))
    assert first < extended_of(tmp_path, submitted) <= stamp(clock.extended(law, received))


@pytest.mark.parametrize(
    ("submitted", "due"),
    [
        ("2026-01-14T22:00:00-08:00", "2026-04-14T23:59:59.000Z"),
        ("2026-03-01T00:30:00+02:00", "2026-06-01T21:59:59.000Z"),
    ],
)
def test_three_months_are_counted_where_the_request_was_given(tmp_path, submitted, due):
    assert extended_of(tmp_path, submitted) == due


def purged_of_its_texts(tx):
    tx.forget_texts(str(A))
    tx.append("request.purged", id=str(A))


def test_a_late_request_cannot_be_extended(book):
    """The person must be told within the first month: what is late stays late."""
    before = row(book, A)
    with pytest.raises(BadInput, match="was due on 2026-12-22 and is late"):
        extend(book, A, "many requests", IN_TIME + timedelta(seconds=1))
    assert row(book, A) == before


@pytest.mark.parametrize("state", ["honoured", "restored", "withdrawn", "refused"])
def test_what_is_answered_cannot_be_extended(book, state):
    if state in ("honoured", "restored"):
        released(book, [A])
    if state == "restored":
        released(book, [], restoring=A)
    if state == "withdrawn":
        withdraw(book, A, "no longer")
    if state == "refused":
        refuse(book, A, "gdpr-17-3-a", None)
    with pytest.raises(BadInput, match=f"is {state}; only a request that is still to be answered"):
        extend(book, A, "many requests", IN_TIME)


def test_a_purged_request_keeps_no_new_reason(book):
    withdraw(book, A, "no longer")
    book.change(purged_of_its_texts)
    with pytest.raises(BadInput, match="was purged"):
        extend(book, A, "Ada asked", IN_TIME)
    assert book.ask(lambda reader: list(reader.all_texts())) == []


def test_a_held_request_is_extended(book):
    hold(book, A, "a case")
    assert extend(book, A, "many requests", IN_TIME).row.extended == 1


def test_a_hold_lets_the_clock_run_on(book):
    before = row(book, A).due
    hold(book, A, "a case")
    assert row(book, A).due == before


def test_status_lists_what_is_due_first_with_what_is_held(book, monkeypatch, capsys):
    late = {"submitted_time": "2026-01-02T10:00:00Z"}
    add(book, [a_request(B, "dog", **late), a_request(C, "rocket", regulation="lgpd")], MODEL)
    hold(book, B, "a case")
    monkeypatch.setattr("tasks.book.status.URGENT", 2)
    now = status(book)
    assert [r["subject_request_id"] for r in now["requests"]["on_hold"]] == [str(B)]
    received = [r["subject_request_id"] for r in now["requests"]["received"]]
    assert received == [str(C)]  # A has longer
    show_status(now)
    told = capsys.readouterr().out
    assert re.search(rf"on hold: 1\n  {B}  dog \(a case\)  due 2026-02-02, LATE by \d+ days", told)
    assert "the 2 most urgent of 3 that await their answer" in told


# --- ends


def test_a_refusal_needs_a_reason_of_the_law(book):
    with pytest.raises(BadInput, match="is no reason code for 'gdpr'; choose one of gdpr-17-1"):
        refuse(book, A, "because", None)
    assert state_of(book, A) == "received"


OTHER_LAWS = {
    "no law is claimed": ("gdpr", "own-policy", "gdpr-17-1"),
    "of another continent": ("gdpr", "ccpa-1798-105-d-1", "gdpr-17-1"),
    "and the other way round": ("ccpa", "gdpr-17-1", "ccpa-1798-105-d-1"),
    "a law without codes": ("lgpd", "gdpr-17-1", "other-ground"),
    "a law without codes, not no law": ("lgpd", "own-policy", "other-ground"),
    "a law that has codes": ("gdpr", "other-ground", "gdpr-17-1"),
}


@pytest.mark.parametrize("case", OTHER_LAWS)
def test_a_request_is_not_refused_on_a_ground_of_another_law(book, case):
    regulation, code, first = OTHER_LAWS[case]
    add(book, [a_request(C, "dog", regulation=regulation)], MODEL)
    said = f"'{code}' is no reason code for '{regulation}'; choose one of {first}: "
    with pytest.raises(BadInput, match=said):
        refuse(book, C, code, None)
    assert state_of(book, C) == "received"


@pytest.mark.parametrize(
    ("regulation", "code"),
    [
        ("EU GDPR", "gdpr-12-5"),
        ("UK GDPR", "gdpr-17-1"),
        ("CPRA", "ccpa-1798-145-h-3"),
        ("none", "own-policy"),
        ("a law nobody knows", "own-policy"),
    ],
)
def test_a_request_is_refused_on_a_ground_of_its_law(book, regulation, code):
    add(book, [a_request(C, "dog", regulation=regulation)], MODEL)
    assert refuse(book, C, code, None).row.code == code


def test_a_ground_that_has_no_code_is_said_in_words(book):
    add(book, [a_request(C, "dog", regulation="lgpd")], MODEL)
    with pytest.raises(BadInput, match="other-ground needs --reason"):
        refuse(book, C, "other-ground", " ")
    assert refuse(book, C, "other-ground", "Art. 16, I").reason.endswith("; Art. 16, I")


def test_a_refusal_keeps_its_code(book):
    assert refuse(book, A, "gdpr-17-3-a", None).row.code == "gdpr-17-3-a"


@pytest.mark.parametrize("step", [withdraw, hold, extend])
@pytest.mark.parametrize("reason", ["", "  ", "\u200b"])
def test_a_reason_is_not_empty(book, step, reason):
    before = row(book, A)
    with pytest.raises(BadInput, match="--reason is empty"):
        step(book, A, reason)
    assert row(book, A) == before


@pytest.mark.parametrize("step", [withdraw, hold, extend, retry])
def test_a_reason_is_no_book(book, step):
    before = row(book, A)
    with pytest.raises(BadInput, match="it has 2001 characters; at most 2000"):
        step(book, A, "x" * 2001)
    with pytest.raises(BadInput, match="it has 2001 characters; at most 2000"):
        refuse(book, A, "gdpr-17-3-a", "x" * 2001)
    assert row(book, A) == before


def test_a_name_is_no_book(book):
    proposed(book)
    with pytest.raises(BadInput, match="it has 201 characters; at most 200"):
        approve(book, PLAN, "x" * 201)


def test_a_user_whose_name_is_no_text_is_recorded(book, monkeypatch):
    monkeypatch.setenv("LOGNAME", os.fsdecode(b"caf\xe9"))
    hold(book, A, "a case")
    assert book.ask(lambda reader: reader.head()).actor["user"] == "caf\\udce9"


def test_an_honoured_request_is_restored_not_withdrawn(book):
    released(book, [A])
    with pytest.raises(BadInput, match="erasure restore"):
        withdraw(book, A, "no longer")


def test_the_actor_of_a_step_is_recorded(book):
    with acting_as("ada"):
        hold(book, A, "a case")
    assert book.ask(lambda reader: reader.head()).actor["by"] == "ada"


# --- those who ask for the same


@pytest.fixture
def three(book):
    add(book, [a_request(B)], MODEL)
    add(book, [a_request(C)], MODEL)
    return book


@pytest.mark.parametrize("end", [withdraw, hold])
def test_the_oldest_duplicate_stands_for_the_others(three, end):
    end(three, A, "no longer")
    assert (state_of(three, B), row(three, C).duplicate_of) == ("received", str(B))


def test_a_duplicate_that_ends_leaves_the_others(three):
    withdraw(three, B, "no longer")
    assert (state_of(three, A), row(three, C).duplicate_of) == ("received", str(A))


@pytest.mark.parametrize("end", [withdraw, hold])
def test_who_has_names_of_its_own_stands_by_itself(book, end):
    names = {B: ("thomas", "mouser"), C: ("thomas",), D: ("mouser",)}
    add(book, [a_request(i, "tom", concept_also=also) for i, also in names.items()], MODEL)
    end(book, B, "no longer")
    assert [(state_of(book, i), row(book, i).duplicate_of) for i in (C, D)] == [
        ("received", None),
        ("received", None),
    ]


@pytest.mark.parametrize(
    ("end", "who", "said"),
    [
        (hold, A, f"{B}, {C} together with it, .*`erasure request withdraw {B} "),
        (hold, B, f"together with {A}, .*`erasure request withdraw {B} .*` ends it alone"),
    ],
)
def test_what_is_erased_for_several_ends_by_what_can_be_done(three, end, who, said):
    """Whoever does as it says comes to the end: nobody is sent in a circle."""
    released(three, [A])
    with pytest.raises(BadInput, match=said):
        end(three, who, "no longer")
    with pytest.raises(BadInput, match=said):
        check_restorable(three, SimpleNamespace(model=MODEL), who)
    withdraw(three, B, "no longer")
    withdraw(three, C, "no longer")
    assert check_restorable(three, SimpleNamespace(model=MODEL), A).row.state == "honoured"


def test_what_nobody_asks_for_and_a_rollback_opened_again_is_said(three):
    """The next run would erase it for nobody."""
    released(three, [A])
    withdraw(three, A, "no longer")
    three.change(lambda tx: _open_again(tx, str(A), 1, "rolled back"))
    for who in (B, C):
        withdraw(three, who, "no longer")
    (line,) = three.ask(lambda r: after_withdrawal(r, r.request(C)))
    assert f"which request {A} would erase again: `erasure request withdraw {A} " in line


def test_who_gives_up_what_is_erased_for_several_is_heard_and_nobody_else_loses_by_it(three):
    def said(who):
        return three.ask(lambda r: after_withdrawal(r, r.request(who)))

    released(three, [A])
    withdraw(three, A, "no longer")
    assert said(A) == [f"its person gave it up; its concept stays erased for request {B}, {C}"]
    assert event_names(three)[-1] == "request.unasked"
    assert [state_of(three, who) for who in (A, B, C)] == ["honoured"] * 3
    assert list(faults_of_chain(three)) == []
    with pytest.raises(BadInput, match=f"{B}, {C} together with it"):
        withdraw(three, A, "I said so")
    withdraw(three, B, "no longer")
    assert said(B) == []
    withdraw(three, C, "no longer")
    (note,) = said(C)
    assert f"`erasure restore {A} --reason ...`" in note
    released(three, [], restoring=A)
    assert said(C) == []


@pytest.mark.parametrize("honoured", [False, True])
def test_who_comes_back_joins_who_stands_now(three, honoured):
    """Two that stand for one concept could never be planned together."""
    hold(three, A, "a case")
    if honoured:
        released(three, [B])
    retry(three, A, None)
    assert row(three, A).duplicate_of == str(B)
    assert state_of(three, A) == ("honoured" if honoured else "duplicate")


def test_a_request_that_was_purged_cannot_come_back(book):
    refuse(book, A, "gdpr-17-3-a", None)
    book.change(purged_of_its_texts)
    with pytest.raises(BadInput, match="was purged"):
        retry(book, A, None)
