"""The chain of events, checked by a second implementation: json, hashlib, and nothing of ours."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erasure_core.errors import ErasureError
from erasure_core.law import chain
from erasure_core.law.chain import Event, checked, sealed

# what JSON can hold, as an event's facts do: whole numbers, words, lists
WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
PLAIN = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | WORDS
FACTS = st.dictionaries(st.text("abcdefgh_", min_size=1), PLAIN | st.lists(PLAIN), max_size=4)
CHAINS = st.lists(FACTS, min_size=2, max_size=8)
ACTOR = {"user": "ada", "host": "engine"}


def grown(all_facts: list[dict]) -> list[Event]:
    events: list[Event] = []
    for number, facts in enumerate(all_facts):
        last = events[-1] if events else None
        events.append(sealed(last, f"kind.{number}", facts, ACTOR, "2026-11-22T10:00:00.000Z"))
    return events


def hash_by_hand(line: str) -> str:
    """What anybody computes of an exported line: the rest of it, keys in order, no spaces."""
    rest = {key: value for key, value in json.loads(line).items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def refused(events: list[Event]) -> bool:
    try:
        list(checked(events))
    except ErasureError:
        return True
    return False


@given(CHAINS)
def test_every_hash_is_the_one_made_by_hand(all_facts):
    for event in grown(all_facts):
        assert event.sha256 == hash_by_hand(event.line)


@given(CHAINS)
def test_each_event_names_the_hash_before_it(all_facts):
    lines = [json.loads(event.line) for event in grown(all_facts)]
    assert [line["previous"] for line in lines] == ["0" * 64, *(x["sha256"] for x in lines[:-1])]


@given(CHAINS)
def test_an_untouched_chain_is_passed_on_unchanged(all_facts):
    events = grown(all_facts)
    assert list(checked(events)) == events


@given(CHAINS)
def test_an_exported_line_reads_back(all_facts):
    for event in grown(all_facts):
        assert chain.read(event.line) == event


def test_numbers_are_spelt_as_in_every_language():
    """RFC 8785, 3.2.2.3: as JavaScript writes them."""
    event = sealed(None, "kind", {"small": 1e-05, "one": 1.0, "large": 1e21}, ACTOR, "now")
    assert '"facts":{"large":1e+21,"one":1,"small":0.00001}' in event.line


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53])
def test_what_json_cannot_say_is_no_fact(value):
    with pytest.raises(ValueError, match=r".+"):
        sealed(None, "kind", {"value": value}, ACTOR, "now")


def test_a_hash_does_not_depend_on_the_order_of_facts():
    one = sealed(None, "kind", {"a": 1, "b": 2}, ACTOR, "now")
    assert sealed(None, "kind", {"b": 2, "a": 1}, ACTOR, "now").sha256 == one.sha256


# --- tampering, anywhere

EDITS = {
    "seq": lambda e: e.seq + 1,
    "time": lambda e: e.time + "0",
    "event": lambda e: e.event + "x",
    "actor": lambda e: {**e.actor, "user": "eve"},
    "facts": lambda e: {**e.facts, "added": True},
    "previous": lambda e: hashlib.sha256(e.previous.encode()).hexdigest(),
    "sha256": lambda e: hashlib.sha256(e.sha256.encode()).hexdigest(),
}


def edited(event: Event, field: str) -> Event:
    values = {name: getattr(event, name) for name in Event.__dataclass_fields__}
    return Event(**{**values, field: EDITS[field](event)})


@given(CHAINS, st.data(), st.sampled_from(sorted(EDITS)))
def test_an_edited_event_is_found_anywhere(all_facts, data, field):
    events = grown(all_facts)
    place = data.draw(st.integers(0, len(events) - 1))
    events[place] = edited(events[place], field)
    assert refused(events)


@given(CHAINS, st.data())
def test_an_edit_with_its_hash_made_anew_is_found(all_facts, data):
    """The forger recomputes the hash of the event, but the next one names the old."""
    events = grown(all_facts)
    place = data.draw(st.integers(0, len(events) - 2))
    before = events[place - 1] if place else None
    events[place] = sealed(before, "forged", {}, ACTOR, "2026-11-22T10:00:00.000Z")
    assert refused(events)


@given(CHAINS, st.data())
def test_a_deleted_event_is_found_but_at_the_end(all_facts, data):
    events = grown(all_facts)
    del events[data.draw(st.integers(0, len(events) - 2))]
    assert refused(events)


@given(CHAINS)
def test_a_cut_off_end_is_whole_by_itself(all_facts):
    """Why the head is signed: no chain can show that something followed."""
    assert not refused(grown(all_facts)[:-1])


@given(CHAINS, st.data())
def test_two_swapped_events_are_found(all_facts, data):
    events = grown(all_facts)
    first = data.draw(st.integers(0, len(events) - 2))
    second = data.draw(st.integers(first + 1, len(events) - 1))
    events[first], events[second] = events[second], events[first]
    assert refused(events)


@given(CHAINS, st.data())
def test_a_repeated_event_is_found(all_facts, data):
    events = grown(all_facts)
    place = data.draw(st.integers(0, len(events) - 1))
    events.insert(place, events[place])
    assert refused(events)


@given(st.lists(FACTS, min_size=3, max_size=8), st.data())
def test_any_other_order_is_found(all_facts, data):
    events = grown(all_facts)
    order = data.draw(st.permutations(events))
    assert refused(order) == (order != events)


@pytest.mark.parametrize("line", ["", "{}", "[]", "{", '{"seq": 1}', "null"])
def test_what_is_no_event_is_said(line):
    with pytest.raises(ErasureError, match="not an event of a chain"):
        chain.read(line)
