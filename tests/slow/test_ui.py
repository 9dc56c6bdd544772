"""`erasure ui` serves both pages on the state folder, and leaves nothing behind when it ends."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import psutil
import pytest

from .conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow


def free_ports() -> list[int]:
    sockets = [socket.socket() for _ in "ab"]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def started(tmp_path):
    """The command on a new state folder, and the addresses that it printed."""
    prefect, mlflow = free_ports()
    words = ("ui", "--prefect-port", prefect, "--mlflow-port", mlflow)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, words)],
        cwd=ROOT,
        env=clean_environment(tmp_path / "state"),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in "ab"]
    yield process, [line.split()[1] for line in lines]
    process.kill()
    process.communicate()  # closes the pipe too


def left_of(process: subprocess.Popen) -> list[psutil.Process]:
    """What is still there of the session that the command began."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _session(p) == process.pid]


def _session(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (ProcessLookupError, psutil.Error):
        return None


def test_both_pages_answer_and_ctrl_c_ends_both(started):
    process, addresses = started
    for address in addresses:
        with urllib.request.urlopen(address, timeout=60) as page:
            assert b"<html" in page.read().lower()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    assert left_of(process) == []


def test_a_killed_command_leaves_no_server(started):
    process, _ = started
    process.kill()
    process.wait()
    psutil.wait_procs(left_of(process), timeout=30)
    assert left_of(process) == []


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "ui", "--prefect-port", str(port)],
            cwd=ROOT,
            env=clean_environment(tmp_path / "state"),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line == f"error: port {port}: address already in use; give another with --prefect-port"
