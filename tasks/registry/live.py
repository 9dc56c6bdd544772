"""A run as MLflow shows it while it works: opened before the work, its losses and measurements as
they come, FAILED or KILLED if it does not come to a version. One that does is completed by its
errand (`runs.mirror_run`).

The work does not rest on it: where MLflow cannot be reached this is said, the work goes on, and the
errand makes the whole run afterwards.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from erasure_core.errors import ErasureError
from erasure_core.law.gates import Measurement
from erasure_core.text import escaped
from tasks.home import Home
from tasks.registry.client import EXPERIMENT, connected, has_store, mirroring
from tasks.registry.runs import (
    MODEL,
    NOTE,
    CandidateRun,
    RunFacts,
    candidate_run,
    complete,
    complete_run,
    log_metrics,
    losses_of,
    metrics_of,
    running_runs,
    shown_runs,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS = 2.0  # between two calls with losses
Value = TypeVar("Value")


@contextmanager
def shown_while(
    home: Home, facts: RunFacts, check: Callable[[], None] | None = None
) -> Iterator[None]:
    """Show the run while the body works. A body that ends leaves it running, for its errand. Where
    `check` raises `ErasureError`, nothing is shown.
    """

    def begin() -> str:
        if check is not None:
            check()
        return _open(home, facts)

    run_id = _as_far_as_possible(begin)
    try:
        yield
    except BaseException as fault:
        failed = isinstance(fault, Exception)  # else a signal, or Prefect ending the run
        if run_id is not None:
            said = f"failed: {' '.join(str(fault).split())}" if failed else "stopped"
            status = "FAILED" if failed else "KILLED"
            _as_far_as_possible(lambda: _end(home, facts.book, run_id, status, said))
        raise


@contextmanager
def losses_shown(
    home: Home, folder: str, candidate: CandidateRun
) -> Iterator[Callable[[float], None]]:
    """Show a candidate's training while the body works; the function given to it takes the loss of
    each update. Once MLflow did not take some the rest is its errand's: a server that does not
    answer would hold the training up every time.
    """
    run_id = _as_far_as_possible(lambda: _begin(home, folder, candidate))
    losses: list[float] = []
    times: list[int] = []
    sent, last = 0, time.monotonic()

    def send() -> None:
        nonlocal run_id, sent, last
        new = losses_of(losses[sent:], times[sent:], sent)
        if run_id is not None:
            log = partial(log_metrics, run_id=run_id, metrics=new)
            if not _as_far_as_possible(lambda: _with(home, log)):
                run_id = None
        sent, last = len(losses), time.monotonic()

    def on_loss(loss: float) -> None:
        losses.append(loss)
        times.append(int(time.time() * 1000))
        if time.monotonic() - last > SECONDS:
            send()

    status = "KILLED"
    try:
        yield on_loss
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        send()
        if run_id is not None:
            ended = run_id
            _as_far_as_possible(lambda: _with(home, lambda c: c.set_terminated(ended, status)))


def show_measured(home: Home, folder: str, name: str, measurements: Sequence[Measurement]) -> None:
    """Show what was just measured of a candidate."""

    def log(client: "MlflowClient") -> None:
        if (parent := _parent(client, folder)) is not None:
            run = candidate_run(client, parent, name, parent.data.tags)
            log_metrics(client, run.info.run_id, metrics_of(measurements))
            if run.info.status == "RUNNING":  # trained by an earlier attempt
                client.set_terminated(run.info.run_id, "FINISHED")

    if has_store(home):
        _as_far_as_possible(lambda: _with(home, log))


def _open(home: Home, facts: RunFacts) -> str:
    """Only one process releases a model at a time: what seems to run of it has died."""
    with mirroring(home) as (client, experiment):
        for left in running_runs(client, experiment, facts.book):
            if left.data.tags.get(MODEL) == facts.model:
                client.set_terminated(left.info.run_id, "KILLED")
        run = client.create_run(experiment, tags=facts.every_tag)
        complete_run(client, run, facts, {})
    return str(run.info.run_id)


def _end(home: Home, book: str, run_id: str, status: str, said: str) -> None:
    with mirroring(home) as (client, experiment):
        for run in running_runs(client, experiment, book):
            if run_id in (run.info.run_id, run.data.tags.get("mlflow.parentRunId")):
                client.set_terminated(run.info.run_id, status)
        client.set_tag(run_id, NOTE, said)


def _begin(home: Home, folder: str, candidate: CandidateRun) -> str | None:
    """The nested run of a candidate, running; None where no run of this folder is shown."""
    if not has_store(home):
        return None
    with connected(home) as client:
        parent = _parent(client, folder)
        if parent is None:
            return None
        run = candidate_run(client, parent, candidate.name, parent.data.tags)
        complete(client, run, candidate.tags, candidate.settings)
        return str(run.info.run_id)


def _parent(client: "MlflowClient", folder: str) -> Any:
    """The run of a folder that is shown while it works; None where there is none."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = shown_runs(client, experiment.experiment_id, folder) if experiment else iter(())
    return next(found, None)


def _with(home: Home, work: Callable[["MlflowClient"], object]) -> bool:
    """Do `work`, and say that it was done."""
    with connected(home) as client:
        work(client)
    return True


def _as_far_as_possible(work: Callable[[], Value]) -> Value | None:
    try:
        return work()
    except (ErasureError, OSError) as fault:
        said: Any = escaped(" ".join(str(fault).split()))
        print(f"not shown in MLflow until the end: {said}", file=sys.stderr, flush=True)
        return None
