"""A purge removes names, pictures and weights that nothing keeps any more; the proof stays."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from erasure_core.errors import ErasureError
from erasure_core.law import chain
from erasure_core.law.chain import stamp
from erasure_core.planning.params import Retention
from tasks.book.lease import holding
from tasks.release import purge as purging
from tasks.release.audit import audit
from tasks.release.mirrored import _description
from tasks.release.purge import purge
from tasks.release.record import record_of
from tasks.release.rollback import roll_back
from tasks.release.settle import settle
from tasks.requests.intake import add
from tasks.requests.steps import withdraw
from tasks.trial import at_work
from tests import toy
from tests.book.books import (
    MODEL,
    A,
    B,
    a_request,
    outcome,
    quick_book,
    released,
    with_weights,
)
from tests.book.conftest import copied
from tests.book.test_tampering import sql
from tests.marks import slow

NOW = Retention(personal=0, refused=0, superseded=0)
NAME = b"astronaut"


@pytest.fixture
def withdrawn(state):
    """The astronaut was asked for, tried in vain (version 2), and withdrawn."""
    withdraw(state.book, toy.ASTRONAUT, "the astronaut agreed")
    return state


@pytest.fixture(scope="module")
def purged(released_state, tmp_path_factory):
    """The same, purged; looked at by several tests."""
    with pytest.MonkeyPatch.context() as patch:
        state = copied(released_state, tmp_path_factory.mktemp("purged") / "state", patch)
        withdraw(state.book, toy.ASTRONAUT, "the astronaut agreed")
        purge(state.book, "toy", NOW)
    return state


def naming(state) -> set[str]:
    """Files that hold the name, but for vocabularies: a tokenizer knows the word."""
    files = [f for f in state.home.rglob("*") if f.is_file()]
    spoken = [f for f in files if NAME in f.read_bytes() and b'"vocab"' not in f.read_bytes()]
    return {f.relative_to(state.home).as_posix() for f in spoken}


def test_names_are_in_many_places_before(withdrawn):
    assert {name.split("/")[0] for name in naming(withdrawn)} >= {"mlartifacts", "records", "runs"}


def test_names_are_gone_from_every_file(purged):
    assert naming(purged) == set()


@pytest.mark.slow
def test_names_are_gone_from_prefects_history(withdrawn):
    history = [withdrawn.home / "prefect" / name for name in ("prefect.db", "prefect.db-wal")]
    history[0].parent.mkdir(exist_ok=True)
    for file in history:
        file.write_bytes(NAME)
    purge(withdrawn.book, "toy", NOW)
    assert naming(withdrawn) == set()


def test_prefects_history_stays_while_another_model_is_released(withdrawn):
    other = a_request(UUID(int=77), "cat")
    add(withdrawn.book, [other], "other")
    with (
        holding(withdrawn.book, "other", "releasing"),
        pytest.raises(ErasureError, match=r"other: .*releasing.*can be purged when it is done"),
    ):
        purge(withdrawn.book, "toy", NOW)
    assert naming(withdrawn)


def test_prefects_history_stays_while_a_command_uses_it(withdrawn):
    file = withdrawn.home / "prefect/prefect.db"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(NAME)
    with file.open("rb"), pytest.raises(ErasureError, match=f"{os.getpid()} uses Prefect's"):
        purge(withdrawn.book, "toy", NOW)
    assert file.exists()


@pytest.mark.slow
def test_a_trial_at_work_keeps_its_folder(withdrawn):
    home = withdrawn.book.home
    folder = home.runs / "trial-abc"
    folder.mkdir()
    (folder / "plan.json").write_text("{}")
    with at_work(home, folder), pytest.raises(ErasureError, match="another process works in"):
        purge(withdrawn.book, "toy", NOW)
    assert (folder / "plan.json").exists()
    purge(withdrawn.book, "toy", NOW)
    assert not folder.exists()


def test_the_audit_agrees_afterwards(purged):
    assert list(audit(purged.book)) == []


@pytest.mark.slow
def test_the_audit_agrees_while_versions_are_kept_longer_than_names(withdrawn):
    purge(withdrawn.book, "toy", NOW.model_copy(update={"refused": 90, "superseded": 365}))
    assert list(audit(withdrawn.book)) == []


def test_every_page_that_may_name_a_purged_request_is_written_anew(tmp_path):
    """Of versions that erased it, and of those that brought it back."""
    book = quick_book(tmp_path)
    add(book, [a_request(A, "cat"), a_request(B, "dog")], MODEL)
    for release in ({"new": [A, B]}, {"new": [], "restoring": A}):
        released(book, **release)
    book.change(lambda tx: [tx.note_errand(r["id"], done="x") for r in tx.waiting_outside()])
    with holding(book, MODEL, "purging") as held:
        later = datetime.now(UTC) + timedelta(days=1)
        assert purging._purge_request(book, held, purging._Due(NOW, later), str(A))
    left = book.ask(lambda reader: {row["key"] for row in reader.waiting_outside()})
    assert left == {f"{MODEL}/{n}/mlflow {page}" for n in (1, 2) for page in ("run", "version")}


def test_what_an_errand_came_to_is_known_while_it_is_done_again(tmp_path):
    """By that a purge finds the run in MLflow."""
    book = quick_book(tmp_path)
    book.change(lambda tx: tx.send(MODEL, 1, "mlflow run", "1a2b"))
    book.change(lambda tx: tx.send(MODEL, 1, "mlflow run"))
    assert book.ask(lambda reader: reader.outcome(f"{MODEL}/1/mlflow run")) == "1a2b"
    assert [row["kind"] for row in book.ask(lambda r: r.waiting_outside())] == ["mlflow run"]


def test_the_champion_is_untouched(state):
    champion = state.book.ask(lambda reader: reader.champion("toy"))
    kept = [state.home / "checkpoints" / champion.checkpoint, state.home / "runs" / champion.folder]
    before = [sorted(f.name for f in folder.rglob("*")) for folder in kept]
    withdraw(state.book, toy.ASTRONAUT, "no longer")
    purge(state.book, "toy", NOW)
    assert [sorted(f.name for f in folder.rglob("*")) for folder in kept] == before
    assert state.book.ask(lambda reader: reader.champion("toy")) == champion


def test_on_edited_tables_nothing_is_purged(withdrawn):
    """With another champion, the weights that are served would go."""
    champion = withdrawn.book.ask(lambda reader: reader.champion("toy"))
    sql(withdrawn.home / "book.db", "UPDATE aliases SET version = 2 WHERE alias = 'champion'")
    with pytest.raises(ErasureError, match="the book's aliases were edited"):
        purge(withdrawn.book, "toy", NOW)
    assert (withdrawn.home / "checkpoints" / champion.checkpoint).is_dir()


def test_what_was_purged_is_an_event(purged):
    events = purged.book.ask(lambda reader: [e.event for e in reader.events()])
    assert {"request.purged", "version.purged"} <= set(events)


def test_the_history_of_a_purged_request_is_still_told(purged):
    events = purged.book.ask(lambda reader: list(reader.events(toy.ASTRONAUT)))
    assert [e.event for e in events if e.event.startswith("request.")][-2:] == [
        "request.withdrawn",
        "request.purged",
    ]


def test_a_second_purge_finds_nothing(purged):
    assert purge(purged.book, "toy", NOW) == []


def test_what_is_kept_long_enough_is_kept(withdrawn):
    before = {name for name in naming(withdrawn) if not name.startswith("book.db")}
    assert purge(withdrawn.book, "toy", Retention()) == []
    assert naming(withdrawn) >= before


@pytest.mark.slow
def test_the_time_of_retention_is_counted_from_the_end(withdrawn):
    later = datetime.now(UTC) + timedelta(days=91)
    assert len(purge(withdrawn.book, "toy", Retention(), later)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("step", ["forget_run", *map(slow, ("_remove_files", "_remove_weights"))])
def test_what_a_kill_left_goes_with_the_next_purge(withdrawn, monkeypatch, step):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(purging, step, killed)
        with pytest.raises(KeyboardInterrupt):
            purge(withdrawn.book, "toy", NOW)
    purge(withdrawn.book, "toy", NOW)
    assert naming(withdrawn) == set()
    assert list(audit(withdrawn.book)) == []


TODAY = datetime(2026, 11, 22, tzinfo=UTC)


def acts(book, monkeypatch, days_ago: int, act) -> None:
    """Let `act` happen so many days before today."""
    then = stamp(TODAY - timedelta(days=days_ago))
    with monkeypatch.context() as patch:
        patch.setattr(chain, "now", lambda: then)
        act(book)


@pytest.mark.parametrize(
    ("life", "unused"),
    [
        ({0: lambda b: released(b, [B])}, []),
        ({364: lambda b: released(b, [B])}, []),
        ({365: lambda b: released(b, [B])}, [1]),
        (
            {390: lambda b: released(b, [B]), 380: lambda b: roll_back(b, MODEL, 1, "r", [str(B)])},
            [2],
        ),
        (
            {
                390: lambda b: released(b, [B]),
                380: lambda b: roll_back(b, MODEL, 1, "r", [str(B)]),
                9: lambda b: released(b, [B]),
            },
            [2],
        ),
        ({390: lambda b: released(b, [B], "fail"), 9: lambda b: released(b, [B])}, [2]),
    ],
)
def test_a_champion_is_kept_for_so_long_after_it_was_replaced(tmp_path, monkeypatch, life, unused):
    """However long it was served before: it is what a rollback would go to."""
    book = quick_book(tmp_path)
    add(book, [a_request(A), a_request(B, "dog")], MODEL)
    acts(book, monkeypatch, 400, lambda b: with_weights(b, released(b, [A])))
    for days_ago, act in life.items():
        acts(book, monkeypatch, days_ago, act)
    due = purging._Due(Retention(superseded=365), TODAY)
    found = book.ask(lambda reader: due.versions(reader, MODEL))
    assert [version.version for version in found] == unused


@pytest.mark.slow
def test_a_request_that_is_due_keeps_its_name(state):
    purge(state.book, "toy", NOW)
    assert state.book.ask(lambda reader: reader.request(toy.ASTRONAUT)).concept == "astronaut"


# What is kept of one request names no other


def check(metric: str, reason: str = "") -> dict:
    numbers = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40, "limit": 0.1, "verdict": "fail"}
    return {"metric": metric, "reason": f"{metric} = 0.5{reason}", **numbers}


@pytest.fixture
def refused(tmp_path):
    """A likeness and a dog, refused together; then the likeness was withdrawn and purged."""
    book = quick_book(tmp_path)
    add(book, [a_request(A, "Jane Doe", concept_kind="likeness"), a_request(B, "dog")], MODEL)
    checks = [
        check("clip.concept_rate[Jane Doe]"),
        check("base.clip.concept_rate[Jane Doe]"),
        check("nudenet.rate[dog]", " (have: ssim, nudenet.rate[Jane Doe])"),
        check("ssim[not listed]"),
    ]
    with holding(book, MODEL, "releasing") as held:
        came = outcome(book, [A, B], "fail")
        gate = {"verdict": "fail", "checks": checks}
        settle(book, held, replace(came, record=came.record.model_copy(update={"gate": gate})))
        withdraw(book, A, "asked to")
        later = datetime.now(UTC) + timedelta(days=1)
        assert purging._purge_request(book, held, purging._Due(NOW, later), str(A))
    return book


def test_the_reason_of_a_refusal_names_no_other_concept(refused):
    kept = [text.body for text in refused.ask(lambda reader: list(reader.all_texts()))]
    assert kept
    assert not any("Jane" in text for text in kept)
    assert refused.ask(lambda reader: reader.request(B)).reason == (
        "gate fail: fail: nudenet.rate[dog] = 0.5; fail: ssim[not listed] = 0.5; version 1 missed "
        "2 limit(s) on other concepts"
    )


def test_the_page_of_a_version_names_nobody_who_was_purged(refused):
    version = refused.ask(lambda reader: reader.version(MODEL, 1))
    page = _description(refused, version, record_of(refused.home, version))
    assert "nudenet.rate[dog]" in page
    assert "ssim[not listed]" in page
    assert "Jane" not in page
