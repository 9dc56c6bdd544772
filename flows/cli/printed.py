"""Commands that are printed to be pasted into a shell."""

import re
import shlex
from pathlib import Path

PARAMS = Path("params.yaml")  # what a command reads that names none
COMMAND = re.compile(r"""`(erasure (?:[^`'"]|'[^']*'|"[^"]*")+)`""")


def on(params: Path, command: str) -> str:
    """`command` on the same parameters."""
    return command if params == PARAMS else f"{command} --params {shlex.quote(str(params))}"


def all_on(params: Path, line: str) -> str:
    """A line of advice whose commands (in backticks) are on the same parameters."""
    return COMMAND.sub(lambda found: f"`{on(params, found[1])}`", line)
