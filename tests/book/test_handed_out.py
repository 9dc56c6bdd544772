"""What left is an event with its hash, and is known again by its content alone."""

import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from erasure_core.errors import BadInput, ErasureError
from erasure_core.planning.params import read_params
from tasks.book import database
from tasks.book.keys import Keys
from tasks.book.lease import holding
from tasks.book.store import Book
from tasks.home import Home
from tasks.release import handout
from tasks.release.handout import export_version
from tasks.release.resolve import champion_of, resolve_model
from tasks.release.settle import settle
from tasks.release.verify import verify
from tasks.requests.intake import add
from tests.book.books import MODEL, A, a_book, a_request, outcome, quick_book, released
from tests.book.test_tampering import sql
from tests.flows.command import erasure


@pytest.fixture
def exported(released_state, tmp_path) -> Path:
    """A copy of the file that left."""
    (file,) = (released_state.home.parent / "exported").iterdir()
    return Path(shutil.copy(file, tmp_path / "got-by-mail.safetensors"))


def export(state, which: str, **more: bool) -> Path:
    params = read_params(state.inputs / "passing.yaml")
    return export_version(which, "delta", state.home / "out", params, Home(state.home), **more).path


def events(state) -> list:
    found = state.book.ask(lambda reader: list(reader.events()))
    return [event for event in found if event.event == "version.exported"]


def test_an_export_is_an_event_with_its_hash(state, exported):
    (event,) = events(state)
    assert event.facts["sha256"] == sha256(exported.read_bytes()).hexdigest()
    assert (event.facts["version"], event.facts["form"]) == (1, "delta")


def test_a_file_that_left_is_known_by_its_content(state, exported):
    known = verify(state.book, exported)
    assert (known.version.version, known.served) == (1, True)
    assert known.what.startswith("exported as delta")


def test_a_file_that_was_changed_since_is_unknown(state, exported):
    exported.write_bytes(exported.read_bytes() + b"\0")
    with pytest.raises(ErasureError, match="nothing that was exported or registered here"):
        verify(state.book, exported)


def test_a_checkpoint_is_known_wherever_it_lies(state, tmp_path):
    champion = state.book.ask(lambda reader: reader.champion("toy"))
    folder = tmp_path / "elsewhere"
    shutil.copytree(state.home / "checkpoints" / champion.checkpoint, folder)
    assert verify(state.book, folder).version == champion


def test_a_signed_statement_is_known(state, tmp_path):
    champion = state.book.ask(lambda reader: reader.champion("toy"))
    file = tmp_path / "statement.json"
    file.write_text(state.book.ask(lambda reader: reader.text(champion.statement)))
    assert verify(state.book, file).version == champion


def test_a_statement_by_a_stranger_is_not_believed(state, tmp_path):
    champion = state.book.ask(lambda reader: reader.champion("toy"))
    stated = state.book.ask(lambda reader: reader.text(champion.statement))
    file = tmp_path / "statement.json"
    own = Keys(Home(state.home)).current().key
    file.write_text(stated.replace(own, Keys(Home(tmp_path / "other")).current().key))
    with pytest.raises(ErasureError, match="signed by"):
        verify(state.book, file)


def test_a_refused_version_does_not_leave_by_itself(state):
    with pytest.raises(BadInput, match=r"was refused \(void\).*--refused-anyway"):
        export(state, "candidate")
    assert len(events(state)) == 1
    assert not (state.home / "out").exists()


