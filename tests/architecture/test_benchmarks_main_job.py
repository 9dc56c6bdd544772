"""The table of where a release's time went, on the records of books that took none to make."""

import pytest

from benchmarks import main_job
from erasure_core.errors import BadInput
from tasks.release.record import record_file
from tasks.requests.intake import add
from tests.book.books import MODEL, A, a_request, outcome, quick_book

SECONDS = {"validate": 1.5, "erase and generate, report": 20.0, "measure, report": 9.0}


def test_a_step_has_a_line_and_what_is_within_one_is_not_added_twice(tmp_path):
    book = quick_book(tmp_path)
    add(book, [a_request(A)], MODEL)
    record = outcome(book, [A]).record
    took = {**SECONDS, "erase lambda=5": 12.5}
    params = {"method": {"method": "uce"}}
    book.home.records.mkdir()
    timed = record.model_copy(update={"seconds": took, "params": params})
    timed.to_json(record_file(book.home, MODEL, 1))
    assert main_job.table(main_job.records(tmp_path)) == (
        "| step | toy 1, uce |\n"
        "| --- | --- |\n"
        "| erase and generate, report | 20.0 |\n"
        "| measure, report | 9.0 |\n"
        "| validate | 1.5 |\n"
        "| total | 30.5 |\n"
        "| erase lambda=5 | 12.5 |\n"
    )


def test_a_folder_without_records_is_said(tmp_path):
    with pytest.raises(BadInput, match="no record in"):
        main_job.records(tmp_path)
