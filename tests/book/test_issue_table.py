"""What version 0.1 did wrong, row by row: each test states what holds now, and fails on 0.1."""

import re
import shutil
import sqlite3
from contextlib import closing

import pytest

from erasure_core.errors import ErasureError
from tasks.book.door import check_whole, open_book
from tasks.book.heads import head_file
from tasks.book.lease import holding
from tasks.home import Home
from tasks.registry.runs import unfinished_runs
from tasks.registry.versions import version_numbers
from tasks.release import errands
from tasks.release.audit import audit
from tasks.release.errands import run_errands
from tasks.release.resolve import folder_of, version_named
from tasks.release.settle import ERRANDS, Overtaken
from tasks.requests.intake import add
from tasks.requests.plan import Inputs, take_up
from tests import toy
from tests.book.books import (
    MODEL,
    A,
    B,
    C,
    a_request,
    event_names,
    outcome,
    quick_book,
    released,
    settle,
    state_of,
)
from tests.book.conftest import Shell


@pytest.fixture
def book(tmp_path):
    book = quick_book(tmp_path)
    add(book, [a_request(A, "cat"), a_request(B, "dog")], MODEL)
    return book


# --- two runs of different requests at once: the champion erased only the second


def test_a_run_that_was_overtaken_promotes_nothing(book):
    late = outcome(book, [B])  # planned before the cat was honoured
    released(book, [A])
    with holding(book, MODEL, "late") as held, pytest.raises(Overtaken):
        settle(book, held, late)
    assert state_of(book, B) == "received"
    assert book.ask(lambda reader: reader.champion(MODEL)).requests == (str(A),)


@pytest.mark.slow
def test_two_runs_at_once_are_both_honoured_by_the_champion(inputs, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    shell = Shell(tmp_path / "state", inputs)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: shell.run(name, "passing"), ("cat", "astronaut")))
    champion = shell.book.ask(lambda reader: reader.champion("toy"))
    assert set(champion.requests) == {toy.CAT, toy.ASTRONAUT}
    shell("audit")


# --- a run beside a restore: the run's version still erased what was brought back


def test_a_run_beside_a_restore_is_planned_afresh(book):
    released(book, [A])
    beside = outcome(book, [B])
    released(book, [], restoring=A)
    with holding(book, MODEL, "beside") as held, pytest.raises(Overtaken):
        settle(book, held, beside)
    with holding(book, MODEL, "again") as held:
        assert settle(book, held, outcome(book, [B])).requests == (str(B),)


def test_a_restore_beside_a_run_is_planned_afresh(book):
    released(book, [A])
    beside = outcome(book, [], restoring=A)
    released(book, [B])
    with holding(book, MODEL, "beside") as held, pytest.raises(Overtaken):
        settle(book, held, beside)
    assert state_of(book, A) == "honoured"


# --- any MLflow error after the record was written: "promoted" for ever, and no champion


@pytest.fixture
def sent(state):
    """A released state whose every errand is to be done again."""

    def send(tx):
        for version in tx.versions("toy"):
            for errand in ERRANDS:
                tx.send("toy", version.version, errand)

    state.book.change(send)
    return state


