"""One step on rows that were edited behind the chain's back is refused: else the chain would say
what may never follow, or say lawfully what nobody did.
"""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from erasure_core.errors import ErasureError
from erasure_core.law.fold import Alias, Request, Tables
from erasure_core.law.lineage import canonical_json
from tasks.book import database, schema
from tasks.book.differences import differences
from tasks.book.door import faults_of_chain, faults_of_requests
from tasks.book.rebuild import rebuild_tables
from tasks.book.store import SALT
from tasks.book.texts import faults_of_texts
from tasks.release import audit
from tasks.release import reconcile as reconciling
from tasks.release.audit import audit_histories
from tasks.release.errands import _decided_by
from tasks.release.reconcile import reconcile
from tasks.release.trace import trace_concept, trace_version
from tasks.requests.intake import add
from tasks.requests.steps import approve, extend, hold, refuse, retry, withdraw
from tests.book.books import MODEL, A, B, a_book, a_request, event_names, released, state_of

IN_TIME = datetime(2026, 12, 1, tzinfo=UTC)
PLAN = "1" * 64


@pytest.fixture
def book(tmp_path):
    book = a_book(tmp_path / "home")
    add(book, [a_request(A)], MODEL)
    return book


@pytest.fixture
def honoured(book):
    """A is honoured; its row says that it was just received."""
    released(book, [A])
    edit(book, "UPDATE requests SET state = 'received', version = NULL")
    return book


def edit(book, *statements: str) -> None:
    with database.writing(book.engine) as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount, statement


STEPS = {
    "hold": lambda book: hold(book, A, "a court asks"),
    "withdraw": lambda book: withdraw(book, A, "no longer wanted"),
    "refuse": lambda book: refuse(book, A, "gdpr-17-1", None),
    "retry": lambda book: retry(book, A, None),
    "extend": lambda book: extend(book, A, "many requests", IN_TIME),
    "another recipe": lambda book: add(book, [a_request(A, concept_keep=["a dog"])], MODEL),
    "released again": lambda book: released(book, [A]),
}


@pytest.mark.parametrize("step", STEPS)
def test_no_step_is_made_on_an_edited_row(honoured, step):
    before = event_names(honoured)
    with pytest.raises(ErasureError, match=r"edited.*`erasure reconcile --tables`"):
        STEPS[step](honoured)
    assert event_names(honoured) == before
    rebuild_tables(honoured)
    assert list(faults_of_chain(honoured)) == []
    assert state_of(honoured, A) == "honoured"


def test_a_request_whose_row_was_deleted_is_not_entered_twice(book):
    edit(book, "DELETE FROM requests")
    with pytest.raises(ErasureError, match="requests were edited"):
        add(book, [a_request(A)], MODEL)


def test_a_step_on_another_request_is_still_made(honoured):
    add(honoured, [a_request(B, "dog")], MODEL)
    assert hold(honoured, B, "a court asks").row.state == "on_hold"


def test_an_approval_that_was_removed_is_not_given_twice(book):
    book.change(lambda tx: tx.append("plan.proposed", plan=PLAN, model=MODEL, requests=[str(A)]))
    approve(book, PLAN, "ada")
    edit(book, "UPDATE proposals SET approved_by = '[]'")
    with pytest.raises(ErasureError, match="proposals were edited"):
        approve(book, PLAN, "ada")


def test_a_version_whose_row_was_deleted_is_not_decided_twice(book):
    released(book, [A])
    edit(book, "DELETE FROM versions", "DELETE FROM aliases")
    with pytest.raises(ErasureError, match="versions were edited"):
        released(book, [A])


def test_a_row_whose_history_is_not_found_is_not_acted_on(book):
    edit(book, "DELETE FROM subjects")
    with pytest.raises(ErasureError, match="edited"):
        hold(book, A, "a court asks")


# --- texts, and what each event is found under


def findings(book) -> list[str]:
    """What an audit of the book alone finds."""
    with book.read() as reader:
        texts = list(faults_of_texts(reader.events(), reader.all_texts()))
    return [*faults_of_chain(book), *texts]


@pytest.fixture
def two(book):
    """A: cat, with a former recipe, an extension and a former reason; B: dog. A is honoured."""
    add(book, [a_request(A, concept_keep=["a dog"])], MODEL)
    extend(book, A, "many requests", IN_TIME)
    hold(book, A, "a court asks")
    retry(book, A, None)
    add(book, [a_request(B, "dog")], MODEL)
    released(book, [A])
    assert findings(book) == []
    return book


