"""Who does a piece of work, so that a later command can tell whether it still does, and waits."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from erasure_core.files import here

PREFIX = "process"
SILENT = 0.8  # seconds for which another process is waited for without a word


def this_process() -> str:
    """`process:<host>/<container>:<pid>:<seconds from the host's start to the process's>`."""
    return f"{PREFIX}:{_place()}:{os.getpid()}:{_started(os.getpid())}"


def has_died(mark: str) -> bool:
    """Whether the process that `this_process` named is gone. One of another host or container
    never is: not ours to say; nor is what is not such a name.
    """
    if not is_of_here(mark):
        return False
    _, pid, started = mark.rsplit(":", 2)
    return pid.isdecimal() and _started(int(pid)) != started


def is_of_here(mark: str) -> bool:
    """Whether the process that `this_process` named is of this host and container."""
    kind, _, rest = mark.partition(":")
    return kind == PREFIX and rest.count(":") >= 2 and rest.rsplit(":", 2)[0] == _place()


@contextmanager
def one_at_a_time(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock's file for the length of a `with`; a line on stderr says that another process
    does `what` where it is waited for.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        held.acquire(timeout=SILENT)
    except Timeout:
        print(f"waiting for another process: {what} ({lock})", file=sys.stderr, flush=True)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _place() -> str:
    """Where a number names one process: containers may share the name of their host."""
    return f"{platform.node()}/{here()}"


def _started(pid: int) -> str | None:
    """None for a process that is no more. Counted from the host's start: setting the clock must
    not make a process another one.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return f"{process.create_time() - psutil.boot_time():.2f}"
    except psutil.NoSuchProcess:
        return None
