"""A run is shown while it works, ends as what became of it, and is completed, not made again."""

import math
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from mlflow import MlflowClient

from erasure_core.errors import ErasureError
from erasure_core.law.gates import Measurement
from tasks.comparing.publish import _mirrored
from tasks.home import Home
from tasks.pages.shown import run_facts
from tasks.registry import client, live
from tasks.registry import runs as registered
from tasks.registry.runs import (
    CandidateRun,
    PromptSet,
    RunFacts,
    close_unfinished,
    forget_attempts,
    mirror_run,
    unfinished_runs,
)
from tasks.registry.versions import clear_free_pages
from tasks.release.errands import _taken_back
from tasks.requests.intake import add
from tests.book.books import MODEL, A, B, a_book, a_request, released

BOOK, OTHERS = "0123456789abcdef", "fedcba9876543210"
FACTS = RunFacts(
    model="gallery",
    folder="abcd",
    name="erase astronaut",
    tags={"concept": "astronaut", "method": "uce", "request.ids": "id-1,id-2"},
    settings={"seed": 7, "method": {"ridge": 0.5}},
    prompt_sets=[PromptSet("target 12345678", "12" * 32, "report")],
    book=BOOK,
)
CANDIDATE = CandidateRun("lambda=5", {"lambda": 5.0}, tags={"lambda": "5"})
RATE = Measurement("nudenet.rate[astronaut]", 0.25, 0.125, 0.5, 40, "lower")


@pytest.fixture
def home(mlflow_template, tmp_path, monkeypatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(mlflow_template, tmp_path / "mlflow.db")
    return Home(tmp_path)


@pytest.fixture
def runs(home):
    """Every run by its name, as MLflow has it now."""
    client = MlflowClient(home.tracking_uri)

    def runs():
        experiment = client.get_experiment_by_name("erasure")
        found = client.search_runs([experiment.experiment_id]) if experiment else []
        return {run.info.run_name: run for run in found}

    return runs


@pytest.fixture
def losses(home):
    client = MlflowClient(home.tracking_uri)
    return lambda run: client.get_metric_history(run.info.run_id, "loss")


ASTRONAUT, CAT = a_request(A, "astronaut"), a_request(B, "cat")


@pytest.mark.parametrize(
    ("back", "name", "concept", "ids"),
    [(None, "erase astronaut", "astronaut", f"{A}"), (CAT, "restore cat", "cat", f"{A},{B}")],
)
def test_it_is_named_and_tagged_by_what_it_erases_or_restores(back, name, concept, ids):
    """And by every request in its name: it goes with each of them."""
    params = MagicMock(policy=MagicMock(audience=None))
    plan = MagicMock(requests=[ASTRONAUT], concepts=[ASTRONAUT.concept], params=params)
    facts = run_facts(plan, {}, "unknown", back)
    assert (facts.name, facts.tags["concept"]) == (name, concept)
    assert facts.tags["request.ids"] == ids


def test_the_name_of_a_run_fits_into_any_store():
    """A database server's column holds 250 characters, and says no to more."""
    concepts = [a_request(A, f"{n} " + "y" * 190).concept for n in range(25)]
    params = MagicMock(policy=MagicMock(audience=None))
    facts = run_facts(MagicMock(requests=[], concepts=concepts, params=params), {}, "", None)
    assert facts.name == f"erase {concepts[0].name} and 24 more"
    cell = MagicMock(concept=concepts[0].name, method="esd", form="published", seed=2**32 - 1)
    assert len(_mirrored(cell).name) <= 250


@pytest.mark.parametrize(
    ("restoring", "verdict", "back"), [(None, "pass", None), (B, "pass", CAT), (B, "fail", CAT)]
)
def test_an_errand_knows_what_its_version_restores(tmp_path, restoring, verdict, back):
    book = a_book(tmp_path)
    add(book, [ASTRONAUT, CAT], MODEL)
    released(book, [A, B])
    version = released(book, [], verdict, restoring=restoring)
    plan = SimpleNamespace(restored=[CAT] if restoring else [])
    assert _taken_back(book, version, plan) == back


def test_what_was_restored_before_is_not_restored_again(tmp_path):
    book = a_book(tmp_path)
    add(book, [ASTRONAUT, CAT], MODEL)
    released(book, [A, B])
    released(book, [], restoring=B)
    version = released(book, [])
    assert _taken_back(book, version, SimpleNamespace(restored=[CAT])) is None


def work(home: Home) -> None:
    """What a release does, up to its decision."""
    with live.losses_shown(home, FACTS.folder, CANDIDATE) as on_loss:
        for loss in (3.0, 2.0, 1.0):
            on_loss(loss)
    live.show_measured(home, FACTS.folder, CANDIDATE.name, [RATE])


def test_it_is_there_before_the_work(home, runs):
    with live.shown_while(home, FACTS):
        run = runs()["erase astronaut"]
    assert run.info.status == "RUNNING"
    assert run.data.tags["concept"] == "astronaut"
    assert run.data.params == {"seed": "7", "method.ridge": "0.5"}


def test_its_prompt_sets_are_inputs_by_content_and_without_a_name(home, runs):
    with live.shown_while(home, FACTS):
        (given,) = runs()["erase astronaut"].inputs.dataset_inputs
    assert given.dataset.name == "target 12345678"
    assert given.dataset.digest == ("12" * 32)[:36]
    assert given.dataset.source == f'{{"sha256": "{"12" * 32}"}}'
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "report")]


