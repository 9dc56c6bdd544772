"""From a decision to a version: the released folder, the record, and the book's one transaction."""

from erasure_core.law.fold import Version
from erasure_core.law.lineage import RunRecord
from erasure_core.planning.plan import Plan
from tasks.book.lease import Held
from tasks.book.store import Book
from tasks.evidence.decide import Decision
from tasks.evidence.measure import Evidence
from tasks.progress import Clock
from tasks.release.checkpoint import build_base_checkpoint, build_checkpoint
from tasks.release.mirrored import audience_of
from tasks.release.recording import base_record, run_record
from tasks.release.settle import Outcome, Restoring, policy_sha256, settle
from tasks.requests.plan import Planned


def publish(
    book: Book,
    held: Held,
    planned: Planned,
    evidence: Evidence,
    decision: Decision,
    clock: Clock,
    restoring: Restoring | None = None,
) -> Version:
    """Build what was decided, and enter it and its record into the book.

    A refused candidate keeps its delta, from which its folder can be built again.
    """
    plan, home = planned.plan, book.home
    with clock("checkpoint"):
        delta = plan.delta_file(decision.chosen)
        checkpoint = build_checkpoint(plan.base_folder, delta, home, keep=decision.promoted)
    number = _next_version(book, plan)
    record = run_record(
        plan,
        evidence,
        decision,
        checkpoint,
        number,
        clock.seconds,
        planned.new,
        restoring.request_id if restoring else None,
    )
    return _settle(book, held, planned, record, restoring)


def publish_base(book: Book, held: Held, planned: Planned, restoring: Restoring) -> Version:
    """Release the base itself: nothing is left to erase."""
    checkpoint = build_base_checkpoint(planned.plan.base_folder, book.home)
    record = base_record(planned.plan, _next_version(book, planned.plan))
    record = record.model_copy(update={"checkpoint_sha256": checkpoint})
    return _settle(book, held, planned, record, restoring)


def _settle(
    book: Book, held: Held, planned: Planned, record: RunRecord, restoring: Restoring | None
) -> Version:
    outcome = Outcome(
        record=record,
        plan_sha256=planned.plan.sha256,
        policy_sha256=policy_sha256(planned.plan.params.policy),
        audience=audience_of(record),
        new=planned.new,
        champion_before=planned.champion,
        restoring=restoring,
    )
    return settle(book, held, outcome)


def _next_version(book: Book, plan: Plan) -> int:
    return book.ask(lambda reader: reader.next_version(plan.params.registered_model))
