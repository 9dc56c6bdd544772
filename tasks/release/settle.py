"""One transaction decides a release: the version, its aliases, its requests, its statement.

Promotion is compare-and-swap: the lease is still ours, the champion is still the one that was
planned against, and the plan erases everything that is honoured now. What follows outside (MLflow,
DVC, report) goes into the outbox of the same transaction.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from erasure_core.errors import ErasureError
from erasure_core.law.fold import CANDIDATE, CHAMPION, Version
from erasure_core.law.gates import HAVE, concept_of
from erasure_core.law.life import WORKABLE, shown
from erasure_core.law.lineage import RunRecord, sha256_file, sha256_json
from erasure_core.law.statement import Statement, opened, sign
from tasks.book.keys import Keys
from tasks.book.lease import Held
from tasks.book.store import ERRANDS, Book, Reader, Transaction
from tasks.release.record import record_file
from tasks.requests.intake import join


class Overtaken(ErasureError):
    """What was planned against has changed meanwhile; plan again."""


@dataclass(frozen=True, slots=True)
class Restoring:
    """The request that a release takes back, and why."""

    request_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to, beyond its record."""

    record: RunRecord
    plan_sha256: str
    policy_sha256: str
    new: Mapping[str, str]  # requests that this run tries to honour -> hash of the recipe it has
    champion_before: int | None  # as it was when the run was planned
    restoring: Restoring | None = None
    audience: str | None = None  # to whom the policy may release it


def settle(book: Book, held: Held, outcome: Outcome) -> Version:
    """Enter a version into the book, write its record, and let follow what its verdict allows.

    The record is written once the lease was seen to be ours: whoever lost it overwrites nothing.

    Raises:
        LeaseLost: Another process took over.
        Overtaken: The champion or the requests are no longer those that were planned with.
    """

    def work(tx: Transaction) -> Version:
        held.check(tx)
        _check_not_overtaken(tx, outcome)
        version = _decide(tx, outcome, _write_record(book, outcome.record))
        if version.promoted:
            promote(tx, version, outcome.new, outcome.restoring)
        else:
            _end_attempt(tx, outcome)
        say_of(tx, Keys(book.home), version)
        for errand in ERRANDS:
            tx.send(version.model, version.version, errand)
        return tx.version(version.model, version.version)

    return book.change(work)


def answer_again(book: Book, held: Held, version: Version, new: Mapping[str, str]) -> Version:
    """Let an earlier answer to the same plan hold for these requests now.

    Raises:
        LeaseLost: Another process took over.
        Overtaken: The requests are no longer those that were planned with.
    """

    def work(tx: Transaction) -> Version:
        held.check(tx)
        _check_still_asked(tx, new)
        if not version.promoted:
            for request_id in new:
                _fail_again(tx, request_id, version)
            return version
        if lacking := lacking_in(tx, version):
            raise Overtaken(f"version {version.version} lacks {', '.join(sorted(lacking))}")
        if tx.alias(version.model, CHAMPION) != version.version or new:
            promote(tx, version, new, None)
            tx.send(version.model, version.version, "aliases")
        return version

    return book.change(work)


def _fail_again(tx: Transaction, request_id: str, version: Version) -> None:
    """The same plan was refused before, and would be again."""
    row = tx.request(request_id).row
    if row.state == "ready":
        why = tx.keep_text(request_id, f"version {version.version} of the same plan was refused")
        tx.append("request.attempt_failed", id=request_id, version=version.version, reason=why)


def lacking_in(reader: Reader, version: Version) -> frozenset[str]:
    """The honoured requests that a version does not erase."""
    return reader.ids(version.model, "honoured") - set(version.requests)


def promote(
    tx: Transaction, version: Version, new: Iterable[str], restoring: Restoring | None
) -> None:
    """Move the champion, and with it what is honoured and restored."""
    move_alias(tx, version.model, CHAMPION, version.version)
    for request_id in new:
        honour(tx, request_id, version.version)
    if restoring is not None:
        why = tx.keep_text(restoring.request_id, restoring.reason)
        tx.append("request.restored", id=restoring.request_id, version=version.version, reason=why)


