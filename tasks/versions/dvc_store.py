"""DVC keeps the bytes: checkpoints of the state folder here, prompt sets and teacher by the
project's `dvc.yaml`.

The state folder is a DVC repository without git (`core.no_scm`); DVC of the surrounding
checkout skips a nested repository by itself. A checkpoint is a folder named by its content,
`checkpoints/<sha256>/`, and the pointer `checkpoints/<sha256>.dvc` beside it is enough to get it
back from the remote on any machine. DVC is called by its command line: its Python interface is not
a stable one.

Each byte lies once in each place that needs it. Where the remote is a folder of the same file
system it is DVC's cache too, and a checkpoint is made of hard links to it, read-only: what versions
share, one file holds. Elsewhere the cache lives only as long as one command. So there is no second
copy to repair a changed byte from: `tasks/release/checkpoint.py` builds a checkpoint again from
base and delta, and objects that are not what their name says are dropped here before they are used.

The remote is said to DVC with each call, in a configuration folder of the call's own: processes
with different remotes do not hear of one another, and no address with a password stays on disk.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.files import temporary_name, write_text
from erasure_core.law.lineage import hashed, manifest, root_sha256
from erasure_core.redact import redacted
from tasks.home import Home
from tasks.process import one_at_a_time

CONFIG = "[core]\n    no_scm = True\n    analytics = false\n    check_update = false\n"
# MLflow keeps copies of the pointers: what only they name would never be forgotten.
IGNORED = "/*\n!/checkpoints\n!/locks\n"
# One that was left alone would go on to change the released folder under the next command.
ENDING_WITH_PARENT = """\
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
runpy.run_module("dvc", run_name="__main__", alter_sys=True)
"""
USED_BY = "used-by"  # folder of a remote, with one file a state folder that uses it
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pointer:
    """A checkpoint as DVC knows it: the pointer file and the md5 of the folder's listing
    (`....dir`).
    """

    path: Path
    md5: str


def checkpoint_folder(home: Home, sha256: str) -> Path:
    """Where the checkpoint of this content hash lies, if it is here.

    Raises:
        BadInput: It is no content hash: a name from outside never becomes a path.
    """
    if not SHA256.fullmatch(sha256):
        raise BadInput(
            f"checkpoint {sha256!r} is no content hash; a checkpoint is named by 64 digits of "
            f"0-9 and a-f"
        )
    return home.checkpoints / sha256


def pointer_file(home: Home, sha256: str) -> Path:
    """DVC's pointer to a checkpoint."""
    folder = checkpoint_folder(home, sha256)
    return folder.with_name(f"{folder.name}.dvc")


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
    """Version `checkpoints/<sha256>/` and send it to the remote. Doing it again, also after a crash
    in between, changes nothing, and repairs a remote that lost or damaged it.

    Raises:
        BadInput: If `folder` is not a checkpoint of this state folder.
        ContentChanged: If it is no longer what its name says.
        ErasureError: If DVC fails, for instance because the remote cannot be written.
    """
    if folder.absolute().parent != home.checkpoints.absolute() or not folder.is_dir():
        raise BadInput(
            f"{folder} is not a checkpoint; a checkpoint is an existing folder "
            f"{home.checkpoints}/<sha256>"
        )
    pointer = pointer_file(home, folder.name)
    check_checkpoint(folder)
    _make_remote(home)
    _mark_as_ours(home)
    with _repository(home) as store:
        if not (is_pointer(pointer, folder.name) and _counts(pointer, folder)):
            pointer.unlink(missing_ok=True)  # of a crash, or edited
        if store.folder:
            listing = [_only_output(pointer)["md5"]] if pointer.is_file() else []
            files = (_md5(f) for f in folder.rglob("*") if f.is_file())
            _drop_damaged(store.folder, [*listing, *files])
        store.dvc("add", store.relative(folder))
        if not store.shared:
            store.push(pointer)
    return Pointer(pointer, _only_output(pointer)["md5"])


def pull_checkpoint(home: Home, pointer: Path, sha256: str) -> Path:
    """Bring the checkpoint of this content hash, which `pointer` (a copy of it, from anywhere)
    describes, into this state folder; check it; return it.

    Raises:
        BadInput: If the file is not the pointer of this checkpoint.
        ErasureError: If the remote does not hold the bytes.
        ContentChanged: If what came back is not what its name says; it is not left here.
    """
    output = _only_output(pointer)
    if output["path"] != sha256:
        raise BadInput(
            f"{pointer} points at {output['path']!r}; the pointer of checkpoint {sha256} points at "
            f"a folder of that name; `erasure reconcile` makes it anew"
        )
    own, folder = (place(home, sha256) for place in (pointer_file, checkpoint_folder))
    if not own.is_file() or own.read_bytes() != pointer.read_bytes():
        write_text(own, pointer.read_text())
    with _repository(home) as store:
        if store.folder:
            files = _listing(store.folder, output["md5"])
            _drop_damaged(store.folder, [output["md5"], *files.values()])
        store.dvc("pull", "--force", "--remote", store.remote, store.relative(own))
    try:
        check_checkpoint(folder)
    except ContentChanged:
        shutil.rmtree(folder)
        raise
    return folder


