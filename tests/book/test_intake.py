"""Requests come in: each keeps its clock, each belongs to a model, and who asks for the same is
honoured together.
"""

from datetime import UTC, datetime

import pytest

from erasure_core.errors import BadInput
from tasks.release.audit import _honoured
from tasks.release.trace import trace_concept
from tasks.requests.intake import add, check, rewritten, taken_up, workable
from tasks.requests.park import park
from tasks.requests.plan import brought_back
from tasks.requests.steps import extend, refuse, retry, withdraw
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
)


@pytest.fixture
def book(tmp_path):
    book = quick_book(tmp_path)
    add(book, [a_request(A)], MODEL)
    return book


def row(book, request_id):
    return book.ask(lambda reader: reader.request(request_id)).row


def test_the_same_request_again_changes_nothing(book):
    before = event_names(book)
    add(book, [a_request(A)], MODEL)
    assert event_names(book) == before


def test_a_corrected_recipe_is_the_same_request_and_clock(book):
    before = row(book, A)
    add(book, [a_request(A, concept_replacement="a retina")], MODEL)
    after = row(book, A)
    assert (after.received, after.due, after.asked) == (before.received, before.due, before.asked)
    assert (after.recipe_number, after.recipe != before.recipe) == (2, True)


def test_a_corrected_recipe_is_what_is_erased_by(book):
    add(book, [a_request(A, concept_replacement="a retina")], MODEL)
    known = book.ask(lambda reader: reader.request(A)).known
    assert known.concept.replacement == "a retina"


def test_a_corrected_recipe_ends_a_failed_attempt(book):
    released(book, [A], "fail")
    add(book, [a_request(A, concept_replacement="a retina")], MODEL)
    assert state_of(book, A) == "received"


def decaf(request_id=B):
    return a_request(request_id, concept_replacement="a retina")


def test_a_request_that_is_written_again_keeps_its_id_and_clock(book):
    again, ended = rewritten(book, a_request(A), decaf(), MODEL)
    assert (again.asked, again.concept, ended) == (a_request(A).asked, decaf().concept, "")


@pytest.mark.parametrize("end", ["restored", "withdrawn", "refused"])
def test_in_place_of_a_request_that_has_ended_a_new_one_is_written(end, book):
    """Nothing but a new id takes its concept up again."""
    if end == "restored":
        released(book, [A])
        released(book, [], restoring=A)
    elif end == "withdrawn":
        withdraw(book, A, "a mistake")
    else:
        refuse(book, A, "gdpr-17-3-a", None)
    again, ended = rewritten(book, a_request(A), decaf(), MODEL)
    assert again == decaf()
    assert ended.startswith(f"request {A} was {end}: this is a new one")
    add(book, [again], MODEL)


def test_what_is_honoured_is_not_written_again_with_another_recipe(book):
    released(book, [A])
    assert rewritten(book, a_request(A), a_request(B), MODEL) == (a_request(A), "")
    with pytest.raises(BadInput, match="is honoured by version 1 with another recipe"):
        rewritten(book, a_request(A), decaf(), MODEL)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"name": "dog"}, r"concept\.name"),
        ({"concept_kind": "style"}, r"concept\.kind"),
        ({"regulation": "ccpa"}, "regulation"),
        ({"submitted_time": "2026-11-21T10:00:00Z"}, "submitted_time"),
    ],
)
def test_what_was_asked_never_changes(book, changed, key):
    before = event_names(book)
    with pytest.raises(BadInput, match=rf"{key} differs"):
        add(book, [a_request(A, **changed)], MODEL)
    assert event_names(book) == before


def test_one_bad_request_stops_all_of_one_command(book):
    with pytest.raises(BadInput, match="already known with other content"):
        add(book, [a_request(B, "dog"), a_request(A, "rocket")], MODEL)
    assert book.ask(lambda reader: reader.find_request(B)) is None


def test_an_honoured_request_keeps_its_recipe(book):
    released(book, [A])
    with pytest.raises(BadInput, match="honoured by version 1 with another recipe"):
        add(book, [a_request(A, concept_replacement="a retina")], MODEL)


def test_a_check_raises_what_adding_would_and_changes_nothing(book):
    before = event_names(book)
    with pytest.raises(BadInput, match="already known with other content"):
        check(book, [a_request(A, "dog")], MODEL)
    check(book, [a_request(B, "dog")], MODEL)
    assert event_names(book) == before


