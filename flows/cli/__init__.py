"""The `erasure` command: requests in, verdicts and pictures out.

Nothing heavy is imported before a command needs it, so that `erasure --help` answers at once.
"""

from flows.cli import check, models, record, requests, runs  # noqa: F401 - each registers its commands
from flows.cli.common import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the `erasure` command."""
    app(prog_name="erasure")
