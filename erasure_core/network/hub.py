"""Where a base is: a folder, or a snapshot of the hub that is pinned by its commit."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from erasure_core.errors import BadInput
from erasure_core.network import bases

COMMIT = re.compile(r"[0-9a-f]{40}")  # of git
PINNED = re.compile(r"([\w.-]+/[\w.-]+)@(\S+)")  # a hub id and its commit


def pinned(named: str) -> tuple[str, str | None]:
    """A base as it is named, and the commit behind the @ of a hub id: a folder has none, and may
    have an @ in its name.
    """
    found = PINNED.fullmatch(named)
    if not found or Path(named).exists() or Path(found[1]).exists():
        return named, None
    return found[1], found[2]


def locate(path_or_id: str, revision: str | None = None) -> Path:
    """The local folder of a base: the folder itself, or the pinned snapshot of a hub id, whose
    commit stands behind an @ where no `revision` says it.

    Raises:
        BadInput: If it is neither, the hub cannot be reached, or a hub id comes without the commit
            that pins it.
    """
    if revision is None:
        path_or_id, revision = pinned(path_or_id)
    folder = Path(path_or_id)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BadInput(f"base {path_or_id!r}: is a file, no folder (in {Path.cwd()}); correct it")
    if not (path_or_id.count("/") == 1 and not path_or_id.startswith((".", "/", "~"))):
        raise BadInput(
            f"base {path_or_id!r} is neither an existing folder nor a hub id "
            f"(owner/name); give one of the two"
        )
    of_folder = revision is None and Path(path_or_id).parent.is_dir()
    if of_folder or path_or_id.endswith((".safetensors", *bases.PICKLED)):
        raise BadInput(f"base {path_or_id!r}: no such file or folder (in {Path.cwd()}); correct it")
    if called := bases.called_distilled(path_or_id.partition("/")[2]):
        raise BadInput(
            f"hub id {path_or_id!r} calls itself {called}: {bases.distilled('to few steps')}; if "
            f"it was not, fetch it (hf download) and give its folder"
        )
    if revision is None:
        raise BadInput(
            f"hub id {path_or_id!r} needs its commit, so that the same bytes are used again: "
            f"{path_or_id}@COMMIT, or base.revision in the parameters"
        )
    if not COMMIT.fullmatch(revision):
        raise BadInput(_no_pin(path_or_id, revision))
    return _snapshot(path_or_id, revision)


def _snapshot(hub_id: str, commit: str) -> Path:
    """The snapshot of a hub id with the weights that are loaded: variants in half precision only
    of the parts that are published in no other.
    """
    read = [f"{part}/*.{end}" for part in bases.SETTINGS for end in ("json", "txt")]
    weights = [f"{part}/*.safetensors" for part in bases.WEIGHTS]
    plain = [bases.INDEX, *read, *weights]
    folder = _fetched(hub_id, commit, plain, [f"*{bases.HALF}.*", "*.non_ema.*"])
    if not (lacking := bases.without_weights(folder)):
        return folder
    half = [f"{part}/*{bases.HALF}*.{end}" for part in lacking for end in ("json", "safetensors")]
    folder = _fetched(hub_id, commit, half, ["*.non_ema.*"])
    if lacking := bases.without_weights(folder):
        _refuse_pickled(hub_id, commit, lacking)
    return folder


def _refuse_pickled(hub_id: str, commit: str, lacking: Sequence[str]) -> None:
    """Say that a hub id holds the weights of the `lacking` parts as pickles only, where it does and
    the hub can be asked: `BadInput`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        names = HfApi().list_repo_files(hub_id, revision=commit)
    except (HfHubHTTPError, HFValidationError, OSError):
        return
    if not (pickled := bases.only_pickled(names, lacking)):
        return
    (target, first), *others = pickled.items()
    folder = shlex.quote(hub_id.partition("/")[2])
    likewise = f", and likewise {', '.join(n for _, some in others for n in some)}"
    raise BadInput(
        f"{hub_id}@{commit} holds {', '.join(lacking)} as pickles only, which can run any code and "
        f"are never loaded here; fetch it where it may be lost (hf download {hub_id} --revision "
        f"{commit} --local-dir {folder}), and in its folder {bases.conversion(first, target)}"
        f"{likewise if others else ''}; then give the folder as base.path"
    )


def _fetched(hub_id: str, commit: str, patterns: list[str], but: list[str]) -> Path:
    """The folder of a snapshot with its files of these `patterns`, without those of `but`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            hub_id, revision=commit, allow_patterns=patterns, ignore_patterns=but
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as fault:
        raise BadInput(
            f"hub id {hub_id!r} at {commit} could not be fetched ({type(fault).__name__}); give a "
            f"local folder"
        ) from fault
    return Path(folder)


def _no_pin(hub_id: str, name: str) -> str:
    """Why a branch or a tag pins nothing, and the commit that it names today where that can be
    known.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        commit = HfApi().repo_info(hub_id, revision=name, timeout=10).sha
        now = f"today it is {hub_id}@{commit}"
    except (HfHubHTTPError, HFValidationError, OSError) as fault:
        now = f"the hub cannot be asked for its commit ({type(fault).__name__})"
    return f"{hub_id}@{name} is no pin: it names other bytes later; give a commit hash, {now}"
