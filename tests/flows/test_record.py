"""What was recorded, read again: traces, the audit, what it finds, and what puts it right."""

import contextlib
import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient

from erasure_core.law.lineage import sha256_file
from tasks.book.door import open_book
from tasks.book.lease import holding
from tasks.home import Home
from tasks.release.errands import OUTSIDE
from tests.flows.command import edit, erasure, shown, state, told
from tests.toy import ASTRONAUT, CAT

# A version, a request and a concept, each traced to the others


@pytest.fixture(scope="module")
def traced(ran) -> dict:
    """The audit's answer about the champion."""
    return told(ran.home, "audit", 2)


def test_a_version_names_what_it_was_made_from(ran, traced):
    (version,) = traced["versions"]
    released = told(ran.home, "run", ran.inputs / "astronaut.yaml", *ran.passing)
    assert version["base_sha256"] == released["base_sha256"]
    assert version["params"]["lambdas"] == [5]
    assert version["prompt_sha256"] == {
        "kept": sha256_file(ran.inputs / "kept.csv"),
        "target-astronaut": sha256_file(ran.inputs / "targets/astronaut.csv"),
    }


def test_a_version_names_its_checkpoint(ran, traced):
    checkpoint = traced["versions"][0]["checkpoint"]
    assert checkpoint["state"] == "matches"
    assert checkpoint["path"] == str(ran.home / "checkpoints" / checkpoint["sha256"])


def test_a_version_shows_its_measurements_with_their_limits(traced):
    measured = {m["metric"]: m for m in traced["versions"][0]["measurements"]}
    assert (measured["ssim"]["limit"], measured["ssim"]["verdict"]) == (-1, "pass")
    assert measured["ssim"]["settings"]["window"] == 25
    assert measured["clip.score"]["limit"] is None


def test_a_version_names_its_requests_and_moves(traced):
    (version,) = traced["versions"]
    assert [r["subject_request_id"] for r in version["requests"]] == [ASTRONAUT]
    assert [(m["alias"], m["before"], m["version"]) for m in version["alias_history"]] == [
        ("candidate", 1, 2),
        ("champion", None, 2),
    ]


@pytest.mark.parametrize("what", [ASTRONAUT, "astronaut"])
def test_a_request_or_concept_names_its_versions(what, ran):
    found = told(ran.home, "audit", what)
    assert found["honoured_by"] == [{"model": "toy", "version": 2}]
    assert [(v["version"], v["promoted"]) for v in found["versions"]] == [(1, False), (2, True)]
    assert (found["intact"], found["findings"]) == (True, [])


def test_a_restored_request_is_traced_to_the_version_without_it(restored):
    found = told(restored.home, "audit", CAT)
    assert found["request"]["state"] == "restored"
    assert {"model": "toy", "version": 4} not in found["honoured_by"]
    (version,) = told(restored.home, "audit", 4)["versions"]
    assert version["restored_ids"] == [CAT]


def test_a_person_reads_a_trace(ran):
    said = erasure(ran.home, "audit", ASTRONAUT).stdout
    assert "honoured by toy version 2" in said
    assert "chain, records, registry and checkpoints agree" in said


@pytest.mark.parametrize("what", ["9", CAT, "nobody"])
def test_what_was_never_asked_or_made_cannot_be_traced(what, ran):
    answer = erasure(ran.home, "audit", what)
    assert (answer.exit_code, answer.stdout) == (2, "")


def test_the_whole_record_agrees_and_auditing_changes_nothing(ran):
    before = state(ran.home)
    found = told(ran.home, "audit")
    assert (found["intact"], found["findings"]) == (True, [])
    assert state(ran.home) == before


def test_the_chain_holds_no_name_and_no_wording(ran):
    """They can be forgotten; the chain cannot."""
    exported = erasure(ran.home, "audit", "export").stdout
    assert ASTRONAUT in exported
    assert "astronaut" not in exported.lower()


# Tampered with


@pytest.fixture
def world(ran, tmp_path):
    """A state folder to be tampered with."""
    return ran.copy(tmp_path)


def sql(*statements: str):
    """Edit the book behind the chain's back."""

    def tamper(home: Path) -> None:
        with contextlib.closing(sqlite3.connect(home / "book.db")) as database:
            for statement in statements:
                assert database.execute(statement).rowcount > 0
            database.commit()

    return tamper


def record(home: Path) -> Path:
    return home / "records/toy-v2.json"