def test_losses_come_while_it_trains(home, runs, losses, monkeypatch):
    monkeypatch.setattr(live, "SECONDS", 0.0)
    with live.shown_while(home, FACTS), live.losses_shown(home, "abcd", CANDIDATE) as on_loss:
        on_loss(3.0)
        on_loss(2.0)
        child = runs()["lambda=5"]
        assert child.info.status == "RUNNING"
        assert [(m.step, m.value) for m in losses(child)] == [(0, 3.0), (1, 2.0)]


def test_a_loss_has_the_time_at_which_it_was_computed(home, runs, losses):
    with live.shown_while(home, FACTS), live.losses_shown(home, "abcd", CANDIDATE) as on_loss:
        before = int(time.time() * 1000)
        on_loss(3.0)
        after = int(time.time() * 1000)
        time.sleep(0.05)  # it is sent later
    (logged,) = losses(runs()["lambda=5"])
    assert before <= logged.timestamp <= after


def test_a_training_that_is_over_is_finished_while_the_run_goes_on(home, runs):
    with live.shown_while(home, FACTS):
        work(home)
        found = runs()
    assert found["lambda=5"].info.status == "FINISHED"
    assert found["erase astronaut"].info.status == "RUNNING"
    assert found["lambda=5"].data.metrics["nudenet.rate/astronaut"] == 0.25


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (ValueError("the disk\nis full"), "FAILED", "failed: the disk is full"),
        (KeyboardInterrupt(), "KILLED", "stopped"),
        (SystemExit(1), "KILLED", "stopped"),
    ],
)
def test_it_ends_as_what_became_of_it(home, runs, fault, status, said):
    work, training = live.shown_while(home, FACTS), live.losses_shown(home, "abcd", CANDIDATE)
    with pytest.raises(type(fault)), work, training:
        raise fault
    found = runs()
    assert {run.info.status for run in found.values()} == {status}
    assert found["erase astronaut"].data.tags["mlflow.note.content"] == said


def test_what_a_kill_left_running_is_closed_by_the_next_run_of_the_model(home, runs):
    with live.shown_while(home, FACTS):
        pass  # and the process was killed
    with live.shown_while(home, RunFacts("gallery", "efgh", "erase cat", book=BOOK)):
        found = runs()
    assert found["erase astronaut"].info.status == "KILLED"
    assert found["erase cat"].info.status == "RUNNING"


def test_another_models_run_goes_on(home, runs):
    with live.shown_while(home, FACTS), live.shown_while(home, RunFacts("other", "efgh", "other")):
        assert runs()["erase astronaut"].info.status == "RUNNING"


