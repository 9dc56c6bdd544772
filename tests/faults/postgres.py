"""A PostgreSQL of the harness's own, in a temporary folder, on a loopback port; stopped in the end.

Debian's binaries; as root they run as user postgres, who alone may start a server.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql/15/bin")
USER = "postgres"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server, and the database of the book in it."""

    data: Path
    port: int
    name: str = "book"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{self.name}"

    def empty(self) -> None:
        """A book that nobody opened yet."""
        self._anew(self.name, "template0")

    def keep(self, state: str) -> None:
        """Keep the book as it is under the name of a state."""
        self._anew(f"{self.name}_{state}", self.name)

    def take(self, state: str) -> None:
        """Put the book back as it was kept."""
        self._anew(self.name, f"{self.name}_{state}")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.data.parent}"
        _run(
            "pg_ctl", "-D", self.data, "-w", "-l", self.data.parent / "log", "-o", options, "start"
        )

    def stop(self) -> None:
        """At once, as when its machine goes down."""
        _run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def _anew(self, name: str, template: str) -> None:
        self._sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        others = f"pid <> pg_backend_pid() AND datname = '{template}'"
        self._sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        self._sql(f"CREATE DATABASE {name} TEMPLATE {template}")

    def _sql(self, statement: str) -> None:
        _run("psql", "-qX", "-h", "127.0.0.1", "-p", self.port, "-d", "postgres", "-c", statement)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start an empty one; stop it and remove it in the end."""
    if not BINARIES.is_dir():
        raise SystemExit(f"there is no PostgreSQL in {BINARIES}: apt install postgresql-15")
    with tempfile.TemporaryDirectory(prefix="faults-postgres-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, USER)
        with _running(Path(folder) / "data") as server:
            yield server


@contextmanager
def _running(data: Path) -> Iterator[Postgres]:
    _run("initdb", "-D", data, "-U", USER, "-A", "trust", "--no-sync")
    with socket.create_server(("127.0.0.1", 0)) as free:
        server = Postgres(data, free.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        with suppress(subprocess.CalledProcessError):
            server.stop()


def _run(program: str, *arguments: object) -> None:
    command = [str(BINARIES / program), *map(str, arguments)]
    if program == "psql":
        command += ["-U", USER]
    elif os.getuid() == 0:
        command = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", *command]
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)
