"""Count every durable effect of a process below one folder, and SIGKILL it at effect number N.

An effect is what outlives the process: a file or folder made, opened for writing, renamed, linked
or removed; a transaction of a database committed; a command started. What changes nothing (a folder
made that is there, a file removed that is not) is none. Python's audit events come
*before* the effect, so that dying at effect N is dying right after effect N - 1. A file that is
written counts three times: before it is opened, when it is empty, and when half of it is there.

`install` is called in the process that is to die. Python children (DVC) count on, by
`site/sitecustomize.py`: the number is shared through a file, and the whole group dies at once.
"""

import json
import mmap
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

VARIABLE = "FAULTS_KILLER"
SITE = Path(__file__).with_name("site")
NEVER = 2**31
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# event -> which argument is the path, which one its folder's descriptor
ON_PATHS = {
    "os.rename": (1, 3),
    "os.link": (1, 3),
    "os.symlink": (1, 2),
    "os.remove": (0, 1),
    "os.rmdir": (0, 1),
    "os.mkdir": (0, 2),
    "os.truncate": (0, None),
}
CHANGES = ("insert", "update", "delete", "create", "drop", "alter", "replace")
BY_THE_CLOCK = "lease"  # the thread whose writes come with time, not with the work


class Killer:
    """The hook. One process, and its Python children."""

    def __init__(self, root: str, at: int, counter: str, log: str):
        self.root, self.at = os.path.abspath(root), at
        self.file = os.open(counter, os.O_RDWR | os.O_CREAT, 0o666)
        if os.fstat(self.file).st_size < 8:
            os.ftruncate(self.file, 8)
        self.count = mmap.mmap(self.file, 8)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.local = threading.local()
        self.lock = threading.Lock()  # DVC writes in several threads

    def install(self) -> None:
        """Watch from now on."""
        sys.addaudithook(self.hear)
        if "sqlalchemy" in sys.modules:
            self._watch_databases()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in ON_PATHS and event != "subprocess.Popen":
            return
        if threading.current_thread().name == BY_THE_CLOCK or getattr(self.local, "busy", False):
            return
        self.local.busy = True
        try:
            self._heard(event, arguments)
        finally:
            self.local.busy = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            words = " ".join(map(os.fsdecode, arguments[1][1:])).split()
            self.tick("start", " ".join(words[-6:]))
        elif event == "open":
            path, _, flags = arguments
            place = self._place(path, None) if flags & WRITING else None
            if place and not os.path.isdir(place):  # a nameless file leaves nothing
                self._written(place, flags)
        else:
            which, folder = ON_PATHS[event]
            descriptor = arguments[folder] if folder is not None else None
            place = self._place(arguments[which], descriptor)
            if place and not self._is_idle(event, place):
                self.tick(event.removeprefix("os."), place)

    def _is_idle(self, event: str, place: str) -> bool:
        there = os.path.lexists(place)
        return there if event == "os.mkdir" else not there and event in ("os.remove", "os.rmdir")

    def _place(self, path: Any, descriptor: int | None) -> str | None:
        """The path if it is one of ours."""
        if isinstance(path, int):
            return None
        name = os.fsdecode(path)
        if descriptor is not None and descriptor >= 0:
            name = os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), name)
        name = os.path.abspath(name)
        inside = os.path.relpath(name, self.root)
        ours = not inside.startswith("..") and inside.split(os.sep)[0] != "prefect"
        return name if ours and not name.endswith(".lock") else None

    def _written(self, path: str, flags: int) -> None:
        self.tick("open", path)
        if os.path.exists(path) and not flags & os.O_TRUNC:
            return  # what is written into what is there, is the writer's own business
        if self.tick("empty", path, kill=False):
            os.close(os.open(path, flags | os.O_CREAT, 0o666))
            self.die()
        self.local.half = path

    def tick(self, what: str, where: str, kill: bool = True) -> bool:
        """One effect is about to happen. Whether it is the one to die at."""
        half, self.local.half = getattr(self.local, "half", None), None
        size = os.path.getsize(half) if half and os.path.isfile(half) else 0
        if half and size > 1 and self._is_now("half", half):
            os.truncate(half, size // 2)
            self.die()
        now = self._is_now(what, where)
        if now and kill:
            self.die()
        return now

    def _is_now(self, what: str, where: str) -> bool:
        shown = where.replace(f"{self.root}{os.sep}", "")
        with self.lock:
            number = int.from_bytes(self.count[:8], "little") + 1
            self.count[:8] = number.to_bytes(8, "little")
            os.write(self.log, f"{number} {what} {shown}\n".encode())
        return number == self.at

    def die(self) -> None:
        os.killpg(0, signal.SIGKILL)

    def _watch_databases(self) -> None:
        from sqlalchemy import Engine, event

        @event.listens_for(Engine, "before_cursor_execute")
        def _changing(connection, _cursor, statement, *_rest):  # type: ignore[no-untyped-def]
            if statement.lstrip().lower().startswith(CHANGES):
                connection.info["changed"] = statement.split()[:3]

        @event.listens_for(Engine, "rollback")
        def _undone(connection):  # type: ignore[no-untyped-def]
            connection.info.pop("changed", None)

        @event.listens_for(Engine, "commit")
        def _commit(connection):  # type: ignore[no-untyped-def]
            changed = connection.info.pop("changed", None)
            if changed and threading.current_thread().name != BY_THE_CLOCK:
                database = Path(connection.engine.url.database or "").name
                self.tick("commit", f"{database}: {' '.join(changed)}")


def environment(root: Path, at: int, counter: Path, log: Path) -> dict[str, str]:
    """What makes Python children count on."""
    what = {"root": str(root), "at": at, "counter": str(counter), "log": str(log)}
    path = os.pathsep.join(filter(None, (str(SITE), os.environ.get("PYTHONPATH"))))
    return {VARIABLE: json.dumps(what), "PYTHONPATH": path}


def install_from_environment() -> None:
    """Install the hook that `environment` describes, if it does."""
    if given := os.environ.get(VARIABLE):
        Killer(**json.loads(given)).install()
