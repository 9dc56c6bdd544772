"""A process that has imported everything once, and forks a child for each command: a case costs
seconds, not half a minute, and is still a process of its own that is really killed.

`python -m tests.faults.zygote` reads one JSON line a case on standard input and answers with one.
"""

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults import killer

ROOT = Path(__file__).parents[2]
LARGEST_FILE = "FAULTS_LARGEST_FILE"  # in bytes, of those that a command writes
ALWAYS = ("flows.cli", "flows.erase", "tasks.release.audit", "tasks.release.reconcile")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended."""

    code: int  # its exit code, or minus the signal that ended it
    out: str
    err: str
    seconds: float
    cpu: float
    session: int


class Zygote:
    """The way to a zygote, from the harness."""

    def __init__(self, environment: Mapping[str, str], folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, home: Path, arguments: Sequence[object], at: int | None = None, **more: str
    ) -> Ended:
        """One command on a state folder; killed at effect `at`. `at` 0 only counts."""
        return Ended(**self._ask(home, "command", list(map(str, arguments)), at, more))

    def facts(self, home: Path, **more: str) -> dict[str, Any]:
        """What is to be seen of a state folder (`checks.facts`)."""
        ended = Ended(**self._ask(home, "facts", [], None, more))
        if ended.code:
            raise RuntimeError(f"{home} cannot be looked at: {ended.err[-2000:]}")
        return json.loads(ended.out)

    def effects(self) -> list[str]:
        """What the last command that counted did, an effect a line."""
        return (self.folder / "effects").read_text().splitlines()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _ask(
        self, home: Path, what: str, arguments: list[str], at: int | None, more: Mapping[str, str]
    ) -> dict[str, Any]:
        case = {"home": str(home), "what": what, "arguments": arguments, "at": at, "more": more}
        self._process.stdin.write(json.dumps({**case, "folder": str(self.folder)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the zygote ended")
        return json.loads(line)


def serve() -> None:
    """Fork a child a line, until standard input ends."""
    known: set[str] = set()
    for line in sys.stdin:
        case = json.loads(line)
        for name in ALWAYS if not known else _modules(case, known):
            _import(name)
        if not known:
            _make_ready()
        known |= set(sys.modules)
        print(json.dumps(_forked(case)), flush=True)


def _make_ready() -> None:
    """What a process makes once and then only reads: no child has to make it again."""
    from tqdm import tqdm

    from erasure_core.law.prompts import PromptRow
    from erasure_core.metrics.detectors import opened
    from tasks.evidence.data import check_rows

    tqdm.monitor_interval = 0  # no thread
    check_rows({"any": [PromptRow(0, "a cat", 1, 4.0, "cat")]})
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})  # its threads would not be there in a child: none, then
    opened("nudenet", 0.5, 32)
    os.sched_setaffinity(0, mine)


def _modules(case: Mapping[str, Any], known: set[str]) -> list[str]:
    """What an earlier child had to import by itself."""
    file = Path(case["folder"], "modules")
    return [n for n in file.read_text().split() if n not in known] if file.exists() else []


def _import(name: str) -> None:
    with contextlib.suppress(Exception):  # some names were modules inside that child only
        importlib.import_module(name)


def _forked(case: Mapping[str, Any]) -> dict[str, Any]:
    folder, start = Path(case["folder"]), time.monotonic()
    assert threading.active_count() == 1, threading.enumerate()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        _become(case, folder)
    _, status, used = os.wait4(child, 0)
    out, err = ((folder / name).read_text(errors="replace") for name in ("out", "err"))
    code = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    return {
        "code": code,
        "out": out,
        "err": err,
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "session": child,
    }


def _become(case: Mapping[str, Any], folder: Path) -> None:
    """The child: never returns."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
        os.environ.update({"ERASURE_HOME": case["home"], **case["more"]})
        code = _facts(case) if case["what"] == "facts" else _command(case, folder)
        sys.stdout.flush()
        sys.stderr.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        (folder / "modules").write_text("\n".join(sorted(sys.modules)))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _facts(case: Mapping[str, Any]) -> int:
    from tests.faults.checks import facts

    print(json.dumps(facts(Path(case["home"]))))
    return 0


def _command(case: Mapping[str, Any], folder: Path) -> int:
    from flows.cli import app
    from flows.cli.common import interrupt_on_signals

    if case["at"] is not None:
        counter, log = folder / "counter", folder / "effects"
        for file in (counter, log):
            file.unlink(missing_ok=True)
        os.environ.update(killer.environment(Path(case["home"]), case["at"], counter, log))
        killer.install_from_environment()
    interrupt_on_signals()
    if largest := os.environ.get(LARGEST_FILE):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), resource.RLIM_INFINITY))
    try:
        app(case["arguments"], prog_name="erasure")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    serve()
