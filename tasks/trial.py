"""A trial and an evaluation are in no book, so that no lease tells of them: a lock file does, as
long as they work.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from erasure_core.errors import ErasureError
from tasks.home import Home


@contextmanager
def at_work(home: Home, folder: Path) -> Iterator[None]:
    """Hold the folder of a trial or of an evaluation.

    Raises:
        ErasureError: Another process works in it.
    """
    home.begin()
    home.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.locks / f"{folder.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ErasureError(f"another process works in {folder}; wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()
