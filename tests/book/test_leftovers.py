"""A purge also removes what runs left that came to no version."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from erasure_core.errors import ErasureError
from erasure_core.planning.params import Retention
from tasks.book.lease import holding
from tasks.release import purge as purging
from tasks.release.purge import purge
from tasks.requests.intake import add
from tasks.requests.steps import withdraw
from tasks.trial import at_work
from tests.book.books import MODEL, A, B, C, a_request, quick_book, released

NAME = "erika"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Erika's request was withdrawn, the cat's is open. MLflow is not asked."""
    monkeypatch.setattr(purging, "run_errands", lambda *_, **__: [])
    book = quick_book(tmp_path)
    add(book, [a_request(A, NAME), a_request(B)], MODEL)
    withdraw(book, A, "she agreed")
    return book


def left(book, name: str, request_id=A, model: str = MODEL, days: int = 0):
    """The folder of a run of one request that was interrupted so many days ago."""
    folder = book.home.runs / name
    (folder / "prompts").mkdir(parents=True)
    (folder / f"prompts/target-{NAME}.csv").write_text(NAME)
    request = a_request(request_id).model_dump(mode="json", by_alias=True)
    plan = {"requests": [request], "restored": [], "params": {"registered_model": model}}
    (folder / "plan.json").write_text(json.dumps(plan))
    begun = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(folder / "plan.json", (begun, begun))
    return folder


def purged(book, personal: int = 0) -> list[str]:
    """The folders that a purge says it removed."""
    lines = purge(book, MODEL, Retention(personal=personal))
    return [line.split(",")[0].removeprefix("run ") for line in lines if line.startswith("run ")]


@pytest.mark.parametrize("name", ["abc", "trial-abc"])
def test_what_names_a_purged_request_goes(book, name):
    folder = left(book, name)
    assert purged(book, personal=1) == []
    assert folder.exists()
    purged(book)
    assert not folder.exists()


def test_what_was_left_of_a_request_that_was_purged_before_goes(book):
    assert purged(book) == []
    left(book, "abc")
    assert purged(book) == ["abc"]


@pytest.mark.parametrize(("days", "gone"), [(89, []), (91, ["abc"])])
def test_what_is_old_goes_as_what_was_refused_does(book, days, gone):
    left(book, "abc", B, days=days)
    assert purged(book) == gone


HALF = [None, "", "{", "[]", '{"requests": [], "params": {}}']
KEY = "0123456789abcdef"  # as a run's folder is called


@pytest.mark.parametrize("name", [KEY, f"{KEY}-2", f"trial-{KEY}"])
@pytest.mark.parametrize("half", HALF)
def test_a_plan_that_is_half_written_keeps_nothing(book, name, half):
    plan = left(book, name, B) / "plan.json"
    plan.unlink() if half is None else plan.write_text(half)
    assert purged(book) == [name]


def test_what_is_none_of_ours_stays(book):
    """A state folder may have been somebody's working folder before."""
    theirs = [
        book.home.runs / "2026-11-29/events.out",
        book.home.runs / "17/metrics.csv",
        book.home.evaluations / "mine/0.png",
        book.home.prepared / "data.safetensors",
    ]
    own = [
        book.home.prepared / f"trajectories-{'0' * 64}.safetensors",
        book.home.prepared / f".gram-{'0' * 64}.safetensors.12345678-1-00000000",
        book.home.evaluations / f"evaluation-{KEY}/base/0.png",
    ]
    for file in (*theirs, *own):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    assert purged(book) == []
    assert [file.exists() for file in (*theirs, *own)] == [True] * len(theirs) + [False] * len(own)


def test_what_another_model_works_on_stays(book):
    add(book, [a_request(C, "dog")], "other")
    left(book, "abc", model="other", days=91)
    plan = left(book, KEY) / "plan.json"
    plan.write_text("{")
    with holding(book, "other", "releasing"):
        assert purged(book, personal=1) == []
    assert purged(book, personal=1) == [KEY]


def test_a_trial_at_work_stays(book):
    left(book, "trial-abc", B, days=91)
    with at_work(book.home, book.home.runs / "trial-abc"):
        assert purged(book, personal=1) == []
    assert purged(book, personal=1) == ["trial-abc"]


def evaluation(book, days: int = 0):
    """The folder of an evaluation that was interrupted so many days ago."""
    folder = book.home.evaluations / "evaluation-abc"
    (folder / "base").mkdir(parents=True)
    (folder / "base/0.png").write_text(NAME)
    begun = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(folder, (begun, begun))
    return folder


def test_pictures_of_an_interrupted_evaluation_go_with_any_request(book):
    """Whom they show they do not say."""
    folder = evaluation(book)
    purge(book, MODEL, Retention(personal=1))
    assert folder.exists()
    purge(book, MODEL, Retention(personal=0))
    assert not folder.exists()


@pytest.mark.parametrize(("days", "gone"), [(89, False), (91, True)])
def test_pictures_of_an_interrupted_evaluation_go_when_they_are_old(book, days, gone):
    folder = evaluation(book, days)
    said = purge(book, MODEL, Retention(personal=1))
    assert folder.exists() is not gone
    assert ("evaluation evaluation-abc, which was interrupted: pictures" in said) is gone


def test_an_evaluation_at_work_stays_and_no_request_is_purged_beside_it(book):
    folder = evaluation(book, days=91)
    with at_work(book.home, folder):
        assert purge(book, MODEL, Retention(personal=1)) == []
        with pytest.raises(ErasureError, match="another process works in"):
            purge(book, MODEL, Retention(personal=0))
    assert folder.exists()


def test_attempts_of_what_an_earlier_purge_let_go_are_asked_for_again(book, monkeypatch):
    """One that was killed after its event had not reached them."""
    asked = []
    monkeypatch.setattr(purging, "forget_attempts", lambda *given: asked.append(given[-1]) or [])
    for _ in range(2):
        purge(book, MODEL, Retention(personal=0))
    assert asked == [{str(A)}, {str(A)}]


def test_the_log_of_mlflows_pages_goes_with_a_request(book):
    """Paths of pictures that were looked at stand in it."""
    log = book.home.mlflow / "server.log"
    log.parent.mkdir()
    log.write_text(NAME)
    purge(book, MODEL, Retention(personal=0))
    assert not log.exists()


def test_what_a_version_rests_on_stays(book):
    version = released(book, [B])
    folder = left(book, version.folder, days=91)
    assert purged(book) == []
    assert folder.exists()


@pytest.mark.parametrize("trial", [{"request_id": B}, {"model": "other", "days": 91}])
def test_a_trial_of_another_request_or_model_stays(book, trial):
    folder = left(book, "trial-abc", **trial)
    assert purged(book) == []
    assert folder.exists()


def test_a_model_called_as_the_errands_are_is_purged(book):
    add(book, [a_request(C, "dog")], "outside")
    assert purge(book, "outside", Retention()) == []