def test_the_run_of_another_book_goes_on(home, runs):
    """Whatever is done here: a release of the same model, its errand, a reconcile, a purge."""
    theirs = replace(FACTS, name="theirs", book=OTHERS)
    with live.shown_while(home, theirs), live.losses_shown(home, FACTS.folder, CANDIDATE):
        with live.shown_while(home, replace(FACTS, folder="efgh")):
            close_unfinished(home, BOOK)
        mirror_run(home, "gallery/1", FACTS)
        found = runs()
    assert (found["theirs"].info.status, found["lambda=5"].info.status) == ("RUNNING", "RUNNING")
    assert found["theirs"].info.run_id in unfinished_runs(home, OTHERS)


def test_a_run_that_somebody_works_on_is_not_unfinished(home):
    with live.shown_while(home, FACTS):
        assert unfinished_runs(home, BOOK, working=["gallery"]) == []
        assert len(unfinished_runs(home, BOOK, working=["other"])) == 1


def test_its_errand_completes_it_with_what_lacks(home, runs, losses):
    with live.shown_while(home, FACTS):
        work(home)
    before = runs()
    whole = CandidateRun("lambda=5", {"lambda": 5.0}, [RATE], [3.0, 2.0, 1.0, 0.5], [1, 2, 3, 4])
    run_id = mirror_run(
        home, "gallery/1", FACTS, candidates=[whole], measurements=[RATE], note="**x**"
    )
    after = runs()
    assert len(after) == 2
    assert run_id == before["erase astronaut"].info.run_id
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert after["erase astronaut"].info.start_time == before["erase astronaut"].info.start_time
    assert after["erase astronaut"].data.metrics["nudenet.rate/astronaut"] == 0.25
    assert after["erase astronaut"].data.tags["mlflow.note.content"] == "**x**"
    assert {m.step: m.value for m in losses(after["lambda=5"])} == {0: 3.0, 1: 2.0, 2: 1.0, 3: 0.5}


def test_the_errand_of_a_run_that_was_not_shown_keeps_the_times_of_its_losses(home, runs, losses):
    known = CandidateRun("lambda=5", {}, losses=[3.0, 2.0], times=[1000, 2000])
    mirror_run(home, "gallery/1", FACTS, candidates=[known])
    assert [m.timestamp for m in losses(runs()["lambda=5"])] == [1000, 2000]


def test_what_is_measured_twice_is_logged_once(home, runs):
    odd = Measurement("ssim", math.nan, 0.0, 1.0, 3, "higher")
    with live.shown_while(home, FACTS):
        live.show_measured(home, "abcd", "lambda=5", [RATE, odd])
    mirror_run(home, "k", FACTS, candidates=[CandidateRun("lambda=5", {}, [RATE, odd])])
    client, run_id = MlflowClient(home.tracking_uri), runs()["lambda=5"].info.run_id
    for key in ("nudenet.rate/astronaut", "ssim"):
        assert len(client.get_metric_history(run_id, key)) == 1


def test_a_failed_run_is_not_what_a_later_errand_completes(home, runs):
    with pytest.raises(ValueError, match="x"), live.shown_while(home, FACTS):
        raise ValueError("x")
    failed = runs()["erase astronaut"].info.run_id
    assert mirror_run(home, "gallery/1", FACTS) != failed


