"""The book on PostgreSQL: Debian's, started here in a folder of its own and stopped again."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import inspect

from erasure_core.errors import BadInput, ErasureError
from tasks.book import database
from tasks.book.door import known_book
from tasks.book.store import Book
from tasks.home import Home
from tasks.requests.intake import add
from tests import toy
from tests.book.books import MODEL, A, a_book, a_request

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
BIN = Path("/usr/lib/postgresql/15/bin")
DROPPED = ("PREFECT_", "MLFLOW_", "DVC_", "ERASURE_")
AWAY = 30  # seconds that the database is stopped for
HOLDER = """\
import sys
from tasks.book import lease
from tasks.book.door import open_book
from tasks.home import Home
lease.BEAT = 0.2
with lease.holding(open_book(Home.from_env()), "toy", "testing"):
    print("held", flush=True)
    sys.stdin.readline()
"""
TAKER = """\
from tasks.book import lease
from tasks.book.door import open_book
from tasks.home import Home
lease.PATIENCE, lease.LOOK = 2, 0.1
with lease.holding(open_book(Home.from_env()), "toy", "taking over"):
    print("taken", flush=True)
"""


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that listens on a socket in its own folder only."""

    folder: Path
    port: int

    def call(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs as its user: it refuses to be run by root."""
        command = [str(BIN / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, timeout=120)

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -p {self.port}"
        log = self.folder / "log"
        self.call("pg_ctl", "-D", self.folder / "data", "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-D", self.folder / "data", "-m", "fast", "-w", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://erasure@/{database}?host={self.folder}&port={self.port}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if not (BIN / "initdb").exists():
        pytest.skip(f"no PostgreSQL in {BIN}: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path has 107 characters at most
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = Server(folder, probe.getsockname()[1])
    try:
        server.call("initdb", "-D", folder / "data", "-U", "erasure", "-A", "trust", "-E", "UTF8")
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    return toy.world(tmp_path_factory.mktemp("world"))


class Shell:
    """The command line on a state folder whose book is in the server."""

    def __init__(self, server: Server, home: Path, inputs: Path, database: str):
        self.server, self.home, self.inputs = server, home, inputs
        server.call("createdb", "-h", server.folder, "-p", server.port, "-U", "erasure", database)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(DROPPED)}
        self.environment = kept | {
            "ERASURE_HOME": str(home),
            "ERASURE_DATABASE_URL": server.url(database),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *command: object) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, *map(str, command)], cwd=ROOT, env=self.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, request: str) -> subprocess.Popen:
        file, params = self.inputs / f"{request}.yaml", self.inputs / "passing.yaml"
        return self.start("-m", "flows.cli", "run", file, "--params", params)

    def said(self, *arguments: object) -> str:
        return ended(self.start("-m", "flows.cli", *arguments))


def ended(process: subprocess.Popen, code: int = 0) -> str:
    """What a process said, once it ended with `code`."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == code, said
    return said


@pytest.fixture
def shell(server, inputs, tmp_path, request) -> Shell:
    return Shell(server, tmp_path / "state", inputs, request.node.name[:60].lower())


@pytest.fixture
def book(shell, monkeypatch) -> Iterator[Book]:
    """The book in this process."""
    monkeypatch.setenv(database.URL, shell.environment[database.URL])
    book = a_book(shell.home)
    yield book
    book.engine.dispose()


def test_looking_leaves_somebody_elses_database_as_it_is(shell, monkeypatch):
    monkeypatch.setenv(database.URL, shell.environment[database.URL])
    with pytest.raises(BadInput, match=f"the database that {database.URL} names is empty"):
        known_book(Home(shell.home))
    engine = database._engine(shell.environment[database.URL])
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_one_view_of_the_book_stays_as_it_is(book):
    """PostgreSQL's default shows each statement what was committed before it."""
    with book.read() as reader:
        before = reader.head()
        book.change(lambda tx: tx.append("book.opened", form="1"))
        assert reader.head() == before
    assert book.ask(lambda reader: reader.head()).seq == before.seq + 1


STOPPED = """\
import sys
from tasks.book.door import open_book
from tasks.home import Home
def say(tx, words):
    why = tx.keep_text("nobody/1", words)
    tx.append("alias.moved", model="nobody", alias="candidate", version=1, reason=why)
def work(tx):
    say(tx, "said before it was stopped")
    print("writing", flush=True)
    sys.stdin.readline()
    say(tx, "said after it went on")
open_book(Home.from_env()).change(work)
print("written", flush=True)
"""


@pytest.fixture
def stopped(shell) -> Iterator[subprocess.Popen]:
    """A process that was stopped within a transaction."""
    process = shell.start("-c", STOPPED)
    try:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_writer_that_was_stopped_keeps_the_others_out_for_a_while_only(book, stopped):
    began = time.monotonic()
    add(book, [a_request(A)], MODEL)
    assert time.monotonic() - began < database.STALLED + 10
    stopped.send_signal(signal.SIGCONT)  # its transaction is gone, and it does all of it again
    stopped.stdin.write("\n")
    stopped.stdin.write("\n")
    stopped.stdin.flush()
    said, _, done = ended(stopped).partition("\n")
    assert said.startswith("waiting up to 60 s: the book of record cannot be used")
    assert done == "writing\nwritten\n"
    texts = book.ask(lambda reader: [text.subject for text in reader.all_texts()])
    assert texts.count("nobody/1") == 2


def test_a_lock_is_waited_for_a_minute_at_most_and_in_one_line(book, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 2.0)  # of connections that are made from now on
    book.engine.dispose()

    def write() -> None:
        with database.writing(book.engine):
            pass

    with database.writing(book.engine), pytest.raises(ErasureError) as fault:
        database.patiently(write, 1.0)
    assert "lock timeout; another process writes" in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_whole_run_and_its_audit(shell):
    assert "promoted to champion" in ended(shell.run("cat"))
    assert "signatures agree" in shell.said("audit")
    assert not (shell.home / "book.db").exists()


def test_two_runs_at_once_are_both_honoured(shell):
    runs = [shell.run("cat"), shell.run("astronaut")]
    for run in runs:
        assert "promoted to champion" in ended(run)
    listed = shell.said("request", "list")
    assert listed.count(": honoured by version") == 2
    assert "signatures agree" in shell.said("audit")


@contextlib.contextmanager
def holder(shell: Shell) -> Iterator[subprocess.Popen]:
    process = shell.start("-c", HOLDER)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_lease_of_a_dead_process_is_taken(shell):
    with holder(shell) as process:
        process.kill()
        process.wait()
        assert "taken" in ended(shell.start("-c", TAKER))


def test_the_lease_of_a_paused_process_is_taken(shell):
    with holder(shell) as process:
        process.send_signal(signal.SIGSTOP)
        assert "taken" in ended(shell.start("-c", TAKER))


def test_a_run_outlives_a_database_that_is_stopped(shell):
    run = shell.run("cat")
    wait_until(lambda: list(shell.home.glob("runs/*/plan.json")))
    shell.server.stop()
    time.sleep(AWAY)
    assert run.poll() is None
    shell.server.start()
    assert "promoted to champion" in ended(run)
    assert "signatures agree" in shell.said("audit")


def wait_until(true, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