EDITS = {
    "alias": "UPDATE aliases SET version = 2 WHERE alias = 'champion'",
    "alias gone": "DELETE FROM aliases WHERE alias = 'champion'",
    "verdict": "UPDATE versions SET verdict = 'fail' WHERE version = 1",
    "promoted": "UPDATE versions SET promoted = 0 WHERE version = 1",
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_an_edited_table_calls_champion_is_not_handed_out(state, edit):
    """Version 2 was refused; its statement is valid and says so."""
    sql(state.home / "book.db", EDITS[edit])
    with pytest.raises(ErasureError, match="edited"):
        export(state, "champion")
    with pytest.raises(ErasureError, match="edited"):
        resolve_model("champion", read_params(state.inputs / "passing.yaml"), Home(state.home))
    assert len(events(state)) == 1


@pytest.mark.parametrize("edit", ["alias", "promoted"])
def test_what_did_not_pass_leaves_by_its_number_only_when_asked(state, edit):
    sql(state.home / "book.db", EDITS[edit])
    with pytest.raises(BadInput, match=r"was refused .*--refused-anyway"):
        export(state, "2" if edit == "alias" else "1")


def test_after_the_last_restore_the_champion_is_the_base(tmp_path):
    book = quick_book(tmp_path)
    add(book, [a_request(A)], MODEL)
    released(book, [A])
    released(book, [], restoring=A)
    assert champion_of(book, MODEL).version == 2


def test_whether_a_file_is_served_is_not_said_from_an_edited_table(state, exported):
    sql(state.home / "book.db", EDITS["alias"])
    with pytest.raises(ErasureError, match="the champion of toy is 2, the chain says 1"):
        verify(state.book, exported)


@pytest.fixture
def alike(tmp_path):
    """Versions of one content, by their verdicts, in the order of the call."""
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"weights")
    content = sha256(b"weights").hexdigest()

    def made(*verdicts: str, exported: tuple[int, ...] = ()) -> tuple[Book, Path]:
        book = quick_book(tmp_path)
        add(book, [a_request(A)], MODEL)
        for verdict in verdicts:
            result = outcome(book, [A], verdict)
            same = {} if exported else {"checkpoint_sha256": content}
            result = replace(result, record=result.record.model_copy(update=same))
            with holding(book, MODEL, "releasing") as held:
                settle(book, held, result)
        for number in exported:
            facts = {"model": MODEL, "version": number, "form": "delta", "sha256": content}
            book.change(lambda tx, facts=facts: tx.append("version.exported", **facts))
        return book, file

    return made


@pytest.mark.parametrize(
    ("verdicts", "meant", "served"),
    [
        (("pass", "fail"), 1, True),  # a limit was tightened since
        (("pass", "pass", "fail"), 2, True),
        (("fail", "fail"), 2, False),
    ],
)
def test_of_versions_of_one_content_the_served_one_is_named(alike, verdicts, meant, served):
    known = verify(*alike(*verdicts))
    assert (known.version.version, known.served) == (meant, served)


def test_of_what_left_as_several_versions_the_served_one_is_named(alike):
    known = verify(*alike("pass", "fail", exported=(1, 2)))
    assert (known.version.version, known.served) == (1, True)
    assert known.what.startswith("exported as delta")


def test_of_what_is_not_served_one_that_passed_is_named(alike):
    book, file = alike("pass", "fail")
    other = outcome(book, [])
    with holding(book, MODEL, "releasing") as held:
        settle(book, held, other)
    known = verify(book, file)
    assert (known.version.version, known.served) == (1, False)


LEFT = {
    "never": [],
    "as another version": [{"version": 2, "form": "delta"}],
    "in another form": [{"version": 1, "form": "diffusers"}],
}


@pytest.mark.parametrize("left", LEFT)
def test_what_left_is_not_said_from_an_edited_table(tmp_path, left):
    """The base itself, which no release made, would be called the champion."""
    book, file = quick_book(tmp_path), tmp_path / "base.safetensors"
    file.write_bytes(b"the base")
    add(book, [a_request(A)], MODEL)
    released(book, [A])
    released(book, [A])
    content = sha256(file.read_bytes()).hexdigest()
    for facts in LEFT[left]:
        book.change(
            lambda tx, f=facts: tx.append("version.exported", sha256=content, model=MODEL, **f)
        )
    with database.writing(book.engine) as connection:
        connection.execute(text("DELETE FROM exports"))
        row = f"('{content}', '{MODEL}', 1, 'delta', '2026-11-22T00:00:00.000Z')"
        connection.execute(text(f"INSERT INTO exports VALUES {row}"))
    with pytest.raises(ErasureError, match="the book's exports were edited"):
        verify(book, file)


def test_what_left_is_known_though_its_row_is_gone(state, exported):
    sql(state.home / "book.db", "DELETE FROM exports")
    with pytest.raises(ErasureError, match="the book's exports were edited"):
        verify(state.book, exported)


# --- a kill, or a book that cannot be written


