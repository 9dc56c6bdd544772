"""A state folder of 0.1.0, made by its own command line (tests/fixtures/README.md), is taken over:
nothing is lost, and what it said in error is due again.
"""

import json
import os
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest

from erasure_core.errors import ErasureError
from erasure_core.law.lineage import sha256_file
from erasure_core.planning.params import Retention
from tasks.book import database, takeover
from tasks.book.door import faults_of_chain, open_book
from tasks.book.lease import holding
from tasks.book.store import Book
from tasks.book.texts import faults_of_texts
from tasks.home import Home
from tasks.release import purge as purging
from tasks.release.audit import audit
from tasks.release.errands import _run
from tasks.release.reconcile import reconcile
from tasks.release.trace import shown_request
from tasks.requests.steps import withdraw
from tests.toy import ASTRONAUT, CAT

FIXTURE = Path(__file__).parents[1] / "fixtures" / "state-0.1.0.tar.xz"


def unpacked(folder: Path) -> Home:
    """The state folder; beside it the base that its records name, relative to `folder`."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return Home(folder / "state")


def files(home: Home) -> dict[str, str]:
    found = (f for f in home.root.rglob("*") if f.is_file())
    return {f.relative_to(home.root).as_posix(): sha256_file(f) for f in found}


@pytest.fixture
def old(tmp_path) -> Home:
    return unpacked(tmp_path)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """The book of an old state folder after its first commands, in the folder it lies in."""
    folder = tmp_path_factory.mktemp("taken")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "ERASURE_DVC_REMOTE", "ERASURE_DATABASE_URL"):
            patch.delenv(name, raising=False)
        home = unpacked(folder)
        patch.setenv("ERASURE_HOME", str(home.root))
        before = dict(os.environ)
        home.prepare_environment()
        book = open_book(home)
        yield SimpleNamespace(book=book, home=home, left=reconcile(book))
        os.environ.clear()
        os.environ.update(before)


def history(book, request_id: str) -> list[tuple[str, str]]:
    entry = book.ask(lambda reader: reader.request(request_id))
    steps = shown_request(book, entry)["history"]
    return [(step["state"], step["time"]) for step in steps]


def logged(home: Home, event: str) -> list[dict]:
    entries = map(json.loads, (home.root / "taken-over/audit.jsonl").read_text().splitlines())
    return [entry for entry in entries if entry["event"] == event]


# --- nothing is lost


def test_the_champion_is_the_same(taken):
    assert taken.book.ask(lambda reader: reader.aliases("toy")) == {"candidate": 2, "champion": 2}


def test_every_request_is_there_as_it_was_asked(taken):
    kept = taken.home.root / "taken-over/requests"
    for request_id in (ASTRONAUT, CAT):
        asked = json.loads((kept / f"{request_id}.json").read_text())["request"]
        known = taken.book.ask(lambda reader, i=request_id: reader.request(i)).known
        assert known.model_dump(mode="json") == asked


def test_what_was_honoured_is_honoured(taken):
    row = taken.book.ask(lambda reader: reader.request(CAT)).row
    assert (row.state, row.version, row.model) == ("honoured", 2, "toy")


def test_what_a_gate_refused_is_still_due(taken):
    entry = taken.book.ask(lambda reader: reader.request(ASTRONAUT))
    assert (entry.row.state, entry.row.version) == ("attempt_failed", 1)
    assert entry.reason.startswith("gate void")


def test_steps_keep_the_times_of_the_old_ledger(taken):
    old = json.loads((taken.home.root / f"taken-over/requests/{CAT}.json").read_text())["history"]
    added, _, honoured = history(taken.book, CAT)
    to_the_millisecond = [f"{step['time'][:23]}Z" for step in old]
    assert [added[1], honoured[1]] == to_the_millisecond


def test_moves_of_aliases_keep_the_times_of_the_old_log(taken):
    def moves(reader):
        found = [e for e in reader.events() if e.event == "alias.moved"]
        return [(e.facts["alias"], e.facts["version"], e.facts["at"]) for e in found]

    old = [(e["facts"], e["time"]) for e in logged(taken.home, "alias.moved")]
    assert taken.book.ask(moves) == [(f["alias"], f["version"], time) for f, time in old]


def test_versions_rest_on_what_they_rested_on(taken):
    for entry, number in ((*logged(taken.home, "version.refused"), 1),
                          (*logged(taken.home, "version.promoted"), 2)):  # fmt: skip
        row = taken.book.ask(lambda reader, n=number: reader.version("toy", n))
        assert (row.checkpoint, row.base) == (
            entry["facts"]["checkpoint_sha256"], entry["facts"]["base_sha256"]
        )  # fmt: skip


def test_the_chain_names_the_end_of_the_old_log(taken):
    opened = taken.book.ask(lambda reader: next(reader.events()))
    last = json.loads((taken.home.root / "taken-over/audit.jsonl").read_text().splitlines()[-1])
    assert opened.facts["taken_over"] == {"entries": last["seq"], "head": last["sha256"]}


# --- everything outside follows


def test_reconcile_leaves_nothing_behind(taken):
    assert taken.left == []


def test_the_audit_finds_nothing(taken):
    assert list(audit(taken.book)) == []


def test_what_0_1_registered_keeps_another_name(taken):
    from mlflow import MlflowClient

    client = MlflowClient(taken.home.tracking_uri, registry_uri=taken.home.tracking_uri)
    old = client.search_model_versions("name = 'toy-0.1'")
    assert sorted(int(version.version) for version in old) == [1, 2]


def test_a_second_first_errand_leaves_our_versions(taken):
    from tasks.registry.versions import set_aside, version_numbers

    set_aside(taken.home, "toy")
    assert version_numbers(taken.home, taken.book.identity(), "toy") == [1, 2]


def test_the_champion_loads_by_its_name(taken):
    import mlflow

    mlflow.set_registry_uri(taken.home.tracking_uri)
    mlflow.set_tracking_uri(taken.home.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/toy@champion")
    assert model.predict(["a photo of a rocket"]).shape == (1, 32, 32, 3)


@pytest.mark.parametrize("what", ["cut", "edited", "gone"])
def test_the_old_log_is_the_one_that_was_taken_over(taken, what):
    log = taken.home.root / "taken-over/audit.jsonl"
    before = log.read_text()
    lines = before.splitlines(keepends=True)
    assert list(takeover.faults_of_log(taken.book)) == []
    try:
        if what == "gone":
            log.unlink()
        else:
            log.write_text("".join(lines[:-1]) if what == "cut" else before.replace("toy", "TOY"))
        (finding,) = takeover.faults_of_log(taken.book)
    finally:
        log.write_text(before)
    assert "restore it from a copy" in finding


# --- what is broken, or half done


def test_a_broken_log_is_refused_and_nothing_changes(old):
    lines = (old.root / "audit.jsonl").read_text().splitlines(keepends=True)
    (old.root / "audit.jsonl").write_text("".join([*lines[:2], *lines[3:]]))
    before = files(old)
    with pytest.raises(ErasureError, match=r"audit\.jsonl: line 3 is broken"):
        open_book(old)
    with pytest.raises(ErasureError, match=r"audit\.jsonl: line 3 is broken"):
        open_book(old, make=False)
    assert {k: v for k, v in files(old).items() if not k.startswith("book.db")} == before


def test_a_broken_log_leaves_an_empty_book(old):
    (old.root / "audit.jsonl").write_text(
        (old.root / "audit.jsonl").read_text().replace('"version":2', '"version":1', 1)
    )
    with pytest.raises(ErasureError, match="is broken"):
        open_book(old)
    book = Book(old, database.connect(old, make=False))
    assert book.ask(lambda reader: reader.head()) is None


def test_an_old_request_that_is_unreadable_is_refused(old):
    (old.root / f"requests/{CAT}.json").write_text("{")
    with pytest.raises(ErasureError, match=rf"{CAT}\.json is not a request of 0\.1"):
        open_book(old)


def test_a_kill_before_the_old_files_are_put_aside_is_finished(old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(takeover, "put_aside", lambda home: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_book(old)
    assert (old.root / "audit.jsonl").exists()
    head = open_book(old).ask(lambda reader: reader.head())
    assert not (old.root / "audit.jsonl").exists()
    assert sorted(p.name for p in (old.root / "taken-over").iterdir()) == [
        "audit.jsonl",
        "requests",
    ]
    assert open_book(old).ask(lambda reader: reader.head()) == head


def test_a_kill_before_the_commit_begins_anew(old, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(takeover, "_lived", killed)
        with pytest.raises(KeyboardInterrupt):
            open_book(old)
    book = open_book(old)
    assert list(faults_of_chain(book)) == []
    assert book.ask(lambda reader: reader.counts()) == {"honoured": 1, "attempt_failed": 1}


def test_what_was_called_honoured_in_error_is_due_again(old):
    """0.1 could say so of two runs at once: the champion erases only the second's."""
    file = old.root / f"requests/{ASTRONAUT}.json"
    entry = json.loads(file.read_text())
    entry["state"] = entry["history"][-1]["state"] = "honoured"
    file.write_text(json.dumps(entry))
    book = open_book(old)
    found = book.ask(lambda reader: reader.request(UUID(ASTRONAUT)))
    assert (found.row.state, found.row.version) == ("received", None)
    assert "the champion does not erase it" in found.reason
    assert [state for state, _ in history(book, ASTRONAUT)][-2:] == ["honoured", "received"]


