"""From deletion requests to a promoted model, or to a recorded refusal."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.lineage import RunRecord
from erasure_core.law.requests import DeletionRequest
from erasure_core.planning.plan import Plan
from flows.gpu import erase_and_generate
from tasks.erasing.snapshot import snapshot
from tasks.evidence.data import validate_prompt_sets
from tasks.evidence.decide import Decision, decide
from tasks.evidence.measure import Found, measure
from tasks.home import Home
from tasks.pages.publish import track_run, write_report
from tasks.placement import run_gpu_step
from tasks.progress import Clock
from tasks.registry.track import closed_if_it_fails, finish_run
from tasks.release.release import (
    answered,
    make_checkpoint,
    method_of_champion,
    one_at_a_time,
    refuse,
    register,
    run_record,
    seconds_of,
    settle,
    settle_restored,
    settled,
    version_checkpoint,
)
from tasks.requests.intake import (
    accept_requests,
    check_setup,
    honoured_requests,
    pending_requests,
    plan_run,
    read_requests,
    to_restore,
)

PARAMS = Path("params.yaml")


@flow(name="erase-concepts")
def erase_concepts(
    requests: list[Path],
    params: Path = PARAMS,
    base: str | None = None,
    fresh: bool = False,
    method: str | None = None,
) -> dict[str, Any]:
    """Release a model from the base with the requests of these files and every request honoured so
    far.
    """
    home, clock = Home.from_env(), Clock()
    with clock("accept"):
        wanted = read_requests(requests, home)
        plan = plan_run([*honoured_requests(home, wanted), *wanted], params, home, base, method)
    with clock("validate"):
        validate_prompt_sets(plan.sources())
    accept_requests(requests, home)
    return release(plan, wanted, home, clock, fresh).model_dump(mode="json", by_alias=True)


def answer(
    requests: list[Path], params: Path = PARAMS, base: str | None = None, method: str | None = None
) -> dict[str, Any] | None:
    """What an earlier run of the same inputs came to, if nothing of it is left to do: reading it
    needs no server.
    """
    home = Home.from_env()
    wanted = read_requests(requests, home)
    done = answered(
        plan_run.fn([*honoured_requests(home, wanted), *wanted], params, home, base, method), home
    )
    return done.model_dump(mode="json", by_alias=True) if done and settled(done, home) else None


@flow(name="honour-pending")
def honour_pending(
    params: Path = PARAMS, base: str | None = None, method: str | None = None
) -> list[dict[str, Any]]:
    """Release one model with every pending request; if together they are refused, find those that
    can be honoured.
    """
    home, outcomes, failures = Home.from_env(), [], []
    pending = pending_requests(home)
    if pending:
        check_setup(params, base, method)
    for wanted in groups(pending, home):
        clock = Clock()
        try:
            with clock("accept"):
                plan = plan_run(
                    [*honoured_requests(home, wanted), *wanted], params, home, base, method
                )
            with clock("validate"):
                validate_prompt_sets(plan.sources())
            outcomes.append(
                release(plan, wanted, home, clock).model_dump(mode="json", by_alias=True)
            )
        except BadInput as fault:
            if len(wanted) == 1:
                refuse([wanted[0].subject_request_id], str(fault), home)
        except (
            ErasureError
        ) as fault:  # the work failed, not the request: it stays pending, the others go on
            failures.append(f"{', '.join(str(r.subject_request_id) for r in wanted)}: {fault}")
    if failures:
        raise ErasureError("; ".join(failures))
    return outcomes


@flow(name="restore-concept")
def restore_concept(
    request_id: UUID, reason: str, params: Path = PARAMS, method: str | None = None
) -> dict[str, Any]:
    """Release a model without the erasure of one honoured request: the same method, its concept
    back, the others still gone.
    """
    home, clock = Home.from_env(), Clock()
    with clock("accept"):
        taken_back, left = to_restore(request_id, home)
        plan = plan_run(
            left,
            params,
            home,
            method=method or method_of_champion(params, home),
            restoring=[taken_back],
        )
    with clock("validate"):
        validate_prompt_sets(plan.sources())
    record = release(plan, [], home, clock)
    if record.promoted:
        settle_restored(request_id, reason, record, home)
    return record.model_dump(mode="json", by_alias=True)


def groups(pending: Sequence[DeletionRequest], home: Home) -> Iterator[list[DeletionRequest]]:
    """All pending requests together; then, if they were not honoured, one by one, so that none
    blocks the others.
    """
    if pending:
        yield list(pending)
    left = {r.subject_request_id for r in pending} - {
        r.subject_request_id for r in honoured_requests(home, [])
    }
    if len(pending) > 1:
        yield from ([request] for request in pending if request.subject_request_id in left)


def release(
    plan: Plan, wanted: Sequence[DeletionRequest], home: Home, clock: Clock, fresh: bool = False
) -> RunRecord:
    """Erase, measure, choose and gate, then publish what came of it: the same for one request and
    for many.
    """
    new: list[UUID] = [request.subject_request_id for request in wanted]
    with one_at_a_time(plan, home):
        if fresh:
            shutil.rmtree(plan.folder, ignore_errors=True)
        elif done := answered(plan, home):
            if not settled(done, home):
                settle(done, new, home)
            return done
        with clock("snapshot"):
            snapshot(plan, home)
        with clock("erase and generate"):
            run_gpu_step(erase_and_generate, {"plan_file": str(plan.file)})
        with clock("measure"):
            found = measure(plan)
        decision = decide(plan, found)
        with clock("track"):
            run_id = track_run(plan, found, decision, home)
        with closed_if_it_fails(run_id, home):
            return publish(plan, found, decision, run_id, new, home, clock)


def publish(
    plan: Plan,
    found: dict[str, Found],
    decision: Decision,
    run_id: str,
    new: Sequence[UUID],
    home: Home,
    clock: Clock,
) -> RunRecord:
    """Register the chosen candidate, promote or refuse it, settle the requests, report."""
    with clock("checkpoint"):
        checkpoint = make_checkpoint(plan, decision.chosen, home)
        pointer = version_checkpoint(checkpoint, home)
    with clock("register"):
        version = register(plan, decision, checkpoint, pointer, run_id, home)
    record = run_record(
        plan, found, decision, checkpoint, version, run_id, {**clock.seconds, **seconds_of(plan)}
    )
    champion_before = settle(record, new, home)
    report = write_report(plan, record, decision, found, champion_before)
    finish_run(home, run_id, artifacts=[report, plan.file])
    return record
