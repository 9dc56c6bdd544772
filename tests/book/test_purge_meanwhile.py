"""What happens to requests and versions while a purge works, or while it was paused."""

import pytest
from sqlalchemy import update

from erasure_core.errors import ErasureError
from erasure_core.law.fold import CHAMPION
from erasure_core.planning.params import Retention
from tasks.book.lease import LeaseLost
from tasks.book.schema import leases
from tasks.release import purge as purging
from tasks.release.purge import NotAllPurged, purge
from tasks.release.record import record_file
from tasks.release.settle import move_alias
from tasks.requests.intake import add
from tasks.requests.steps import refuse, retry
from tests.book.books import (
    MODEL,
    A,
    B,
    C,
    D,
    a_book,
    a_request,
    event_names,
    quick_book,
    released,
    state_of,
)
from tests.flows.command import erasure

NOW = Retention(personal=0, refused=0, superseded=0)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Three versions, the last is served; a fourth request was refused. MLflow is not asked."""
    monkeypatch.setattr(purging, "run_errands", lambda *_, **__: [])
    book = quick_book(tmp_path)
    for request_id, name in ((A, "cat"), (B, "dog"), (C, "tree")):
        add(book, [a_request(request_id, name)], MODEL)
    refuse(book, C, "gdpr-17-1", None)
    for new in ([A], [B], []):
        released(book, new)
    return book


def lose_the_lease(book) -> None:
    """Another process took over while this one was paused, and serves version 2 again."""

    def work(tx) -> None:
        theirs = update(leases).where(leases.c.name == MODEL).values(token="theirs")
        tx.connection.execute(theirs)
        move_alias(tx, MODEL, CHAMPION, 2)

    book.change(work)


def once(monkeypatch, step: str, first) -> None:
    """Let `first` happen before the first call of a step of the purge."""
    real, done = getattr(purging, step), []

    def wrapped(*given):
        if not done:
            done.append(first())
        return real(*given)

    monkeypatch.setattr(purging, step, wrapped)


@pytest.mark.parametrize("step", ["_purge_request", "_purge_version", "_remove"])
def test_who_lost_the_lease_purges_nothing_more(book, monkeypatch, step):
    once(monkeypatch, step, lambda: lose_the_lease(book))
    with pytest.raises(LeaseLost):
        purge(book, MODEL, NOW)
    assert record_file(book.home, MODEL, 2).exists()
    assert not book.ask(lambda reader: reader.champion(MODEL)).purged


def test_what_is_served_by_now_is_not_purged(book, monkeypatch):
    def served_again() -> None:
        book.change(lambda tx: move_alias(tx, MODEL, CHAMPION, 2))

    once(monkeypatch, "_purge_version", served_again)
    assert [line for line in purge(book, MODEL, NOW) if "version 2" in line] == []
    assert not book.ask(lambda reader: reader.champion(MODEL)).purged


def test_a_request_that_is_open_again_keeps_its_texts(book, monkeypatch):
    once(monkeypatch, "_purge_request", lambda: retry(book, C, "a mistake"))
    purge(book, MODEL, NOW)
    assert "request.purged" not in event_names(book)
    assert state_of(book, C) == "received"
    assert book.ask(lambda reader: reader.request(C)).concept == "tree"


def test_a_request_that_ended_anew_is_kept_from_then_on(book, monkeypatch):
    def refused_anew() -> None:
        retry(book, C, "a mistake")
        refuse(book, C, "gdpr-17-1", None)

    once(monkeypatch, "_purge_request", refused_anew)
    purge(book, MODEL, NOW)
    assert book.ask(lambda reader: reader.request(C)).concept == "tree"


def test_what_nothing_happens_to_is_purged(book):
    assert len(purge(book, MODEL, NOW)) == 3
    assert not record_file(book.home, MODEL, 1).exists()
    assert purge(book, MODEL, NOW) == []


@pytest.fixture
def away(monkeypatch):
    """The remote that holds the weights of version 1 is away until it is `back`."""
    real, first = purging.forget_checkpoint, []

    def forget(home, checkpoint, kept):
        first.append(checkpoint)
        if checkpoint == first[0]:
            raise ErasureError("dvc gc failed")
        real(home, checkpoint, kept)

    monkeypatch.setattr(purging, "forget_checkpoint", forget)
    return lambda: monkeypatch.setattr(purging, "forget_checkpoint", real)


def test_weights_that_cannot_be_removed_keep_no_name_and_no_other_version(book, away):
    with pytest.raises(NotAllPurged, match=r"toy version 1 could not all .*dvc gc failed") as it:
        purge(book, MODEL, NOW)
    assert [line.partition(":")[0] for line in it.value.removed] == [
        f"request {C}",
        "toy version 2",
    ]
    assert book.ask(lambda reader: reader.request(C)).concept == "(purged)"
    assert record_file(book.home, MODEL, 1).exists()
    assert not record_file(book.home, MODEL, 2).exists()


def test_weights_that_a_purge_left_stop_no_later_one_and_go_when_they_can(book, away):
    with pytest.raises(NotAllPurged):
        purge(book, MODEL, NOW)
    add(book, [a_request(D, "car")], MODEL)
    refuse(book, D, "gdpr-17-1", None)
    with pytest.raises(NotAllPurged) as it:
        purge(book, MODEL, NOW)
    assert [line.partition(":")[0] for line in it.value.removed] == [f"request {D}"]
    away()
    (line,) = purge(book, MODEL, NOW)
    assert line.startswith("toy version 1: ")
    assert not record_file(book.home, MODEL, 1).exists()


def test_an_errand_that_is_behind_is_told(book, monkeypatch):
    """What MLflow's pages say of a purged request goes by an errand."""
    monkeypatch.setattr(purging, "run_errands", lambda *_, **__: ["toy/1/mlflow version: away"])
    with pytest.raises(NotAllPurged, match="behind: toy/1/mlflow version: away"):
        purge(book, MODEL, NOW)


@pytest.mark.slow
def test_the_command_says_what_was_removed_and_what_was_not(tmp_path, monkeypatch):
    def partly(*_, **__):
        raise NotAllPurged(["request 1: names"], ["version 1: remote away", "behind: MLflow"])

    add(a_book(tmp_path), [a_request(A)], MODEL)
    monkeypatch.setattr(purging, "purge", partly)
    answer = erasure(tmp_path, "purge")
    assert (answer.exit_code, answer.stdout) == (1, "purged request 1: names\n")
    assert answer.stderr == "error: version 1: remote away\nerror: behind: MLflow\n"
