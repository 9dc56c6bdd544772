"""From what a user calls a model to a folder whose content was checked, and to the loaded model."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from erasure_core.errors import BadInput
from erasure_core.planning.params import Params
from erasure_core.planning.plan import BASE, checked_base
from erasure_core.text import whole_number
from tasks.home import Home
from tasks.registry import track
from tasks.versions.dvc_store import check_checkpoint, pull_checkpoint

if TYPE_CHECKING:
    from erasure_core.network.models import Teacher


def resolve_model(which: str, params: Params, home: Home) -> Path:
    """The folder of `base`, `candidate`, `champion`, a registered version's number, or a folder by
    its path.

    A registered version is checked against the content hash it was registered with, and pulled from
    the DVC remote when it is not here.

    Raises:
        BadInput: If there is no such model.
        ContentChanged: If a checkpoint is no longer what was registered.
        ErasureError: If a missing checkpoint cannot be pulled.
    """
    if which == BASE:
        return checked_base(params.base)[0]
    name = params.registered_model
    if which in (track.CANDIDATE, track.CHAMPION):
        version = track.get_alias(home, name, which)
        if version is None:
            raise BadInput(
                f"{name} has no {which} yet (state folder {home.root}); run a request "
                f"first, or use base, a version or a folder"
            )
    elif (version := whole_number(which)) is None:
        folder = Path(which)
        if not folder.is_dir():
            raise BadInput(
                f"model {which!r} is none of base, candidate, champion, a version number "
                f"or an existing folder; name one of these"
            )
        return folder
    folder = home.checkpoints / track.get_version(home, name, version).tags["checkpoint.sha256"]
    if folder.is_dir():
        check_checkpoint(folder)
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        return pull_checkpoint(home, track.checkpoint_pointer(home, name, version, Path(scratch)))


def open_model(folder: Path) -> "Teacher":
    """Load the model of a folder, on the GPU if there is one. `BadInput` if the folder is not
    acceptable.
    """
    import torch

    from erasure_core.network.models import load_teacher

    return load_teacher(folder, device="cuda" if torch.cuda.is_available() else "cpu")
