"""The Prefect server of a run: the one that is named, or one of its own that lives and dies with
the command.
"""

import contextlib
import os
import re
import secrets
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from erasure_core.errors import ErasureError
from tasks.home import Home

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, TaskRun

    Run = TypeVar("Run", FlowRun, TaskRun)

SERVE = Path(__file__).with_name("serve.py")  # by its place: found where nothing is installed
SECONDS_TO_STOP = 6.0  # more than the child's own grace
SECONDS_TO_REPORT = 5.0
NAMED_IN = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI"}
DATABASE = re.compile(r"PREFECT_(API|SERVER)_DATABASE_.*")
OPEN = ("SCHEDULED", "PENDING", "RUNNING")


@contextmanager
def prefect_server(home: Home) -> Iterator[None]:
    """Flows of the body run on the server that PREFECT_API_URL names, or on an embedded one; their
    runs are tagged with this process.

    Raises:
        BadInput: The named one does not answer.
    """
    home.begin()
    # of this process, which may be told another place than the server's own
    folder = Path(os.environ.get("PREFECT_HOME", home.prefect))
    folder.mkdir(parents=True, exist_ok=True)  # Prefect makes the last folder only
    from prefect import tags
    from prefect.settings import PREFECT_API_URL

    from tasks.process import this_process
    from tasks.reachable import check_reachable

    if named := PREFECT_API_URL.value():
        check_reachable("the Prefect server", named)
    with contextlib.nullcontext() if named else embedded_server(home), tags(this_process()):
        yield


@contextmanager
def embedded_server(home: Home) -> Iterator[str]:
    """Serve Prefect's API to this process alone, for as long as the body lasts; gives its URL.

    Runs that a dead process of this host left behind are set to CRASHED first.

    Raises:
        ErasureError: If it does not come up; its log is named.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from tasks.warm import warm

    password = f"erasure:{secrets.token_urlsafe(32)}"
    imports = warm()  # this process would only wait for the other one
    with _started(home, password) as port:
        url = f"http://127.0.0.1:{port}/api"
        with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password}):
            imports.join()  # what is still being imported when Python ends can bring it down
            crash_dead_runs()
            try:
                yield url
            finally:
                _report_what_is_left()


@contextmanager
def _started(home: Home, password: str) -> Iterator[int]:
    """The child, as the port that it serves on."""
    environment = in_state_folder(home) | _with_password(password)
    with serving("prefect", home.prefect, environment) as port:
        yield port


def in_state_folder(home: Home) -> dict[str, str]:
    """The environment of a server whose database lies in the state folder, where a purge reaches
    it, whatever else is set: run names name concepts.
    """
    elsewhere = {"PREFECT_API_URL", *(name for name in os.environ if DATABASE.fullmatch(name))}
    kept = {name: value for name, value in os.environ.items() if name not in elsewhere}
    return kept | {"PREFECT_HOME": str(home.prefect.absolute())}


@contextmanager
def serving(what: str, folder: Path, environment: dict[str, str], port: int = 0) -> Iterator[int]:
    """A child that serves `what` (`serve.APPS`) for as long as the body lasts; gives its port. Two
    that start at once would migrate one database twice: they start one after the other.
    """
    from tasks.process import one_at_a_time

    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "server.log"
    starting = one_at_a_time(folder / "server.lock", f"starting a server of {what}")
    with starting, log.open("ab") as stderr:
        child = subprocess.Popen(
            [sys.executable, "-P", str(SERVE), what, str(port)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        try:
            port = _port(what, child, log)
        except BaseException:
            child.kill()
            raise
    try:
        yield port
    finally:
        _stop(child)


def _with_password(password: str) -> dict[str, str]:
    """As Prefect starts its own temporary server, and with a password."""
    return {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_API_AUTH_STRING": password,
    }


def _port(what: str, child: "subprocess.Popen[bytes]", log: Path) -> int:
    from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS

    assert child.stdout
    seconds = PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    select.select([child.stdout], [], [], seconds)
    os.set_blocking(child.stdout.fileno(), False)
    line = child.stdout.readline()
    if not line:
        raise ErasureError(
            f"the server of {what} did not start within {seconds} s, or ended; its log is {log}; "
            f"run again, or name a running one in {NAMED_IN[what]}"
        )
    return int(line)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """The child ends when its input does; on a busy machine perhaps not in time: it is killed."""
    with child:
        assert child.stdin
        child.stdin.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(SECONDS_TO_STOP)
        finally:
            child.kill()


def _report_what_is_left() -> None:
    """Prefect sends states of tasks and log lines from threads: they must have gone out before the
    server does.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=SECONDS_TO_REPORT)


def crash_dead_runs() -> None:
    """Set flow runs and task runs to CRASHED whose process on this host is no more: whoever was
    killed could not say so.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import State
    from prefect.states import Crashed

    open_ = {"state": {"type": {"any_": OPEN}}}
    flow_runs = filters.FlowRunFilter.model_validate(open_)
    task_runs = filters.TaskRunFilter.model_validate(open_)
    crashed: State[None] = Crashed(message="The process that ran this is no more.")
    with get_client(sync_client=True) as client:
        for task in _of_the_dead(partial(client.read_task_runs, task_run_filter=task_runs)):
            client.set_task_run_state(task.id, crashed, force=True)
        for flow in _of_the_dead(partial(client.read_flow_runs, flow_run_filter=flow_runs)):
            client.set_flow_run_state(flow.id, crashed, force=True)


def _of_the_dead(read: "Callable[..., list[Run]]") -> "list[Run]":
    """All pages of `read`, those runs whose process has died."""
    from tasks.process import has_died

    runs: list[Run] = []
    while page := read(offset=len(runs)):
        runs += page
    return [run for run in runs if any(map(has_died, run.tags))]
