"""A trial is in no book, so that no lease tells of it: a lock file does, as long as it works."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from erasure_core.errors import ErasureError
from tasks.home import Home


@contextmanager
def at_work(home: Home, name: str) -> Iterator[None]:
    """Hold the folder `name` of a trial.

    Raises:
        ErasureError: Another process works in it.
    """
    home.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.locks / f"{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ErasureError(
            f"another process works on the trial {home.runs / name}; wait for it, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()
