"""An earlier version is served again, without a word left out about what that breaks."""

import shutil
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.lineage import canonical_json, sha256_json
from erasure_core.planning.params import Retention
from tasks.book import database
from tasks.book.heads import write_head
from tasks.book.keys import Keys
from tasks.book.lease import holding
from tasks.book.texts import faults_of_texts
from tasks.release.audit import _honoured
from tasks.release.purge import _Due, _purge_reasons
from tasks.release.resolve import check_answer
from tasks.release.rollback import roll_back
from tasks.requests.cause import is_of_request
from tasks.requests.intake import add
from tasks.requests.plan import Planned, answered
from tasks.requests.rolled_back import RolledBack, check_not_rolled_back
from tests.book.books import (
    MODEL,
    A,
    B,
    C,
    D,
    a_request,
    event_names,
    quick_book,
    released,
    state_of,
    with_weights,
)


@pytest.fixture
def book(tmp_path):
    """Version 1 erases the cat, 2 the dog too (D asks for it as well), 3 was refused."""
    book = quick_book(tmp_path)
    add(book, [a_request(A, "cat"), a_request(B, "dog"), a_request(C, "rocket")], MODEL)
    add(book, [a_request(D, "dog")], MODEL)
    with_weights(book, released(book, [A]))
    released(book, [B])
    released(book, [C], "fail")
    return book


def champion(book):
    return book.ask(lambda reader: reader.alias(MODEL, "champion"))


def agrees(book) -> bool:
    return list(_honoured(book, MODEL)) == []


def texts_agree(book) -> bool:
    with book.read() as reader:
        return list(faults_of_texts(reader.events(), reader.all_texts())) == []


def test_a_version_that_lacks_something_honoured_is_refused_and_names_it(book):
    before = event_names(book)
    with pytest.raises(BadInput, match=rf"version 1 does not erase dog \({B}\).*--accept-breach"):
        roll_back(book, MODEL, 1, "it draws better")
    assert (champion(book), event_names(book)) == (2, before)


