"""From what a user calls a model to a folder whose content was checked, and to the loaded model."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law.lineage import RunRecord
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import Base, Params
from erasure_core.planning.plan import BASE, checked_base
from erasure_core.text import whole_number
from tasks.home import Home
from tasks.registry import track
from tasks.release.checkpoint import rebuild_checkpoint
from tasks.release.release import record_of
from tasks.versions.dvc_store import check_checkpoint, checkpoint_folder, pull_checkpoint

if TYPE_CHECKING:
    from erasure_core.network.models import Teacher


def resolve_model(which: str, params: Params, home: Home) -> Path:
    """The folder of `base`, `candidate`, `champion`, a registered version's number, or a folder by
    its path.

    A registered version is checked against the content hash it was registered with. When it is not
    here it is pulled from the DVC remote, or else built again from its base and delta.

    Raises:
        BadInput: If there is no such model.
        ContentChanged: If a checkpoint is no longer what was registered.
        ErasureError: If a missing checkpoint can neither be pulled nor built again.
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
    folder = checkpoint_folder(
        home, track.get_version(home, name, version).tags["checkpoint.sha256"]
    )
    if folder.is_dir():
        check_checkpoint(folder)
        return folder
    return _brought_back(folder.name, name, version, home)


def _brought_back(sha256: str, name: str, version: int, home: Home) -> Path:
    """A checkpoint that is not here: from the remote, or else built again from base and delta."""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = pull_checkpoint(
                home, track.checkpoint_pointer(home, name, version, Path(scratch))
            )
        if folder.name == sha256:
            return folder
        lost: ErasureError = ContentChanged("the registry's DVC pointer", sha256, folder.name)
    except ErasureError as fault:
        lost = fault
    try:
        record = record_of(home, name, version)
        return rebuild_checkpoint(base_of(record), delta_of(record, home), sha256, home)
    except ErasureError as fault:
        raise ErasureError(
            f"checkpoint {sha256} is not here. Remote: {lost}. From base and delta: {fault}"
        ) from lost


def base_of(record: RunRecord) -> Path:
    """The base that a version was made from, checked to be still that."""
    return checked_base(
        Base.model_validate({**record.params["base"], "sha256": record.base_sha256})
    )[0]


def delta_of(record: RunRecord, home: Home) -> Path:
    """The delta that a version was made from, as its run left it.

    Raises:
        ErasureError: It is not there any more.
    """
    folder = home.runs / record.run_key / "deltas"
    for file in sorted(folder.glob("*.safetensors")):
        if WeightDelta.load(file).sha256 == record.delta_sha256:
            return file
    raise ErasureError(f"no file in {folder} is the delta {record.delta_sha256}; restore the run")


def open_model(folder: Path) -> "Teacher":
    """Load the model of a folder, on the GPU if there is one. `BadInput` if the folder is not
    acceptable.
    """
    import torch

    from erasure_core.network.models import load_teacher

    return load_teacher(folder, device="cuda" if torch.cuda.is_available() else "cpu")