def test_two_requests_under_one_id_are_refused_before_either_is_known(book):
    """A file that was copied, with another name and the same id."""
    two = [a_request(B, "dog"), a_request(B, "rocket")]
    said = rf"under the id {B}, and the second says other things: concept\.name differs"
    with pytest.raises(BadInput, match=said):
        check(book, two, MODEL)
    taken, refused = book.ask(lambda reader: taken_up(reader, two, MODEL))
    assert (taken, list(refused)) == (two[:1], [str(B)])
    assert "says other things" in refused[str(B)]
    check(book, [a_request(B, "dog"), a_request(B, "dog", concept_replacement="a retina")], MODEL)


# --- two people ask for the same


def test_who_asks_for_the_same_is_honoured_together(book):
    add(book, [a_request(B)], MODEL)
    assert (state_of(book, B), row(book, B).duplicate_of) == ("duplicate", str(A))
    released(book, [A])
    assert (state_of(book, B), row(book, B).version) == ("honoured", 1)


def test_who_asks_for_what_is_erased_already_is_honoured_at_once(book):
    released(book, [A])
    add(book, [a_request(B)], MODEL)
    assert (state_of(book, B), row(book, B).version) == ("honoured", 1)


def test_a_third_person_joins_the_first(book):
    add(book, [a_request(B)], MODEL)
    add(book, [a_request(C)], MODEL)
    assert row(book, C).duplicate_of == str(A)


def tom(request_id, *also, **more):
    """A request for Tom, called otherwise too."""
    return a_request(request_id, "tom", concept_also=also, **more)


@pytest.mark.parametrize("honoured", [False, True])
def test_who_has_another_name_besides_is_not_honoured_without_it(book, honoured):
    add(book, [tom(B, "thomas")], MODEL)
    if honoured:
        released(book, [B])
    add(book, [tom(C, "thomas", "mouser")], MODEL)
    assert (state_of(book, C), row(book, C).duplicate_of) == ("received", None)


def test_who_has_fewer_names_is_honoured_together(book):
    add(book, [tom(B, "thomas", "mouser"), tom(C, "Mou-ser")], MODEL)
    assert row(book, C).duplicate_of == str(B)


@pytest.mark.parametrize("name", ["thomas", "Mou-ser"])
def test_who_asks_by_another_name_of_what_is_erased_is_honoured_at_once(book, name):
    add(book, [tom(B, "thomas", "mouser")], MODEL)
    released(book, [B])
    asks = a_request(C, name)
    assert book.ask(lambda reader: taken_up(reader, [asks], MODEL)) == ([], {})
    add(book, [asks], MODEL)
    assert (state_of(book, C), row(book, C).duplicate_of) == ("honoured", str(B))
    assert list(_honoured(book, MODEL)) == []


def test_who_asks_by_another_name_of_what_is_asked_for_is_honoured_with_it(book):
    add(book, [tom(B, "thomas", "mouser"), a_request(C, "thomas"), a_request(D, "jerry")], MODEL)
    assert state_of(book, C) == "received"  # that other one may have a name too many
    park(book, {str(C): "its prompts are those of another request"})
    released(book, [B])
    assert (state_of(book, C), row(book, C).duplicate_of) == ("honoured", str(B))
    assert (state_of(book, D), list(_honoured(book, MODEL))) == ("received", [])


@pytest.mark.parametrize("by", ["retry", "release"])
def test_who_joins_another_brings_those_who_are_honoured_with_it(book, by):
    """The cat is asked for by two, and then by a third who has another name for it."""
    add(book, [a_request(B), a_request(C, concept_also=["kitty"])], MODEL)
    assert (row(book, B).duplicate_of, state_of(book, C)) == (str(A), "received")
    if by == "retry":
        park(book, {str(A): "more than one request erases cat"})
        retry(book, A, None)
        assert [row(book, i).duplicate_of for i in (A, B)] == [str(C), str(C)]
    released(book, [C])
    for i in (A, B):
        assert (state_of(book, i), row(book, i).duplicate_of) == ("honoured", str(C))


def test_who_is_erased_by_the_same_version_stands_by_itself(book):
    add(book, [tom(B, "thomas"), a_request(C, "thomas")], MODEL)
    released(book, [B, C])
    assert [row(book, i).duplicate_of for i in (B, C)] == [None, None]
    assert list(_honoured(book, MODEL)) == []


@pytest.mark.parametrize(
    "other", [{"name": "mouse"}, {"concept_kind": "style"}, {"concept_also": ["jerry"]}]
)
def test_who_asks_for_more_or_for_something_else_is_not(book, other):
    add(book, [tom(B, "thomas", "mouser")], MODEL)
    released(book, [B])
    add(book, [a_request(C, **{"name": "thomas", **other})], MODEL)
    assert state_of(book, C) == "received"


