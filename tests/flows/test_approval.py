"""Approval by the form that Prefect shows."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from prefect.exceptions import FlowPauseTimeout
from pydantic import ValidationError

from erasure_core.errors import BadInput
from flows import approval, erase
from flows.approval import Approval, approved
from flows.cli import runs
from tasks.requests.intake import add
from tasks.requests.park import park
from tasks.requests.plan import NeedsApproval
from tests.book.books import MODEL, A, B, C, a_request, quick_book, released

PLAN = "1" * 64


@pytest.fixture
def book(tmp_path, monkeypatch):
    """The book of a deployment's run whose plan needs one approval."""
    deployed = SimpleNamespace(deployment=SimpleNamespace(id="of a deployment"))
    monkeypatch.setattr(approval, "runtime", deployed)
    book = quick_book(tmp_path)
    add(book, [a_request(A)], MODEL)
    facts = {"plan": PLAN, "model": MODEL, "requests": [str(A)]}
    book.change(lambda tx: tx.append("plan.proposed", **facts))
    return book


@pytest.fixture
def answered(book, monkeypatch):
    """Fill the form in, and do the work; gives the forms that were shown."""

    def answered(**filled_in: object) -> list[type[Approval]]:
        forms = []

        def pause(wait_for_input, timeout):
            forms.append(wait_for_input)
            return wait_for_input(**filled_in)

        monkeypatch.setattr(approval, "pause_flow_run", pause)
        approved(book, lambda: work(book))
        return forms

    return answered


def work(book) -> None:
    if not (have := approvals(book)):
        raise NeedsApproval(PLAN, [str(A)], have, 1)


def approvals(book) -> tuple[str, ...]:
    return book.ask(lambda reader: reader.proposal(PLAN)).approved_by


def test_the_form_shows_what_is_approved(answered):
    (form,) = answered(your_name="ann", approve=True)
    for said in (PLAN, str(A), "cat", "1 approval(s)", "nobody", "(object), due 2026-12-22, "):
        assert said in form._description


def test_a_name_is_no_markup_in_the_form(book):
    add(book, [a_request(B, "*b* | [x](y)")], MODEL)
    said = approval._shown(book, NeedsApproval(PLAN, [str(B)], ["_ann_"], 2))
    assert r"\*b\* \| \[x\](y) (object)" in said
    assert r"approved so far by \_ann\_" in said


def test_blanks_around_the_name_are_dropped(answered, book):
    answered(your_name=" ann ", approve=True)
    assert approvals(book) == ("ann",)


UNNAMED = ["", " ", "a\nb", "a\x1b[31mb", "\u200b"]


@pytest.mark.parametrize("name", UNNAMED)
def test_who_cannot_be_named_does_not_approve(name, answered, book):
    with pytest.raises(ValidationError):
        Approval(your_name=name)
    with pytest.raises(BadInput, match="your_name of the form"):
        answered(your_name=name, approve=True)
    assert approvals(book) == ()


@pytest.mark.parametrize("name", UNNAMED[:-1])
def test_the_form_itself_refuses_it(name):
    """As Prefect's server checks what is filled in, by the form's schema."""
    from prefect.utilities.schema_tools import validation

    schema = Approval.model_json_schema()
    assert validation.is_valid({"your_name": "Ann Bee", "approve": True}, schema)
    assert not validation.is_valid({"your_name": name, "approve": True}, schema)


def test_a_plan_that_is_not_approved_needs_it_still(answered, book):
    with pytest.raises(NeedsApproval):
        answered(your_name="ann", approve=False)
    assert approvals(book) == ()


def test_a_form_that_nobody_answers_is_an_approval_that_lacks(book, monkeypatch):
    def pause(**_):
        raise FlowPauseTimeout("Flow run was paused and never resumed.")

    monkeypatch.setattr(approval, "pause_flow_run", pause)
    with pytest.raises(NeedsApproval, match="needs 1 approval"):
        approved(book, lambda: work(book))


# --- one plan that waits stops no other


@pytest.fixture
def run_of(book, monkeypatch):
    """A run of what is due, in which each group comes to what `outcomes` say of its requests."""
    add(book, [a_request(B, "dog"), a_request(C, "rocket")], MODEL)
    monkeypatch.setattr(erase, "holding", lambda *_, **__: nullcontext())
    monkeypatch.setattr(erase, "run_errands", lambda *_, **__: ["an errand"])
    monkeypatch.setattr(erase, "refreshed", lambda *_: {})
    names = {str(A): "A", str(B): "B", str(C): "C"}
    entries = book.ask(lambda reader: reader.requests(MODEL))
    monkeypatch.setattr(erase, "take_up", lambda *_: entries)
    tried: list[str] = []

    def run(outcomes):
        def released(book, held, inputs, group, fresh):
            tried.append("".join(names[entry.row.id] for entry in group))
            outcome = outcomes[tried[-1]]
            if isinstance(outcome, Exception):
                raise outcome
            return [{"promoted": outcome, "said": tried[-1]}]

        monkeypatch.setattr(erase, "_released_if_asked", released)
        erase._release_all(book, SimpleNamespace(model=MODEL), None, False, True)

    return run, tried


