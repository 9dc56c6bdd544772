"""How much of what was honoured before is measured in a release (docs/again.md)."""

import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from erasure_core.errors import ErasureError
from erasure_core.law.concepts import together
from erasure_core.law.fold import Version
from erasure_core.law.lineage import RunRecord
from erasure_core.planning.plan import STAGES, Plan, kept_name, target_name
from tasks.book.store import Book
from tasks.release.record import record_of

NEWEST = 200  # versions that are looked through; what was measured whole before them is again
Parts = dict[str, tuple[int, int]]


def parts_of(book: Book, plan: Plan, new: Collection[str]) -> Parts:
    """Concept -> which of how many parts of its pictures a release measures. What is not in it is
    measured whole: what is new, what was not measured whole for `policy.again.days` by a plan that
    is like this one, and what a part of its pictures says nothing about.

    The part is the one after that by which the champion was measured, and follows by a hash from
    what is released where the champion measured all: the same release planned again is the same
    plan. Where nothing is new it is the champion's.

    Args:
        book: The book.
        plan: The release, everything measured whole.
        new: The ids of the requests that it would honour newly.
    """
    if (again := plan.params.policy.again) is None:
        return {}
    names = {str(r.subject_request_id): r.concept.name for r in plan.requests}
    told = {
        str(r.subject_request_id)
        for r in plan.requests
        if plan.params.policy.seen_in_part(r.concept.kind)
    }
    fresh = _measured_whole(book, plan, told - set(new))
    before = parts_of_champion(book, plan.params.registered_model)
    if not new:
        return {names[i]: before[i] for i in names if i in fresh and i in before}
    drawn = hashlib.sha256("\n".join(sorted(names)).encode()).digest()
    first = int.from_bytes(drawn[:8], "big") % again.parts

    def after(request_id: str) -> int:
        which, of = before.get(request_id, (first - 1, again.parts))
        return (which + 1 if of == again.parts else first) % again.parts

    return {name: (after(i), again.parts) for i, name in names.items() if i in fresh}


def overdue(book: Book, plan: Plan) -> list[str]:
    """Of which requests the champion was measured by a part, and that no release has measured whole
    for too long: one that erases the same, and measures all, is due.
    """
    before = set(parts_of_champion(book, plan.params.registered_model))
    return sorted(before - _measured_whole(book, plan, before))


def parts_of_champion(book: Book, model: str) -> Mapping[str, tuple[int, int]]:
    """Of which requests a part was measured when the champion was released."""
    version = book.ask(lambda reader: reader.champion(model))
    record = _readable(book, version) if version is not None else None
    return record.parts if record else {}


def _measured_whole(book: Book, plan: Plan, ids: Collection[str]) -> set[str]:
    """Those of `ids` that a release measured whole, not too long ago."""
    assert plan.params.policy.again is not None
    model, wanted, found = plan.params.registered_model, set(ids), set[str]()
    since = datetime.now(UTC) - timedelta(days=plan.params.policy.again.days)
    for version in reversed(book.ask(lambda reader: reader.versions(model, NEWEST))):
        if found == wanted or datetime.fromisoformat(version.created) < since:
            break  # so are all before it
        if not _alike(version, plan) or not wanted & set(version.requests):
            continue
        if record := _readable(book, version):
            whole = set(record.request_ids) - record.parts.keys()
            found |= {i for i in wanted & whole if _on_the_same(record, plan, i)}
    return found


def _readable(book: Book, version: Version) -> RunRecord | None:
    """None where the record is not what the book holds, which the audit says: it vouches for
    nothing, and must not keep a request waiting.
    """
    try:
        return record_of(book.home, version)
    except ErasureError:
        return None


def _alike(version: Version, plan: Plan) -> bool:
    """Whether it was released from the base of the plan, and its evidence is still there."""
    return version.base == plan.base_sha256 and version.promoted and not version.purged


def _on_the_same(record: RunRecord, plan: Plan, request_id: str) -> bool:
    """Whether a release measured this request by the same code and parameters, on the same prompts
    (the kept ones say what its pictures may be named), and with the same in its concept's place:
    what stood there may go since.
    """
    concept = next(r.concept for r in plan.requests if str(r.subject_request_id) == request_id)
    sets = [name for s in STAGES for name in (target_name(concept, s), kept_name(s))]
    same = (record.params_sha256, record.made_with) == (plan.params.sha256, plan.made_with)
    ids = [str(r.subject_request_id) for r in plan.requests]
    instead = {_instead(plan, request_id, among) for among in (ids, record.request_ids)}
    return (
        same
        and len(instead) == 1
        and all(record.prompt_sha256.get(s) == plan.prompt_sha256.get(s) for s in sets)
    )


def _instead(plan: Plan, request_id: str, among: Collection[str]) -> str:
    """What stands in the place of a request's concept where those `among` are erased."""
    asked = [r for r in plan.requests if str(r.subject_request_id) in among]
    erased = together(tuple(r.concept for r in asked))
    at = [str(r.subject_request_id) for r in asked].index(request_id)
    return erased[at].replacement