def named(event: str, fact: str) -> str:
    """The text that the first event of a kind names."""
    first = f"SELECT json_extract(facts, '$.{fact}') FROM events WHERE event = '{event}' LIMIT 1"
    return f"WHERE sha256 = ({first})"


ASKED = named("request.added", "asked")
OTHERS = {
    "another name": f"UPDATE texts SET label = 'object:dog' {ASKED}",
    "no name": f"UPDATE texts SET label = NULL {ASKED}",
    "a name where none was asked": f"UPDATE texts SET label = 'object:cat' "
    f"{named('request.recipe', 'recipe')}",
    "another request's": f"UPDATE texts SET subject = '{A}' WHERE subject = '{B}'",
    "nobody's": f"UPDATE texts SET subject = 'nobody' {ASKED}",
    "an event is not found": "DELETE FROM subjects WHERE seq = (SELECT max(seq) FROM subjects)",
    "a step is not found": "DELETE FROM subjects WHERE seq = "
    "(SELECT seq FROM events WHERE event = 'request.on_hold')",
    "a decision is not found": "DELETE FROM subjects WHERE subject = 'toy/1'",
    "an event is found elsewhere": f"UPDATE subjects SET subject = '{B}' WHERE seq = 3",
    "an event is found twice": f"INSERT INTO subjects VALUES ('{B}', 3)",
    "no event is found": "DELETE FROM subjects",
    "what is no event": f"INSERT INTO subjects VALUES ('{A}', 999), ('{A}', 0)",
}
GONE = {
    "a former recipe": named("request.added", "recipe"),
    "a former reason": named("request.on_hold", "reason"),
    "an extension's reason": named("request.extended", "reason"),
    "what was asked": ASKED,
}


@pytest.mark.parametrize("place", OTHERS)
def test_what_names_and_finds_is_put_back_from_the_chain(two, place):
    edit(two, OTHERS[place])
    found = findings(two)
    assert found
    assert all("`erasure reconcile --tables`" in finding for finding in found)
    rebuild_tables(two)
    assert findings(two) == []


@pytest.mark.parametrize("what", GONE)
def test_a_text_that_is_gone_is_missed(two, what):
    edit(two, f"DELETE FROM texts {GONE[what]}")
    assert findings(two) == [f"a text of {A} is gone from the book; restore the book from a copy"]


def test_a_text_is_parted_from_its_salt_where_it_was(two):
    edit(
        two, f"UPDATE texts SET salt = salt || substr(body, 1, 9), body = substr(body, 10) {ASKED}"
    )
    assert any(f"a text of {A} was changed in the book" in finding for finding in findings(two))
    assert two.ask(lambda reader: reader.request(A)).request is None


def test_a_text_that_no_event_names_is_found(two):
    sha256 = hashlib.sha256(f"{'5' * SALT}word".encode()).hexdigest()
    edit(two, f"INSERT INTO texts VALUES ('{sha256}', '{A}', NULL, '{'5' * SALT}', 'word')")
    assert [("that no event names" in finding) for finding in findings(two)] == [True]
    rebuild_tables(two)
    assert findings(two) == []


def test_a_purged_text_that_is_back_is_found_and_removed(two):
    withdraw(two, B, "no longer")
    with two.read() as reader:
        rows = [dict(r) for r in reader.connection.execute(text("SELECT * FROM texts")).mappings()]
    two.change(lambda tx: tx.append("request.purged", id=str(B), texts=tx.forget_texts(str(B))))
    back = [row for row in rows if row["subject"] == str(B)]
    with database.writing(two.engine) as connection:
        connection.execute(schema.texts.insert(), back)
    assert all("though it was purged" in finding for finding in findings(two))
    rebuild_tables(two)
    assert findings(two) == []


def test_an_edited_name_makes_nobody_a_duplicate(honoured):
    rebuild_tables(honoured)
    edit(honoured, f"UPDATE texts SET label = 'object:dog' {ASKED}")
    add(honoured, [a_request(B, "dog")], MODEL)
    assert state_of(honoured, B) == "received"
    assert [e.row.id for e in honoured.ask(lambda r: r.named("dog"))] == [str(B)]


def test_a_purge_takes_only_what_is_named_of_its_request(two):
    edit(two, OTHERS["another request's"])
    two.change(lambda tx: tx.forget_texts(str(A)))
    assert two.ask(lambda reader: reader.request(B)).concept == "dog"