def needs(plan: str, *requests) -> NeedsApproval:
    return NeedsApproval(plan * 64, [str(i) for i in requests], [], 1)


def test_a_plan_that_nobody_approves_stops_no_other(run_of):
    run, tried = run_of
    with pytest.raises(NeedsApproval, match=r"plan 1111.*; plan 2222") as told:
        run({"ABC": False, "A": needs("1", A), "B": True, "C": needs("2", C)})
    assert tried == ["ABC", "A", "B", "C"]
    assert [outcome["said"] for outcome in told.value.outcomes] == ["ABC", "B"]
    assert told.value.outcomes[0]["behind"] == ["an errand"]


def test_requests_whose_common_plan_waits_are_not_proposed_one_by_one(run_of):
    run, tried = run_of
    with pytest.raises(NeedsApproval, match="plan 1111"):
        run({"ABC": needs("1", A, B, C)})
    assert tried == ["ABC"]


def test_what_failed_beside_a_plan_that_waits_is_said(run_of):
    run, _ = run_of
    with pytest.raises(NeedsApproval, match=rf"plan 1111.*; {B}: no memory") as told:
        run({"ABC": False, "A": needs("1", A), "B": MemoryError("no memory"), "C": True})
    assert [line.partition(" ")[0] for line in told.value.outcomes[0]["failed"]] == [
        "plan",
        f"{B}:",
    ]


# --- what a nightly does not honour is told


def test_what_failed_beside_a_release_is_told_where_it_runs(run_of):
    run, _ = run_of
    with pytest.raises(erase.NotPromoted, match=rf"^ABC; {B}: no memory$"):
        run({"ABC": False, "A": True, "B": MemoryError("no memory"), "C": True})


@pytest.mark.parametrize("promoted", [True, False])
def test_a_nightly_that_leaves_a_request_waiting_is_no_success(promoted, run_of, book, monkeypatch):
    run, _ = run_of
    park(book, {str(C): "no prompt set for concept 'rocket'"})
    monkeypatch.setattr(erase, "again_due", lambda *_: False)
    monkeypatch.setattr(erase, "take_up", lambda *_: take_up_of(book, A, B) if promoted else [])
    waits = rf"^request {C} waits: no prompt set for concept 'rocket'; due \S+, .*(left|LATE)"
    with pytest.raises(erase.NotPromoted, match=waits) as told:
        run({"AB": True, "A": True, "B": True})
    assert [outcome["said"] for outcome in told.value.outcomes][:1] == ["AB"] * promoted


def take_up_of(book, *ids):
    return [book.ask(lambda reader, i=i: reader.request(i)) for i in ids]


@pytest.mark.parametrize(("reason", "said"), [(" ", "is empty"), ("x" * 2001, "at most 2000")])
def test_why_something_is_taken_back_is_said_before_any_work(reason, said):
    with pytest.raises(BadInput, match=said):
        erase.restore_concept.fn(A, reason)


@pytest.mark.parametrize("came", [[], [{"said": "toy version 1: pass"}]])
def test_the_command_shows_what_waits_by_itself(came, monkeypatch):
    monkeypatch.setattr(runs, "prefect_server", lambda _: nullcontext())

    def flow(_):
        raise erase.NotPromoted(came and [{**came[0], "promoted": True}], ["request waits: why"])

    assert runs._flow(None, flow)[1] == 3


def test_a_restore_that_was_refused_is_answered_from_the_record(book, monkeypatch):
    """A second one would work in the folder of the first, and overwrite what that rests on."""
    released(book, [A])
    refused = released(book, [], "fail", restoring=A)
    plan = SimpleNamespace(requests=[], sha256=refused.plan)
    monkeypatch.setattr(erase, "plan_restore", lambda *_: SimpleNamespace(plan=plan))
    monkeypatch.setattr(erase, "answered", lambda *_: refused)
    monkeypatch.setattr(erase, "outcome_of", lambda _, version, answered: (version, answered))
    assert erase._restored(book, None, None, A, None) == (refused, True)


def test_the_command_tells_what_was_done_beside_a_plan_that_waits(monkeypatch):
    monkeypatch.setattr(runs, "prefect_server", lambda _: nullcontext())
    done = [{"said": "toy version 1: fail"}]

    def start(needed):
        def flow(_):
            raise needed

        return flow

    assert runs._flow(None, start(needs("1", A).beside(done, []))) == (done, 3)
    with pytest.raises(NeedsApproval):
        runs._flow(None, start(needs("1", A)))