def deliverable(home: Home, sha256: str, md5: str | None = None) -> bool:
    """Whether the remote holds every file of a checkpoint, and the pointer here says so.

    In a folder, every byte is read: the files must be what their names say, and together what
    `sha256` says. At a URL, DVC asks whether they are there.

    Args:
        home: The state folder.
        sha256: Of the checkpoint.
        md5: Of the listing that was sent, where that is known.

    Raises:
        ErasureError: The remote cannot be reached.
    """
    pointer = pointer_file(home, sha256)
    if not is_pointer(pointer, sha256):  # none, or half of one, of a DVC that was killed
        return False
    if md5 is not None and _only_output(pointer)["md5"] != md5:
        return False
    with _repository(home) as store:
        if not store.folder:
            return store.lists(pointer)
        return _holds(store.folder, pointer, sha256)


def forget_checkpoint(home: Home, sha256: str, kept: Iterable[str] = ()) -> None:
    """Let cache and remote forget a checkpoint; files that other checkpoints share stay.

    Its pointer is first put out of DVC's sight and goes last: what a failure or a kill leaves in
    between is done when this is called again. At a URL, whatever no pointer here names goes: it
    must be this state folder's alone.

    Args:
        home: The state folder.
        sha256: Of the checkpoint.
        kept: The checkpoints that the remote must go on to hold.

    Raises:
        ErasureError: If DVC fails, for instance because the remote cannot be reached; or a pointer
            of what is kept is not here; or a folder is somebody else's remote too, from which DVC
            would remove what only they name.
    """
    pointer, forgotten = pointer_file(home, sha256), _forgotten_file(home, sha256)
    if not (pointer.is_file() or forgotten.is_file()):
        return
    _check_kept(home, kept)
    _check_ours(home)
    if pointer.is_file():
        pointer.replace(forgotten)  # also half of one
    with _repository(home) as store:
        store.dvc("gc", "--workspace", "--cloud", "--force", "--remote", store.remote)
    forgotten.unlink()


def _mark_as_ours(home: Home) -> None:
    """Note in a remote that is a folder that this state folder uses it. One inside the state folder
    moves with it, and is nobody else's unless they said so.
    """
    remote, root = _remote_folder(home), home.root.resolve()
    if remote is None or remote.resolve().is_relative_to(root):
        return
    if not any(_is_ours(home, mark) for mark in (remote / USED_BY).glob("*")):
        name = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        write_text(remote / USED_BY / name, f"{root}\n")


def _is_ours(home: Home, mark: Path) -> bool:
    """Whether the folder that a mark names is this state folder, by whatever path: through a link,
    or where it is mounted a second time. A copy is another folder, and so is one that is not here.
    """
    try:
        return Path(mark.read_text().strip()).samefile(home.root)
    except (OSError, ValueError):
        return False


def _check_ours(home: Home) -> None:
    """Refuse a folder that another state folder uses too, a copy of this one included."""
    if (remote := _remote_folder(home)) is None:
        return
    others = [f for f in sorted((remote / USED_BY).glob("*")) if not _is_ours(home, f)]
    told = f"the DVC remote {remote} is not this state folder's alone: "
    advice = "nothing was removed from it. Give each state folder a remote of its own"
    if others:
        raise ErasureError(
            f"{told}{others[0].read_text().strip()} uses it; {advice}, or, if that folder is gone "
            f"or was moved to {home.root}, remove {others[0]}"
        )
    files = home.checkpoints.glob("*.dvc*")
    pointers = [file for file in files if is_pointer(file, file.name.partition(".")[0])]
    ours = {_only_output(pointer)["md5"] for pointer in pointers}
    objects = _object(remote, "").glob("*/*.dir")
    if strange := [f for f in sorted(objects) if f.parent.name + f.name not in ours]:
        raise ErasureError(
            f"{told}no pointer in {home.checkpoints} names {len(strange)} checkpoint(s) in it; "
            f"{advice}, or, if nobody needs them, remove {strange[0]}"
        )


