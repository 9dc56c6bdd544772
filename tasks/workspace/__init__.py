"""A working folder: parameters, prompt sets, example requests and the gallery's model, laid out
from the installed package, so that a command works where there is no checkout.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from erasure_core.errors import BadInput
from erasure_core.files import write_bytes

PACKAGED = Path(__file__).with_name("files")  # put there when a wheel is built (setup.py)
CHECKOUT = Path(__file__).parents[2]
OWN = {
    # DVC asks for git unless it is told that there is none
    ".dvc/config": "[core]\n    analytics = false\n    no_scm = true\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",  # as DVC itself writes where git is
}


def lay_out(folder: Path) -> list[str]:
    """Make `folder` a working folder; return what was written, by relative path.

    A file that is there already with the same content stays, so that a second call completes what
    a first one began.

    Raises:
        BadInput: A file is there with another content, or something is in a folder's place; nothing
            was written.
    """
    files = _files()
    wanted = {**{name: file.read_bytes() for name, file in files.items()}, **_own()}
    missing = [name for name in sorted(wanted) if not _there(folder / name, wanted[name])]
    for name in missing:
        write_bytes(folder / name, wanted[name])
    return missing


def _own() -> dict[str, bytes]:
    return {name: text.encode() for name, text in OWN.items()}


def _files() -> Mapping[str, Path]:
    """Relative path -> the packaged file, or the checkout's where nothing was packaged."""
    if PACKAGED.is_dir():
        found = [file for file in PACKAGED.rglob("*") if file.is_file()]
        return {file.relative_to(PACKAGED).as_posix(): file for file in found}
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    return {name: CHECKOUT / name for name in settings["tool"]["erasure"]["workspace"]}


def _there(file: Path, content: bytes) -> bool:
    """Whether `file` is there with this content. `BadInput` if anything else is in its place."""
    blocked = next((up for up in file.parents if os.path.lexists(up) and not up.is_dir()), None)
    if blocked is not None:
        raise BadInput(f"{blocked} is no folder; move it away, or name another folder")
    if not os.path.lexists(file):
        return False
    if not file.is_file() or file.read_bytes() != content:
        raise BadInput(f"{file} is there and is another one; move it away, or name another folder")
    return True
