"""The benchmark's book is one that the door would have written, as large as it says."""

import pytest
from sqlalchemy import select

from benchmarks import book as benchmark
from erasure_core.law import fold
from tasks.book import schema
from tasks.book.door import faults_of_chain
from tasks.release.audit import _texts
from tasks.requests.intake import add

from ..book.books import C, a_book, a_request, released


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A book of 25 requests: one honoured by a release, the others in bulk."""
    book = a_book(tmp_path_factory.mktemp("grown") / "state")
    add(book, [a_request(C)], benchmark.MODEL)
    released(book, [C])
    benchmark.grow(book, 25)
    return book


def test_its_chain_and_tables_are_whole(grown):
    assert list(faults_of_chain(grown)) == []


def test_its_texts_are_whole(grown):
    assert list(_texts(grown)) == []


def test_it_has_as_many_requests_and_versions_as_it_says(grown):
    with grown.read() as reader:
        assert sum(reader.counts().values()) == 25
        assert reader.next_version(benchmark.MODEL) - 1 == 1 + 2  # at the numbers 10 and 20


def test_it_has_ten_events_a_request(grown):
    before = grown.ask(lambda reader: reader.head()).seq
    benchmark.grow(grown, 35)
    assert grown.ask(lambda reader: reader.head()).seq == before + 10 * benchmark.EVENTS


def test_its_subjects_are_those_that_the_door_enters(grown):
    with grown.read() as reader:
        found = set(map(tuple, reader.connection.execute(select(schema.subjects))))
        events = list(reader.events())
    assert found == {(s, e.seq) for e in events for s in fold.subjects(e.event, e.facts)}


def test_its_tables_say_what_was_not_run():
    times = {"wall": 0.0042, "cpu": 0.0031, "median": 0.005}
    row = dict.fromkeys([*benchmark.IN_PROCESS, *benchmark.PROCESSES], times)
    lines = list(benchmark.tables([{**row, "requests": 1000, "mirror_alias": None}]))
    assert "| and in MLflow | not run |" in lines
    assert "| planning | 4 (3) |" in lines
