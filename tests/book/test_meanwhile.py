"""What people do to requests while a run works on them: it is seen before anything is decided."""

import pytest

from tasks.book.lease import Held, LeaseLost, holding
from tasks.release import audit
from tasks.release.record import record_file
from tasks.release.settle import Overtaken, answer_again, settle
from tasks.requests.intake import add
from tasks.requests.park import park
from tasks.requests.plan import taken_out
from tasks.requests.steps import hold, retry, withdraw
from tests.book.books import (
    MODEL,
    A,
    B,
    C,
    a_request,
    outcome,
    quick_book,
    released,
    state_of,
)

CORRECTED = {"concept_prompts": ["a cat", "a kitten"]}


@pytest.fixture
def book(tmp_path):
    """The cat is asked for."""
    book = quick_book(tmp_path)
    add(book, [a_request(A)], MODEL)
    return book


def decide(book, result):
    with holding(book, MODEL, "releasing") as held:
        return settle(book, held, result)


def recipe(book, request_id) -> tuple[str, int]:
    row = book.ask(lambda reader: reader.request(request_id)).row
    return row.recipe, row.recipe_number


def test_a_concept_that_somebody_asks_for_meanwhile_is_not_brought_back(book):
    released(book, [A])
    result = outcome(book, [], restoring=A)
    add(book, [a_request(B)], MODEL)
    assert state_of(book, B) == "honoured"  # together with the first
    with pytest.raises(Overtaken, match=f"{B} asks for the same concept now"):
        decide(book, result)
    assert (state_of(book, A), state_of(book, B)) == ("honoured", "honoured")
    assert list(audit._honoured(book, MODEL)) == []


def test_the_audit_sees_who_is_honoured_together_with_a_request_that_no_version_erases(book):
    released(book, [A])
    add(book, [a_request(B)], MODEL)
    lacking = audit.not_in_force(book, MODEL, None)
    assert {entry.row.id for entry in lacking} == {str(A), str(B)}
    assert audit.not_in_force(book, MODEL, 1) == []


def test_a_recipe_that_is_corrected_meanwhile_is_not_honoured_by_the_old_one(book):
    result = outcome(book, [A])
    add(book, [a_request(A, **CORRECTED)], MODEL)
    with pytest.raises(Overtaken, match=r"recipe .* was corrected"):
        decide(book, result)
    assert state_of(book, A) == "received"
    assert decide(book, outcome(book, [A])).promoted


def test_nor_by_an_answer_that_was_given_before(book):
    version = released(book, [A], "fail")
    result = outcome(book, [A])
    hold(book, A, "a court asks")
    with holding(book, MODEL, "releasing") as held, pytest.raises(Overtaken, match="on hold now"):
        answer_again(book, held, version, result.new)


def test_a_recipe_that_is_corrected_on_hold_is_kept(book):
    before = recipe(book, A)
    hold(book, A, "a court asks")
    add(book, [a_request(A, **CORRECTED)], MODEL)
    assert state_of(book, A) == "on_hold"
    retry(book, A, "the court is done")
    after = recipe(book, A)
    assert after[0] != before[0]
    assert after[1] == 2


def test_a_named_request_is_honoured_by_itself_or_together_with_another(book):
    released(book, [A])
    add(book, [a_request(B), a_request(C, "dog")], MODEL)
    assert [e.row.id for e in taken_out(book, [str(A), str(B), str(C)])] == [str(C)]
    withdraw(book, B, "the other still asks")
    assert [e.row.id for e in taken_out(book, [str(A), str(B)])] == [str(B)]
    released(book, [], restoring=A)
    assert [e.row.state for e in taken_out(book, [str(A)])] == ["restored"]


@pytest.mark.parametrize("step", [hold, withdraw])
def test_what_a_person_took_out_is_not_parked(book, step):
    step(book, A, "asked by the person")
    before = state_of(book, A)
    park(book, {str(A): "ValueError: no prompt set"})
    assert state_of(book, A) == before


def test_who_lost_the_lease_overwrites_no_record(book):
    late = outcome(book, [A])
    version = released(book, [A])
    file = record_file(book.home, MODEL, version.version)
    before = file.read_bytes()
    with pytest.raises(LeaseLost):
        settle(book, Held(MODEL, "somebody else's"), late)
    assert file.read_bytes() == before
    assert list(audit._record(book, version)) == []