def _check_kept(home: Home, kept: Iterable[str]) -> None:
    """Refuse where DVC would remove what is kept too, for want of a pointer to it."""
    for sha256 in kept:
        if not is_pointer(pointer := pointer_file(home, sha256), sha256):
            raise ErasureError(
                f"{pointer}, the pointer to a checkpoint that is kept, is not here, without which "
                "DVC would remove that from the remote too: nothing was removed; `erasure "
                "reconcile` makes it anew"
            )


def _forgotten_file(home: Home, sha256: str) -> Path:
    """Where the pointer of a checkpoint lies while its bytes are removed: no name of DVC's."""
    return home.checkpoints / f"{sha256}.dvc.forgotten"


@dataclass(frozen=True, slots=True)
class _Store:
    """The remote of the environment, as DVC is told of it for the length of one call."""

    home: Home
    config: Path  # folder of the configuration
    folder: Path | None  # of the remote, where it is no URL
    shared: bool  # the remote is the cache

    @property
    def remote(self) -> str:
        """A name that no other remote has, should a configuration file speak of one."""
        return f"store-{hashlib.sha256(self.home.dvc_remote.encode()).hexdigest()[:12]}"

    def configure(self) -> None:
        """Write the configuration of this call."""
        cache = self.folder if self.shared else _cache(self.home)
        links = "hardlink" if self.shared else "hardlink,copy"  # "copy" leaves a copy as it is
        (self.config / "config").write_text(
            f'[cache]\n    dir = "{cache}"\n    type = "{links}"\n'
            f'[\'remote "{self.remote}"\']\n    url = "{self.home.dvc_remote}"\n'
        )

    def dvc(self, verb: str, *arguments: str, **environment: str) -> str:
        """What one DVC command prints; it waits for another one that is running there."""
        own = {
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": str(self.config),
            # where DVC remembers what a remote once held, and would believe it does still
            "DVC_SITE_CACHE_DIR": str(self.config / "site"),
        }
        done = subprocess.run(
            [sys.executable, "-P", "-c", ENDING_WITH_PARENT, "--wait-for-lock", verb, *arguments],
            cwd=self.home.root,
            env={**os.environ, **own, **environment},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise ErasureError(
                redacted(
                    f"dvc {verb} failed in {self.home.root} (remote {self.home.dvc_remote}): "
                    f"{' '.join(lines[-6:])}"
                )
            )
        return done.stdout

    def relative(self, file: Path) -> str:
        """A file of the state folder as DVC is told of it."""
        return str(file.relative_to(self.home.root))

    def push(self, pointer: Path) -> None:
        """Send what `pointer` stands for to the remote, each file that is not there."""
        for target in (self.each(pointer), pointer):
            self.dvc("push", "--remote", self.remote, self.relative(target))

    def lists(self, pointer: Path) -> bool:
        """Whether the remote lists every file that `pointer` stands for."""
        # asked for the folder first, which brings its listing
        return self._lists(pointer) and self._lists(self.each(pointer))

    def _lists(self, pointer: Path) -> bool:
        options = ("--cloud", "--json", "--remote", self.remote)
        with tempfile.TemporaryDirectory() as empty:  # the folder's answer is none for each file
            answer = self.dvc("status", *options, self.relative(pointer), DVC_SITE_CACHE_DIR=empty)
        return not {"missing", "new"} & set(json.loads(answer).values())

    def each(self, pointer: Path) -> Path:
        """A pointer to each file of a folder in the cache: of a folder whose listing is there DVC
        believes that all of it is.
        """
        files = _listing(_cache(self.home), _only_output(pointer)["md5"])
        outs = [{"md5": md5, "hash": "md5", "path": md5} for md5 in sorted({*files.values()})]
        each = self.config / "each.dvc"
        each.write_text(json.dumps({"outs": outs}))
        return each


@contextmanager
def _repository(home: Home) -> Iterator[_Store]:
    """The state folder as a DVC repository, for this process alone."""
    home.begin()
    home.locks.mkdir(parents=True, exist_ok=True)
    config, folder, lock = home.locks / "dvc-call", _remote_folder(home), home.locks / "dvc.lock"
    with one_at_a_time(lock, "giving checkpoints to DVC, or fetching them"):
        store = _Store(home, config, folder, folder is not None and _links(lock, folder))
        try:
            shutil.rmtree(config, ignore_errors=True)  # of a call that was killed
            (home.dvc / "tmp/rwlock").unlink(missing_ok=True)  # DVC does not get past half of one
            for left in home.checkpoints.glob(".*.tmp"):  # with which it tries whether it can link
                left.unlink()
            config.mkdir(mode=0o700)
            store.configure()
            _ensure_repository(store)
            yield store
        finally:
            shutil.rmtree(config, ignore_errors=True)
            shutil.rmtree(_cache(home), ignore_errors=True)


def _ensure_repository(store: _Store) -> None:
    """All that DVC needs of what `dvc init --no-scm` makes, without a process of its own."""
    # whatever is said in the configuration would beat what a call says
    for name, text in ((".dvc/config", CONFIG), (".dvcignore", IGNORED)):
        file = store.home.root / name
        if not file.is_file() or file.read_text() != text:
            file.parent.mkdir(exist_ok=True)
            write_text(file, text)


def _cache(home: Home) -> Path:
    """DVC's cache where the remote cannot be it; it is gone when a call ends."""
    return home.dvc / "cache"


def _remote_folder(home: Home) -> Path | None:
    return None if "://" in home.dvc_remote else Path(home.dvc_remote)


def _make_remote(home: Home) -> None:
    try:
        if folder := _remote_folder(home):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ErasureError(
            f"the DVC remote {home.dvc_remote} cannot be made ({fault}); set ERASURE_DVC_REMOTE "
            f"to a folder that can be written"
        ) from fault


def _links(file: Path, folder: Path) -> bool:
    """Whether `file` can be hard-linked into `folder`: the same file system, one that has links,
    and both may be written.
    """
    link = temporary_name(folder, ".link-")
    try:
        link.hardlink_to(file)
    except OSError:
        return False
    link.unlink()
    return True


def _object(store: Path, md5: str) -> Path:
    """Where DVC keeps the bytes of this hash."""
    return store / "files" / "md5" / md5[:2] / md5[2:]


def _whole(store: Path, md5: str) -> bool:
    """Whether the store holds the bytes of this hash."""
    file = _object(store, md5)
    return file.is_file() and _md5(file) == md5.removesuffix(".dir")


def _drop_damaged(store: Path, md5s: Iterable[str]) -> None:
    """Remove what is not what its name says: DVC would believe it."""
    for md5 in set(md5s):
        if not _whole(store, md5):
            _object(store, md5).unlink(missing_ok=True)


def _listing(store: Path, md5: str) -> dict[str, str]:
    """Path -> md5 of every file of a folder that the store holds; empty if it does not."""
    if not _whole(store, md5):
        return {}
    files = json.loads(_object(store, md5).read_text())
    return {str(file["relpath"]): str(file["md5"]) for file in files}


def _holds(store: Path, pointer: Path, sha256: str) -> bool:
    files = _listing(store, _only_output(pointer)["md5"])
    if not all(_whole(store, m) for m in files.values()):
        return False
    objects = {name: _object(store, m) for name, m in files.items()}
    return root_sha256(hashed(objects)) == sha256 and _sums_up(pointer, [*objects.values()])


def _counts(pointer: Path, folder: Path) -> bool:
    """Whether a pointer says how many files a folder has, and how large they are."""
    return _sums_up(pointer, [file for file in folder.rglob("*") if file.is_file()])


def _sums_up(pointer: Path, files: Sequence[Path]) -> bool:
    output = _only_output(pointer)
    found = {"nfiles": len(files), "size": sum(file.stat().st_size for file in files)}
    return all(output[key] in ("", str(number)) for key, number in found.items())


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def pointed_at(pointer: Path) -> str:
    """The name of the folder that a pointer describes. `BadInput` if it is no pointer."""
    return _only_output(pointer)["path"]


def check_checkpoint(folder: Path) -> None:
    """Recompute the content hash of a checkpoint and compare it with its name.

    Raises:
        ContentChanged: If a file was changed, added or removed.
    """
    found = root_sha256(manifest(folder))
    if found != folder.name:
        raise ContentChanged(f"checkpoint {folder}", folder.name, found)


def _only_output(pointer: Path) -> dict[str, str]:
    try:
        (out,) = _yaml(pointer)["outs"]
        sums = {key: str(out.get(key, "")) for key in ("size", "nfiles")}
        return {"path": str(out["path"]), "md5": str(out["md5"]), **sums}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, YAMLError) as fault:
        raise BadInput(
            f"{pointer} is not a DVC pointer of one folder ({type(fault).__name__}); "
            f"take it from the registered version"
        ) from fault


def _yaml(file: Path) -> Any:
    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))


def is_pointer(file: Path, sha256: str) -> bool:
    """Whether `file` is there and is the pointer of the folder of this name."""
    try:
        return _only_output(file)["path"] == sha256
    except BadInput:
        return False
