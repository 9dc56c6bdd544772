"""From deletion requests to a promoted model, or to a recorded refusal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow

from erasure_core.errors import ErasureError
from erasure_core.law.clock import until
from erasure_core.law.life import shown
from erasure_core.planning.plan import Plan, Stage
from flows.approval import approved
from flows.gpu import erase_and_generate
from flows.naming import labelled, named_after_requests, nightly_name, restore_name, trial_name
from flows.request import Method
from flows.telling import one_line
from tasks.book.door import check_whole, open_book
from tasks.book.lease import Held, LeaseLost, holding
from tasks.book.status import left_of
from tasks.book.store import Book, Entry
from tasks.erasing.snapshot import snapshot
from tasks.evidence.data import validate_prompt_sets
from tasks.evidence.decide import Decision, choose_candidate, decide
from tasks.evidence.measure import Evidence, Found, measure
from tasks.home import Home
from tasks.pages.publish import write_report
from tasks.pages.shown import measured, working
from tasks.placement import home_of_run, run_gpu_step
from tasks.progress import Clock
from tasks.release.errands import run_errands
from tasks.release.outcome import outcome_of, refreshed
from tasks.release.publish import publish, publish_base
from tasks.release.recording import run_record
from tasks.release.resolve import check_answer
from tasks.release.settle import Overtaken, Restoring, answer_again
from tasks.requests.cause import is_of_request
from tasks.requests.intake import add, check
from tasks.requests.named import read_named
from tasks.requests.park import park
from tasks.requests.plan import (
    Inputs,
    NeedsApproval,
    Planned,
    again_due,
    answered,
    as_they_are,
    check_approved,
    check_inputs,
    groups,
    plan_release,
    plan_restore,
    plan_trial,
    start_afresh,
    still_workable,
    take_up,
    taken_out,
)
from tasks.requests.rolled_back import check_not_rolled_back
from tasks.requests.steps import check_said
from tasks.trial import at_work

PARAMS = Path("params.yaml")
REPLANS = 3  # how often a release that was overtaken is planned afresh
Released = dict[str, Any]


class NotPromoted(ErasureError):
    """The gate refused a candidate, or a request could not be taken up or finished; what else was
    promoted stands. `also` says what the outcomes do not.
    """

    exit_code = 3

    def __init__(self, outcomes: Sequence[Released], also: Sequence[str] = ()):
        self.outcomes = list(outcomes)
        super().__init__("; ".join([*(o["said"] for o in outcomes if not o["promoted"]), *also]))


@flow(name="erase-concepts", flow_run_name=named_after_requests)
@one_line
def erase_concepts(
    requests: list[Path | UUID],
    params: Path = PARAMS,
    base: str | None = None,
    fresh: bool = False,
    method: Method | None = None,
    wait: bool = True,
    compare: bool = False,
    changes: list[str] | None = None,
) -> list[Released]:
    """Release a model from the base with the requests of these files, or of these ids or names in
    the book, and every request honoured so far; `compare` trains and reports the parameters'
    comparisons beside it, `changes` are `key=value` in place of what the parameters have.

    Raises:
        NotPromoted: The gate refused it.
    """
    home, inputs = home_of_run(), Inputs.read(params, base, method, compare, changes or ())
    book = open_book(home)
    asked = read_named(book, [str(source) for source in requests], inputs.model)
    check(book, asked, inputs.model)
    check_inputs(inputs, asked, home)
    named = [entry.row.id for entry in add(book, asked, inputs.model)]
    return approved(book, lambda: _release_all(book, inputs, named, fresh, wait))


@flow(name="honour-pending", flow_run_name=nightly_name)
@one_line
def honour_pending(
    params: Path = PARAMS, base: str | None = None, method: Method | None = None, wait: bool = True
) -> list[Released]:
    """Release one model with every request that is due; if together they are refused, find those
    that can be honoured. Where none is due, and what is honoured was measured in part for too long,
    release the same again with all of it measured.

    Raises:
        NotPromoted: The gate refused some of them, or some wait for what they lack.
    """
    book, inputs = open_book(home_of_run()), Inputs.read(params, base, method)
    return approved(book, lambda: _release_all(book, inputs, None, False, wait))


@flow(name="try-concepts", flow_run_name=trial_name)
@one_line
def try_concepts(
    requests: list[Path | UUID],
    params: Path = PARAMS,
    base: str | None = None,
    method: Method | None = None,
    compare: bool = False,
    changes: list[str] | None = None,
) -> Released:
    """Do what a run of these requests would do up to its verdict and report, in a folder of its
    own; the book, the registry and the champion stay as they are.
    """
    home, inputs = home_of_run(), Inputs.read(params, base, method, compare, changes or ())
    book = open_book(home, make=False)
    asked = read_named(book, [str(source) for source in requests], inputs.model)
    planned = plan_trial(book, inputs, asked)
    plan, clock = planned.plan, Clock()
    with at_work(home, plan.folder):
        with labelled(plan):
            evidence, decision = _judged(plan, home, clock)
        new = [str(request.subject_request_id) for request in asked]
        record = run_record(plan, evidence, decision, "", None, clock.seconds, new)
        record.to_json(plan.folder / "record.json")
        report = write_report(plan, record, decision, evidence, planned.champion)
    return {**record.model_dump(mode="json", by_alias=True), "report": str(report)}


@flow(name="restore-concept", flow_run_name=restore_name)
@one_line
def restore_concept(
    request_id: UUID,
    reason: str,
    params: Path = PARAMS,
    base: str | None = None,
    method: Method | None = None,
    wait: bool = True,
) -> list[Released]:
    """Release a model without the erasure of one honoured request: the same base and method, its
    concept back, the others still gone.

    Raises:
        NotPromoted: The gate refused it.
        BadInput: The reason is empty or too long, or the request cannot be taken back.
    """
    check_said(reason)
    book, inputs = open_book(home_of_run()), Inputs.read(params, base, method)
    restoring = Restoring(str(request_id), reason)

    def work() -> list[Released]:
        with holding(book, inputs.model, f"restoring {request_id}", wait=wait) as held:
            check_whole(book)
            run_errands(book, inputs.model, wait=wait)
            outcome = _restored(book, held, inputs, request_id, restoring)
        return _told(book, inputs, [outcome], wait)

    return approved(book, work)


def _release_all(
    book: Book, inputs: Inputs, named: Sequence[str] | None, fresh: bool, wait: bool
) -> list[Released]:
    """Under one lease: all requests together, then singly those that this did not honour."""
    came = _CameTo()
    doing = f"releasing {len(named)} request(s)" if named is not None else "honouring what is due"
    with holding(book, inputs.model, doing, wait=wait) as held:
        check_whole(book)
        run_errands(book, inputs.model, wait=wait)
        entries = take_up(book, inputs, named)
        if not entries and (gone := taken_out(book, named or ())):
            raise ErasureError(_nothing_left(book, gone))
        # all that are named are honoured: what the champion is; or it is to be measured again
        if not entries and (named is not None or again_due(book, inputs)):
            came.outcomes.extend(_released_if_asked(book, held, inputs, [], fresh))
        for group in groups(book, entries):
            _release_group(book, held, inputs, group, fresh, came)
    if came.waiting:
        raise _waits(book, inputs, came, wait)
    said = "; ".join(came.failures) or (_nothing_left(book, entries) if named else "")
    if said and not came.outcomes:
        raise ErasureError(said)
    waiting = _left_waiting(book, inputs) if named is None else ()
    return _told(book, inputs, came.outcomes, wait, came.failures, waiting)


def _left_waiting(book: Book, inputs: Inputs) -> list[str]:
    """What is due and waits, each with its reason: nobody who reads that all went well looks."""
    waiting = book.ask(lambda reader: reader.requests(inputs.model, ["waiting"]))
    return [
        f"request {e.row.id} waits: {e.reason}; {until(e.row.due, left_of(e.row))}" for e in waiting
    ]


@dataclass(frozen=True, slots=True)
class _CameTo:
    """What the groups of one run came to."""

    outcomes: list[Released] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    waiting: list[NeedsApproval] = field(default_factory=list)


def _release_group(
    book: Book, held: Held, inputs: Inputs, group: Sequence[Entry], fresh: bool, came: _CameTo
) -> None:
    """One group; what breaks in it, or waits for approval, is noted and stops no other."""
    waiting = {i for needed in came.waiting for i in needed.requests}
    if waiting & {entry.row.id for entry in group}:
        return  # alone it would be another plan, and ask for another approval
    try:
        came.outcomes.extend(_released_if_asked(book, held, inputs, group, fresh))
    except LeaseLost:
        raise
    except NeedsApproval as needed:
        came.waiting.append(needed)
    except Exception as fault:
        came.failures.append(_failed(book, group, fault))


def _waits(book: Book, inputs: Inputs, came: _CameTo, wait: bool) -> NeedsApproval:
    """The first plan that needs approval, with all else that is to be told."""
    first, *others = came.waiting
    also = [*came.failures, *map(str, others)]
    told = _followed(book, inputs, came.outcomes, wait, [str(first), *also])
    return first.beside(told, also)


def _failed(book: Book, group: Sequence[Entry], fault: Exception) -> str:
    """What broke is said; a request that breaks the work on its own waits until it is mended."""
    ids = ", ".join(entry.row.id for entry in group)
    if is_of_request(fault) and len(group) == 1:
        park(book, {ids: f"{type(fault).__name__}: {fault}"})
    return f"{ids}: {fault}"


def _released_if_asked(
    book: Book, held: Held, inputs: Inputs, group: Sequence[Entry], fresh: bool
) -> list[Released]:
    """One release of those of a group that a person has not meanwhile taken out, planned afresh
    when it was overtaken; none if nobody is left.
    """
    for _ in range(REPLANS):
        left = still_workable(book, group)
        if group and not left:
            return []
        try:
            return [_released(book, held, inputs, left, fresh)]
        except Overtaken as fault:
            overtaken = fault
    raise overtaken


def _released(
    book: Book, held: Held, inputs: Inputs, group: Sequence[Entry], fresh: bool
) -> Released:
    """One release, from its plan to its version."""
    planned = plan_release(book, inputs, group)
    if not fresh:
        check_not_rolled_back(book, planned)
    if not fresh and (version := answered(book, planned)):
        check_answer(book, version, planned.champion)
        return outcome_of(book, answer_again(book, held, version, planned.new), answered=True)
    check_approved(book, planned)
    return _worked(book, held, start_afresh(book, planned) if fresh else planned)


def _nothing_left(book: Book, entries: Sequence[Entry]) -> str:
    """Why a run ends with nothing done that had something to do."""
    now = as_they_are(book, entries)
    said = ", ".join(f"{entry.row.id} is {shown(entry.row.state)}" for entry in now)
    return f"nothing was released: meanwhile request {said}"


def _worked(
    book: Book, held: Held, planned: Planned, restoring: Restoring | None = None
) -> Released:
    """Erase, measure, choose and gate, then publish what came of it."""
    clock, plan, back = Clock(), planned.plan, planned.back
    with labelled(plan, back), working(plan, book, back):
        evidence, decision = _judged(plan, book.home, clock)
        version = publish(book, held, planned, evidence, decision, clock, restoring)
    return outcome_of(book, version, answered=False)


def _judged(plan: Plan, home: Home, clock: Clock) -> tuple[Evidence, Decision]:
    """Carry a plan out up to its verdict."""
    with clock("validate"):
        validate_prompt_sets(plan.sources(), plan.params.reading)
    with clock("snapshot"):
        snapshot(plan, home)
    evidence = _evidence(plan, clock, home)
    return evidence, decide(plan, evidence)


def _evidence(plan: Plan, clock: Clock, home: Home) -> Evidence:
    """Train, choose on one set of pictures, and measure the chosen candidate on another."""

    def seen(stage: Stage, candidates: list[str]) -> dict[str, Found]:
        with clock(f"erase and generate, {stage}"):
            step = {"run": plan.folder.name, "stage": stage, "candidates": candidates}
            run_gpu_step(erase_and_generate, step)
        with clock(f"measure, {stage}"):
            found = measure(plan, stage, candidates)
        measured(plan, stage, found, home)
        return found

    (chosen, *_), choice = plan.eligible, dict[str, Found]()
    if plan.chooses:
        choice = seen("choose", plan.eligible)
        chosen = choose_candidate(plan, choice)
    return Evidence(choice, seen("report", [chosen, *plan.comparisons]))


def _restored(
    book: Book, held: Held, inputs: Inputs, request_id: UUID, restoring: Restoring
) -> Released:
    """The release without one request; the base itself where nothing else is erased. What the gate
    refused before it would refuse again.
    """
    planned = plan_restore(book, inputs, request_id)
    if (version := answered(book, planned)) and not version.promoted:
        return outcome_of(book, version, answered=True)
    check_approved(book, planned, restoring.request_id)
    if not planned.plan.requests:
        with labelled(planned.plan, planned.back):
            version = publish_base(book, held, planned, restoring)
        return outcome_of(book, version, answered=False)
    return _worked(book, held, planned, restoring)


def _told(
    book: Book,
    inputs: Inputs,
    outcomes: list[Released],
    wait: bool,
    failures: Sequence[str] = (),
    waiting: Sequence[str] = (),
) -> list[Released]:
    """Let the world outside follow, and end as what came of it: a refusal is no success, nor is a
    request that was not taken up.
    """
    told = _followed(book, inputs, outcomes, wait, failures)
    if failures or waiting or not all(outcome["promoted"] for outcome in told):
        raise NotPromoted(told, [*failures, *waiting])
    return told


def _followed(
    book: Book, inputs: Inputs, outcomes: list[Released], wait: bool, failures: Sequence[str]
) -> list[Released]:
    """The outcomes once the world outside has followed, with what else is to be told."""
    behind = run_errands(book, inputs.model, wait=wait)
    return [
        {**o, **refreshed(book, o), "behind": behind, "failed": list(failures)} for o in outcomes
    ]
