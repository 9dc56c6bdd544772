"""How a command starts, is stopped and dies: real processes on the toy pipeline."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from erasure_core.errors import BadInput
from flows.bootstrap import bootstrap
from flows.cli import server
from flows.cli.ui import _mlflow, _prefect
from tasks import process
from tasks.home import Home
from tests.flows.command import ROOT, edit, erasure, in_a_terminal, shown, told
from tests.toy import CAT

OPEN = ("SCHEDULED", "PENDING", "RUNNING")
SECRET = "PREFECT_SERVER_API_AUTH_STRING"


def runs(home: Path) -> list[tuple[str, str, str]]:
    """(kind, state, message) of every flow run and task run in Prefect's database."""
    with contextlib.closing(sqlite3.connect(home / "prefect/prefect.db")) as book:
        return [
            (kind, *row)
            for kind in ("flow", "task")
            for row in book.execute(
                f"select r.state_type, s.message from {kind}_run r "
                f"left join {kind}_run_state s on s.id = r.state_id"
            )
        ]


def unfinished(home: Path) -> list[tuple[str, str, str]]:
    return [run for run in runs(home) if run[1] in OPEN]


@contextlib.contextmanager
def training(home: Path, inputs: Path):
    """A command in the middle of training that would last for days."""
    process = in_a_terminal(home, "run", inputs / "cat.yaml", "--params", inputs / "passing.yaml")
    try:
        while not list(home.glob("runs/*/images/base/kept")):  # what comes next is training
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.2)
        time.sleep(3)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with process:  # waits, and closes its pipes
            pass


def port_of(serving: psutil.Process) -> int:
    (port,) = {c.laddr.port for c in serving.net_connections() if c.status == psutil.CONN_LISTEN}
    return port


@dataclass(frozen=True)
class Killed:
    """What was seen of a command before and after it was killed."""

    home: Path
    inputs: Path
    answer_without_password: int
    password: str
    arguments: list[str]
    port: int
    survivors: list[psutil.Process]
    unfinished: int


@pytest.fixture(scope="module")
def killed(write_inputs, begin, tmp_path_factory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    inputs, home = write_inputs(folder / "inputs"), begin(folder)
    edit(inputs / "passing.yaml", "updates: 2,", "updates: 1000000,")
    with training(home, inputs) as process:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        serving = next(p for p in family if SECRET in p.environ())
        password, port = serving.environ()[SECRET], port_of(serving)
        arguments = [argument for p in family for argument in p.cmdline()]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/admin/version")
        process.kill()
        _, survivors = psutil.wait_procs(family[1:], timeout=10)
    return Killed(
        home,
        inputs,
        refused.value.code,
        password,
        arguments,
        port,
        survivors,
        len(unfinished(home)),
    )


@pytest.mark.slow
def test_the_server_refuses_a_client_without_the_password(killed):
    assert killed.answer_without_password == 401


@pytest.mark.slow
def test_the_password_is_in_no_argument(killed):
    assert len(killed.password) > 32
    assert not any(killed.password in argument for argument in killed.arguments)


@pytest.mark.slow
def test_no_process_outlives_a_killed_command(killed):
    assert killed.survivors == []


@pytest.mark.slow
def test_the_port_of_a_killed_command_refuses(killed):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", killed.port), 5)


@pytest.fixture(scope="module")
def next_command(killed) -> subprocess.CompletedProcess:
    """The same command again, in the state folder that the killed one left."""
    edit(killed.inputs / "passing.yaml", "updates: 1000000,", "updates: 2,")
    command = ("run", killed.inputs / "cat.yaml", "--params", killed.inputs / "passing.yaml")
    process = in_a_terminal(killed.home, *command)
    out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.slow
def test_the_next_command_waits_for_no_dead_process(killed, next_command):
    assert next_command.returncode == 0, next_command.stderr
    assert "waiting for" not in next_command.stderr
    assert shown(killed.home, CAT)["state"] == "honoured"


@pytest.mark.slow
def test_the_next_command_sets_a_dead_run_crashed(killed, next_command):
    assert killed.unfinished >= 4  # two flows, two of their tasks
    assert unfinished(killed.home) == []
    crashed = [run for run in runs(killed.home) if run[1] == "CRASHED"]
    assert len(crashed) == killed.unfinished
    assert {message for _, _, message in crashed} == {"The process that ran this is no more."}


@pytest.mark.slow
def test_the_book_is_whole_after_a_kill(killed, next_command):
    assert told(killed.home, "audit")["findings"] == []


@pytest.mark.slow  # Ctrl-C itself is sent in test_crashes.py, each time
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_training_ends_it_as_ctrl_c_does(number, inputs, home):
    """To the whole group, as a service manager sends it."""
    edit(inputs / "passing.yaml", "updates: 2,", "updates: 1000000,")
    with training(home, inputs) as process:
        children = psutil.Process(process.pid).children(True)
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=30)  # it was 150 s
    assert (process.returncode, out) == (130, "")
    assert [line for line in err.splitlines() if "rror" in line] == [
        "error: interrupted; what was finished is kept, the same command goes on from there"
    ]
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert unfinished(home) == []


