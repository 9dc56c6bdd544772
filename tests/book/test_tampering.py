"""Whatever is edited, deleted, cut off, put in another order or swapped, the audit finds it; what
follows from the book `reconcile` puts back.
"""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tasks.book import schema
from tasks.book.door import faults_of_chain
from tasks.release.audit import audit
from tasks.release.reconcile import reconcile
from tests.book.conftest import Shell
from tests.marks import slow

Tamper = Callable[[Path], None]


def findings(state: Shell) -> list[str]:
    return list(audit(state.book))


def sql(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0, statement


def in_book(*statements: str) -> Tamper:
    return lambda home: sql(home / "book.db", *statements)


def in_mlflow(*statements: str) -> Tamper:
    return lambda home: sql(home / "mlflow.db", *statements)


# --- the book's own tables


def edit(table: str, column: str) -> Tamper:
    """Another value of the same kind in one row."""
    kind = schema.metadata.tables[table].columns[column].type.python_type
    if kind is bool:
        value = f"1 - {column}"
    elif kind is int:
        value = f"coalesce({column}, 0) + 1000"
    elif kind is str:
        value = f"coalesce(substr({column}, 2), '') || 'x'"
    else:
        value = "'[\"somebody else''s\"]'"
    first = f"SELECT min(rowid) FROM {table}"
    return in_book(f"UPDATE {table} SET {column} = {value} WHERE rowid = ({first})")


def swap(table: str, column: str) -> Tamper:
    """The first and the last row change what they hold in one column."""

    def tamper(home: Path) -> None:
        with closing(sqlite3.connect(home / "book.db")) as connection, connection:
            query = f"SELECT rowid, {column} FROM {table} ORDER BY rowid"
            rows = connection.execute(query).fetchall()
            (first, a), (last, b) = rows[0], rows[-1]
            assert a != b
            for row, value in ((first, b), (last, a)):
                change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                connection.execute(change, (value, row))

    return tamper


FOLDED = sorted(schema.FOLDED)
HASHED = ("time", "event", "actor", "facts", "previous", "sha256")
ROWS = {
    f"{table}: {column.name} edited": edit(table, column.name)
    for table in FOLDED
    for column in schema.FOLDED[table].columns
} | {f"events: {column} edited": edit("events", column) for column in ("seq", *HASHED)}
ROWS |= {
    "events: facts are no JSON": in_book("UPDATE events SET facts = '{' WHERE seq = 3"),
    "events: facts cut off": in_book("UPDATE events SET facts = substr(facts, 1, 9) WHERE seq = 3"),
    "events: the last one's facts are no JSON": in_book(
        "UPDATE events SET facts = '{' WHERE seq = (SELECT max(seq) FROM events)"
    ),
    "events: facts are a list": in_book("UPDATE events SET facts = '[1]' WHERE seq = 3"),
    "events: one in the middle deleted": in_book("DELETE FROM events WHERE seq = 3"),
    "events: the first deleted": in_book("DELETE FROM events WHERE seq = 1"),
    "events: the last deleted": in_book("DELETE FROM events ORDER BY seq DESC LIMIT 1"),
    "events: all deleted": in_book("DELETE FROM events"),
    "events: two swapped": in_book(
        "UPDATE events SET seq = -1 WHERE seq = 3",
        "UPDATE events SET seq = 3 WHERE seq = 4",
        "UPDATE events SET seq = 4 WHERE seq = -1",
    ),
    "events: contents swapped": swap("events", "facts"),
    "events: put in another order": in_book(
        "UPDATE events SET seq = -seq", "UPDATE events SET seq = seq + 100"
    ),
    "texts: edited": in_book("UPDATE texts SET body = body || ' '"),
    "texts: salt edited": in_book("UPDATE texts SET salt = salt || '0'"),
    "texts: salt and text parted elsewhere": in_book(
        "UPDATE texts SET salt = salt || substr(body, 1, 19), body = substr(body, 20)"
    ),
    "texts: cut off": in_book("UPDATE texts SET body = substr(body, 1, 5)"),
    "texts: one deleted": in_book("DELETE FROM texts WHERE rowid = 1"),
    "texts: all deleted": in_book("DELETE FROM texts"),
    "texts: swapped": swap("texts", "body"),
} | {f"{table}: all deleted": in_book(f"DELETE FROM {table}") for table in FOLDED}
ROWS |= {
    "requests: one deleted": in_book("DELETE FROM requests WHERE rowid = 1"),
    "requests: states swapped": swap("requests", "state"),
    "versions: one deleted": in_book("DELETE FROM versions WHERE version = 2"),
    "versions: checkpoints swapped": swap("versions", "checkpoint"),
    "versions: requests are no JSON": in_book("UPDATE versions SET requests = 'x'"),
    "proposals: approvals are no JSON": in_book("UPDATE proposals SET approved_by = 'x'"),
    "versions: requests in another order": in_book(
        'UPDATE versions SET requests = \'["00000000-0000-0000-0000-00000000000c",'
        ' "00000000-0000-0000-0000-00000000000a"]\' WHERE version = 2'
    ),
    "aliases: one added": in_book("INSERT INTO aliases VALUES ('toy', 'prod', 2)"),
}


TEXTS = [place for place in ROWS if place.startswith("texts")]


@pytest.mark.parametrize("place", [place for place in ROWS if place not in TEXTS])
def test_a_change_in_the_book_is_found(state, place):
    book = state.book  # one that has no event left is not even opened
    ROWS[place](state.home)
    assert list(faults_of_chain(book))


@pytest.mark.parametrize("place", TEXTS)
def test_a_change_in_a_text_is_found(state, place):
    ROWS[place](state.home)
    assert findings(state)


@pytest.mark.parametrize("column", ["model", "version", "verdict", "checkpoint", "folder"])
def test_the_audit_goes_on_behind_what_breaks_it(state, column):
    """A version that no longer makes sense hides nothing else."""
    ROWS[f"versions: {column} edited"](state.home)
    (state.home / "records/toy-v2.json").unlink()
    found = findings(state)
    assert any("the book's versions were edited" in finding for finding in found)
    assert any("toy-v2.json is gone" in finding for finding in found)


OF_A_REPORT = "WHERE kind = 'report' AND version = 1"
OUTBOX = {f"{column} edited": edit("outbox", column) for column in ("key", "model", "version")} | {
    "kind edited": edit("outbox", "kind"),
    "report taken out": in_book(f"DELETE FROM outbox {OF_A_REPORT}"),
    "report without its hash": in_book(f"UPDATE outbox SET result = NULL {OF_A_REPORT}"),
    "report with another hash": in_book(f"UPDATE outbox SET result = 'x' {OF_A_REPORT}"),
    "run taken out": in_book("DELETE FROM outbox WHERE kind = 'mlflow run'"),
    "run that is not named": in_book("UPDATE outbox SET result = NULL WHERE kind = 'mlflow run'"),
}


@pytest.mark.parametrize("place", OUTBOX)
def test_a_change_in_what_follows_outside_is_found_and_put_back(state, place):
    """A page that was changed with it would pass for the one that was written."""
    OUTBOX[place](state.home)
    assert findings(state)
    if place in ("kind edited", "report without its hash", "run taken out"):
        assert reconcile(state.book, tables=True) == []
        assert findings(state) == []


# --- files


def edited(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    rewritten(file, bytes(content))


def cut(file: Path) -> None:
    rewritten(file, file.read_bytes()[:-3])  # more than a line's end, which says nothing


def deleted(file: Path) -> None:
    file.unlink()


def reordered(file: Path) -> None:
    content = file.read_bytes()
    rewritten(file, content[::-1])


def swapped(file: Path) -> None:
    """With another file of its kind."""
    other = next(f for f in _alike(file) if f.read_bytes() != file.read_bytes())
    mine, theirs = file.read_bytes(), other.read_bytes()
    rewritten(file, theirs)
    rewritten(other, mine)


def _alike(file: Path) -> list[Path]:
    root = next(parent for parent in file.parents if parent.name == "state")
    return [f for f in sorted(root.rglob(f"*{file.suffix}")) if f.is_file() and f != file]


def rewritten(file: Path, content: bytes) -> None:
    """In the file itself: released files are links, read-only."""
    file.chmod(0o644)
    file.write_bytes(content)


KINDS = (edited, cut, deleted, reordered, swapped)
FILES = {  # the first file that matches is tampered with
    "head": "head.json",
    "record of the champion": "records/toy-v1.json",
    "record of the refused": "records/toy-v2.json",
    "delta": "runs/*/deltas/*.safetensors",
    "plan": "runs/*/plan.json",
    "kept prompts": "runs/*/prompts/kept.csv",
    "target prompts": "runs/*/prompts/target-*.csv",
    "report": "runs/*/report.html",
    "manifest of the base": "snapshots/*/manifest.json",
    "picture of the base": "runs/*/images/base/kept/1.png",
    "picture of a candidate": "runs/*/images/default-lambda=5/*/1.png",
    "weights of the checkpoint": "checkpoints/*/unet/*.safetensors",
    "configuration of the checkpoint": "checkpoints/*/model_index.json",
    "delta of the checkpoint": "checkpoints/*/delta.safetensors",
    "pointer of the checkpoint": "checkpoints/*.dvc",
    "object of the remote": "dvc-remote/files/md5/*/*",
    "listing of the remote": "dvc-remote/files/md5/*/*.dir",
    "trusted key": "keys/trusted/*.pub",
    "signing key": "keys/signing.pem",
    "MLflow's script": "mlartifacts/models/*/artifacts/serve_model.py",
    "MLflow's description": "mlartifacts/models/*/artifacts/MLmodel",
    "MLflow's statement": "mlartifacts/models/*/artifacts/artifacts/statement.json",
    "MLflow's pointer": "mlartifacts/models/*/artifacts/artifacts/checkpoint.dvc",
    "MLflow's requirements": "mlartifacts/models/*/artifacts/requirements.txt",
}
ALONE = {"head", "listing of the remote", "trusted key", "signing key", "object of the remote",
         "pointer of the checkpoint", "MLflow's script", "MLflow's requirements",
         "MLflow's pointer"}  # fmt: skip
CASES = [
    (place, kind)
    for place in FILES
    for kind in KINDS
    # there is none of its kind, or it is the same; a key that is kept elsewhere is no damage
    if not (kind is swapped and place in ALONE) and (place, kind) != ("signing key", deleted)
]
# every place once, every kind several times; all of them with `make test-slow`
FEW = [
    (place, next(k for k in KINDS[i % len(KINDS) :] + KINDS if (place, k) in CASES))
    for i, place in enumerate(FILES)
]


def few_first(cases: list, few: list) -> list:
    """`cases`, those that are not among `few` for `make test-slow`."""
    return [case if case in few else slow(case) for case in cases]


def tampered_file(state: Shell, place: str) -> Path:
    return next(f for f in sorted(state.home.glob(FILES[place])) if f.is_file())


@pytest.mark.parametrize(
    ("place", "kind"), few_first(CASES, FEW), ids=lambda v: getattr(v, "__name__", v)
)
def test_a_change_in_a_file_is_found(state, place, kind):
    kind(tampered_file(state, place))
    assert findings(state)


ADDED = {
    "beside the checkpoint's files": "checkpoints/*/unet",
    "among the pictures": "runs/*/images/base/kept",
    "beside MLflow's script": "mlartifacts/models/*/artifacts",
}


@pytest.mark.parametrize("place", ADDED)
def test_a_file_that_was_added_is_found(state, place):
    folder = next(f for f in sorted(state.home.glob(ADDED[place])) if f.is_dir())
    (folder / "added.py").write_text("print('run me')")
    assert findings(state)


# --- MLflow's rows

VERSION = "name = 'toy' AND version = 1"
MLFLOW = {
    "champion moved to the refused": in_mlflow(
        "UPDATE registered_model_aliases SET version = 2 WHERE alias = 'champion'"
    ),
    "champion deleted": in_mlflow("DELETE FROM registered_model_aliases WHERE alias = 'champion'"),
    "candidate moved": in_mlflow(
        "UPDATE registered_model_aliases SET version = 1 WHERE alias = 'candidate'"
    ),
    "tag edited": in_mlflow(
        f"UPDATE model_version_tags SET value = 'pass' WHERE {VERSION} AND key = 'base.sha256'"
    ),
    "tag that leads elsewhere": in_mlflow(
        "UPDATE model_version_tags SET value = '../../elsewhere/' || value "
        f"WHERE {VERSION} AND key = 'checkpoint.sha256'"
    ),
    "tag deleted": in_mlflow(
        f"DELETE FROM model_version_tags WHERE {VERSION} AND key = 'gate.verdict'"
    ),
    "tag added": in_mlflow(
        "INSERT INTO model_version_tags (name, version, key, value, workspace) "
        "SELECT name, version, 'approved', 'yes', workspace FROM model_versions "
        f"WHERE {VERSION}"
    ),
    "description edited": in_mlflow(
        "UPDATE model_versions SET description = 'promoted' WHERE name = 'toy' AND version = 2"
    ),
    "files that lie elsewhere": in_mlflow(
        "UPDATE model_versions SET source = source || '/../elsewhere', "
        f"storage_location = storage_location || '/../elsewhere' WHERE {VERSION}"
    ),
    "files that are said to lie elsewhere": in_mlflow(
        f"UPDATE model_versions SET source = source || '/../elsewhere' WHERE {VERSION}"
    ),
    "files of the other version": in_mlflow(
        "UPDATE model_versions SET (source, storage_location) = "
        "(SELECT source, storage_location FROM model_versions WHERE name = 'toy' AND version = 2) "
        f"WHERE {VERSION}"
    ),
    "note of a run edited": in_mlflow(
        "UPDATE tags SET value = 'all is well' WHERE key = 'mlflow.note.content'"
    ),
    "verdict of a run edited": in_mlflow(
        "UPDATE tags SET value = 'pass' WHERE key = 'gate.verdict' AND value != 'pass'"
    ),
    "runs deleted": in_mlflow("UPDATE runs SET lifecycle_stage = 'deleted'"),
    "run that seems to run": in_mlflow("UPDATE runs SET status = 'RUNNING'"),
}


@pytest.mark.parametrize("place", MLFLOW)
def test_a_change_in_mlflow_is_found(state, place):
    MLFLOW[place](state.home)
    found = findings(state)
    assert found
    assert [line for line in found if "\n" in line] == []


def client(state: Shell):
    from mlflow import MlflowClient

    uri = state.book.home.tracking_uri
    return MlflowClient(uri, registry_uri=uri)


BY_ITS_API = {
    "version deleted": lambda c: c.delete_model_version("toy", "2"),
    "model deleted": lambda c: c.delete_registered_model("toy"),
    "model renamed": lambda c: c.rename_registered_model("toy", "other"),
    "version added": lambda c: c.create_model_version(
        "toy", c.get_model_version("toy", "1").source
    ),
}


@pytest.mark.parametrize("place", BY_ITS_API)
def test_what_mlflow_lacks_or_has_too_much_is_found(state, place):
    BY_ITS_API[place](client(state))
    assert findings(state)


def test_a_version_of_another_book_is_no_damage_to_ours(state):
    """Where two state folders have one MLflow, and one name for what they register."""
    for tag in ("erasure.book", "erasure.key"):
        client(state).set_model_version_tag("toy", "1", tag, "0" * 16)
    (said,) = [line for line in findings(state) if "version 1" in line]
    assert said.startswith("MLflow's toy version 1 belongs to another book (0000000000000000); ")
    assert "delete" not in " ".join(reconcile(state.book))


SPOILT = {
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_bytes(b"no database" * 1000),
    "without a table": lambda file: sql(file, "DROP TABLE model_versions"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_an_mlflow_whose_file_is_spoilt_is_a_finding(state, how):
    SPOILT[how](state.home / "mlflow.db")
    found = findings(state)
    assert found
    assert all("SELECT" not in line and line.isprintable() for line in found)


def test_what_mlflow_cannot_be_asked_is_left_by_reconcile_with_what_to_do(state):
    SPOILT["no database"](state.home / "mlflow.db")
    left = reconcile(state.book)
    assert left
    assert all("move that file away, and `erasure reconcile`" in line for line in left)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "no database"])
def test_an_mlflow_is_made_anew_from_the_book(state, how):
    file = state.home / "mlflow.db"
    SPOILT[how](file)
    if how != "empty":
        file.unlink()  # as is advised
    state("reconcile")
    state("audit")  # in a process of its own: this one has the old file open


def test_a_moved_alias_is_told_in_terms_of_what_it_breaks(state):
    MLFLOW["champion moved to the refused"](state.home)
    assert any("MLflow's champion of toy is 2, the book says 1" in f for f in findings(state))


def test_an_alias_that_is_gone_leaves_requests_not_in_force(state):
    MLFLOW["champion deleted"](state.home)
    assert any(f.startswith("cat (") and "NOT IN FORCE" in f for f in findings(state))


# --- what is whole


@pytest.mark.parametrize("times", [5, slow(1000)])
def test_an_untouched_state_gives_no_alarm(state, times):
    assert [finding for _ in range(times) for finding in findings(state)] == []


def test_the_audit_changes_nothing(state):
    from tests.book.test_takeover import files

    home = state.book.home
    before = {k: v for k, v in files(home).items() if not k.endswith(("-shm", "-wal"))}
    assert findings(state) == []
    after = {k: v for k, v in files(home).items() if not k.endswith(("-shm", "-wal"))}
    scratch = ("locks/", ".dvc/tmp/")  # of whoever holds a lock; no part of the state
    assert {k for k in before if not k.startswith(scratch) and before[k] != after.get(k)} == set()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["aliases: version edited", "texts: edited"])
def test_a_finding_is_exit_1_with_what_to_do(state, place):
    ROWS[place](state.home)
    answer = state("audit", "--json", allowed=(1,))
    told = json.loads(answer.stdout)
    assert (told["intact"], "; " in told["findings"][0]) == (False, True)


# --- what reconcile puts back

MIRRORED = [p for p in FILES if "checkpoint" in p or "MLflow" in p or "remote" in p]
MIRRORED.append("report")
PUT_BACK = [(p, k) for p, k in CASES if p in MIRRORED and k is not swapped]
FEW_BACK = [(p, (edited, deleted)[i // 2 % 2]) for i, p in enumerate(MIRRORED) if i % 2]


@pytest.mark.parametrize(
    ("place", "kind"), few_first(PUT_BACK, FEW_BACK), ids=lambda v: getattr(v, "__name__", v)
)
def test_a_changed_mirror_is_put_back(state, place, kind):
    kind(tampered_file(state, place))
    assert reconcile(state.book) == []
    assert findings(state) == []


@pytest.mark.parametrize(
    "place",
    few_first(
        [p for p in MLFLOW if not p.startswith("files")],
        ["champion moved to the refused", "tag edited"],
    ),
)
def test_mlflow_is_put_back(state, place):
    MLFLOW[place](state.home)
    assert reconcile(state.book) == []
    assert findings(state) == []


COLUMNS = [place for place in ROWS if place.split(":")[0] in FOLDED]
A_TABLE = [*{place.split(":")[0]: place for place in COLUMNS}.values()]


@pytest.mark.parametrize("place", few_first(COLUMNS, A_TABLE))
def test_tables_are_put_back_from_the_chain(state, place):
    ROWS[place](state.home)
    assert reconcile(state.book, tables=True) == []
    assert findings(state) == []


@pytest.mark.parametrize("place", ["model deleted", "model renamed"])
def test_a_model_that_is_gone_from_mlflow_is_mirrored_anew(state, place):
    BY_ITS_API[place](client(state))
    assert reconcile(state.book) == []
    assert findings(state) == []


def test_a_file_that_was_added_in_mlflow_is_dropped(state):
    folder = next(iter(sorted(state.home.glob(ADDED["beside MLflow's script"]))))
    (folder / "added.py").write_text("print('run me')")
    assert reconcile(state.book) == []
    assert not (folder / "added.py").exists()
    assert findings(state) == []
