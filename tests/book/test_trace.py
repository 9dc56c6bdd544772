"""What an audit of one request says became of it."""

import pytest

from erasure_core.errors import BadInput
from flows.cli.show import show_trace
from tasks.book.lease import holding
from tasks.release.settle import settle
from tasks.release.trace import trace_alias, trace_concept, trace_request, trace_version
from tasks.requests.intake import add
from tasks.requests.steps import withdraw
from tests.book.books import MODEL, A, B, C, a_request, outcome, quick_book, released


@pytest.fixture
def book(tmp_path):
    """Version 1 erases the cat."""
    book = quick_book(tmp_path)
    add(book, [a_request(A, "cat"), a_request(B, "dog")], MODEL)
    released(book, [A])
    return book


def numbers(versions) -> list[int]:
    return [version["version"] for version in versions]


def test_the_version_that_brought_a_concept_back_did_not_honour_it(book):
    released(book, [], restoring=A)
    found = trace_request(book, A)
    assert numbers(found["versions"]) == [1, 2]
    assert numbers(found["honoured_by"]) == [1]


@pytest.mark.parametrize("others", [[], [B]])
def test_who_is_honoured_with_another_is_traced_to_what_is_served(book, others):
    """By which version the other was, and to the champion, which is the one that counts."""
    add(book, [a_request(C, "cat")], MODEL)
    if others:
        released(book, others)
    found = trace_request(book, C)
    assert numbers(found["versions"]) == numbers(found["honoured_by"]) == [1, 2][: 1 + len(others)]


def test_who_gave_up_is_told_what_became_of_the_own_request_alone(book, capsys):
    add(book, [a_request(C, "cat")], MODEL)
    withdraw(book, C, "no longer wanted")
    released(book, [B])
    found = trace_concept(book, "cat")
    assert numbers(found["honoured_by"]) == [1, 2]
    assert {r["subject_request_id"]: numbers(r["honoured_by"]) for r in found["requests"]} == {
        str(A): [1, 2],
        str(C): [1],
    }
    show_trace(found)
    said = capsys.readouterr().out.splitlines()
    honoured = [line for line in said if line.startswith("honoured by")]
    assert honoured == ["honoured by toy version 1, toy version 2", "honoured by toy version 1"]


def test_a_refused_version_honours_nothing(book):
    released(book, [B], "fail")
    assert trace_version(book, 2)["honoured_by"] == []
    assert numbers(trace_version(book, 1)["honoured_by"]) == [1]


def test_what_is_served_is_traced_by_its_alias(book):
    assert numbers(trace_alias(book, "champion")["versions"]) == [1]
    released(book, [B], "fail")
    found = [trace_alias(book, a, m) for a in ("candidate", "champion") for m in (None, MODEL)]
    assert [numbers(each["versions"]) for each in found] == [[2], [2], [1], [1]]
    with pytest.raises(BadInput, match="there is no champion of other yet"):
        trace_alias(book, "champion", "other")


def test_of_several_models_one_is_to_be_named(book):
    add(book, [a_request(C, "lute")], "other")
    with holding(book, "other", "releasing") as held:
        settle(book, held, outcome(book, [C], model="other"))
    with pytest.raises(BadInput, match="champion is a version of other, toy; add --name"):
        trace_alias(book, "champion")
