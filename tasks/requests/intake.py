"""Take requests in: each is in the book from the moment it is given, and its clock runs."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from erasure_core.errors import BadInput
from erasure_core.law import clock
from erasure_core.law.chain import stamp
from erasure_core.law.fold import CHAMPION
from erasure_core.law.life import ENDED, OPEN, WORKABLE, shown
from erasure_core.law.lineage import canonical_json
from erasure_core.law.requests import DeletionRequest
from tasks.book.status import left_of
from tasks.book.store import Book, Entry, Reader, Transaction


def add(book: Book, requests: Sequence[DeletionRequest], model: str) -> list[Entry]:
    """Put requests of a registered model into the book, all or none.

    A request that is known keeps its clock; if its recipe differs, that is the recipe from now on.
    Who asks for a concept that another open or honoured request asks for is honoured with it.
    """

    def work(tx: Transaction) -> list[Entry]:
        for request in requests:
            _add(tx, request, model)
        return [tx.request(request.subject_request_id) for request in requests]

    return book.change(work)


def check(book: Book, requests: Sequence[DeletionRequest], model: str) -> None:
    """Raise what `add` would raise; change nothing."""

    def ask(reader: Reader) -> None:
        for number, request in enumerate(requests):
            _check_given(requests[:number], request)
            if known := reader.find_request(request.subject_request_id):
                _check_known(known, request, model)

    book.ask(ask)


def taken_up(
    reader: Reader, requests: Sequence[DeletionRequest], model: str
) -> tuple[list[DeletionRequest], dict[str, str]]:
    """What a run of `requests` would take up, and which of them it would refuse (by id, with why).
    Nothing is taken up for what is honoured; who asks for what another asks for goes with theirs.
    """
    taken: list[DeletionRequest] = []
    refused: dict[str, str] = {}
    for number, request in enumerate(requests):
        try:
            _check_given(requests[:number], request)
            original = _original(reader, request, model)
        except BadInput as fault:
            refused[str(request.subject_request_id)] = str(fault)
            continue
        if original and original.row.state == "honoured":
            continue
        own = request.subject_request_id
        if original and original.row.id == str(own):
            others = (t for t in taken if t.subject_request_id != own)
            taken = [t for t in others if not request.concept.covers(t.concept)]
            taken.append(request)  # its recipe may be a corrected one
        elif not any(t.concept.covers(request.concept) for t in taken):
            taken.append(original.known if original else request)
    return taken, refused


def _original(reader: Reader, request: DeletionRequest, model: str) -> Entry | None:
    """The request of the book that a run of `request` would be about; None if that is a new one.
    `BadInput` if there can be no such run.
    """
    if known := reader.find_request(request.subject_request_id):
        _check_known(known, request, model)
    else:
        own = str(request.subject_request_id)
        known = reader.same_concept(model, request.concept, _LIVE, own)
    if known is None:
        return None
    original = reader.request(known.row.duplicate_of or known.row.id)
    if known.row.state == "duplicate" and not _covers(original, request):
        return known  # names were added to it
    check_not_held([original])
    return original


def _covers(entry: Entry, request: DeletionRequest) -> bool:
    """Whether who honours `entry` honours `request` with it; of what cannot be read it is so."""
    return entry.request is None or entry.request.concept.covers(request.concept)


def check_not_held(entries: Sequence[Entry]) -> None:
    """Refuse requests that a person holds: `BadInput`."""
    if held := [e.row.id for e in entries if e.row.state == "on_hold"]:
        raise BadInput(f"request {', '.join(held)} is on hold; `erasure request retry` ends that")


def rewritten(
    book: Book, known: DeletionRequest, new: DeletionRequest, model: str
) -> tuple[DeletionRequest, str]:
    """`known` with the recipe of `new`, its clock running on; `new` itself where the book has
    `known` as ended, which is then said. Changes nothing.

    Raises:
        BadInput: As `add` would raise of the request.
    """
    entry = book.ask(lambda reader: reader.find_request(known.subject_request_id))
    if entry and entry.row.state in ENDED:
        return new, (
            f"request {entry.row.id} was {entry.row.state}: this is a new one, with an id and a "
            f"clock of its own"
        )
    again = known.model_copy(update={"concept": new.concept})
    check(book, [again], model)
    return again, ""


def workable(reader: Reader, model: str) -> list[Entry]:
    """The requests of a model that a run may take up, oldest first."""
    return reader.requests(model, sorted(WORKABLE))


def _add(tx: Transaction, request: DeletionRequest, model: str) -> None:
    request_id = str(request.subject_request_id)
    known = tx.find_request(request_id)
    if known is None:
        _enter(tx, request, model)
        return
    _check_known(known, request, model)
    if known.known.recipe == request.recipe or known.row.state not in OPEN:
        return
    tx.append("request.recipe", id=request_id, recipe=_keep_recipe(tx, request))
    if known.row.state in ("waiting", "ready", "attempt_failed"):
        tx.append("request.received", id=request_id)
    for entry in (tx.request(request_id), *tx.duplicates_of(request_id)):
        _stand_alone_unless_covered(tx, entry)
    _join_who_asked_before(tx, request)


def _join_who_asked_before(tx: Transaction, request: DeletionRequest) -> None:
    """Let a request that was corrected be honoured together with one that has all its names now:
    one that is honoured, or came before.
    """
    row = tx.request(request.subject_request_id).row
    if row.state != "received":
        return
    for states in (("honoured",), _LIVE):
        other = tx.same_concept(row.model, request.concept, states, row.id)
        before = other and (other.row.received, other.row.id) < (row.received, row.id)
        if other and (before or other.row.state == "honoured"):
            join(tx, row.id, other)
            return


def _stand_alone_unless_covered(tx: Transaction, entry: Entry) -> None:
    """Names were added to a duplicate, or taken from the request that it is honoured with."""
    if entry.row.state != "duplicate" or not entry.row.duplicate_of or not entry.request:
        return
    if not _covers(tx.request(entry.row.duplicate_of), entry.request):
        tx.append("request.received", id=entry.row.id)
        join_same(tx, entry.request)


def _check_known(known: Entry, request: DeletionRequest, model: str) -> None:
    """Whether a request that the book holds may be given again."""
    row = known.row
    if row.model != model:
        raise BadInput(
            f"request {row.id} belongs to {row.model}, the parameters name {model}; give the "
            f"parameters of {row.model}, or ask {model} in a request of its own: a copy of the "
            "file with another subject_request_id"
        )
    if row.purged or known.known.asked != request.asked:
        differs = "it was purged" if row.purged else _difference(known.known, request)
        raise BadInput(
            f"request {row.id} is already known with other content: {differs}; who asks for what, "
            "under which law and since when never changes; give another request its own "
            "subject_request_id"
        )
    if row.state in ENDED:
        raise BadInput(
            f"request {row.id} was {row.state}; to erase its concept again, give a new request a "
            "new subject_request_id"
        )
    if row.state == "honoured" and known.known.recipe != request.recipe:
        raise BadInput(
            f"request {row.id} is honoured by version {row.version} with another recipe, which "
            "stays as long as it is: a new request for its concept would be honoured together with "
            "it, by the recipe that it has; `erasure restore` it first, or ask for what the recipe "
            "lacks in a request of that name; to erase more with the same recipe, run it with "
            "other parameters or another --method"
        )


def _check_given(others: Sequence[DeletionRequest], request: DeletionRequest) -> None:
    """Refuse a request whose id another one has that is given with it: `BadInput`."""
    for other in others:
        same_id = other.subject_request_id == request.subject_request_id
        if same_id and other.asked != request.asked:
            raise BadInput(
                f"two requests are given under the id {request.subject_request_id}, and the second "
                f"says other things: {_difference(other, request)}; give it its own "
                f"subject_request_id"
            )


def _enter(tx: Transaction, request: DeletionRequest, model: str) -> None:
    request_id, submitted = str(request.subject_request_id), request.submitted_time
    asked = tx.keep_text(request_id, canonical_json(request.asked), request.concept.label)
    law = clock.regulation(request.regulation)
    tx.append(
        "request.added",
        id=request_id,
        model=model,
        regulation=clock.known_name(request.regulation),
        submitted=stamp(submitted),
        offset=clock.offset(submitted),
        received=stamp(datetime.now(UTC)),
        due=stamp(clock.due(law, submitted)),
        asked=asked,
        recipe=_keep_recipe(tx, request),
    )
    join_same(tx, request)


_LIVE = ("received", "waiting", "ready", "attempt_failed", "honoured")


def join_same(tx: Transaction, request: DeletionRequest) -> None:
    """Let a request that was just received be honoured together with another for its concept."""
    request_id = str(request.subject_request_id)
    model = tx.request(request_id).row.model
    if other := tx.same_concept(model, request.concept, _LIVE, request_id):
        join(tx, request_id, other)


def join(tx: Transaction, request_id: str, other: Entry) -> None:
    """Let a request, and who is honoured with it, be honoured together with `other`, which asks for
    the same concept.
    """
    of = other.row.duplicate_of or other.row.id
    behind = [e.row.id for e in tx.duplicates_of(request_id) if e.row.state == "duplicate"]
    version = tx.alias(other.row.model, CHAMPION)
    for one in (request_id, *behind):
        tx.append("request.duplicate", id=one, of=of)
        if other.row.state == "honoured":
            tx.append("request.honoured", id=one, of=of, version=version)


def _keep_recipe(tx: Transaction, request: DeletionRequest) -> str:
    return tx.keep_text(str(request.subject_request_id), canonical_json(request.recipe))


def _difference(known: DeletionRequest, given: DeletionRequest) -> str:
    """The keys in which two requests differ."""
    before, after = (_flat(r.asked) for r in (known, given))
    return ", ".join(f"{key} differs" for key in before if before[key] != after[key])


def _flat(asked: dict[str, object]) -> dict[str, object]:
    concept = json.loads(canonical_json(asked["concept"]))
    flat = {key: value for key, value in asked.items() if key != "concept"}
    return {**flat, **{f"concept.{key}": value for key, value in concept.items()}}


def described(entry: Entry) -> str:
    """A request in one line, as commands show it, with its clock until it is settled."""
    row = entry.row
    by = f" by version {row.version}" if row.version is not None else ""
    of = f" of {row.duplicate_of}" if row.duplicate_of and row.state == "duplicate" else ""
    because = f" ({entry.reason})" if entry.reason else ""
    until = clock.until(row.due, left_of(row))
    said = f"{row.id}  {entry.concept}: {shown(row.state)}{of}{by}{because}"
    return f"{said}  {until}".rstrip()