def honour(tx: Transaction, request_id: str, version: int) -> None:
    """A request and its duplicates are honoured by a version, and so is who asks for nothing but
    other names of it.
    """
    row = tx.request(request_id).row
    if row.state in ("received", "waiting"):
        tx.append("request.ready", id=request_id)
    if row.state != "honoured":
        tx.append("request.honoured", id=request_id, version=version)
    for other in tx.duplicates_of(request_id):
        if other.row.state != "honoured":
            tx.append("request.honoured", id=other.row.id, of=request_id, version=version)
    for asking in _asking_by_other_names(tx, request_id, version):
        join(tx, asking, tx.request(request_id))


def _asking_by_other_names(tx: Transaction, request_id: str, version: int) -> list[str]:
    """The open requests, none of the version's own, whose every name is one of this request's."""
    entry = tx.request(request_id)
    if entry.request is None or not entry.request.concept.also:
        return []
    concept, model = entry.request.concept, entry.row.model
    own = tx.version(model, version).requests
    return [
        other.row.id
        for other in tx.requests(model, sorted(WORKABLE))
        if other.row.id not in own and other.request and concept.covers(other.request.concept)
    ]


def move_alias(tx: Transaction, model: str, alias: str, version: int, **why: Any) -> None:
    """Let an alias name a version."""
    before = tx.alias(model, alias)
    if before != version:
        tx.append("alias.moved", model=model, alias=alias, version=version, before=before, **why)


def refusal(record: RunRecord, concept: str) -> str:
    """Why the gate did not pass, in one line, as one request may keep it: what was missed of its
    concept and of none. What others are called is theirs, and must go with them.
    """
    missed = [check for check in record.gate["checks"] if check["verdict"] != "pass"]
    own = [check for check in missed if concept_of(check["metric"]) in (None, concept)]
    said = [f"{check['verdict']}: {check['reason'].partition(HAVE)[0]}" for check in own]
    if others := len(missed) - len(own):
        said.append(f"version {record.model_version} missed {others} limit(s) on other concepts")
    return f"gate {record.gate['verdict']}: " + "; ".join(said)


def _check_not_overtaken(tx: Transaction, outcome: Outcome) -> None:
    record = outcome.record
    champion = tx.alias(record.model_name, CHAMPION)
    if champion != outcome.champion_before:
        raise Overtaken(
            f"the champion of {record.model_name} is {champion}, this release was planned against "
            f"{outcome.champion_before}"
        )
    taken_back = {outcome.restoring.request_id} if outcome.restoring else set()
    honoured = tx.ids(record.model_name, "honoured") - taken_back
    if lacking := honoured - set(record.request_ids):
        raise Overtaken(f"honoured meanwhile: {', '.join(sorted(lacking))}")
    _check_still_asked(tx, outcome.new)
    if outcome.restoring:
        _check_still_given_up(tx, outcome.restoring.request_id)


def _check_still_asked(tx: Transaction, new: Mapping[str, str]) -> None:
    """Nobody withdrew, held or corrected what was worked on."""
    for request_id, recipe in new.items():
        row = tx.request(request_id).row
        if row.state not in WORKABLE and row.state != "honoured":
            raise Overtaken(f"request {request_id} is {shown(row.state)} now")
        if row.recipe != recipe:
            raise Overtaken(f"the recipe of request {request_id} was corrected meanwhile")


def _check_still_given_up(tx: Transaction, request_id: str) -> None:
    """Nobody else asked for the concept while it was brought back."""
    state = tx.request(request_id).row.state
    if state != "honoured":
        raise Overtaken(f"request {request_id} is {shown(state)} now")
    if same := tx.who_asks_too(request_id):
        raise Overtaken(f"request {', '.join(same)} asks for the same concept now")


def _write_record(book: Book, record: RunRecord) -> str:
    """Write what a version rests on; its hash."""
    assert record.model_version is not None  # given before the record was made
    file = record_file(book.home, record.model_name, record.model_version)
    record.to_json(file)
    return sha256_file(file)


