"""What the chain comes to, on a small life that was folded by hand."""

import pytest

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.chain import Event, sealed
from erasure_core.law.fold import (
    WITHOUT_EFFECT,
    Alias,
    Export,
    Proposal,
    Tables,
    apply,
    fold,
    subjects,
)

ADDED = {
    "id": "a",
    "model": "toy",
    "regulation": "gdpr",
    "submitted": "2026-11-01T00:00:00.000Z",
    "received": "2026-11-02T00:00:00.000Z",
    "due": "2026-12-01T23:59:59.000Z",
    "asked": "1" * 64,
    "recipe": "2" * 64,
}
DECIDED = {
    "model": "toy",
    "version": 1,
    "verdict": "pass",
    "promoted": True,
    "run_key": "3" * 64,
    "folder": "3" * 64,
    "plan": "4" * 64,
    "base": "5" * 64,
    "policy": "6" * 64,
    "checkpoint": "7" * 64,
    "delta": "8" * 64,
    "record": "9" * 64,
    "requests": ["a"],
}
OTHER = {**ADDED, "id": "b"}
A_LIFE = [
    ("book.opened", {"form": 1}),
    ("request.added", ADDED),
    ("request.ready", {"id": "a"}),
    ("request.attempt_failed", {"id": "a", "version": 1, "reason": "e" * 64}),
    ("request.honoured", {"id": "a", "version": 2}),
]


def chained(steps) -> list[Event]:
    events: list[Event] = []
    for second, (kind, facts) in enumerate(steps):
        time = f"2026-11-22T10:00:{second:02}.000Z"
        events.append(sealed(events[-1] if events else None, kind, facts, {"user": "ada"}, time))
    return events


def folded(*steps) -> Tables:
    return fold(chained(steps))


def test_an_empty_chain_is_empty_tables():
    assert fold([]) == Tables()


def test_a_request_is_where_its_last_step_led():
    row = folded(*A_LIFE).requests["a"]
    assert (row.state, row.version, row.attempts) == ("honoured", 2, 2)


def test_a_step_takes_its_time_from_the_event():
    assert folded(*A_LIFE[:3]).requests["a"].since == "2026-11-22T10:00:02.000Z"


def test_what_was_taken_over_keeps_its_own_time():
    earlier = ("request.ready", {"id": "a", "at": "2025-01-01T00:00:00.000Z"})
    assert folded(A_LIFE[1], earlier).requests["a"].since == "2025-01-01T00:00:00.000Z"


def test_the_reason_of_an_earlier_state_does_not_stay():
    assert folded(*A_LIFE[:4]).requests["a"].reason == "e" * 64
    assert folded(*A_LIFE).requests["a"].reason is None


def test_honoured_again_is_no_further_attempt():
    again = folded(*A_LIFE, ("request.honoured", {"id": "a", "version": 3})).requests["a"]
    assert (again.attempts, again.version) == (2, 3)


def test_a_corrected_recipe_keeps_the_clock():
    row = folded(A_LIFE[1], ("request.recipe", {"id": "a", "recipe": "f" * 64})).requests["a"]
    assert (row.recipe, row.recipe_number) == ("f" * 64, 2)
    assert (row.due, row.received) == (ADDED["due"], ADDED["received"])


def test_an_extension_moves_the_due_date():
    later = "2027-02-01T23:59:59.000Z"
    row = folded(A_LIFE[1], ("request.extended", {"id": "a", "due": later})).requests["a"]
    assert (row.due, row.extended) == (later, 1)


def test_a_version_is_what_was_decided():
    row = folded(("version.decided", DECIDED)).versions["toy", 1]
    assert (row.promoted, row.requests, row.restored, row.statement) == (True, ("a",), (), None)


def test_an_alias_names_the_last_version_it_was_moved_to():
    moves = [("alias.moved", {"model": "toy", "alias": "champion", "version": v}) for v in (1, 2)]
    assert folded(*moves).aliases == {("toy", "champion"): Alias("toy", "champion", 2)}


def test_two_people_approve_a_plan():
    proposed = ("plan.proposed", {"plan": "4" * 64, "model": "toy", "requests": ["a"]})
    approvals = [("plan.approved", {"plan": "4" * 64, "by": by}) for by in ("ada", "grace")]
    rows = folded(proposed, *approvals).proposals
    assert rows == {"4" * 64: Proposal("4" * 64, "toy", ("a",), ("ada", "grace"))}


def test_what_left_is_known_by_its_content():
    left = {"sha256": "d" * 64, "model": "toy", "version": 1, "form": "delta"}
    (row,) = folded(("version.exported", left)).exports.values()
    assert row == Export("d" * 64, "toy", 1, "delta", "2026-11-22T10:00:00.000Z")


@pytest.mark.parametrize("kind", sorted(WITHOUT_EFFECT))
def test_some_events_are_only_history(kind):
    assert folded((kind, {})) == Tables()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([("request.added", ADDED)] * 2, "added twice"),
        ([("version.decided", DECIDED)] * 2, "decided twice"),
        (
            [("plan.proposed", {"plan": "4", "model": "toy", "requests": []})]
            + [("plan.approved", {"plan": "4", "by": "ada"})] * 2,
            "approved twice",
        ),
        ([("model.invented", {})], "does not know"),
    ],
)
def test_what_cannot_follow_is_refused(steps, said):
    with pytest.raises(ErasureError, match=said):
        folded(*steps)


@pytest.mark.parametrize("kind", ["request.honoured", "request.restored", "request.invented"])
def test_a_step_that_is_illegal_cannot_be_folded(kind):
    with pytest.raises(BadInput, match="cannot become"):
        folded(A_LIFE[1], (kind, {"id": "a"}))


def test_an_event_touches_only_the_rows_it_names():
    steps = [A_LIFE[1], ("request.added", OTHER)]
    before, after = folded(*steps), folded(*steps, ("request.ready", {"id": "a"}))
    assert after.requests["b"] == before.requests["b"]
    assert after.requests["a"] != before.requests["a"]


def test_a_refused_event_leaves_the_tables():
    tables, illegal = folded(A_LIFE[1]), chained([("request.restored", {"id": "a"})])[0]
    with pytest.raises(BadInput, match="cannot become"):
        apply(tables, illegal)
    assert tables == folded(A_LIFE[1])


@pytest.mark.parametrize(
    ("kind", "facts", "about"),
    [
        ("request.added", ADDED, ["a"]),
        ("request.duplicate", {"id": "b", "of": "a"}, ["b"]),
        ("version.decided", DECIDED, ["4" * 64, "toy/1", "a"]),
        ("alias.moved", {"model": "toy", "alias": "champion", "version": 2}, ["toy/2"]),
        ("plan.proposed", {"plan": "4" * 64, "requests": ["a", "b"]}, ["4" * 64, "a", "b"]),
        ("book.opened", {"form": 1}, []),
    ],
)
def test_history_is_found_under_every_subject(kind, facts, about):
    assert subjects(kind, facts) == about