@pytest.mark.parametrize("place", ["a step is not found", "an event is found twice"])
def test_a_cut_history_of_one_request_is_found_by_its_own_audit(two, place):
    subject = str(B) if "twice" in place else str(A)
    assert list(audit_histories(two, [subject])) == []
    edit(two, OTHERS[place])
    for subjects in ([subject], [subject, "toy/1"]):
        (finding,) = audit_histories(two, subjects)
        assert f"what happened to {subject} was edited" in finding


def test_the_history_of_a_version_is_looked_for_in_the_chain(two):
    said = two.ask(lambda reader: reader.said_of(["toy/1"]))["toy/1"]
    assert [e.event for e in said] == [
        "version.decided", "alias.moved", "alias.moved", "version.stated"
    ]  # fmt: skip
    edit(two, OTHERS["a decision is not found"])
    assert any("what happened to toy/1" in f for f in audit_histories(two, ["toy/1"]))


def test_who_decided_a_version_is_not_found_in_one_line(two):
    edit(two, OTHERS["a decision is not found"])
    version = two.ask(lambda reader: reader.version("toy", 1))
    with pytest.raises(ErasureError, match="`erasure reconcile --tables`"):
        _decided_by(two, version)


LOOKS_SETTLED = {
    "withdrawn": f"UPDATE requests SET state = 'withdrawn' WHERE id = '{B}'",
    "due in years": f"UPDATE requests SET due = '9999-12-31T23:59:59.000Z' WHERE id = '{B}'",
    "gone": f"DELETE FROM requests WHERE id = '{B}'",
}


@pytest.mark.parametrize("place", LOOKS_SETTLED)
def test_what_was_made_to_look_settled_is_found_where_it_is_asked_what_is_due(two, place):
    assert list(faults_of_requests(two)) == []
    edit(two, LOOKS_SETTLED[place])
    (finding,) = faults_of_requests(two)
    assert str(B) in finding


ASKING = Request("a", "toy", "gdpr", "2026", "2026", "2027", "ready", "2026", "asked", "recipe")


@pytest.mark.parametrize(
    ("table", "one", "other", "said"),
    [
        ("requests", ASKING, replace(ASKING, extended=1), "extended 1, the chain says extended 0"),
        ("requests", ASKING, None, "missing, the chain says due 2027, state ready, version None"),
        (
            "aliases",
            Alias("toy", "x", 1),
            Alias("toy", "x", 2),
            "version 2, the chain says version 1",
        ),
    ],
)
def test_a_row_that_was_edited_is_told_by_what_differs(table, one, other, said):
    folded, stored = (Tables(**{table: {"a": row} if row else {}}) for row in (one, other))
    (finding,) = differences(folded, stored)
    assert f"is {said};" in finding


# --- what the audit of one request or version vouches for, without reading the whole chain

HELD = "(SELECT seq FROM events WHERE event = 'request.on_hold')"
SAID = {
    "by whom": f"UPDATE events SET actor = replace(actor, 'user', 'by') WHERE seq = {HELD}",
    "when": f"UPDATE events SET time = '2020' || substr(time, 5) WHERE seq = {HELD}",
    "after what": f"UPDATE events SET previous = sha256 WHERE seq = {HELD}",
    "the one before": f"UPDATE events SET sha256 = previous WHERE seq = {HELD} - 1",
    "the one after": f"UPDATE events SET previous = sha256 WHERE seq = {HELD} + 1",
    "the one before is gone": f"DELETE FROM events WHERE seq = {HELD} - 1",
}


@pytest.mark.parametrize("what", SAID)
def test_an_edited_event_is_found_by_the_audit_of_its_request(two, what):
    assert list(audit_histories(two, [str(A)])) == []
    edit(two, SAID[what])
    assert any(
        "of the chain was changed" in finding or "does not follow" in finding
        for finding in audit_histories(two, [str(A)])
    )


EDITED_BESIDE = {
    "its row": f"UPDATE requests SET state = 'withdrawn' WHERE id = '{A}'",
    "its row is gone": f"DELETE FROM requests WHERE id = '{A}'",
    "an event": "UPDATE events SET time = '2020' WHERE event = 'request.honoured'",
}


@pytest.mark.parametrize("place", EDITED_BESIDE)
def test_a_version_vouches_for_no_request_that_it_shows_and_that_was_edited(two, place):
    def of_the_book(answer):  # files and mirrors, of which there are none here, are said to lack
        said = (f"{A} is", f"to {A}", "(request.honoured)")
        return [f for f in answer["findings"] if any(words in f for words in said)]

    assert of_the_book(trace_version(two, 1)) == []
    edit(two, EDITED_BESIDE[place])
    assert of_the_book(trace_version(two, 1))


