"""What a person decides about a request: refuse, withdraw, hold, extend, take up again, approve."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

from erasure_core.errors import BadInput
from erasure_core.law import clock
from erasure_core.law.chain import stamp
from erasure_core.law.fold import Proposal, Request
from erasure_core.law.life import OPEN, WORKABLE, State, shown
from erasure_core.text import JOINER, WHO, WHY, composed, visible, within
from tasks.book.actor import acting
from tasks.book.store import Book, Entry, Reader, Transaction
from tasks.requests.intake import join_same

NEEDED = {"none": 0, "one": 1, "two": 2}  # approvals, by what the parameters ask for
SHORTEST = 8  # digits of a plan's hash that a person must give
OFFSETS = range(-12 * 3600, 14 * 3600 + 1, 900)  # seconds; of every time zone, by quarters of hours


def refuse(book: Book, request_id: UUID, code: str, reason: str | None) -> Entry:
    """End a request without honouring it.

    Raises:
        BadInput: It cannot be refused now, its law gives no reason of this code, or the code is one
            that needs words and none are given.
    """
    entry = book.ask(lambda reader: reader.request(request_id))
    law = clock.regulation(entry.row.regulation)
    grounds = clock.grounds(law)
    if code not in grounds:
        known = "; ".join(f"{name}: {why.text}" for name, why in grounds.items())
        raise BadInput(f"{code!r} is no reason code for {law.name!r}; choose one of {known}")
    ground, words = grounds[code], (reason or "").strip()
    _check_length("--reason", words, WHY)
    if not (ground.source or words):
        raise BadInput(f"{code} needs --reason: which ground of {law.name!r}, and its article")
    source = f" ({ground.source})" if ground.source else ""
    why = ground.text + source + (f"; {words}" if words else "")
    return _end(book, request_id, "refused", why, code)


def withdraw(book: Book, request_id: UUID, reason: str) -> Entry:
    """End a request that its person no longer makes. An honoured one is restored instead, unless
    it was honoured with another, for which its concept stays erased. Where others are honoured with
    it, it stands for them still, and that its person gave it up is kept.
    """
    check_said(reason)

    def work(tx: Transaction) -> Entry:
        row = tx.request(request_id).row
        if row.state != "honoured" or not tx.who_asks_too(row.id) or is_given_up(tx, row.id):
            return _ended(tx, request_id, "withdrawn", reason)
        why = tx.keep_text(row.id, reason.strip())
        tx.append("request.unasked", id=row.id, reason=why)
        return tx.request(request_id)

    return book.change(work)


def is_given_up(reader: Reader, request_id: str) -> bool:
    """Whether its person gave up a request that stands for others too."""
    return next(reader.events(request_id, kind="request.unasked"), None) is not None


def after_withdrawal(reader: Reader, entry: Entry) -> list[str]:
    """What has to be said of a request that was withdrawn, and of those that nobody makes now."""
    said = []
    if entry.row.state == "honoured":
        others = ", ".join(reader.who_asks_too(entry.row.id))
        said.append(f"its person gave it up; its concept stays erased for request {others}")
    live = reader.requests(entry.row.model, ["honoured", *sorted(WORKABLE)], own=True)
    given_up = {event.facts["id"] for event in reader.events(kind="request.unasked")}
    for other in live:
        if other.row.id in given_up and not reader.who_asks_too(other.row.id):
            said.append(f"nobody asks any more for {other.concept}, {_what_ends(other.row)}")
    return said


def _what_ends(row: Request) -> str:
    """What to do with a request that nobody makes any more."""
    if row.state == "honoured":
        return (
            f"which is erased by request {row.id}: `erasure restore {row.id} --reason ...` takes "
            "it back with a release"
        )
    return (  # open again, by a rollback
        f"which request {row.id} would erase again: `erasure request withdraw {row.id} --reason "
        "...` ends it"
    )


def hold(book: Book, request_id: UUID, reason: str) -> Entry:
    """Let no run take a request up, until `retry`: a legal hold. The clock runs on."""
    check_said(reason)
    return _end(book, request_id, "on_hold", reason)


def retry(book: Book, request_id: UUID, reason: str | None) -> Entry:
    """Let the next run take a request up again: after a failed attempt, a hold or a refusal.

    Where somebody else asks for the same concept by now, it is honoured together with theirs.
    """
    _check_length("--reason", reason or "", WHY)

    def work(tx: Transaction) -> Entry:
        entry = tx.request(request_id)
        if entry.row.state in ("honoured", "duplicate"):
            raise BadInput(
                f"request {request_id} is {entry.row.state}; there is nothing to take up again"
            )
        if entry.row.purged:
            raise BadInput(f"request {request_id} was purged; give it anew under a new id")
        _move(tx, entry, "received", reason)
        join_same(tx, entry.known)
        return tx.request(request_id)

    return book.change(work)


def extend(book: Book, request_id: UUID, reason: str, now: datetime | None = None) -> Entry:
    """Use the extension that the request's law allows; the person must be told of it.

    Raises:
        BadInput: The law allows none, or no more; the request is not open, or late by now.
    """
    now = now or datetime.now(UTC)
    check_said(reason)

    def work(tx: Transaction) -> Entry:
        row = tx.request(request_id).row
        _check_extendable(row, now)
        law = clock.regulation(row.regulation)
        given = _received(tx, row, law)
        due = stamp(min(clock.extended(law, time, row.extended + 1) for time in given))
        why = tx.keep_text(row.id, reason.strip())
        tx.append("request.extended", id=row.id, due=due, reason=why)
        return tx.request(request_id)

    return book.change(work)


def _received(tx: Transaction, row: Request, law: clock.Regulation) -> list[datetime]:
    """When a request came, in the time zone in which it was given; of one that was added before
    the book kept that zone, in each of which its first period would be what it was.
    """
    submitted = datetime.fromisoformat(row.submitted)
    added = next(tx.events(row.id, kind="request.added"), None)
    facts = added.facts if added else {}
    known = "offset" in facts
    offsets = [facts["offset"]] if known else OFFSETS
    times = [submitted.astimezone(timezone(timedelta(seconds=offset))) for offset in offsets]
    if known:
        return times
    return [t for t in times if stamp(clock.due(law, t)) == facts.get("due")] or [submitted]


def _check_extendable(row: Request, now: datetime) -> None:
    """Every law wants the person told before the first period ends: nothing is extended later."""
    if row.purged:  # a reason kept now would be removed by no later purge
        raise BadInput(f"request {row.id} was purged; it has no period to extend any more")
    if row.state not in OPEN:
        raise BadInput(
            f"request {row.id} is {shown(row.state)}; only a request that is still to be answered "
            "can be extended"
        )
    if now > datetime.fromisoformat(row.due):
        raise BadInput(
            f"request {row.id} was due on {row.due[:10]} and is late; an extension counts only if "
            "its person is told before that day ends, so answer the request now"
        )


def approve(book: Book, plan: str, by: str | None = None) -> Proposal:
    """Approve a plan that was proposed; bound to the plan's hash, so that no other one is.

    Raises:
        BadInput: No such plan was proposed, or the same person approved it before.
    """

    def work(tx: Transaction) -> Proposal:
        proposal = tx.proposal(plan)
        if proposal is None:
            raise BadInput(f"no plan {plan!r} waits for approval; `erasure run` proposes one")
        who = by or acting().get("by") or acting()["user"]
        _check_length("the name", who, WHO)
        if _person(who) in map(_person, proposal.approved_by):
            raise BadInput(f"{who} has approved plan {plan[:16]} already; another person must")
        tx.append("plan.approved", plan=plan, model=proposal.model, by=who)
        for request_id in proposal.requests:
            if tx.request(request_id).row.state == "waiting":
                tx.append("request.received", id=request_id)
        approved = tx.proposal(plan)
        assert approved is not None  # it was there, in this transaction
        return approved

    return book.change(work)


def _person(name: str) -> str:
    """Who is meant, however the name is typed: two spellings are no two people."""
    return " ".join(JOINER.sub("", composed(composed(name).casefold())).split())


def proposed_for(book: Book, request_id: UUID, begins: str | None = None) -> str:
    """The hash of the plan that was proposed for a request and whose hash begins so; by default of
    the newest.

    Raises:
        BadInput: There is none, or `begins` is too short to tell it from others.
    """

    def ask(reader: Transaction) -> str:
        reader.request(request_id)
        events = list(reader.events(str(request_id)))
        plans = [e.facts["plan"] for e in events if e.event == "plan.proposed"]
        if not plans:
            which = "" if begins is None else f" {begins!r}"
            raise BadInput(
                f"no plan{which} with request {request_id} waits for approval; a run proposes one, "
                "where the parameters ask for approval"
            )
        return str(plans[-1] if begins is None else _only_plan(plans, begins, request_id))

    return book.ask(ask)  # type: ignore[arg-type] # a reader is enough


def _only_plan(plans: Sequence[str], begins: str, request_id: UUID) -> str:
    matching = {plan for plan in plans if plan.startswith(begins.lower())}
    if len(begins) < SHORTEST or len(matching) != 1:
        proposed = ", ".join(plan[:16] for plan in plans)
        raise BadInput(
            f"--plan {begins!r} is not one of the plans that were proposed for request "
            f"{request_id}; give at least {SHORTEST} digits of one of {proposed}"
        )
    return matching.pop()


def check_said(reason: str) -> None:
    """Refuse a reason that is empty or too long to be kept: `BadInput`."""
    if not visible(reason):
        raise BadInput("--reason is empty; say why, it is kept")
    _check_length("--reason", reason, WHY)


def _check_length(what: str, said: str, most: int) -> None:
    try:
        within(said, most)
    except ValueError as fault:
        raise BadInput(f"{what}: {fault}; say it in fewer") from None


def _end(book: Book, request_id: UUID, state: State, reason: str, code: str | None = None) -> Entry:
    return book.change(lambda tx: _ended(tx, request_id, state, reason, code))


def _ended(
    tx: Transaction, request_id: UUID, state: State, reason: str, code: str | None = None
) -> Entry:
    entry = tx.request(request_id)
    stays_erased = state == "withdrawn" and entry.row.duplicate_of is not None
    if entry.row.state == "honoured" and not stays_erased:
        raise BadInput(
            honoured_together(tx, entry)
            or f"request {request_id} is honoured by version {entry.row.version}; `erasure "
            f"restore {request_id} --reason ...` takes it back with a release"
        )
    _move(tx, entry, state, reason, code)
    _hand_on(tx, request_id)
    return tx.request(request_id)


def honoured_together(reader: Reader, entry: Entry) -> str | None:
    """Why an honoured request cannot be taken back, and what can be done; None where no other has
    its concept erased.
    """
    row = entry.row
    if row.duplicate_of:
        return (
            f"request {row.id} is honoured together with {row.duplicate_of}, for which its concept "
            f"stays erased; `erasure request withdraw {row.id} --reason ...` ends it alone"
        )
    if same := reader.who_asks_too(row.id):
        return (
            f"request {row.id} is honoured, and {', '.join(same)} together with it, for which its "
            f"concept stays erased; once each of these is withdrawn (`erasure request withdraw "
            f"{same[0]} --reason ...`), `erasure restore {row.id} --reason ...` takes it back with "
            f"a release"
        )
    return None


def _move(
    tx: Transaction, entry: Entry, state: State, reason: str | None, code: str | None = None
) -> None:
    why = tx.keep_text(entry.row.id, reason.strip()) if reason else None
    tx.append(f"request.{state}", id=entry.row.id, reason=why, code=code)


def _hand_on(tx: Transaction, request_id: UUID) -> None:
    """The oldest duplicate of a request that ends stands for itself now, the others for it, as far
    as it has their names.
    """
    waiting = [e for e in tx.duplicates_of(str(request_id)) if e.row.state == "duplicate"]
    for entry in waiting:
        tx.append("request.received", id=entry.row.id)
        if entry.request:
            join_same(tx, entry.request)
