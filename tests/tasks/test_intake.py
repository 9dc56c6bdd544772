"""Requests of files are in the book whole, all or none, with their clock."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.requests import read_request
from tasks.book.door import open_book
from tasks.book.store import Book, Entry
from tasks.home import Home
from tasks.requests.intake import add, workable

ROOT = Path(__file__).parents[2]
CAT, ASTRONAUT = (ROOT / f"examples/requests/{name}.yaml" for name in ("cat", "astronaut"))
MODEL = "gallery"


@pytest.fixture
def book(tmp_path, monkeypatch) -> Book:
    monkeypatch.delenv("ERASURE_DATABASE_URL", raising=False)
    return open_book(Home(tmp_path / "home"))


def events(book: Book) -> list[str]:
    return book.ask(lambda reader: [event.event for event in reader.events()])


def add_all(book: Book, *files: Path) -> list[Entry]:
    return add(book, [read_request(file) for file in files], MODEL)


def changed(folder: Path, pattern: str, text: str, name: str = "other.yaml") -> Path:
    """The cat's request with one thing changed."""
    file = folder / name
    file.write_text(re.sub(pattern, text, CAT.read_text(), count=1, flags=re.MULTILINE))
    assert file.read_text() != CAT.read_text()
    return file


def another(folder: Path, pattern: str = "^regulation: .*", text: str = "regulation: ccpa") -> Path:
    """The request of another person, otherwise changed as given."""
    own_id = "subject_request_id: 11111111-1111-4111-8111-111111111111"
    file = changed(folder, "^subject_request_id: .*", own_id, "another.yaml")
    file.write_text(re.sub(pattern, text, file.read_text(), count=1, flags=re.MULTILINE))
    return file


def test_requests_are_in_the_book_as_they_were_given(book):
    added = add_all(book, CAT, ASTRONAUT)
    assert [entry.request for entry in added] == [read_request(CAT), read_request(ASTRONAUT)]


def test_a_request_has_its_clock_from_the_first_moment(book):
    (entry,) = add_all(book, CAT)
    # examples/requests/cat.yaml: gdpr, submitted on 21 November 2026; a month on, a Monday
    assert (entry.row.submitted[:10], entry.row.due[:10]) == ("2026-11-21", "2026-12-21")


def test_one_bad_file_stops_all(book, tmp_path):
    before = events(book)
    bad = changed(tmp_path, "kind: object", "kind: person")
    with pytest.raises(BadInput, match=r"concept\.kind: found 'person'"):
        add_all(book, ASTRONAUT, bad)
    assert events(book) == before


def test_two_contents_of_one_id_in_one_call_are_refused(book, tmp_path):
    before = events(book)
    with pytest.raises(BadInput, match="already known with other content"):
        add_all(book, CAT, changed(tmp_path, "name: cat", "name: dog"))
    assert events(book) == before


def test_what_is_due_comes_in_the_order_of_submission(book, tmp_path):
    # before the astronaut's 2026-11-20T09:15:00Z, though its text is later
    early = another(tmp_path, "^submitted_time: .*", "submitted_time: 2026-11-20T18:00:00+09:00")
    early.write_text(early.read_text().replace("name: cat", "name: dog"))
    add_all(book, CAT, ASTRONAUT, early)
    due = book.ask(lambda reader: workable(reader, MODEL))
    times = [entry.known.submitted_time for entry in due]
    assert times == sorted(times)
    assert due[0].concept == "dog"


def test_of_processes_that_add_different_contents_at_once_one_wins(book, tmp_path):
    script = (
        "import sys; from pathlib import Path; from tasks.book.door import open_book\n"
        "from tasks.home import Home; from tasks.requests.intake import add\n"
        "from erasure_core.errors import BadInput\n"
        "from erasure_core.law.requests import read_request\n"
        "book = open_book(Home(Path(sys.argv[1]))); print('ready', flush=True); input()\n"
        "try:\n    add(book, [read_request(Path(sys.argv[2]))], 'gallery'); print('added')\n"
        "except BadInput:\n    print('refused')\n"
    )
    running = []
    for number in range(4):
        file = changed(tmp_path, "name: cat", f"name: cat {number}", f"{number}.yaml")
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", script, str(book.home.root), str(file)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    answers = sorted(process.communicate(timeout=120)[0].strip() for process in running)
    assert answers == ["added", "refused", "refused", "refused"]