def test_an_mlflow_that_is_away_delays_only_mlflow(sent, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://user:hidden@127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        behind = run_errands(sent.book)
    assert {line.split(":")[0].split("/")[2] for line in behind} == {
        "mlflow run",
        "mlflow version",
        "aliases",
    }
    assert "hidden" not in "".join(behind)
    assert sent.book.ask(lambda reader: reader.alias("toy", "champion")) == 1


def test_an_errand_that_lacks_memory_is_behind_and_stops_no_other(book, monkeypatch):
    def lacking(*_):
        raise MemoryError

    done = dict.fromkeys(errands.HANDLERS, lambda *_: None)
    monkeypatch.setattr(errands, "HANDLERS", {**done, "report": lacking})
    released(book, [A])
    assert run_errands(book) == [f"{MODEL}/1/report: MemoryError"]


def test_an_errand_that_breaks_in_a_way_nobody_foresaw_is_noted_and_stops_no_other(
    book, monkeypatch
):
    done = []

    def breaking(*_):
        return {}["mine"]

    others = dict.fromkeys(errands.HANDLERS, lambda _, version: done.append(version))
    monkeypatch.setattr(errands, "HANDLERS", {**others, "report": breaking})
    released(book, [A])
    (line,) = run_errands(book)
    assert re.fullmatch(rf"{MODEL}/1/report: KeyError: 'mine' \(test_issue_table\.py:\d+\)", line)
    (left,) = book.ask(lambda reader: reader.waiting_outside())
    assert (left["kind"], left["tries"]) == ("report", 1)
    assert left["fault"] in line
    assert len(done) == len(ERRANDS) - 1


def test_what_was_delayed_is_finished_by_the_next_command(sent, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        run_errands(sent.book)
    assert run_errands(sent.book) == []
    assert list(audit(sent.book)) == []


# --- a kill between version, alias and ledger: a second version of the same bytes


def test_errands_done_twice_make_nothing_twice(sent):
    events = event_names(sent.book)
    assert run_errands(sent.book) == []
    assert version_numbers(sent.book.home, sent.book.identity(), "toy") == [1, 2]
    with closing(sqlite3.connect(sent.home / "mlflow.db")) as connection:
        query = "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'"
        assert connection.execute(query).fetchone() == (4,)  # each with one candidate
    assert event_names(sent.book) == events
    assert unfinished_runs(sent.book.home, sent.book.identity()) == []


def test_a_release_is_there_with_its_alias_and_its_requests_or_not_at_all(book, monkeypatch):
    from tasks.release import settle

    def killed(*_):
        raise KeyboardInterrupt

    before = event_names(book)
    for step in ("promote", "say_of", "move_alias", "honour"):
        with monkeypatch.context() as patch:
            patch.setattr(settle, step, killed)
            with pytest.raises(KeyboardInterrupt):
                released(book, [A])
        assert event_names(book) == before
        assert book.ask(lambda reader: reader.champion(MODEL)) is None
    assert released(book, [A]).version == 1


# --- a ledger that was edited or deleted: the next release came without that erasure


def test_nothing_is_released_from_an_edited_book(state):
    with closing(sqlite3.connect(state.home / "book.db")) as connection, connection:
        connection.execute("UPDATE requests SET state = 'refused' WHERE state = 'honoured'")
    with pytest.raises(ErasureError, match="nothing is released from it"):
        check_whole(state.book)


def test_a_deleted_book_is_missed(state):
    for file in state.home.glob("book.db*"):
        file.unlink()
    with pytest.raises(ErasureError, match="but its book of record is empty"):
        open_book(Home(state.home), make=False)


@pytest.mark.parametrize("and_its_head", [False, True])
def test_no_book_is_begun_in_the_place_of_a_deleted_one(state, and_its_head):
    """What is left (records, released folders) is evidence that there was one."""
    if and_its_head:
        head_file(Home(state.home)).unlink()
    for file in state.home.glob("book.db*"):
        file.unlink()
    with pytest.raises(ErasureError, match="holds released versions"):
        open_book(Home(state.home))


# --- MLflow is believed: another folder, a tag that leads elsewhere, an alias on the refused


def mlflow_says(state, statement: str) -> None:
    with closing(sqlite3.connect(state.home / "mlflow.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0


@pytest.fixture
def alias_moved(state):
    mlflow_says(state, "UPDATE registered_model_aliases SET version = 2 WHERE alias = 'champion'")
    return state


def loaded(state):
    import mlflow

    uri = Home(state.home).tracking_uri
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.pyfunc.load_model("models:/toy@champion")


def test_the_champion_is_the_books_whatever_mlflow_says(alias_moved):
    champion = version_named(alias_moved.book, "champion", "toy")
    assert champion.version == 1
    assert folder_of(alias_moved.book, champion).name == champion.checkpoint


def test_a_refused_version_is_not_served(alias_moved):
    with pytest.raises(ErasureError, match="has the verdict void; only 'pass' is served"):
        loaded(alias_moved)


def test_a_tag_that_leads_elsewhere_leads_nowhere(state):
    """The unerased base under the name that the tag gives: nobody looks there."""
    mlflow_says(
        state,
        "UPDATE model_version_tags SET value = '../../elsewhere/' || value "
        "WHERE key = 'checkpoint.sha256'",
    )
    champion = version_named(state.book, "champion", "toy")
    shutil.copytree(state.home / "checkpoints" / champion.checkpoint,
                    state.home.parent / "elsewhere" / champion.checkpoint)  # fmt: skip
    assert folder_of(state.book, champion).parent == state.home / "checkpoints"


def test_a_pointer_to_another_folder_is_not_followed(state):
    champion = version_named(state.book, "champion", "toy")
    pointer = next(state.home.glob("mlartifacts/models/*/artifacts/artifacts/checkpoint.dvc"))
    pointer.write_text(pointer.read_text().replace(champion.checkpoint, "a" * 64))
    shutil.rmtree(state.home / "checkpoints" / champion.checkpoint)
    with pytest.raises(ErasureError, match=r"DVC pointer names a{64}, its statement"):
        loaded(state)


def test_a_checkpoint_with_other_bytes_is_not_served(state):
    champion = version_named(state.book, "champion", "toy")
    weights = state.home / f"checkpoints/{champion.checkpoint}/unet"
    file = next(weights.glob("*.safetensors"))
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(ErasureError, match="changed"):
        loaded(state)


# --- a last line that was cut off: nothing noticed


def test_a_cut_off_end_of_the_record_is_found(state):
    with closing(sqlite3.connect(state.home / "book.db")) as connection, connection:
        connection.execute("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
    assert any("cut off" in finding for finding in audit(state.book))


# --- a prompt set that is not written yet: trained, drawn, and the request refused


@pytest.fixture
def lacking(inputs, tmp_path):
    """A book with a request that can be honoured and one whose prompt set is not there."""
    book = quick_book(tmp_path / "state")
    cat = a_request(A, "cat", concept_replacement="a photographer")
    add(book, [cat, a_request(C, "rocket", concept_replacement="a photographer")], "toy")
    return book, Inputs.read(inputs / "passing.yaml")


def test_a_request_that_lacks_something_waits_with_its_reason(lacking):
    book, inputs = lacking
    take_up(book, inputs, None)
    entry = book.ask(lambda reader: reader.request(C))
    assert entry.row.state == "waiting"
    assert "no prompt set for concept 'rocket'" in entry.reason


def test_a_request_that_lacks_something_stops_no_other(lacking):
    book, inputs = lacking
    assert [entry.row.id for entry in take_up(book, inputs, None)] == [str(A)]
    assert state_of(book, A) == "ready"


def test_a_fault_of_the_parameters_touches_no_request(lacking, inputs, tmp_path):
    book, _ = lacking
    text = (inputs / "passing.yaml").read_text()
    clip = text[text.index("clip: {path: ") :].split(",")[0].removeprefix("clip: {path: ")
    (tmp_path / "other.yaml").write_text(text.replace(clip, str(tmp_path / "no-clip")))
    with pytest.raises(ErasureError, match="no-clip"):
        take_up(book, Inputs.read(tmp_path / "other.yaml"), None)
    assert {state_of(book, A), state_of(book, C)} == {"received"}


# --- two people ask for the same concept: the second was refused


def test_two_people_who_ask_for_the_same_are_both_honoured(book):
    add(book, [a_request(C, "cat")], MODEL)
    released(book, [A])
    assert (state_of(book, A), state_of(book, C)) == ("honoured", "honoured")


# --- a gate refused a candidate, and with it the person's request


def test_a_refused_candidate_leaves_the_request_due(book):
    released(book, [A], "fail")
    assert state_of(book, A) == "attempt_failed"
    released(book, [A])
    assert state_of(book, A) == "honoured"
