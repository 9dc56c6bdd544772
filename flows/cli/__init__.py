"""The `erasure` command: requests in, verdicts and pictures out.

Nothing heavy is imported before a command needs it, so that `erasure --help` answers at once.
"""

import atexit
import gc

from flows.cli import (  # noqa: F401 - each adds commands
    attack,
    check,
    compare,
    init,
    keys,
    models,
    new,
    record,
    requests,
    runs,
    ui,
)
from flows.cli.common import app, interrupt_on_signals
from flows.cli.show import escape_what_cannot_be_written

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the `erasure` command."""
    interrupt_on_signals()
    escape_what_cannot_be_written()
    atexit.register(gc.freeze)  # Python collects at its end: with torch in memory, for seconds
    app(prog_name="erasure")
