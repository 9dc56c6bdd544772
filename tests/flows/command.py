"""One call of the `erasure` command, in this process or as one of its own, and what it changed."""

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from erasure_core.law.lineage import sha256_file
from flows.cli import app

ROOT = Path(__file__).parents[2]


def erasure(home: Path, *arguments: object) -> Result:
    """One call of the command in this process."""
    return CliRunner().invoke(
        app, list(map(str, arguments)), env={"ERASURE_HOME": str(home), "MLFLOW_TRACKING_URI": None}
    )


def told(home: Path, *arguments: object) -> dict[str, Any]:
    """The JSON answer of a command that must succeed."""
    answer = erasure(home, *arguments, "--json")
    assert answer.exit_code == 0, answer.stderr
    return json.loads(answer.stdout)


def shown(home: Path, request_id: str) -> dict[str, Any]:
    """A request as the book has it."""
    return told(home, "request", "show", request_id)


def states(home: Path, request_id: str) -> list[str]:
    """Every state that a request was in."""
    history = shown(home, request_id)["history"]
    return [step["state"] for step in history if step["state"] not in ("recipe", "extended")]


def book(home: Path) -> str:
    """Hash of everything in the book; of nothing where there is none."""
    if not (home / "book.db").exists():
        return ""
    with contextlib.closing(sqlite3.connect(home / "book.db")) as database:
        return hashlib.sha256("\n".join(database.iterdump()).encode()).hexdigest()


def state(home: Path, *but: str) -> dict[str, str]:
    """Everything that a state folder holds, except locks, scratch, Prefect's own and what keeps it
    out of git: files by content, and the book by what is in it: SQLite may move the same rows
    between its files.
    """
    files = {f.relative_to(home).as_posix(): f for f in home.rglob("*") if f.is_file()}
    left_out = {"prefect", "locks", ".gitignore", *but}
    kept = {
        name: sha256_file(file)
        for name, file in files.items()
        if name.split("/")[0] not in left_out
        and not name.startswith(("book.db", ".dvc/tmp/"))
        and file.suffix != ".lock"
    }
    return {**kept, "book": book(home)}


def edit(file: Path, old: str, new: str) -> None:
    """Replace the one place where `old` stands in a file."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def in_a_terminal(
    home: Path, *arguments: object, server: str = "", **environment: str
) -> subprocess.Popen:
    """The command as a process group of its own, on a Prefect server or with an embedded one."""
    dropped = ("PREFECT_", "MLFLOW_", "ERASURE_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    own = {"PREFECT_API_URL": server, "ERASURE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, arguments)],
        cwd=ROOT,
        env={**kept, **own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a background shell hands down "ignore"
    )
