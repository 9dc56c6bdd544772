"""A base that is one checkpoint file, kept as a folder in the state folder."""

import shutil
from pathlib import Path

from erasure_core.files import new_folder
from erasure_core.law.lineage import files_in, hashed, root_sha256, sha256_file
from erasure_core.network import bases, one_file
from erasure_core.planning.params import Base, Params
from erasure_core.planning.plan import KEPT_BASES
from tasks.home import Home

KEY = 32  # hexadecimal digits of a kept folder's name


def as_folder(base: Base, home: Home) -> Base:
    """`base`, or where it is one file the folder that it was converted to: once for the contents of
    the file and of its configurations.

    Raises:
        BadInput: The file is a pickle, no whole checkpoint, or its configurations are not there or
            do not fit.
    """
    file = Path(base.path)
    if not file.is_file():
        return base
    one_file.check(file)
    config = one_file.configurations(file, base.config)
    read = {name: f for name, f in files_in(config).items() if f.suffix in (".json", ".txt")}
    key = root_sha256({"checkpoint": sha256_file(file), **hashed(read)})[:KEY]
    kept = home.checked().root / KEPT_BASES / key
    if not (kept / bases.INDEX).is_file():
        home.begin()
        _convert(file, config, kept)
    return base.model_copy(update={"path": str(kept), "config": None})


def with_folder(params: Params, home: Home) -> Params:
    """The parameters with their base as a folder, where it is one file; see `as_folder`."""
    return params.model_copy(update={"base": as_folder(params.base, home)})


def _convert(file: Path, config: Path, kept: Path) -> None:
    partial = new_folder(kept.parent, f".{kept.name}-")
    try:
        one_file.convert(file, config, partial)
        partial.rename(kept)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
