"""Where a step runs and how often it is tried: the seam between the flows and the machines."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from prefect.cache_policies import NO_CACHE, CachePolicy

from erasure_core.errors import ErasureError
from tasks.book.door import require_book
from tasks.home import Home

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

GPU_DEPLOYMENT = "ERASURE_GPU_DEPLOYMENT"


def worth_retrying(_task: "Task[..., Any]", _run: "TaskRun", state: "State[Any]") -> bool:
    """Disks and networks recover; a refusal or a wrong number does not."""
    fault = state.result(raise_on_failure=False)
    return isinstance(fault, Exception) and not isinstance(fault, ErasureError)


class Retried(TypedDict):
    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Callable[["Task[..., Any]", "TaskRun", "State[Any]"], bool]
    cache_policy: CachePolicy


# Options of every task whose work is reading and writing. No cache: Prefect's does not see edits
# inside erasure_core.
IO: Retried = {
    "retries": 2,
    "retry_delay_seconds": [1, 10],
    "retry_condition_fn": worth_retrying,
    "cache_policy": NO_CACHE,
}


def run_gpu_step(flow_fn: Callable[..., object], parameters: Mapping[str, Any]) -> None:
    """Run `flow_fn(**parameters)` on the GPU pool if one is named, else here.

    `ERASURE_GPU_DEPLOYMENT` names a deployment of the same flow
    (`erase-and-generate/erase-on-gpu`); its worker must see the same state folder and base.
    Parameters are JSON values: they may travel to another machine.

    Raises:
        ErasureError: If the run on the pool did not complete, with its last message.
    """
    deployment = os.environ.get(GPU_DEPLOYMENT)
    if not deployment:
        flow_fn(**parameters)
        return
    from prefect.deployments import run_deployment

    run: Any = run_deployment(
        deployment, parameters=dict(parameters), as_subflow=True, timeout=None, poll_interval=2
    )
    if run.state is None or not run.state.is_completed():
        state, message = (run.state.name, run.state.message) if run.state else ("no state", "")
        raise ErasureError(
            f"{deployment} ended {state} (run {run.name}): {message or 'no message'}; "
            f"see the worker's log of that run"
        )


def home_of_run() -> Home:
    """The state folder of this run. A run of a deployment must find a book in the folder that its
    worker names: an unset or mistyped variable would leave every request untouched, and look well.

    Raises:
        ErasureError: ERASURE_HOME is not set on the worker, or holds no book.
    """
    from prefect import runtime

    home = Home.from_env()
    if runtime.deployment.id is None:
        return home
    if not os.environ.get("ERASURE_HOME"):
        raise ErasureError("ERASURE_HOME is not set on this worker; set it to the state folder")
    require_book(home)
    return home
