"""What an audit of one request says became of it."""

import pytest

from flows.cli.show import show_trace
from tasks.release.trace import trace_concept, trace_request, trace_version
from tasks.requests.intake import add
from tasks.requests.steps import withdraw
from tests.book.books import MODEL, A, B, C, a_request, quick_book, released


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