def test_an_accepted_breach_opens_the_request_again(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    assert (champion(book), state_of(book, B), state_of(book, A)) == (1, "received", "honoured")


def test_an_accepted_breach_opens_those_who_asked_for_the_same(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    row = book.ask(lambda reader: reader.request(D)).row
    assert (row.state, row.duplicate_of) == ("duplicate", str(B))
    released(book, [B])
    assert state_of(book, D) == "honoured"


def test_after_an_accepted_breach_book_and_champion_agree(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    assert agrees(book)


def test_a_breach_is_an_event_with_its_reason(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    events = book.ask(lambda reader: list(reader.events(str(B))))
    assert [e.facts["breach"] for e in events if "breach" in e.facts] == [1]
    reason = book.ask(lambda reader: reader.request(B)).reason
    assert reason == "rolled back to version 1: it draws better"


def test_a_breach_that_is_none_is_not_accepted(book):
    with pytest.raises(BadInput, match="version 1 breaks no such request"):
        roll_back(book, MODEL, 1, "why", [str(A), str(B)])


@pytest.mark.parametrize(
    ("version", "said"),
    [(3, "has the verdict fail; it was never served"), (9, "has no version 9")],
)
def test_what_never_passed_is_not_served(book, version, said):
    with pytest.raises(BadInput, match=said):
        roll_back(book, MODEL, version, "why")
    assert champion(book) == 2


def lost(book) -> None:
    shutil.rmtree(book.home.checkpoints)


def given_up(book) -> None:
    """The key of its statement was given up, and nothing reconciled."""
    keys = Keys(book.home)
    old = keys.current().name
    keys.rotate()
    (keys.believed / f"{old}.pub").unlink()
    write_head(book.home, book.ask(lambda reader: reader.head()))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(lost, "checkpoint .* is not here"), (given_up, "statement of toy version 1 is not valid")],
)
def test_what_could_not_be_handed_out_is_not_served(book, spoil, said):
    spoil(book)
    before = event_names(book)
    with pytest.raises(ErasureError, match=said):
        roll_back(book, MODEL, 1, "why", [str(B)])
    assert (champion(book), event_names(book), state_of(book, B)) == (2, before, "honoured")


@pytest.mark.parametrize("spoil", [lost, given_up])
def test_nor_is_an_earlier_answer_to_the_same_plan(book, spoil):
    version = book.ask(lambda reader: reader.version(MODEL, 1))
    check_answer(book, version, champion=2)
    spoil(book)
    with pytest.raises(ErasureError, match=r"1 of the same plan cannot be .*--fresh") as it:
        check_answer(book, version, champion=2)
    assert not is_of_request(it.value)
    check_answer(book, version, champion=1)  # it is served: nothing moves


def test_weights_are_not_fetched_for_a_rollback_that_is_refused(book):
    lost(book)
    with pytest.raises(BadInput, match="--accept-breach"):
        roll_back(book, MODEL, 1, "it draws better")


def test_a_version_that_erases_what_was_restored_is_refused(book):
    released(book, [], restoring=A)
    with pytest.raises(BadInput, match=r"erases cat .* which is not honoured any more"):
        roll_back(book, MODEL, 2, "why")


def test_on_edited_tables_nothing_is_rolled_back(book):
    """With the dog called withdrawn, version 1 would lack nothing, and no breach be accepted."""
    with database.writing(book.engine) as connection:
        edit = text("UPDATE requests SET state = 'withdrawn' WHERE id IN (:b, :d)")
        connection.execute(edit, {"b": str(B), "d": str(D)})
    with pytest.raises(ErasureError, match="the book's requests were edited"):
        roll_back(book, MODEL, 1, "it draws better")
    assert champion(book) == 2


@pytest.mark.parametrize(
    ("reason", "said"), [(" ", "--reason is empty"), ("x" * 2001, "2001 characters; at most 2000")]
)
def test_a_reason_is_needed_and_is_no_book(book, reason, said):
    with pytest.raises(BadInput, match=said):
        roll_back(book, MODEL, 1, reason, [str(B)])
    assert champion(book) == 2


def test_the_way_forward_after_a_rollback_is_open(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    released(book, [B])
    assert (champion(book), state_of(book, B), agrees(book)) == (4, "honoured", True)


# What was rolled back from


def planned(book, wanted=(A, B), new=(B,), **other):
    """What a run would be planned as; `other` is what its inputs are instead of the releases'."""
    given = sorted(map(str, wanted))
    inputs = {
        "sha256": sha256_json(["plan", given]),
        "requests": [SimpleNamespace(subject_request_id=i) for i in given],
        "requests_sha256": sha256_json(given),
        "restored": [],
        "base_sha256": "b" * 64,
        "params": SimpleNamespace(sha256="d" * 64, registered_model=MODEL, approval="none"),
        "made_with": {},
        "prompt_sha256": {},
    }
    recipes = {str(i): book.ask(lambda r, i=i: r.request(i)).row.recipe for i in new}
    return Planned(SimpleNamespace(**inputs | other), recipes, champion(book))


def reason_of(book, request_id):
    return book.ask(lambda reader: reader.request(request_id)).reason


@pytest.mark.parametrize("measured", [{}, {"sha256": "9" * 64}])
def test_what_was_rolled_back_from_is_not_served_by_the_next_run(book, measured):
    """Also where the run would measure another part of the same weights."""
    check_not_rolled_back(book, planned(book, **measured))
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    with pytest.raises(RolledBack, match=r"version 2.*`erasure rollback --to 2` serves it again"):
        check_not_rolled_back(book, planned(book, **measured))
    assert (state_of(book, B), champion(book)) == ("waiting", 1)
    assert "was rolled back from; `erasure rollback --to 2`" in reason_of(book, B)


OTHERWISE = {
    "another recipe": {"requests_sha256": "9" * 64},
    "other parameters": {"params": SimpleNamespace(sha256="9" * 64, registered_model=MODEL)},
    "other code": {"made_with": {"code": "9" * 64}},
    "another base": {"base_sha256": "9" * 64},
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_after_a_rollback_other_inputs_are_tried(book, what):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    check_not_rolled_back(book, planned(book, sha256="9" * 64, **OTHERWISE[what]))
    assert state_of(book, B) == "received"


def test_what_a_person_rolled_back_to_is_served(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    released(book, [B])
    with_weights(book, book.ask(lambda reader: reader.version(MODEL, 2)))
    roll_back(book, MODEL, 2, "it draws better still")
    again = planned(book, new=())
    check_not_rolled_back(book, again)
    assert answered(book, again).version == 2  # not version 4, which is newer


@pytest.mark.parametrize("waits", [False, True])
def test_a_person_can_go_back_to_what_was_rolled_back_from(waits, book):
    """What was opened by it is honoured again, for everyone who asked."""
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    if waits:
        with pytest.raises(RolledBack):
            check_not_rolled_back(book, planned(book))
    with_weights(book, book.ask(lambda reader: reader.version(MODEL, 2)))
    assert roll_back(book, MODEL, 2, "it was right")
    assert (champion(book), state_of(book, B), state_of(book, D)) == (2, "honoured", "honoured")
    assert agrees(book)


def test_by_another_recipe_it_is_released_anew(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    recipe = a_request(B, "dog", concept_replacement="a wall").recipe

    def correct(tx):
        text = tx.keep_text(str(B), canonical_json(recipe))
        tx.append("request.recipe", id=str(B), recipe=text)

    book.change(correct)
    with pytest.raises(BadInput, match=r"erases dog .* which is not honoured any more"):
        roll_back(book, MODEL, 2, "it was right")


def test_a_recipe_was_corrected_whatever_the_clock_says(book, monkeypatch):
    """It was set back after the version was made."""
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    monkeypatch.setattr("erasure_core.law.chain.now", lambda: "2020-01-01T00:00:00.000Z")
    add(book, [a_request(B, "dog", concept_replacement="a wall")], MODEL)
    with pytest.raises(BadInput, match=r"erases dog .* which is not honoured any more"):
        roll_back(book, MODEL, 2, "it was right")


def test_what_was_made_afresh_after_a_rollback_is_served(book):
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    released(book, [B])  # version 4, by the plan of version 2
    check_not_rolled_back(book, planned(book, new=()))


@pytest.mark.parametrize("fresh", [False, True])
def test_a_run_makes_what_was_rolled_back_from_only_afresh_and_in_a_folder_of_its_own(
    fresh, book, monkeypatch
):
    from flows import erase

    own = {"folder": book.home.runs / "run-2", "run_key": "run-2"}
    own["model_copy"] = lambda update: SimpleNamespace(**update)
    roll_back(book, MODEL, 1, "it draws better", [str(B)])
    made = []
    monkeypatch.setattr(erase, "plan_release", lambda *_: planned(book, **own))
    monkeypatch.setattr(erase, "_worked", lambda _, __, work: made.append(work.plan.folder.name))
    if fresh:
        erase._released(book, None, None, [], fresh)
    else:
        with pytest.raises(RolledBack, match="version 2"):
            erase._released(book, None, None, [], fresh)
    assert made == (["run-2-2"] if fresh else [])


def test_what_a_later_release_replaced_is_an_answer_still(book):
    released(book, [], restoring=A)
    check_not_rolled_back(book, planned(book, new=()))


def test_what_is_served_already_is_left_as_it_is(book):
    """Also a second time: the first one may have been killed right after its commit."""
    before = event_names(book)
    assert not roll_back(book, MODEL, 2, "it draws better")
    assert event_names(book) == before
    assert roll_back(book, MODEL, 1, "it draws better", [str(B)])
    once = event_names(book)
    assert not roll_back(book, MODEL, 1, "it draws better", [str(B)])
    assert (champion(book), event_names(book)) == (1, once)
    assert texts_agree(book)


def test_why_it_was_rolled_back_is_purged_by_age(book):
    roll_back(book, MODEL, 1, "zyxwort asked", [str(B)])
    now = datetime.now(UTC)
    due, long_after = (_Due(Retention(personal=1), now + timedelta(days=d)) for d in (0, 2))
    with holding(book, MODEL, "purging") as held:
        assert _purge_reasons(book, held, MODEL, due) == []
        purged = [f"{MODEL} version 1: why it was served again"]
        assert _purge_reasons(book, held, MODEL, long_after) == purged
        assert _purge_reasons(book, held, MODEL, long_after) == []
    kept = book.ask(lambda reader: [t for t in reader.all_texts() if t.subject == f"{MODEL}/1"])
    assert not any("zyxwort" in text.body for text in kept)
    assert texts_agree(book)
    assert book.ask(lambda reader: reader.head()).event == "reason.purged"
