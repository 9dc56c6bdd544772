"""What the README and the pages of docs/ tell people to type."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands(page: str = "README.md") -> list[list[str]]:
    """Every line of a page's shell blocks, split into words."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]