def _decide(tx: Transaction, outcome: Outcome, record_sha256: str) -> Version:
    record = outcome.record
    number = tx.next_version(record.model_name)
    if number != record.model_version:
        raise Overtaken(f"version {record.model_version} was made by another process")
    tx.append(
        "version.decided",
        model=record.model_name,
        version=number,
        verdict=record.gate["verdict"],
        promoted=record.promoted,
        run_key=record.run_key,
        folder=record.folder,
        plan=outcome.plan_sha256,
        base=record.base_sha256,
        policy=outcome.policy_sha256,
        audience=outcome.audience,
        checkpoint=record.checkpoint_sha256,
        delta=record.delta_sha256,
        record=record_sha256,
        requests=record.request_ids,
        restored=record.restored_ids,
    )
    move_alias(tx, record.model_name, CANDIDATE, number)
    return tx.version(record.model_name, number)


def _end_attempt(tx: Transaction, outcome: Outcome) -> None:
    """The candidate is refused, not the requests: they are still due."""
    for request_id in outcome.new:
        entry = tx.request(request_id)
        if entry.row.state == "honoured":
            continue
        if entry.row.state in ("received", "waiting"):
            tx.append("request.ready", id=request_id)
        why = tx.keep_text(request_id, refusal(outcome.record, entry.concept))
        version = outcome.record.model_version
        tx.append("request.attempt_failed", id=request_id, version=version, reason=why)


def say_of(
    tx: Transaction, keys: Keys, version: Version, instead_of: Sequence[str] | None = None
) -> None:
    """Sign what was decided of a version, at the head of the chain as it is now; `instead_of`
    names the keys that signed it before and were given up.
    """
    head = tx.head()
    assert head is not None  # the decision itself
    statement = statement_of(version, head.seq, head.sha256)
    envelope = sign(statement, keys.current()).decode()
    text = tx.keep_text(f"{version.model}/{version.version}", envelope)
    tx.append(
        "version.stated",
        model=version.model,
        version=version.version,
        statement=text,
        instead_of=instead_of,
    )


def statement_of(version: Version, head_seq: int, head_sha256: str) -> Statement:
    """What is said, and signed, of a version."""
    return Statement(
        model=version.model,
        version=version.version,
        verdict=version.verdict,
        audience=version.audience,
        request_ids=version.requests,
        restored_ids=version.restored,
        base_sha256=version.base,
        policy_sha256=version.policy,
        checkpoint_sha256=version.checkpoint,
        delta_sha256=version.delta,
        record_sha256=version.record,
        head_seq=head_seq,
        head_sha256=head_sha256,
        issued=datetime.now(UTC),
    )


def check_statement(book: Book, keys: Keys, version: Version) -> None:
    """Check that the signed statement of a version says what the book says.

    Raises:
        ErasureError: It is gone, not signed by a trusted key, or says something else.
    """
    where = f"the statement of {version.model} version {version.version}"
    try:
        text = book.ask(lambda reader: reader.text(version.statement))
        if text is None:
            raise ErasureError("it is gone; restore the book from a copy")
        said = opened(text.encode(), keys.trusted())
    except ErasureError as fault:
        raise ErasureError(f"{where} is not valid: {fault}") from None
    if not says(said, version):
        raise ErasureError(
            f"{where} says something else than the book; restore the book from a copy"
        )


def says(said: Statement, version: Version) -> bool:
    """Whether a statement says of a version what the book says, whenever it was issued."""
    should = statement_of(version, said.head_seq, said.head_sha256)
    return said.model_copy(update={"issued": should.issued}) == should


def state_again(book: Book, keys: Keys, version: Version) -> bool:
    """Sign anew what a key had signed of a version that was given up; False where none had, or
    where it says something else than the book.
    """

    def work(tx: Transaction) -> bool:
        envelope = tx.text(version.statement) or ""
        try:
            said = opened(envelope.encode(), keys.given_up())
        except ErasureError:
            return False
        if not says(said, version):
            return False
        before = [signature["key"] for signature in json.loads(envelope)["signatures"]]
        say_of(tx, keys, version, before)
        tx.send(version.model, version.version, "mlflow version")
        return True

    return book.change(work)


def policy_sha256(policy: Any) -> str:
    """Hash of the policy that judged a version."""
    return sha256_json(policy.model_dump(mode="json"))