@pytest.fixture
def champion(tmp_path, monkeypatch):
    """A book with a champion whose export writes one file or folder, without a model."""

    def written(_base, _delta, _facts, form, target, **_):
        file = target / "unet.safetensors" if form == "diffusers" else target
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"weights")

    book = a_book(tmp_path / "home")
    add(book, [a_request(A)], MODEL)
    released(book, [A])
    record = SimpleNamespace(
        request_ids=(), base_sha256="", run_key="", params={"method": {"method": "uce"}}
    )
    monkeypatch.setattr(handout, "record_of", lambda *_: record)
    monkeypatch.setattr(handout, "folder_of", lambda *_: tmp_path)
    monkeypatch.setattr(handout, "base_of", lambda *_: tmp_path)
    monkeypatch.setattr(handout.export, "export", written)
    return book


def leave(book, form: str) -> Path:
    params = read_params(Path("params.yaml")).model_copy(update={"registered_model": MODEL})
    return export_version("champion", form, book.home.root.parent / "out", params, book.home).path


def test_the_warning_is_of_the_audience_that_the_version_was_released_to(champion, tmp_path):
    """Not of the one that the parameters name today, by which nothing was measured."""
    params = tmp_path / "params.yaml"
    params.write_text(Path("params.yaml").read_text().replace("model: gallery", f"model: {MODEL}"))
    assert read_params(params).policy.audience == "words"
    how = ("--format", "delta", "--out", tmp_path / "out", "--params", params)
    answer = erasure(champion.home.root, "export", "--model", "champion", *how)
    assert answer.exit_code == 0, answer.stderr
    assert "these weights were released to no declared audience" in answer.stderr


FORMS = {"delta": "out/toy-v1-delta.safetensors", "diffusers": "out"}


@pytest.mark.parametrize("form", FORMS)
def test_what_leaves_has_no_name_of_its_own_before_the_book_has_its_hash(
    champion, form, tmp_path, monkeypatch
):
    seen, change = [], Book.change

    def looked_at(book, work):
        seen.append((tmp_path / FORMS[form]).exists())
        return change(book, work)

    monkeypatch.setattr(Book, "change", looked_at)
    written = leave(champion, form)
    assert True not in seen
    assert written == tmp_path / FORMS[form]
    (event,) = (e for e in champion.ask(lambda r: list(r.events())) if "exported" in e.event)
    assert event.facts["sha256"] == handout.content_sha256(written)
    assert not list(tmp_path.rglob("*unfinished*"))


@pytest.mark.parametrize("form", FORMS)
def test_what_the_book_cannot_hold_does_not_leave(champion, form, tmp_path, monkeypatch):
    def full(*_):
        raise ErasureError("database or disk is full")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Book, "change", full)
    with pytest.raises(ErasureError, match="disk is full"):
        leave(champion, form)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("form", FORMS)
def test_what_a_kill_leaves_says_so_by_its_name(champion, form, tmp_path, monkeypatch):
    name = (tmp_path / FORMS[form]).name
    monkeypatch.setattr(handout.shutil, "rmtree", lambda *_, **__: None)
    monkeypatch.setattr(Book, "change", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        leave(champion, form)
    (left,) = tmp_path.rglob("*unfinished*")
    assert left.name.startswith(f".{name}-unfinished-")
    assert not (tmp_path / FORMS[form]).exists()


def test_a_refused_version_that_left_is_said_to_be_refused(state):
    file = export(state, "candidate", refused_anyway=True)
    assert events(state)[-1].facts["refused_anyway"] is True
    known = verify(state.book, file)
    assert (known.version.verdict, known.served) == ("void", False)


@pytest.mark.parametrize("versions", [1, 2])
def test_a_statement_of_another_book_is_not_this_books(tmp_path, versions):
    """Its key is trusted here, and its version's number is one of ours, or none."""
    ours, theirs = (quick_book(tmp_path / name) for name in ("ours", "theirs"))
    for book, more in ((ours, "pass"), (theirs, "fail")):
        add(book, [a_request(A)], MODEL)
        released(book, [A], more)
    for _ in range(versions - 1):
        released(theirs, [A])
    (own,) = Keys(theirs.home).trusted()
    Keys(ours.home).trust("partner", theirs.home.keys / f"trusted/{own}.pub")
    statement = theirs.ask(lambda r: r.text(r.version(MODEL, versions).statement))
    (tmp_path / "statement.json").write_text(statement)
    with pytest.raises(ErasureError, match="no statement of this book's"):
        verify(ours, tmp_path / "statement.json")
