"""Approval by the form that Prefect shows."""

from types import SimpleNamespace

import pytest
from prefect.exceptions import FlowPauseTimeout
from pydantic import ValidationError

from erasure_core.errors import BadInput
from flows import approval
from flows.approval import Approval, approved
from tasks.requests.intake import add
from tasks.requests.plan import NeedsApproval
from tests.book.books import MODEL, A, B, a_request, quick_book

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
    for said in (PLAN, str(A), "cat", "1 approval(s)", "nobody"):
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
