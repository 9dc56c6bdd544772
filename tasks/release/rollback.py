"""Serve an earlier version again, without a word left out about what that breaks."""

from collections.abc import Sequence

from erasure_core.errors import BadInput
from erasure_core.law.fold import CHAMPION, Version
from erasure_core.law.life import WORKABLE
from tasks.book.door import check_whole
from tasks.book.lease import Held, holding
from tasks.book.store import Book, Reader, Transaction
from tasks.release.resolve import folder_of
from tasks.release.settle import honour, lacking_in, move_alias
from tasks.requests.steps import check_said


def roll_back(
    book: Book,
    model: str,
    to: int,
    reason: str,
    accepted: Sequence[str] = (),
    *,
    wait: bool = True,
) -> bool:
    """Make version `to` the champion again; False where it is served already: nothing is changed.

    Args:
        book: The book.
        model: The registered model.
        to: A version that passed its gate.
        reason: Why; kept with the event and with each request that is open again.
        accepted: Honoured requests that this version lacks and that are open again by it.
        wait: Whether to wait for whoever releases the model.

    Raises:
        LeaseTaken: Another process releases the model and `wait` is False.
        BadInput: The reason is empty or too long; the version did not pass, lacks something
            honoured that was not accepted, or erases what was restored.
        ErasureError: The book was edited: what it calls honoured need not be all that is. Or the
            version could not be handed out: see `folder_of`.
    """
    check_said(reason)
    with holding(book, model, f"rolling back to version {to}", wait=wait) as held:
        check_whole(book)
        if book.ask(lambda reader: reader.alias(model, CHAMPION)) == to:
            return False
        version, *_ = book.ask(lambda reader: _servable(reader, model, to, accepted))
        folder_of(book, version)  # minutes, if its weights are not here: in no transaction
        book.change(lambda tx: _roll_back(tx, held, model, to, reason.strip(), accepted))
        return True


def _roll_back(
    tx: Transaction, held: Held, model: str, to: int, reason: str, accepted: Sequence[str]
) -> None:
    held.check(tx)
    _, lacking, again = _servable(tx, model, to, accepted)
    for request_id in sorted(lacking):
        _open_again(tx, request_id, to, f"rolled back to version {to}: {reason}")
    why = tx.keep_text(f"{model}/{to}", reason)
    move_alias(tx, model, CHAMPION, to, reason=why)
    for request_id in again:
        honour(tx, request_id, to)
    tx.send(model, to, "aliases")


def _servable(
    reader: Reader, model: str, to: int, accepted: Sequence[str]
) -> tuple[Version, frozenset[str], list[str]]:
    """The version, the honoured requests that it lacks, each of which was accepted, and those that
    it honours again.
    """
    version = reader.version(model, to)
    again = _due_again(reader, version)
    _check_served_before(reader, version, again)
    lacking = lacking_in(reader, version)
    if refused := sorted(lacking - set(accepted)):
        named = ", ".join(f"{reader.request(i).concept} ({i})" for i in refused)
        raise BadInput(
            f"{model} version {to} does not erase {named}, which is honoured; choose a later "
            "version, or accept the breach with --accept-breach ID for each"
        )
    if unknown := sorted(set(accepted) - lacking):
        raise BadInput(
            f"--accept-breach {', '.join(unknown)}: version {to} breaks no such request; leave it "
            "out"
        )
    return version, lacking, again


def _due_again(reader: Reader, version: Version) -> list[str]:
    """What a version erases and is open since a rollback broke it, by the recipe that it has."""

    def last(subject: str, kind: str) -> int:
        return max((event.seq for event in reader.events(subject, kind=kind)), default=0)

    decided = last(f"{version.model}/{version.version}", "version.decided")

    def corrected(request_id: str) -> bool:  # by the chain: a clock may have been set back
        return last(request_id, "request.recipe") > decided

    return [
        i for i in version.requests if reader.request(i).row.state in WORKABLE and not corrected(i)
    ]


def _open_again(tx: Transaction, request_id: str, to: int, reason: str) -> None:
    """A request is due again, and so is everyone's who is honoured together with it."""
    duplicates = [e.row.id for e in tx.duplicates_of(request_id) if e.row.state == "honoured"]
    for i in (request_id, *duplicates):
        why = tx.keep_text(i, reason)
        tx.append("request.received", id=i, reason=why, breach=to)
    for i in duplicates:
        tx.append("request.duplicate", id=i, of=request_id)


def _check_served_before(reader: Reader, version: Version, again: Sequence[str]) -> None:
    number = version.version
    if not version.promoted:
        raise BadInput(f"version {number} has the verdict {version.verdict}; it was never served")
    if version.purged:
        raise BadInput(f"version {number} was purged; its weights are not kept any more")
    honoured = reader.ids(version.model, "honoured")
    if gone := sorted(set(version.requests) - honoured - set(again)):
        named = ", ".join(f"{reader.request(i).concept} ({i})" for i in gone)
        raise BadInput(
            f"version {number} erases {named}, which is not honoured any more; release anew instead"
        )