def test_a_signal_in_an_import_waits_for_its_end(tmp_path):
    """NumPy, interrupted while it is imported, goes on without half of itself."""
    (tmp_path / "victim.py").write_text(
        "import os, signal\nwhole = False\nos.kill(os.getpid(), signal.SIGTERM)\nwhole = True\n"
    )
    script = (
        "import time; from flows.cli.common import interrupt_on_signals; interrupt_on_signals()\n"
        "try:\n    import victim\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    print(victim.whole)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


ONE_FLOW = """
from tasks.home import Home
Home.from_env().prepare_environment()
from prefect import flow
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL
from flows.cli.server import prefect_server

@flow
def asked():
    return PREFECT_API_URL.value(), bool(PREFECT_API_AUTH_STRING.value())

with prefect_server(Home.from_env()):
    print(*asked())
"""


@pytest.mark.slow
def test_two_servers_start_at_once_on_one_fresh_folder(tmp_path):
    dropped = ("PREFECT_", "MLFLOW_", "ERASURE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_FLOW],
            cwd=ROOT,
            env=environment | {"ERASURE_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in "ab"
    ]
    answers = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    urls = {out.split()[0] for out, _ in answers}
    assert len(urls) == 2
    assert {out.split()[1] for out, _ in answers} == {"True"}
    assert [run[1] for run in runs(tmp_path)] == ["COMPLETED", "COMPLETED"]


STAND_IN = "from fastapi import FastAPI as create_app\n"  # starts at once
HOSTILE = "raise SystemExit('a file of the working folder was executed')\n"


def test_a_server_starts_in_a_folder_whose_files_have_its_modules_names(tmp_path, monkeypatch):
    working = tmp_path / "working"
    for name in ("flows/__init__.py", "tasks.py", "uvicorn.py", "prefect.py"):
        file = working / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(HOSTILE)
    for name in ("__init__", "server/__init__", "server/api/__init__", "server/api/server"):
        file = tmp_path / f"library/prefect/{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(STAND_IN)
    monkeypatch.chdir(working)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "library")}
    with server.serving("prefect", tmp_path / "state", environment) as port:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json")
        assert answer.status == 200
    assert (tmp_path / "state/server.log").read_text() == ""


def test_who_waits_for_another_server_to_start_says_so(tmp_path, monkeypatch):
    def tell(line, **_):
        told.append(line)
        other.release()

    monkeypatch.setattr(process, "print", tell, raising=False)
    monkeypatch.setattr(server.subprocess, "Popen", lambda *_, **__: 1 / 0)
    other, told, begun = FileLock(tmp_path / "server.lock"), [], time.monotonic()
    other.acquire()
    with pytest.raises(ZeroDivisionError), server.serving("prefect", tmp_path, {}):
        pass
    (line,) = told
    assert line.startswith("waiting for another process: starting a server of prefect")
    assert time.monotonic() - begun < 1.5  # most of a second