def test_what_was_called_restored_in_error_is_honoured(old):
    """A kill came before the champion without it: the one that erases it is still served."""
    file = old.root / f"requests/{CAT}.json"
    entry = json.loads(file.read_text())
    last = entry["history"][-1]
    entry["history"].append({**last, "state": "restored", "version": 3, "reason": "asked"})
    file.write_text(json.dumps({**entry, "state": "restored"}))
    found = open_book(old).ask(lambda reader: reader.request(UUID(CAT)))
    assert (found.row.state, found.row.version) == ("honoured", 2)
    assert "the champion erases it" in found.reason


def test_who_asked_for_the_same_is_honoured_with_the_first(old):
    """0.1 refused the second, and asked one of them to withdraw."""
    entry = json.loads((old.root / f"requests/{CAT}.json").read_text())
    second = str(UUID(int=2))
    entry["request"]["subject_request_id"] = second
    first, *_ = entry["history"]
    refused = {**first, "state": "refused", "reason": "withdraw one of them"}
    text = json.dumps({**entry, "state": "refused", "history": [first, refused]})
    (old.root / f"requests/{second}.json").write_text(text)
    found = open_book(old).ask(lambda reader: reader.request(UUID(second)).row)
    assert (found.state, found.duplicate_of, found.version) == ("honoured", CAT, 2)