def test_a_name_that_a_duplicate_has_since_lets_it_stand_alone(book):
    add(book, [tom(B, "thomas"), tom(C)], MODEL)
    assert row(book, C).duplicate_of == str(B)
    corrected = [tom(C, "mouser")]
    taken, _ = book.ask(lambda reader: taken_up(reader, corrected, MODEL))
    assert taken == corrected
    add(book, corrected, MODEL)
    assert (state_of(book, C), row(book, C).duplicate_of) == ("received", None)


def test_a_name_that_is_taken_out_lets_who_has_it_stand_alone(book):
    add(book, [tom(B, "thomas"), tom(C, "thomas"), tom(D)], MODEL)
    add(book, [tom(B)], MODEL)
    assert [row(book, i).duplicate_of for i in (C, D)] == [None, str(B)]


@pytest.mark.parametrize("state", ["duplicate", "honoured"])
def test_who_leaves_the_name_that_another_lacks_is_honoured_together_with_it(book, state):
    add(book, [tom(B), tom(C, "thomas")], MODEL)
    if state == "honoured":
        released(book, [B])
    park(book, {str(C): "more than one request erases tom"})
    add(book, [tom(C)], MODEL)
    assert (state_of(book, C), row(book, C).duplicate_of) == (state, str(B))


def test_a_name_that_is_added_lets_who_waits_for_it_join(book):
    add(book, [tom(B), tom(C, "thomas")], MODEL)
    park(book, {str(C): "more than one request erases tom"})
    add(book, [tom(B, "thomas")], MODEL)
    retry(book, C, None)
    assert row(book, C).duplicate_of == str(B)


@pytest.mark.parametrize("name", ["cat", "cat "])
def test_spacing_makes_no_other_concept(book, name):
    add(book, [a_request(B, name)], MODEL)
    assert row(book, B).duplicate_of == str(A)


SPELLINGS = [
    *(("Beyonce", "Beyoncé"), ("Spiderman", "Spider-Man"), ("Spider-Man", "spider man")),
    ("JK Rowling", "J. K. Rowling"),
]


@pytest.mark.parametrize(("one", "other"), [*SPELLINGS, *(pair[::-1] for pair in SPELLINGS)])
def test_another_spelling_is_no_other_concept(book, one, other):
    add(book, [a_request(B, one), a_request(C, other)], MODEL)
    assert row(book, C).duplicate_of == str(B)


def test_what_was_honoured_in_another_spelling_is_not_brought_back(book):
    add(book, [a_request(B, "Beyoncé")], MODEL)
    released(book, [B])
    add(book, [a_request(C, "Beyonce")], MODEL)
    assert book.ask(lambda reader: reader.who_asks_too(str(B))) == [str(C)]


def test_what_is_not_found_by_the_name_of_another_is_a_concept_of_its_own(book):
    """Who erases "JKRowling" does not erase "J. K. Rowling", which is not done with it."""
    add(book, [a_request(B, "JKRowling"), a_request(C, "J. K. Rowling")], MODEL)
    assert row(book, C).duplicate_of is None


@pytest.mark.parametrize("name", ["cats", "black cat", "cart"])
def test_a_name_with_more_to_it_is_another_concept(book, name):
    add(book, [a_request(B, name)], MODEL)
    assert row(book, B).duplicate_of is None


@pytest.mark.parametrize(("name", "back"), [("Beyonce", []), ("rose", [B]), ("Beyoncé rose", [B])])
def test_what_is_erased_again_in_another_spelling_need_not_be_there(book, name, back):
    add(book, [a_request(B, "Beyoncé")], MODEL)
    released(book, [B])
    released(book, [], restoring=B)
    restored = [book.ask(lambda reader: reader.request(B))]
    erased = brought_back(restored, [a_request(C, name)])
    assert [request.subject_request_id for request in erased] == back


def test_what_was_restored_twice_is_measured_once(book):
    """Asked for again between, by somebody else's words."""
    cat, again = a_request(A, "cat"), a_request(B, "Cat", submitted_time="2026-11-23T10:00:00Z")
    for asked in (cat, again):
        add(book, [asked], MODEL)
        released(book, [asked.subject_request_id])
        released(book, [], restoring=asked.subject_request_id)
    restored = book.ask(lambda reader: reader.requests(MODEL, ["restored"]))
    assert brought_back(restored, []) == [again]
    assert brought_back(restored, [], cat) == [cat]
    assert brought_back(restored, [], a_request(C, "dog")) == [again, a_request(C, "dog")]


