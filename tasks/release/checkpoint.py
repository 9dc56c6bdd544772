"""Released folders: built from base and delta, proved to hold no original, named by their content,
and built again when one is lost or damaged.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from erasure_core.errors import ContentChanged, ErasureError
from erasure_core.files import new_folder
from erasure_core.law import lineage
from erasure_core.network import bases
from tasks.home import Home
from tasks.versions.dvc_store import checkpoint_folder


def build_checkpoint(base_folder: Path, delta_file: Path, home: Home, *, keep: bool) -> str:
    """Build the released folder of a delta and return its content hash; `keep` it as
    `checkpoints/<sha256>/`, or leave only what it can be built from again.

    Raises:
        ContentChanged: The delta was made from another base.
        ErasureError: The folder would hold an original of what the delta erases, or the disk is
            full.
    """
    with _built(base_folder, delta_file, home) as (folder, sha256):
        if keep:
            _keep(folder, checkpoint_folder(home, sha256))
    return sha256


def rebuild_checkpoint(base_folder: Path, delta_file: Path, sha256: str, home: Home) -> Path:
    """Build the checkpoint called `sha256` again, in place of what is left of it; return it.

    Raises:
        BadInput: `sha256` is no content hash.
        ContentChanged: Base and delta no longer make it; nothing was changed.
    """
    final = checkpoint_folder(home, sha256)
    with _built(base_folder, delta_file, home) as (folder, found):
        if found != sha256:
            raise ContentChanged(f"checkpoint {final}, built again", sha256, found)
        _keep(folder, final)
    return final


def build_base_checkpoint(base_folder: Path, home: Home) -> str:
    """The released folder of a version that erases nothing; return its content hash."""
    with _laid_out(base_folder, home) as (folder, sha256):
        _keep(folder, checkpoint_folder(home, sha256))
    return sha256


def rebuild_base_checkpoint(base_folder: Path, sha256: str, home: Home) -> Path:
    """That folder again. `ContentChanged` if the base no longer makes it."""
    final = checkpoint_folder(home, sha256)
    with _laid_out(base_folder, home) as (folder, found):
        if found != sha256:
            raise ContentChanged(f"checkpoint {final}, built again", sha256, found)
        _keep(folder, final)
    return final


@contextmanager
def _laid_out(base_folder: Path, home: Home) -> Iterator[tuple[Path, str]]:
    """The files of a base under a temporary name, and their content hash."""
    folder = new_folder(home.checkpoints, ".partial-")
    try:
        bases.lay_out(bases.loaded_files(base_folder), folder, shutil.copyfile)
        yield folder, lineage.root_sha256(lineage.manifest(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _built(base_folder: Path, delta_file: Path, home: Home) -> Iterator[tuple[Path, str]]:
    """A released folder under a temporary name beside its place, and its content hash."""
    from erasure_core.network.checkpoints import originals_left, write_checkpoint

    folder = new_folder(home.checkpoints, ".partial-")
    try:
        write_checkpoint(base_folder, delta_file, folder)
        if left := originals_left(folder, base_folder, delta_file):
            raise ErasureError(
                f"the checkpoint of {delta_file} would hold {len(left)} original weights of "
                f"{base_folder}, such as {left[0]}; nothing was kept, erase again"
            )
        yield folder, lineage.root_sha256(lineage.manifest(folder))
    except OSError as fault:
        raise ErasureError(
            f"{folder} could not be written ({fault}); free some space and run again"
        ) from fault
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep(folder: Path, final: Path) -> None:
    """Move a built folder to its place, unless the same bytes are there already."""
    if final.is_dir():
        if lineage.root_sha256(lineage.manifest(final)) == final.name:
            return
        shutil.rmtree(final)
    folder.rename(final)
