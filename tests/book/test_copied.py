"""A copy of a state folder that still has the MLflow of the original does no harm there."""

import shutil
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from erasure_core.errors import ErasureError
from tasks.book.store import Book
from tasks.registry import client as mlflow_client
from tasks.registry import live
from tasks.registry.packaging import VersionFacts
from tasks.registry.runs import RunFacts
from tasks.registry.versions import aliases, mirror_version
from tasks.release.audit import audit_aliases, differs_in_registry
from tasks.release.errands import HANDLERS
from tasks.release.mirrored import check_newest
from tasks.release.purge import _remove_run
from tasks.release.reconcile import _close_unfinished
from tasks.requests.intake import add
from tests.book.books import MODEL, A, B, C, a_book, a_request, released

SAID = "is of this book, which does not know it"


def mirror(book: Book, number: int) -> None:
    """The errand of a version, without a run's folder."""
    version = book.ask(lambda reader: reader.version(MODEL, number))
    statement = book.ask(lambda reader: reader.text(version.statement)).encode()
    facts = VersionFacts(
        MODEL, number, {}, statement, None, 3, 4.0, "", "a cat", book=book.identity()
    )
    mirror_version(book.home, facts)


def move_aliases(book: Book) -> None:
    HANDLERS["aliases"](book, book.ask(lambda reader: reader.champion(MODEL)))


@pytest.fixture
def server(mlflow_template, tmp_path, monkeypatch) -> MlflowClient:
    """An MLflow that does not lie in the state folder."""
    shutil.copy(mlflow_template, tmp_path / "server.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/server.db")
    return MlflowClient(f"sqlite:///{tmp_path}/server.db")


@pytest.fixture
def books(server, tmp_path) -> SimpleNamespace:
    """The book at version 2, whose run 3 is going on, and a copy of it that is at version 1."""
    original = a_book(tmp_path / "original")
    add(original, [a_request(A, "cat"), a_request(B, "dog"), a_request(C, "owl")], MODEL)
    released(original, [A])
    mirror(original, 1)
    shutil.copytree(original.home.root, tmp_path / "copy")
    released(original, [B])
    mirror(original, 2)
    move_aliases(original)
    facts = RunFacts(MODEL, "run-3", "erase owl", book=original.identity())
    with live.shown_while(original.home, facts):
        pass
    return SimpleNamespace(original=original, copy=a_book(tmp_path / "copy"))


def is_running(server) -> bool:
    experiment = server.get_experiment_by_name("erasure")
    (run,) = server.search_runs([experiment.experiment_id], "attributes.run_name = 'erase owl'")
    return run.info.status == "RUNNING"


@pytest.mark.parametrize("look", [differs_in_registry, audit_aliases])
def test_an_older_copy_is_told_so_and_to_delete_and_move_nothing(books, look):
    (said,) = look(books.copy, MODEL)
    assert f"version 2 {SAID}" in said
    assert "MLFLOW_TRACKING_URI of its own" in said
    assert not {"delete", "reconcile"} & set(said.split())
    assert list(look(books.original, MODEL)) == []


@pytest.mark.parametrize("errand", ["mlflow run", "mlflow version", "aliases"])
def test_no_errand_of_an_older_copy_touches_mlflow(books, errand):
    champion = books.copy.ask(lambda reader: reader.champion(MODEL))
    with pytest.raises(ErasureError, match=SAID):
        HANDLERS[errand](books.copy, champion)
    assert aliases(books.original.home, MODEL) == {"candidate": 2, "champion": 2}


def test_a_copy_that_goes_on_by_itself_makes_no_version_there(books):
    """Its own version 2 is another one."""
    version = released(books.copy, [C])
    for errand in ("mlflow version", "aliases"):
        with pytest.raises(ErasureError, match=SAID):
            HANDLERS[errand](books.copy, version)
    with pytest.raises(ErasureError, match=SAID):
        mirror(books.copy, 2)
    assert aliases(books.original.home, MODEL) == {"candidate": 2, "champion": 2}


def test_no_run_of_the_original_is_ended_by_a_copy(books, server, capsys):
    facts = RunFacts(MODEL, "run-2", "erase dog", book=books.copy.identity())
    with live.shown_while(books.copy.home, facts, lambda: check_newest(books.copy, MODEL)):
        pass
    assert SAID in capsys.readouterr().err
    assert _close_unfinished(books.copy) == []
    assert is_running(server)
    assert _close_unfinished(books.original) == []
    assert not is_running(server)


def test_a_purge_in_a_copy_leaves_the_runs_of_the_original(books, server):
    experiment = server.get_experiment_by_name("erasure").experiment_id
    run_id = server.create_run(experiment).info.run_id
    version = books.copy.ask(lambda reader: reader.version(MODEL, 1))

    def note(tx):
        tx.send(MODEL, 1, "mlflow run")
        (row,) = (r for r in tx.waiting_outside(MODEL) if r["key"] == f"{MODEL}/1/mlflow run")
        tx.note_errand(row["id"], done="2026-11-29T00:00:00Z", result=run_id)

    books.copy.change(note)
    with pytest.raises(ErasureError, match=SAID):
        _remove_run(books.copy, None, version)
    assert server.get_run(run_id).info.lifecycle_stage == "active"


def test_an_mlflow_that_is_behind_or_was_left_half_way_is_no_copy(books, server):
    """What a kill left under a number that MLflow gave too many."""
    key = server.get_model_version(MODEL, "2").tags[mlflow_client.KEY]
    tags = {mlflow_client.KEY: key, mlflow_client.BOOK: books.original.identity()}
    server.create_model_version(MODEL, "file:///nowhere", tags=tags)
    check_newest(books.original, MODEL)
    released(books.original, [C])
    check_newest(books.original, MODEL)


def test_a_copy_with_an_mlflow_of_its_own_works_there(
    books, mlflow_template, tmp_path, monkeypatch
):
    shutil.copy(mlflow_template, tmp_path / "own.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/own.db")
    mirror(books.copy, 1)
    move_aliases(books.copy)
    assert aliases(books.copy.home, MODEL) == {"candidate": 1, "champion": 1}
