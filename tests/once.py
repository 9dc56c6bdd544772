"""What takes long to make and is only looked at: made once for all processes of the tests."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name`, filled by `make` in whichever process comes first; a copy for each, for
    who only looks at a database makes and removes files beside it.
    """
    own = factory.getbasetemp() / name
    shared = own.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else own.parent
    first = shared / f"{name}-made"
    with FileLock(shared / f"{name}.lock"):
        if not first.exists():
            make(first)
        shutil.copytree(first, own)
    return own