def test_a_missing_first_version_stops_nothing(old):
    """A kill of 0.1 left a number of MLflow's without a record."""
    (old.root / "records/toy-v1.json").unlink()
    book = open_book(old)
    sent = book.ask(lambda reader: reader.waiting_outside())
    assert [row["version"] for row in sent if row["kind"] == "set aside"] == [2]
    book.change(lambda tx: tx.send("toy", 1, "set aside"))
    row = book.ask(lambda reader: reader.waiting_outside())[-1]
    assert "has no version 1" in _run(book, {**row, "version": 1})
    assert book.ask(lambda reader: reader.version_before("toy", 2)) == 0


def test_a_reason_that_no_step_keeps_is_not_kept_either(old):
    file = old.root / f"requests/{CAT}.json"
    entry = json.loads(file.read_text())
    entry["history"][-1]["reason"] = "the gate passed"
    file.write_text(json.dumps(entry))
    with open_book(old).read() as reader:
        assert list(faults_of_texts(reader.events(), reader.all_texts())) == []


def test_a_working_folder_keeps_its_requests(tmp_path):
    """The state folder may be the working folder, where `request new` writes."""
    home, ours = Home(tmp_path), ("coffee.yaml", "coffee.png", "notes.json", f"{CAT}.json")
    (tmp_path / "requests").mkdir()
    for name in ours:
        (tmp_path / "requests" / name).write_text("{}")
    for _ in range(3):
        open_book(home)
    assert sorted(f.name for f in (tmp_path / "requests").iterdir()) == sorted(ours)
    assert not (tmp_path / "taken-over").exists()


def test_a_working_folder_of_0_1_keeps_its_requests_too(old):
    (old.root / "requests/coffee.yaml").write_text("concept: coffee")
    for _ in range(3):
        open_book(old)
    assert [f.name for f in (old.root / "requests").iterdir()] == ["coffee.yaml"]
    assert not any("coffee" in name for name in files(old) if name.startswith("taken-over"))


def test_what_comes_later_does_not_replace_what_was_put_aside(old):
    open_book(old)
    before = (old.root / "taken-over/audit.jsonl").read_bytes()
    (old.root / "audit.jsonl").write_text("another")
    open_book(old)
    assert (old.root / "taken-over/audit.jsonl").read_bytes() == before


def test_a_log_beside_a_book_of_its_own_stays_where_it_is(tmp_path):
    open_book(Home(tmp_path))
    (tmp_path / "audit.jsonl").write_text("exported")
    open_book(Home(tmp_path))
    assert (tmp_path / "audit.jsonl").read_text() == "exported"


def test_a_purge_writes_no_run_anew_that_0_1_made(old):
    """Its plan cannot be read any more; what it shows goes with its version."""
    book = open_book(old)
    withdraw(book, UUID(ASTRONAUT), "a mistake")
    book.change(lambda tx: [tx.note_errand(r["id"], done="x") for r in tx.waiting_outside()])
    nothing = Retention(personal=0, refused=0, superseded=0)
    with holding(book, "toy", "purging") as held:
        later = datetime.now(UTC) + timedelta(days=1)
        assert purging._purge_request(book, held, purging._Due(nothing, later), ASTRONAUT)
    left = book.ask(lambda reader: [row["key"] for row in reader.waiting_outside()])
    assert left == ["toy/1/mlflow version"]


def test_a_purge_reaches_what_was_put_aside(old):
    book = open_book(old)
    kept = old.root / "taken-over"
    book.change(lambda tx: tx.append("request.purged", id=CAT, texts=[]))
    takeover.forget_taken_over(book)
    assert sorted(f.stem for f in (kept / "requests").iterdir()) == [ASTRONAUT]
    assert (kept / "audit.jsonl").exists()  # it speaks of the astronaut too
    book.change(lambda tx: tx.append("request.purged", id=ASTRONAUT, texts=[]))
    takeover.forget_taken_over(book)
    assert not [f for f in kept.rglob("*") if f.is_file()]
