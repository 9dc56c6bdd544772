"""The header of a file that implements a paper: what it says under Paper, Reference, Departs,
Changes, Cost and Restore.
"""

import re
from inspect import getdoc
from types import ModuleType
from typing import Any

WORDS = ("Paper", "Reference", "Departs", "Changes", "Cost", "Restore", "Licence")


def header(module: ModuleType | Any) -> dict[str, str]:
    """Title and sections of a module's docstring. A section is a word of `WORDS` at the start of a
    line, and the indented lines below.
    """
    text = getdoc(module) or ""
    found = {"Title": text.partition("\n")[0]}
    for word, said in re.findall(rf"^({'|'.join(WORDS)})[ ]+(.+(?:\n[ ]+.+)*)", text, re.MULTILINE):
        found[word] = " ".join(said.split())
    return found
