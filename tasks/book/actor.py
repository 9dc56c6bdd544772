"""Who does what is being done."""

import getpass
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from erasure_core.text import escaped

_named: ContextVar[str | None] = ContextVar("acting", default=None)


@contextmanager
def acting_as(name: str | None) -> Iterator[None]:
    """Let what happens inside be done by `name` (`--by`); None: by the user of this process."""
    token = _named.set(name)
    try:
        yield
    finally:
        _named.reset(token)


def acting() -> dict[str, str]:
    """The actor of an event: the OS user and host, the Prefect run if there is one, and `--by`. The
    environment says who the user is, in any bytes.
    """
    actor = {"host": escaped(platform.node()), "user": escaped(_user())}
    if run := os.environ.get("PREFECT__FLOW_RUN_ID"):
        actor["prefect_run"] = run
    if name := _named.get():
        actor["by"] = name
    return actor


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