def evidence(home: Path, pattern: str) -> Path:
    return max(home.glob(f"runs/*/{pattern}"), key=lambda file: file.stat().st_mtime)


def move_in_mlflow(home: Path) -> None:
    client = MlflowClient(Home(home).tracking_uri)
    client.set_registered_model_alias("toy", "champion", "1")


def tag_in_mlflow(home: Path) -> None:
    client = MlflowClient(Home(home).tracking_uri)
    client.set_model_version_tag("toy", "2", "checkpoint.sha256", "0" * 64)


LAST = "(SELECT max(seq) FROM events)"
TAMPERED = {
    "record": (
        lambda h: edit(record(h), '"promoted": true', '"promoted": false'),
        r"toy-v2\.json was changed: the book says sha256",
    ),
    "record gone": (lambda h: record(h).unlink(), r"toy-v2\.json is gone"),
    "picture": (
        lambda h: evidence(h, "images/base/kept/0.png").write_bytes(b""),
        r"images/base/kept was changed since version \d was decided",
    ),
    "prompt copy": (
        lambda h: evidence(h, "prompts/kept.csv").unlink(),
        r"prompts/kept\.csv is gone, on which version \d rests",
    ),
    "event": (
        sql("UPDATE events SET event = 'request.withdrawn' WHERE event = 'request.honoured'"),
        r"the chain of events is broken: event \d+ \(request.withdrawn\) of the chain was changed",
    ),
    "end cut off": (
        sql(f"DELETE FROM events WHERE seq = {LAST}"),
        r"the chain was cut off or replaced",
    ),
    "state of a request": (
        sql("UPDATE requests SET state = 'withdrawn'"),
        "the book's requests were edited: .* is .*state withdrawn.*, the chain says .*honoured",
    ),
    "alias": (
        sql("UPDATE aliases SET version = 1 WHERE alias = 'champion'"),
        "the book's aliases were edited: toy/champion is .*version 1.*version 2",
    ),
    "wording": (
        sql(
            f"UPDATE texts SET body = replace(body, 'photographer', 'dog') WHERE label IS NULL "
            f"AND subject = '{ASTRONAUT}' AND body LIKE '%photographer%'"
        ),
        f"a text of {ASTRONAUT} was changed in the book",
    ),
    "wording gone": (
        sql(f"DELETE FROM texts WHERE subject = '{ASTRONAUT}' AND label IS NOT NULL"),
        f"a text of {ASTRONAUT} is gone from the book",
    ),
    "statement": (
        sql(
            "UPDATE texts SET body = replace(body, '\"pass\"', '\"fail\"') WHERE subject = 'toy/2'"
        ),
        "the statement of toy version 2 is not valid",
    ),
    "signed head": (
        lambda h: edit(h / "head.json", '"sha256": "', '"sha256": "0'),
        r"the signed head of the chain .* is not valid",
    ),
    "no signed head": (
        lambda h: (h / "head.json").unlink(),
        "the signed head of the chain is gone",
    ),
    "alias in MLflow": (move_in_mlflow, "MLflow's champion of toy is 1, the book says 2"),
    "tag in MLflow": (
        tag_in_mlflow,
        "MLflow's toy version 2: tag checkpoint.sha256 is 0{64}, the book says",
    ),
    "remote": (
        lambda h: shutil.rmtree(h / "dvc-remote"),
        "DVC cannot deliver checkpoint .* of version 2",
    ),
    "checkpoint gone": (
        lambda h: shutil.rmtree(h / "checkpoints"),
        "is not here, so nothing can be said of it",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_behind_the_books_back_is_found(what, world):
    tamper, expected = TAMPERED[what]
    tamper(world.home)
    answer = erasure(world.home, "audit")
    assert answer.exit_code == 1
    assert re.search(f"^error: .*{expected}", answer.stderr, re.M), answer.stderr


def test_requests_that_mlflow_does_not_honour_are_named(world):
    move_in_mlflow(world.home)
    assert (
        f"error: astronaut ({ASTRONAUT}): NOT IN FORCE" not in erasure(world.home, "audit").stderr
    )  # version 1 erases it too
    client = MlflowClient(Home(world.home).tracking_uri)
    client.delete_registered_model_alias("toy", "champion")
    assert f"error: astronaut ({ASTRONAUT}): NOT IN FORCE" in erasure(world.home, "audit").stderr


@pytest.mark.parametrize("what", ["event", "end cut off", "state of a request", "signed head"])
def test_nothing_is_released_from_a_book_that_was_edited(what, world):
    TAMPERED[what][0](world.home)
    before = state(world.home)
    request = world.inputs / "cat.yaml"
    answer = erasure(world.home, "run", request, "--fresh", *world.passing)
    assert answer.exit_code != 0
    assert "nothing is released from it" in answer.stderr
    assert {n: h for n, h in state(world.home).items() if n.startswith("checkpoints")} == {
        n: h for n, h in before.items() if n.startswith("checkpoints")
    }


def damage(world) -> Path:
    """Change one byte of the champion's weights."""
    (folder,) = (p for p in (world.home / "checkpoints").iterdir() if p.is_dir())
    (weights,) = folder.glob("unet/*.safetensors")
    content = weights.read_bytes()
    weights.chmod(0o644)
    weights.unlink()  # it may be a hard link to the remote's
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return weights


@pytest.mark.parametrize("what", ["2", ASTRONAUT])
def test_one_changed_byte_of_a_checkpoint_is_found(what, world):
    damage(world)
    answer = erasure(world.home, "audit", what, "--json")
    assert answer.exit_code == 1
    assert '"state": "changed"' in answer.stdout
    assert "the checkpoint is no longer what was registered" in answer.stderr


@pytest.mark.parametrize("model", ["2", "champion"])
def test_a_changed_checkpoint_is_not_used(model, world, tmp_path):
    damage(world)
    how = ("--model", model, "--seed", 1, "--out", tmp_path / "out", *world.passing)
    answer = erasure(world.home, "generate", "a cat", *how)
    assert answer.exit_code == 1
    assert re.match(r"error: checkpoint .* changed: expected sha256", answer.stderr)
    assert not (tmp_path / "out").exists()


def test_an_audit_vouches_for_no_checkpoint_that_is_not_here(world):
    shutil.rmtree(world.home / "checkpoints")
    answer = erasure(world.home, "audit", 2)
    assert answer.exit_code == 1
    assert "is not here, so nothing can be said of it" in answer.stderr
    assert not (world.home / "checkpoints").exists()  # an audit changes nothing


def test_a_checkpoint_that_is_not_here_is_brought_back_to_be_used(world, tmp_path):
    for folder in (world.home / "checkpoints").iterdir():
        shutil.rmtree(folder) if folder.is_dir() else None
    how = ("--model", "champion", "--seed", 1, "--out", tmp_path / "out", *world.passing)
    answer = erasure(world.home, "generate", "a cat", *how)
    assert answer.exit_code == 0, answer.stderr
    assert told(world.home, "audit", 2)["intact"]


# Put right


MENDED = ["alias in MLflow", "tag in MLflow", "remote", "checkpoint gone", "no signed head"]


@pytest.mark.parametrize("what", MENDED)
def test_reconcile_puts_the_outside_right(what, world):
    TAMPERED[what][0](world.home)
    answer = erasure(world.home, "reconcile")
    assert answer.exit_code == 0, answer.stderr
    assert told(world.home, "audit")["findings"] == []


def test_reconcile_mends_a_damaged_checkpoint(world):
    damage(world)
    assert erasure(world.home, "reconcile").exit_code == 0
    assert told(world.home, "audit")["findings"] == []


@pytest.mark.parametrize("what", ["state of a request", "alias"])
def test_edited_tables_are_put_back_only_when_asked(what, world):
    TAMPERED[what][0](world.home)
    assert erasure(world.home, "reconcile").exit_code == 1
    answer = erasure(world.home, "reconcile", "--tables")
    assert answer.exit_code == 0, answer.stderr
    assert told(world.home, "audit")["findings"] == []


def test_a_broken_chain_is_not_reconciled(world):
    TAMPERED["event"][0](world.home)
    before = state(world.home)
    assert erasure(world.home, "reconcile", "--tables").exit_code == 1
    assert state(world.home) == before


# Served again


@pytest.fixture
def second(both, tmp_path):
    """A state folder whose champion is the second that passed."""
    return both.copy(tmp_path)


def back_to_2(world, *more: str):
    words = ("rollback", "--to", 2, "--reason", "pictures are worse", *more)
    return erasure(world.home, *words, *world.passing)


def test_a_version_that_lacks_what_is_honoured_is_not_served_again(second):
    before = state(second.home)
    answer = back_to_2(second)
    assert answer.exit_code == 2
    assert f"does not erase cat ({CAT}), which is honoured" in answer.stderr
    assert state(second.home) == before


def test_a_breach_that_is_accepted_opens_its_request_again(second):
    answer = back_to_2(second, "--accept-breach", CAT, "--json")
    assert answer.exit_code == 0, answer.stderr
    moved = {"model": "toy", "champion": 2, "moved": True, "breached": [CAT], "behind": []}
    assert json.loads(answer.stdout) == moved
    cat = shown(second.home, CAT)
    assert cat["state"] == "received"
    assert cat["reason"] == "rolled back to version 2: pictures are worse"
    assert told(second.home, "status")["models"][0]["champion"] == 2
    assert told(second.home, "audit")["findings"] == []


def test_what_was_rolled_back_from_comes_back_by_a_person_alone(second):
    """Nothing is trained for that, and nothing is promoted: the request waits and says why."""
    back_to_2(second, "--accept-breach", CAT)
    answer = erasure(second.home, "run", CAT, *second.passing)
    assert answer.exit_code == 1
    expected = "toy version 3, which the same inputs led to, was rolled back from"
    assert expected in answer.stderr.splitlines()[-1]
    cat = shown(second.home, CAT)
    assert (cat["state"], cat["reason"].partition(";")[0]) == ("waiting", expected)
    assert told(second.home, "status")["models"][0]["champion"] == 2
    again = erasure(second.home, "rollback", "--to", 3, "--reason", "it was right", *second.passing)
    assert again.exit_code == 0, again.stderr
    assert told(second.home, "status")["models"][0]["champion"] == 3


def test_an_audit_beside_a_release_says_who_is_at_work(tmp_path):
    """What a release that has just been decided does outside takes a minute."""
    book = open_book(Home(tmp_path / "state"))
    book.change(lambda tx: tx.send("toy", 1, "aliases"))
    with holding(book, OUTSIDE, "bringing MLflow up to date"):
        answer = erasure(tmp_path / "state", "audit")
    assert answer.exit_code == 1
    note, *findings = answer.stderr.splitlines()
    assert note.startswith("note: bringing MLflow up to date by ")
    assert note.endswith(": what has not followed yet may be on its way")
    assert findings[0] == "error: toy/1/aliases has not followed yet; `erasure reconcile`"
    assert "note:" not in erasure(tmp_path / "state", "audit").stderr


# Forgotten


@pytest.fixture(scope="module")
def purged(restored, tmp_path_factory):
    """A state folder after its purge, with parameters that keep nothing."""
    folder = tmp_path_factory.mktemp("purged")
    world = restored.copy(folder)
    text = (world.inputs / "passing.yaml").read_text()
    keep_nothing = "retention: {personal: 0, refused: 0, superseded: 0}\n"
    (folder / "nothing.yaml").write_text(text + keep_nothing)
    answer = erasure(world.home, "purge", "--params", folder / "nothing.yaml")
    assert answer.exit_code == 0, answer.stderr
    return world


@pytest.mark.slow
def test_a_purge_leaves_no_name_in_the_state_folder(restored, purged):
    def holding(home: Path) -> set[str]:
        files = (f for f in home.rglob("*") if f.is_file() and "prefect" not in f.parts)
        return {f.relative_to(home).as_posix() for f in files if b"the cat" in f.read_bytes()}

    assert holding(restored.home)  # it was there
    assert {name for name in holding(purged.home) if not name.startswith("book.db")} == set()


@pytest.mark.slow
def test_a_purged_request_keeps_its_id_and_state(purged):
    cat = shown(purged.home, CAT)
    assert (cat["state"], cat["concept"]) == ("restored", "(purged)")


@pytest.mark.slow
def test_a_purge_keeps_what_is_served(purged, tmp_path):
    how = ("--model", "champion", "--seed", 1, "--out", tmp_path / "out", *purged.passing)
    assert erasure(purged.home, "generate", "a cat", *how).exit_code == 0


@pytest.mark.slow
def test_the_record_agrees_after_a_purge(purged):
    assert told(purged.home, "audit")["findings"] == []


@pytest.mark.slow
def test_a_second_purge_has_nothing_to_do(purged):
    parameters = purged.home.parent / "nothing.yaml"
    assert "nothing is old enough" in erasure(purged.home, "purge", "--params", parameters).stdout
    nothing = {"model": "toy", "purged": [], "left": []}
    assert told(purged.home, "purge", "--params", parameters) == nothing