def test_an_event_that_was_edited_with_its_hash_is_not_followed(two):
    with two.read() as reader:
        (held,) = (e for e in reader.events(str(A)) if e.event == "request.on_hold")
    again = replace(held, actor={"user": "somebody else", "host": "elsewhere"})
    again = replace(again, sha256=hashlib.sha256(again.body.encode()).hexdigest())
    actor, seq = canonical_json(again.actor), held.seq
    edit(two, f"UPDATE events SET actor = '{actor}', sha256 = '{again.sha256}' WHERE seq = {seq}")
    (finding,) = audit_histories(two, [str(A)])
    assert f"event {seq + 1} (request.received) of the chain was changed" in finding


@pytest.mark.parametrize(
    ("champion", "statement", "expected"),
    [
        (1, None, None),
        (2, None, "MLflow's champion of toy is 2, the book says 1"),
        (1, "UPDATE aliases SET version = 2 WHERE alias = 'champion'", "aliases were edited"),
        (1, "DELETE FROM aliases WHERE alias = 'champion'", "aliases were edited"),
    ],
)
def test_the_trace_of_a_concept_says_which_version_is_served(
    two, monkeypatch, champion, statement, expected
):
    points = {"candidate": 2, "champion": champion}
    released(two, [B], "fail")
    monkeypatch.setattr(audit, "aliases", lambda home, model: points)
    if statement:
        edit(two, statement)
    found = [f for f in trace_concept(two, "cat")["findings"] if "aliases" in f or "champion" in f]
    assert any(expected in f for f in found) if expected else not found


STRANGE = {
    "of no kind": ("toy", 1, "a wish"),
    "of no version": ("toy", 99, "report"),
    "of no model": ("other", 1, "aliases"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_an_errand_that_nobody_sent_is_found_and_dropped(two, what):
    """It would fail for ever."""
    model, version, kind = STRANGE[what]
    own = two.ask(lambda reader: reader.waiting_outside())
    two.change(lambda tx: tx.send(model, version, kind))
    assert two.ask(lambda reader: reader.strange_errands()) == [f"{model}/{version}/{kind}"]
    rebuild_tables(two)
    assert two.ask(lambda reader: reader.waiting_outside()) == own


def test_the_run_of_another_version_is_not_taken_for_its_own(two, monkeypatch):
    version = two.ask(lambda reader: reader.version(MODEL, 1))
    two.change(lambda tx: tx.send(MODEL, 1, "mlflow run", result="abcd"))
    shown = {audit.KEY: "toy/2", audit.VERDICT: "pass"}
    monkeypatch.setattr(audit, "tags_of_run", lambda *_: shown)
    monkeypatch.setattr(audit, "_note_of_run", lambda *_: None)
    (finding,) = audit.differs_in_run(two, version)
    assert finding.startswith("MLflow's run of toy version 1 (abcd) is that of toy/2")
    shown[audit.KEY] = "toy/1"
    assert list(audit.differs_in_run(two, version)) == []


@pytest.fixture
def silent(two, monkeypatch):
    """MLflow does not answer; how often it was asked. The book has three versions."""
    asked = []

    def ask(*_given):
        asked.append(1)
        raise ErasureError("MLflow at http://host: nothing within 10 s")

    for _ in range(2):
        released(two, [])
    for place, name in (
        (audit, "newer_in_mlflow"),
        (audit, "tags_of_run"),
        (audit, "seen"),
        (audit, "unfinished_runs"),
    ):
        monkeypatch.setattr(place, name, ask)
    return asked


def test_a_server_that_does_not_answer_is_not_asked_for_each_version(two, silent):
    findings = list(audit.audit(two))
    assert "MLflow cannot be asked of toy: MLflow at http://host: nothing within 10 s" in findings
    assert not any("cannot be compared" in finding for finding in findings)
    assert len(silent) < 5


def test_what_cannot_be_compared_is_not_sent_again(two, silent, monkeypatch):
    """Every version would be behind, and each tried in vain."""
    monkeypatch.setattr(reconciling, "run_errands", lambda _: [])
    monkeypatch.setattr(reconciling, "_bring_back_weights", lambda _: ())
    for row in two.ask(lambda reader: reader.waiting_outside()):
        two.change(lambda tx, row=row: tx.note_errand(row["id"], done="now", result="x"))
    reconcile(two)
    sent = {row["kind"] for row in two.ask(lambda reader: reader.waiting_outside())}
    assert not {"mlflow run", "mlflow version"} & sent
