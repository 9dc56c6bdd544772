"""DVC keeps the bytes: checkpoints of the state folder here, prompt sets and teacher by the
project's `dvc.yaml`.

The state folder is a DVC repository without git (`dvc init --no-scm`); DVC of the surrounding
checkout skips a nested repository by itself. A checkpoint is a folder named by its content,
`checkpoints/<sha256>/`, and the pointer `checkpoints/<sha256>.dvc` beside it is enough to get it
back from the remote on any machine. DVC is called by its command
line: its Python interface is not a stable one. Files are copied (or reflinked) out of the cache,
never hard-linked, so that a byte changed in a checkpoint does not change the copy that can repair
it.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.files import write_text
from tasks.home import Home

CONFIG = (
    "[core]\n    no_scm = True\n    analytics = false\n    check_update = "
    'false\n[cache]\n    type = "reflink,copy"\n'
)
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pointer:
    """A checkpoint as DVC knows it: the pointer file and the md5 of the folder's listing
    (`....dir`).
    """

    path: Path
    md5: str


def ensure_repo(home: Home) -> None:
    """Make the state folder a DVC repository, once, and point it at the remote of
    the environment.
    """
    from filelock import FileLock

    remote = f"[core]\n    remote = store\n['remote \"store\"']\n    url = {home.dvc_remote}\n"
    home.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(home.locks / "dvc.lock"):
        if not (home.dvc / "config").is_file():
            _dvc(
                home, "init", "--no-scm", "--force"
            )  # force: an interrupted init left an unusable folder
            write_text(home.dvc / "config", CONFIG)
        local = home.dvc / "config.local"
        if not local.is_file() or local.read_text() != remote:
            write_text(local, remote)


def check_plugin(url: str) -> None:
    """Refuse a remote that DVC cannot reach with what is installed.

    Raises:
        BadInput: No such scheme, or its plug-in is not installed.
    """
    from dvc_objects.fs import known_implementations as known

    scheme = url.partition("://")[0]
    if scheme not in known:
        raise BadInput(
            f"a remote {scheme}://... is none that DVC knows; it knows a folder and "
            f"{', '.join(sorted(known))}"
        )
    if find_spec(known[scheme]["class"].rpartition(".")[0]) is None:
        raise BadInput(f"a remote {scheme}://... lacks its plug-in: {known[scheme]['err']}")


def add_checkpoint(home: Home, folder: Path) -> Pointer:
    """Version `checkpoints/<sha256>/` and send it to the remote. Doing it again changes nothing.

    Raises:
        BadInput: If `folder` is not a checkpoint of this state folder.
        ErasureError: If DVC fails, for instance because the remote cannot be written.
    """
    if (
        folder.parent.absolute() != home.checkpoints.absolute()
        or not SHA256.fullmatch(folder.name)
        or not folder.is_dir()
    ):
        raise BadInput(
            f"{folder} is not a checkpoint; a checkpoint is an existing folder "
            f"{home.checkpoints}/<sha256>"
        )
    ensure_repo(home)
    pointer = folder.with_name(f"{folder.name}.dvc")
    _dvc(home, "add", str(folder.relative_to(home.root)))
    _dvc(home, "push", str(pointer.relative_to(home.root)))
    return Pointer(pointer, _only_output(pointer)["md5"])


def pull_checkpoint(home: Home, pointer: Path) -> Path:
    """Bring the checkpoint that `pointer` (a copy of it, from anywhere) describes into this state
    folder; check it; return it.

    Raises:
        BadInput: If the file is not the pointer of one checkpoint.
        ErasureError: If neither cache nor remote holds the bytes.
        ContentChanged: If what came back is not what its name says.
    """
    name = _only_output(pointer)["path"]
    if not SHA256.fullmatch(name):
        raise BadInput(
            f"{pointer} points at {name!r}; the pointer of a checkpoint points at a "
            f"folder named by its sha256"
        )
    ensure_repo(home)
    home.checkpoints.mkdir(parents=True, exist_ok=True)
    own = home.checkpoints / f"{name}.dvc"
    if not own.is_file() or own.read_bytes() != pointer.read_bytes():
        write_text(own, pointer.read_text())
    _dvc(home, "pull", "--force", str(own.relative_to(home.root)))
    check_checkpoint(home.checkpoints / name)
    return home.checkpoints / name


def pointed_at(pointer: Path) -> str:
    """The name of the folder that a pointer describes. `BadInput` if it is no pointer."""
    return _only_output(pointer)["path"]


def check_checkpoint(folder: Path) -> None:
    """Recompute the content hash of a checkpoint and compare it with its name.

    Raises:
        ContentChanged: If a file was changed, added or removed.
    """
    from erasure_core.law.lineage import manifest, root_sha256

    found = root_sha256(manifest(folder))
    if found != folder.name:
        raise ContentChanged(f"checkpoint {folder}", folder.name, found)


def md5_of_outputs(project: Path) -> dict[str, str]:
    """DVC's hash of everything the project's stages made (prompt sets, teacher, ...), by path;
    empty without a `dvc.lock`.
    """
    lock = project / "dvc.lock"
    stages: dict[str, Any] = (_yaml(lock) or {}).get("stages", {}) if lock.is_file() else {}
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def _only_output(pointer: Path) -> dict[str, str]:
    try:
        (out,) = _yaml(pointer)["outs"]
        return {"path": str(out["path"]), "md5": str(out["md5"])}
    except (OSError, ValueError, TypeError, KeyError, YAMLError) as fault:
        raise BadInput(
            f"{pointer} is not a DVC pointer of one folder ({type(fault).__name__}); "
            f"take it from the registered version"
        ) from fault


def _yaml(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))


def _dvc(home: Home, verb: str, *arguments: str) -> None:
    """One DVC command in the state folder; waits for another one that is running there."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", verb, "--quiet", *arguments]
    done = subprocess.run(
        command,
        cwd=home.root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise ErasureError(
            f"dvc {verb} failed in {home.root} (remote {home.dvc_remote}): {' '.join(lines[-6:])}"
        )
