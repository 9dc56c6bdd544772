"""What the README tells people to type."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands() -> list[list[str]]:
    """Every line of the README's shell blocks, split into words."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]
