"""Where a model came from: content hashes of files and values, frozen folders, and the record of
one run.
"""

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import rfc8785
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.files import plain, pretty_json, write_text

ABSENT = "no such file"


def canonical_json(value: object) -> str:
    """The one spelling of a value that is hashed: RFC 8785, which any language can write.

    Raises:
        ValueError: NaN, an infinity, or an integer beyond 2**53 - 1: JSON has none of these.
    """
    return rfc8785.dumps(to_jsonable_python(value)).decode()


def sha256_json(value: object) -> str:
    """Sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Sha256 of the bytes of `path`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest(folder: Path, pattern: str = "*") -> dict[str, str]:
    """Relative path -> sha256 of every file below `folder` whose name matches `pattern`, sorted by
    path.

    Raises:
        BadInput: `folder` holds no such file.
    """
    return hashed(files_in(folder, pattern))


def files_in(folder: Path, pattern: str = "*") -> dict[str, Path]:
    """Relative path -> every file below `folder` whose name matches `pattern`.

    Raises:
        BadInput: `folder` holds no such file.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob(pattern)
        if path.is_file()
    }
    if not files:
        raise BadInput(f"{folder}: no file {pattern} in it; name a folder that holds a model")
    return files


def hashed(files: Mapping[str, Path]) -> dict[str, str]:
    """Name -> sha256 of each file's bytes, sorted by name."""
    return {name: sha256_file(files[name]) for name in sorted(files)}


def root_sha256(files: dict[str, str]) -> str:
    """One hash for a manifest: the sha256 of what `sha256sum` prints for its files,
    sorted by path.
    """
    lines = (f"{sha256}  {name}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def freeze(files: Mapping[str, Path], snapshots: Path) -> tuple[str, Path]:
    """Record what `files` hold now as `snapshots/<root sha256>/manifest.json`; return the root
    hash and that file.
    """
    hashes = hashed(files)
    root = root_sha256(hashes)
    written = snapshots / root / "manifest.json"
    write_text(written, pretty_json({"root_sha256": root, "files": hashes}))
    return root, written


def check_frozen(
    folder: Path, manifest_file: Path, listed: Callable[[Path], Mapping[str, Path]]
) -> None:
    """Check that the files of `folder` that `listed` names are still what `manifest_file` recorded.

    Raises:
        ContentChanged: Names the first file, by path, that is missing, else that is changed or
            added; or the manifest itself.
        ErasureError: The manifest is not readable.
    """
    try:
        recorded = json.loads(manifest_file.read_text(encoding="utf-8"))
        root = str(recorded["root_sha256"])
        frozen = {str(k): str(v) for k, v in recorded["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ErasureError(
            f"{manifest_file}: not a readable manifest ({error}); start a new run to "
            f"freeze {folder} again"
        ) from None
    if root_sha256(frozen) != root:
        raise ContentChanged(str(manifest_file), root, root_sha256(frozen))
    for name in sorted(frozen):  # before `listed`, which may refuse what is not whole
        if not (folder / name).is_file():
            raise ContentChanged(str(folder / name), frozen[name], ABSENT)
    found = hashed(listed(folder))
    for name in sorted(frozen.keys() | found.keys()):
        if frozen.get(name) != found.get(name):
            raise ContentChanged(
                str(folder / name), frozen.get(name, ABSENT), found.get(name, ABSENT)
            )


def code_sha256(*folders: Path) -> str:
    """One hash over every source file of these folders, wherever they are installed."""
    files = {
        f"{folder.name}/{name}": sha256
        for folder in folders
        for name, sha256 in manifest(folder, "*.py").items()
    }
    return root_sha256(files)


def git_commit(cwd: Path) -> str:
    """The commit checked out at `cwd`, with "+dirty" if tracked files differ from it; "unknown"
    outside git.
    """

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(cwd), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


Plain = Annotated[
    dict[str, Any], BeforeValidator(plain)
]  # kept as it reads back from JSON, so that a record equals its file


class LambdaRecord(BaseModel):
    """One candidate: its preset, its lambda if its method has one, its delta, what was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    preset: str
    lambda_: float | None = Field(alias="lambda")
    delta_sha256: str
    measurements: tuple[Plain, ...]  # on the report set; none of those that were not chosen
    choice: tuple[Plain, ...] = ()  # on the set that chooses, where there was a choice


class RunRecord(BaseModel):
    """Everything one run rests on and came to, in one file; the book holds the file's hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run_key: str
    plan_sha256: str = ""
    request_ids: tuple[str, ...]
    # requests whose concepts were brought back, and measured to be there
    restored_ids: tuple[str, ...] = ()
    # requests of which a part was measured: which of how many; all the others whole
    parts: dict[str, tuple[int, int]] = {}
    requests_sha256: str
    base_sha256: str
    prompt_sha256: dict[str, str]
    params_sha256: str
    params: Plain
    made_with: dict[str, str] = {}  # code, instruments, libraries: part of the run key
    machine: dict[str, str] = {}  # processor, threads, device: not part of it
    code_sha256: str
    git_commit: str
    lambdas: tuple[LambdaRecord, ...]
    chosen_lambda: float | None
    delta_sha256: str | None
    checkpoint_sha256: str | None
    gate: Plain
    promoted: bool
    model_name: str
    model_version: int | None
    mlflow_run_id: str | None = None  # of records made before 0.2; the outbox knows it since
    folder: str = ""  # in the state folder's runs/
    not_measured: dict[str, str] = {}  # metric -> why
    evidence: dict[str, str] = {}  # file or folder in it -> hash of its content
    seconds: dict[str, float]
    created: AwareDatetime

    def to_json(self, path: Path) -> None:
        """Write the record to `path`, whole or not at all."""
        write_text(path, pretty_json(self.model_dump(mode="json", by_alias=True)))

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """Read a record back.

        Raises:
            ErasureError: Absent, truncated, or not a run record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            raise ErasureError(
                f"{path}: not a readable run record ({_first_line(error)}); run the request again"
            ) from None


def steps_of(seconds: Mapping[str, float]) -> dict[str, float]:
    """Of a record's `seconds` the steps that came one after another: without the candidates' own
    "erase <candidate>", which "erase and generate" holds.
    """
    return {name: s for name, s in seconds.items() if not _is_of_a_candidate(name)}


def _is_of_a_candidate(step: str) -> bool:
    return step.startswith("erase ") and not step.startswith("erase and generate")


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip()
    return str(error)