@pytest.mark.parametrize("who", [A, B])
def test_a_corrected_recipe_of_what_is_honoured_is_refused_with_what_follows(book, who):
    """A new request for it would be honoured as it is: nothing would be trained."""
    add(book, [a_request(A, "cat")], MODEL)
    released(book, [A])
    given = a_request(who, "cat", concept_replacement="a wall")
    if who == A:
        with pytest.raises(BadInput, match="would be honoured together with it, by the recipe"):
            add(book, [given], MODEL)
    else:
        assert add(book, [given], MODEL)[0].row.duplicate_of == str(A)
        assert row(book, B).state == "honoured"


def test_what_goes_with_all_that_has_its_name_need_not_be_there(book):
    add(book, [a_request(B, "black cat")], MODEL)
    restored = [book.ask(lambda reader: reader.request(B))]
    assert brought_back(restored, [a_request(C, "cat")]) == []


@pytest.mark.parametrize(
    ("name", "said"), [("Spider-Man", "spiderman"), ("O.J. Simpson", "oj simpson")]
)
def test_a_concept_is_found_by_any_spelling(book, name, said):
    add(book, [a_request(B, name)], MODEL)
    (found,) = trace_concept(book, said)["requests"]
    assert found["subject_request_id"] == str(B)


def test_another_kind_is_another_concept(book):
    add(book, [a_request(B, concept_kind="style")], MODEL)
    assert row(book, B).duplicate_of is None


def test_a_run_takes_up_one_of_those_who_ask_for_the_same(book):
    add(book, [a_request(B)], MODEL)
    assert book.ask(lambda r: [e.row.id for e in workable(r, MODEL)]) == [str(A)]


# --- two models


def test_a_request_belongs_to_one_model(book):
    with pytest.raises(BadInput, match="belongs to toy, the parameters name other"):
        add(book, [a_request(A)], "other")


def test_models_do_not_share_concepts(book):
    add(book, [a_request(B)], "other")
    assert (state_of(book, B), row(book, B).duplicate_of) == ("received", None)


def test_a_run_takes_up_no_request_of_another_model(book):
    add(book, [a_request(B, "dog")], "other")
    assert book.ask(lambda r: [e.row.id for e in workable(r, "other")]) == [str(B)]


def test_versions_of_models_are_counted_apart(book):
    released(book, [A])
    assert book.ask(lambda reader: reader.next_version("other")) == 1
    assert book.ask(lambda reader: reader.aliases("other")) == {}


# --- time zones


@pytest.fixture
def western(tmp_path):
    """Given on 31 January in California, when it was 1 February in UTC."""
    request = a_request(A, submitted_time="2026-01-31T23:30:00-08:00", regulation="ccpa")
    book = quick_book(tmp_path)
    add(book, [request], MODEL)
    return book, request


def test_the_days_are_those_of_the_time_zone_of_receipt(western):
    row = western[0].ask(lambda reader: reader.request(A)).row
    assert (row.submitted, row.due) == ("2026-02-01T07:30:00.000Z", "2026-03-17T23:59:59.000Z")


def test_so_they_are_when_the_period_is_extended(western):
    row = extend(western[0], A, "many requests", datetime(2026, 2, 1, tzinfo=UTC)).row
    assert row.due == "2026-05-01T23:59:59.000Z"  # 28 in February, 31, 30, 1: 90 days


def test_one_instant_is_one_request_in_any_time_zone(western):
    book, request = western
    same = a_request(A, submitted_time="2026-02-01T07:30:00Z", regulation="ccpa")
    assert (same.sha256, same.asked) == (request.sha256, request.asked)
    before = event_names(book)
    add(book, [same], MODEL)
    assert event_names(book) == before


@pytest.mark.parametrize(("given", "fact"), [("UK-GDPR", "uk gdpr"), ("Ada asked me", "other")])
def test_own_words_for_the_law_are_no_fact_of_the_chain(book, given, fact):
    add(book, [a_request(B, regulation=given)], MODEL)
    entry = book.ask(lambda reader: reader.request(B))
    assert (entry.row.regulation, entry.regulation) == (fact, given)
    lines = book.ask(lambda reader: [event.line for event in reader.events()])
    assert given not in "".join(lines)


def test_a_name_is_audited_however_its_accents_are_typed(book):
    add(book, [a_request(B, "caf\u00e9")], MODEL)
    (found,) = trace_concept(book, "cafe\u0301")["requests"]
    assert found["subject_request_id"] == str(B)