@pytest.fixture
def named(monkeypatch):
    """Name a server, with a password, at a port of this machine."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with contextlib.ExitStack() as named:

        def name(port: int) -> None:
            url = f"http://user:s3cret@127.0.0.1:{port}/api"
            for service in server.NAMED_IN.values():
                monkeypatch.setenv(service, url)
            named.enter_context(temporary_settings({PREFECT_API_URL: url}))

        yield name


@pytest.mark.parametrize(
    "use",
    [
        lambda home: contextlib.ExitStack().enter_context(_prefect(home, 4200)),
        lambda home: contextlib.ExitStack().enter_context(_mlflow(home, 5000)),
        lambda home: contextlib.ExitStack().enter_context(server.prefect_server(home)),
        lambda _home: bootstrap(),
    ],
    ids=["erasure ui", "erasure ui, MLflow", "erasure run", "bootstrap"],
)
def test_a_named_server_that_is_not_up_is_said_without_its_password(use, named, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as ended:
        port = ended.getsockname()[1]
    named(port)
    with pytest.raises(BadInput, match=f"at http://127.0.0.1:{port} does not answer"):
        use(Home(tmp_path))


def test_the_address_of_a_named_server_is_printed_without_its_password(named, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as up:
        port = up.getsockname()[1]
        named(port)
        with _prefect(Home(tmp_path), 4200) as said:
            assert said == f"Prefect  http://***@127.0.0.1:{port}"


def test_a_server_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(server, "SECONDS_TO_STOP", 0.1)
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE)
    server._stop(child)
    assert child.returncode == -signal.SIGKILL


def test_the_first_line_comes_before_anything_heavy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flows.cli", "run", "absent.yaml"],
        cwd=ROOT,
        env=os.environ | {"ERASURE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    before, said, after = done.stderr.partition("honouring absent.yaml; state in ")
    heavy = r"\| +(torch|prefect|mlflow|numpy|requests)\n"
    assert said
    assert re.findall(heavy, before) == []
    assert re.findall(heavy, after)


@pytest.mark.slow
def test_an_unreachable_registry_is_one_line_without_its_password(inputs, home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = ("run", inputs / "cat.yaml", "--params", inputs / "passing.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, command)],
        cwd=ROOT,
        env=os.environ
        | {
            "ERASURE_HOME": str(home),
            "MLFLOW_TRACKING_URI": f"http://user:s3cret@127.0.0.1:{port}",
        },
        capture_output=True,
        text=True,
    )
    *_, line = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith(f"error: MLflow at http://127.0.0.1:{port} does not answer")


def test_an_unforeseen_error_and_its_traceback_hide_the_password(tmp_path, monkeypatch):
    def broken(_home):
        raise RuntimeError("asked http://user:s3cret@host/api")

    monkeypatch.setattr("tasks.book.status.status", broken)
    answer = erasure(tmp_path, "--debug", "status")
    assert "Traceback" in answer.stderr
    assert "http://***@host/api" in answer.stderr
    assert "s3cret" not in answer.stderr


def test_status_shows_no_password(tmp_path, monkeypatch):
    from tasks.book.door import open_book
    from tasks.book.status import status
    from tasks.home import Home

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:s3cret@host")
    monkeypatch.setenv("ERASURE_DVC_REMOTE", "https://user:s3cret@host/dvc")
    now = status(open_book(Home(tmp_path), make=False))
    assert (now["tracking_uri"], now["dvc_remote"]) == ("http://***@host", "https://***@host/dvc")


def test_its_database_lies_in_the_state_folder_whatever_is_set(tmp_path, monkeypatch):
    """A purge reaches it there."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite:////elsewhere.db")
    environment = server.in_state_folder(Home(tmp_path / "state"))
    assert environment["PREFECT_HOME"] == str(tmp_path / "state/prefect")
    assert not any("DATABASE" in name for name in environment if name.startswith("PREFECT"))
