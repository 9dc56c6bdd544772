"""Train one candidate."""

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.files import pretty_json, write_text
from erasure_core.methods import METHODS, precision_of
from erasure_core.network.models import halved
from erasure_core.network.weights import WeightDelta, is_readable
from erasure_core.network.work import Work
from erasure_core.planning.plan import Plan
from tasks.erasing.snapshot import teacher_of
from tasks.home import Home
from tasks.pages.shown import training
from tasks.progress import progress
from tasks.requests.machine import check_gpu


@task(name="erase", task_run_name="erase {candidate}", tags=["gpu"], cache_policy=NO_CACHE)
def erase(plan: Plan, candidate: str, home: Home) -> None:
    """Erase the plan's concepts from its teacher under one candidate's settings; keep the delta and
    the loss curve.

    A candidate that is already there, from a run that was stopped, is not trained again, and one
    that was stopped halfway goes on from there: the plan's key covers everything it depends on. Of
    what is there and cannot be read, the request is not at fault: it is made again. One that
    another process finished meanwhile, since this one was paused, stays: a version may rest on it.
    """
    chosen, file = plan.candidate(candidate), plan.delta_file(candidate)
    if is_readable(file):
        WeightDelta.load(file)
        return
    began = time.monotonic()
    losses: list[dict[str, float]] = []
    times: list[int] = []
    teacher = teacher_of(plan, home)
    check_gpu(plan.base_folder, chosen.settings)
    method = METHODS[chosen.settings.method]
    resume, precision = file.with_suffix(".resume"), precision_of(chosen.settings)
    # what is shared would hold on to a copy in half precision; its trajectories are kept by content
    prepared = _prepared(plan.folder, chosen.preset, home) if precision == "fp32" else None
    steps = method.steps(plan.concepts, chosen.settings)
    effective = "" if chosen.lambda_eff is None else f" (lambda_eff {chosen.lambda_eff:.2g})"
    with (
        progress(f"erase, {candidate}{effective}", steps) as advance,
        training(plan, candidate, home) as on_loss,
    ):

        def on_step(_update: int, terms: Any) -> None:
            losses.append(dict(terms))
            times.append(int(time.time() * 1000))
            on_loss(sum(terms.values()))
            advance(1)

        work = Work(plan.params.seed, on_step, home.prepared, resume)
        with halved(teacher, precision) as guide:
            delta = method.erase(guide, plan.concepts, chosen.settings, work, prepared)
    if is_readable(file):
        resume.unlink(missing_ok=True)
        return
    write_text(
        plan.losses_file(candidate),
        pretty_json(
            {
                "losses": losses,
                "times": times,
                "lambda_eff": chosen.lambda_eff,
                "seconds": time.monotonic() - began,
            }
        ),
    )
    requests = ",".join(str(r.subject_request_id) for r in plan.requests)
    delta.save(
        file,
        method=chosen.settings.method,
        request_ids=requests,
        run_key=plan.run_key,
        candidate=candidate,
    )
    resume.unlink(missing_ok=True)


@lru_cache(maxsize=2)  # one sweep at a time, and its comparison
def _prepared(folder: Path, preset: str, home: Home) -> Any:
    """What every lambda of one preset shares."""
    plan = Plan.read(folder)
    settings = next(
        candidate.settings for candidate in plan.candidates() if candidate.preset == preset
    )
    method = METHODS[settings.method]
    work = Work(plan.params.seed, cache=home.prepared)
    return method.prepare(teacher_of(plan, home), plan.concepts, settings, work)