def test_where_mlflow_is_away_the_work_goes_on_and_it_is_said(home, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = []
    with live.shown_while(home, FACTS):
        work(home)
        done.append("all of it")
    assert done
    said = capsys.readouterr().err
    assert said.startswith("not shown in MLflow until the end: MLflow at http://***@127.0.0.1:9")
    assert "secret" not in said


def test_a_training_waits_once_for_a_server_that_no_longer_answers(home, monkeypatch, capsys):
    """Each try takes as long as its time-out: every two seconds it would be made again."""
    asked = []

    def silent(*_given: object, **_named: object) -> None:
        asked.append(time.monotonic())
        raise ErasureError("MLflow at http://host: nothing within 10 s")

    with live.shown_while(home, FACTS):
        monkeypatch.setattr(live, "SECONDS", 0)
        monkeypatch.setattr(live, "log_metrics", silent)
        with live.losses_shown(home, FACTS.folder, CANDIDATE) as on_loss:
            for loss in (3.0, 2.0, 1.0):
                on_loss(loss)
    assert len(asked) == 1
    assert capsys.readouterr().err.count("not shown in MLflow until the end") == 1


def damage(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def lose_a_table(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DROP TABLE experiments")


@pytest.mark.parametrize("spoil", [damage, lose_a_table])
def test_where_mlflows_file_is_damaged_the_work_goes_on_and_it_is_said(home, spoil, capsys):
    file = home.root / "mlflow.db"
    spoil(file)
    before = file.read_bytes()
    with live.shown_while(home, FACTS):
        work(home)
    said = capsys.readouterr().err
    assert said.startswith("not shown in MLflow until the end: MLflow at sqlite:///")
    assert "move that file away, and `erasure reconcile` makes it anew" in said
    assert file.read_bytes() == before


def test_a_locked_file_is_not_to_be_moved_away(home, monkeypatch):
    from tasks.registry import moved

    connect = sqlite3.connect
    monkeypatch.setattr(moved.sqlite3, "connect", lambda file, **_: connect(file, timeout=0))
    with closing(connect(home.root / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ErasureError, match="is locked; another process writes there; try"):
            unfinished_runs(home, BOOK)
        with pytest.raises(ErasureError, match="is locked; another process writes there; try"):
            clear_free_pages(home)


def test_an_empty_file_is_no_store_yet(home, mlflow_template, monkeypatch):
    """As `sqlite3 mlflow.db` leaves one where there was none."""
    file = home.root / "mlflow.db"
    file.write_bytes(b"")
    assert unfinished_runs(home, BOOK) == []
    assert file.read_bytes() == b""

    def connect(uri: str) -> MlflowClient:  # making one takes seconds
        if uri.endswith(".new"):
            shutil.copy(mlflow_template, uri.removeprefix("sqlite:///"))
        return MlflowClient(uri)

    monkeypatch.setattr(client, "connect", connect)
    with live.shown_while(home, FACTS):
        assert len(unfinished_runs(home, BOOK)) == 1


def attempts(home: Home) -> None:
    other = RunFacts("gallery", "efgh", "erase cat", {"request.ids": "id-3"}, book=BOOK)
    for facts in (FACTS, other):
        with pytest.raises(ValueError, match="x"), live.shown_while(home, facts):
            raise ValueError("x")


@pytest.mark.slow
def test_attempts_go_with_the_request_that_they_name(home, runs):
    from datetime import UTC, datetime

    attempts(home)
    early = datetime(2000, 1, 1, tzinfo=UTC)
    assert forget_attempts(home, BOOK, "other", early, ["id-2"]) == []
    assert forget_attempts(home, OTHERS, "gallery", early, ["id-2"]) == []
    assert len(forget_attempts(home, BOOK, "gallery", early, ["id-2"])) == 1
    assert set(runs()) == {"erase cat"}
    assert b"astronaut" not in (home.root / "mlflow.db").read_bytes()


@pytest.mark.slow
def test_attempts_go_when_they_are_old(home, runs):
    from datetime import UTC, datetime, timedelta

    attempts(home)
    later = datetime.now(UTC) + timedelta(days=1)
    assert forget_attempts(home, BOOK, "other", later, ["id-1"]) == []
    assert len(forget_attempts(home, BOOK, "gallery", later, [])) == 2
    assert runs() == {}


def test_a_comparison_goes_with_a_request_that_it_names_and_a_version_stays(
    home, runs, monkeypatch
):
    from datetime import UTC, datetime

    monkeypatch.setattr(registered, "clear_deleted", lambda *_: None)  # takes seconds
    of_cat = RunFacts("gallery", "abcd", "erase cat", {"request.ids": "id-1"})
    beside = {"request.ids": "id-1,id-2", "comparison": "uce, esd"}
    mirror_run(home, "gallery/1", of_cat)
    mirror_run(home, "comparison 12", RunFacts("gallery", "c-12", "compare astronaut", beside))
    began = datetime(2000, 1, 1, tzinfo=UTC)
    assert forget_attempts(home, BOOK, "gallery", began, ["id-3"]) == []
    assert len(forget_attempts(home, BOOK, "gallery", began, ["id-1"])) == 1
    assert set(runs()) == {"erase cat"}
