"""From what a user calls a model to a folder whose content was checked, and to the loaded model.

What a version is, the book says: no tag, alias or path of MLflow is asked.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.fold import CANDIDATE, CHAMPION, Version
from erasure_core.law.lineage import RunRecord
from erasure_core.network.weights import WeightDelta
from erasure_core.planning.params import Base, Params
from erasure_core.planning.plan import BASE, checked_base, own_base
from erasure_core.text import whole_number
from tasks.book.door import open_book
from tasks.book.keys import Keys
from tasks.book.store import Book, Reader
from tasks.home import Home
from tasks.release.checkpoint import rebuild_base_checkpoint, rebuild_checkpoint
from tasks.release.record import record_of
from tasks.release.settle import check_statement
from tasks.requests.base_file import as_folder
from tasks.versions.dvc_store import (
    check_checkpoint,
    checkpoint_folder,
    pointer_file,
    pull_checkpoint,
)

if TYPE_CHECKING:
    from erasure_core.network.models import Teacher


def resolve_model(which: str, params: Params, home: Home) -> Path:
    """The folder of `base`, `candidate`, `champion`, a registered version's number, or a folder by
    its path. A version's statement and bytes are checked; see `folder_of`.

    Raises:
        BadInput: If there is no such model.
        ContentChanged: If a checkpoint is no longer what was registered.
        ErasureError: If a missing checkpoint can neither be pulled nor built again.
    """
    if which == BASE:
        return checked_base(as_folder(params.base, home))[0]
    if not is_version(which):
        folder = Path(which)
        if not folder.is_dir():
            raise BadInput(
                f"model {which!r} is none of base, candidate, champion, a version number "
                f"or an existing folder; name one of these"
            )
        return folder
    book = open_book(home, make=False)
    return folder_of(book, version_named(book, which, params.registered_model), params.base)


def is_version(which: str) -> bool:
    """Whether a model is named as a version is; it is `base` or a folder else."""
    return which in (CANDIDATE, CHAMPION) or whole_number(which) is not None


def unedited(which: str, params: Params, home: Home) -> Path:
    """The folder of what a model was before its erasure: what a version was made from, whatever the
    parameters name today; of a folder nobody knows that, and it is the parameters'.

    Raises:
        BadInput: There is no such version, or its base is gone; see `base_of`.
    """
    if not is_version(which):
        return resolve_model(BASE, params, home)
    version = version_named(open_book(home, make=False), which, params.registered_model)
    return base_of(record_of(home, version), home, params.base)


def version_named(book: Book, which: str, model: str) -> Version:
    """A version by its number or by `candidate` or `champion`, as the book has them.

    Raises:
        BadInput: There is none.
        ErasureError: The alias is not what the chain says, or the champion never passed.
    """
    if which in (CANDIDATE, CHAMPION):
        served = which == CHAMPION
        version = champion_of(book, model) if served else _aliased(book, model, CANDIDATE)
        if version is None:
            raise BadInput(
                f"{model} has no {which} yet (state folder {book.home.root}); run a request "
                f"first, or name a version"
            )
        return version
    if (number := whole_number(which)) is None:
        raise BadInput(
            f"model {which!r} is none of candidate, champion or a version's number; name "
            f"one of these"
        )
    return book.ask(lambda reader: reader.version(model, number))


def champion_of(book: Book, model: str) -> Version | None:
    """The version that is served; None where none is. Whoever edits the book's tables must not
    thereby choose what is loaded and handed out.

    Raises:
        ErasureError: It is not the one that the chain moved `champion` to, or it never passed.
    """
    version = _aliased(book, model, CHAMPION)
    if version and not passed(version):
        raise ErasureError(
            f"the champion of {model}, version {version.version}, has the verdict "
            f"{version.verdict} and was not promoted: the book was edited; `erasure audit` lists "
            "everything"
        )
    return version


def passed(version: Version) -> bool:
    """Whether the gate let a version through; a release of the base itself is one that it did."""
    return version.promoted and version.verdict == "pass"


def _aliased(book: Book, model: str, alias: str) -> Version | None:
    """The version that an alias names, as table and chain have it."""

    def ask(reader: Reader) -> tuple[int | None, int | None]:
        return reader.alias(model, alias), reader.moved_to(model, alias)

    found, moved = book.ask(ask)
    if found != moved:
        raise ErasureError(
            f"the book's aliases were edited: the {alias} of {model} is {found}, the chain says "
            f"{moved}; `erasure reconcile --tables` puts back what the chain says"
        )
    return None if found is None else book.ask(lambda reader: reader.version(model, found))


def folder_of(book: Book, version: Version, base: Base | None = None) -> Path:
    """The folder of a version, its statement and its content checked. When it is not here it is
    pulled from the DVC remote, or else built again from its base and delta; see `base_of`.

    Raises:
        ContentChanged: If it is no longer what was registered.
        ErasureError: If its statement is not valid, or it can neither be pulled nor built again.
    """
    check_statement(book, Keys(book.home), version)
    folder = checkpoint_folder(book.home, version.checkpoint)
    if folder.is_dir():
        check_checkpoint(folder)
        return folder
    return bring_back(book, version, base)


def check_answer(book: Book, version: Version, champion: int | None) -> None:
    """Check that an earlier answer can be served again, where that would make it the champion.

    Raises:
        ErasureError: It cannot; which is no fault of a request.
    """
    if not version.promoted or version.version == champion:
        return
    try:
        folder_of(book, version)
    except ErasureError as fault:
        raise ErasureError(
            f"{version.model} version {version.version} of the same plan cannot be served again: "
            f"{fault}; mend that, or make it anew: `erasure run ... --fresh`"
        ) from None


def bring_back(book: Book, version: Version, base: Base | None = None) -> Path:
    """A checkpoint that is not here, or is damaged: from the remote, or else built again."""
    home, lost = book.home, "no DVC pointer is here"
    pointer = pointer_file(home, version.checkpoint)
    if pointer.is_file():
        try:
            return pull_checkpoint(home, pointer, version.checkpoint)
        except ErasureError as fault:
            lost = str(fault)
    try:
        record = record_of(home, version)
        if version.delta is None:
            return rebuild_base_checkpoint(base_of(record, home, base), version.checkpoint, home)
        delta = delta_of(record, home)
        return rebuild_checkpoint(base_of(record, home, base), delta, version.checkpoint, home)
    except ErasureError as fault:
        raise ErasureError(
            f"checkpoint {version.checkpoint} is not here. Remote: {lost}. From base and delta: "
            f"{fault}. Bring one of these back, or roll back to a version that is here"
        ) from None


def base_of(record: RunRecord, home: Home, base: Base | None = None) -> Path:
    """The base that a version was made from, checked to be still that: where it was, in this state
    folder, or at `base`, the parameters' of today, should it have been moved.

    Raises:
        BadInput: It is at none of these, or not what it was.
    """
    was = own_base(Base.model_validate(record.params["base"]), home.root)
    pin = {"sha256": record.base_sha256}
    try:
        return checked_base(was.model_copy(update=pin))[0]
    except BadInput:
        if base is None:
            raise
        with suppress(BadInput):
            return checked_base(as_folder(base, home).model_copy(update=pin))[0]
        raise


def delta_of(record: RunRecord, home: Home) -> Path:
    """The delta that a version was made from, as its run left it.

    Raises:
        ErasureError: It is not there any more.
    """
    folder = home.runs / (record.folder or record.run_key) / "deltas"
    for file in sorted(folder.glob("*.safetensors")):
        if WeightDelta.load(file).sha256 == record.delta_sha256:
            return file
    raise ErasureError(f"no file in {folder} is the delta {record.delta_sha256}; restore the run")


def open_model(folder: Path) -> "Teacher":
    """Load the model of a folder, on the GPU if there is one. `BadInput` if the folder is not
    acceptable.
    """
    from erasure_core.network.models import open_teacher

    return open_teacher(folder)
