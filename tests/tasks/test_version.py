"""DVC, for real: a checkpoint goes to a remote and comes back from its pointer alone."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from erasure_core.errors import BadInput, ContentChanged, ErasureError
from erasure_core.law.lineage import manifest, root_sha256
from erasure_core.redact import redacted
from tasks.home import Home
from tasks.versions.dvc_store import (
    _Store,
    add_checkpoint,
    check_checkpoint,
    checkpoint_folder,
    deliverable,
    forget_checkpoint,
    pointer_file,
    pull_checkpoint,
)
from tests.marks import slow

ROOT = Path(__file__).parents[2]
FILES = {
    "model_index.json": b"{}",
    "unet/weights.safetensors": bytes(range(256)) * 64,
    "delta.safetensors": b"delta",
}


@pytest.fixture
def remote(tmp_path, monkeypatch) -> Path:
    """A folder of the state folder's file system."""
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(tmp_path / "remote"))
    return tmp_path / "remote"


@pytest.fixture
def far(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder of another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = memory / f"erasure-test-{os.getpid()}"
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(folder))
    yield folder
    shutil.rmtree(folder)


class Bucket(BaseHTTPRequestHandler):
    """An HTTP store in memory: what was sent to a path is answered from it."""

    objects: dict[str, bytes]

    def do_POST(self) -> None:
        self.objects[self.path] = self._body()
        self._answer(200, b"")

    def do_GET(self) -> None:
        found = self.path in self.objects
        self._answer(200 if found else 404, self.objects.get(self.path, b""))

    do_HEAD = do_GET

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch) -> Iterator[dict[str, bytes]]:
    """A remote at a URL; its objects by path."""
    objects: dict[str, bytes] = {}
    handler = type("Handler", (Bucket,), {"objects": objects, "protocol_version": "HTTP/1.1"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ERASURE_DVC_REMOTE", f"http://127.0.0.1:{server.server_port}/models")
    yield objects
    server.shutdown()
    server.server_close()


def checkpoint(home: Home, files: dict[str, bytes] = FILES) -> Path:
    home.begin()  # DVC does not mind that git takes nothing in
    draft = home.checkpoints / "draft"
    for name, content in files.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_bytes(content)
    return draft.rename(home.checkpoints / root_sha256(manifest(draft)))


def stored(store: Path, content: bytes) -> Path:
    """Where DVC keeps these bytes."""
    md5 = hashlib.md5(content).hexdigest()
    return store / "files/md5" / md5[:2] / md5[2:]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()
    }


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def test_a_pointer_alone_restores_a_checkpoint_in_another_folder(tmp_path, remote):
    here, there = Home(tmp_path / "here"), Home(tmp_path / "there")
    folder = checkpoint(here)
    pointer = add_checkpoint(here, folder)
    assert pointer.md5.endswith(".dir")
    alone = shutil.copy(
        pointer.path, tmp_path / "checkpoint.dvc"
    )  # as it lies beside the registered version
    shutil.rmtree(here.root)

    restored = pull_checkpoint(there, Path(alone), folder.name)

    assert restored == there.checkpoints / folder.name
    assert contents(restored) == FILES


def test_adding_again_changes_nothing_and_repairs_a_lost_remote(tmp_path, remote):
    home = Home(tmp_path / "home")
    first = add_checkpoint(home, checkpoint(home))
    shutil.rmtree(remote)
    folder = first.path.with_suffix("")

    assert add_checkpoint(home, folder) == first

    shutil.rmtree(folder)
    assert contents(pull_checkpoint(home, first.path, first.path.stem)) == FILES


@pytest.mark.slow
@pytest.mark.parametrize("where", ["remote", slow("far")])
def test_adding_again_repairs_one_lost_file(tmp_path, where, request):
    store, home = request.getfixturevalue(where), Home(tmp_path / "home")
    folder = add_checkpoint(home, checkpoint(home)).path.with_suffix("")
    stored(store, FILES["delta.safetensors"]).unlink()
    add_checkpoint(home, folder)
    assert deliverable(home, folder.name)


@pytest.mark.slow
def test_adding_again_repairs_one_lost_file_at_a_url(tmp_path, bucket):
    home = Home(tmp_path / "home")
    folder = add_checkpoint(home, checkpoint(home)).path.with_suffix("")
    del bucket[f"/models/{stored(Path(), FILES['delta.safetensors'])}"]
    add_checkpoint(home, folder)
    assert f"/models/{stored(Path(), FILES['delta.safetensors'])}" in bucket


def test_a_checkpoint_and_a_near_remote_are_the_same_bytes(tmp_path, remote):
    home = Home(tmp_path / "home")
    folder = add_checkpoint(home, checkpoint(home)).path.with_suffix("")
    for name, content in FILES.items():
        assert (folder / name).samefile(stored(remote, content))
    assert not (home.dvc / "cache").exists()


@pytest.mark.slow
def test_a_checkpoint_on_another_file_system_leaves_no_cache(tmp_path, far):
    home = Home(tmp_path / "home")
    folder = add_checkpoint(home, checkpoint(home)).path.with_suffix("")
    assert contents(folder) == FILES
    assert {stored(far, content).read_bytes() for content in FILES.values()} == {*FILES.values()}
    assert not (home.dvc / "cache").exists()


@pytest.mark.slow
def test_a_checkpoint_comes_back_from_another_file_system(tmp_path, far):
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home))
    shutil.rmtree(pointer.path.with_suffix(""))
    assert contents(pull_checkpoint(home, pointer.path, pointer.path.stem)) == FILES


@pytest.mark.slow
def test_a_checkpoint_comes_back_from_a_url(tmp_path, bucket):
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home))
    shutil.rmtree(pointer.path.with_suffix(""))
    assert not (home.dvc / "cache").exists()
    assert contents(pull_checkpoint(home, pointer.path, pointer.path.stem)) == FILES


@pytest.mark.slow
def test_a_changed_byte_of_a_far_checkpoint_is_repaired_by_a_pull(tmp_path, far):
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home))
    folder = pointer.path.with_suffix("")
    flip_a_byte(folder / "unet/weights.safetensors")
    with pytest.raises(ContentChanged, match=folder.name[:16]):
        check_checkpoint(folder)

    pull_checkpoint(home, pointer.path, pointer.path.stem)

    assert contents(folder) == FILES


def test_a_changed_byte_of_a_linked_checkpoint_is_never_pulled(tmp_path, remote):
    """It changed the remote's byte as well: nothing may believe that file again."""
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home))
    flip_a_byte(pointer.path.with_suffix("") / "unet/weights.safetensors")
    with pytest.raises(ErasureError, match="dvc pull failed"):
        pull_checkpoint(home, pointer.path, pointer.path.stem)
    assert not stored(remote, FILES["unet/weights.safetensors"]).exists()


@pytest.mark.slow
def test_a_checkpoint_built_again_repairs_the_remote(tmp_path, remote):
    home = Home(tmp_path / "home")
    folder = add_checkpoint(home, checkpoint(home)).path.with_suffix("")
    flip_a_byte(folder / "unet/weights.safetensors")
    shutil.rmtree(folder)

    add_checkpoint(home, checkpoint(home))

    assert contents(folder) == FILES
    assert deliverable(home, folder.name)


def test_a_damaged_checkpoint_is_not_added(tmp_path, remote):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    flip_a_byte(folder / "unet/weights.safetensors")
    with pytest.raises(ContentChanged):
        add_checkpoint(home, folder)
    assert not remote.exists()


@pytest.mark.slow
def test_bytes_that_are_nowhere_are_an_error_and_not_an_empty_folder(tmp_path, remote):
    home, other = Home(tmp_path / "home"), Home(tmp_path / "other")
    pointer = add_checkpoint(home, checkpoint(home))
    shutil.rmtree(remote)
    with pytest.raises(ErasureError, match="dvc pull failed"):
        pull_checkpoint(other, pointer.path, pointer.path.stem)
    assert not (other.checkpoints / pointer.path.stem).exists()


@pytest.mark.parametrize(
    "text",
    [
        "not: a pointer\n",
        "[unclosed",
        "outs:\n- md5: abc.dir\n  path: ../../outside\n",
        "outs:\n- md5: a.dir\n  path: " + "0" * 64 + "\n- md5: b.dir\n  path: " + "1" * 64 + "\n",
    ],
)
def test_what_is_no_pointer_of_one_checkpoint_is_refused(tmp_path, text):
    bad = tmp_path / "bad.dvc"
    bad.write_text(text)
    with pytest.raises(BadInput, match="pointer"):
        pull_checkpoint(Home(tmp_path / "home"), bad, "0" * 64)
    assert not (tmp_path / "home").exists()


EDITS = {"path": "1" * 64, "size": "1", "nfiles": "1", "md5": f"{'1' * 32}.dir"}


@pytest.mark.parametrize("key", [*map(slow, list(EDITS)[:-1]), "md5"])
def test_an_edited_pointer_is_none_and_is_made_anew(tmp_path, remote, key):
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home)).path
    written = pointer.read_text()
    pointer.write_text(re.sub(rf"{key}: .*", f"{key}: {EDITS[key]}", written))
    assert pointer.read_text() != written
    assert not deliverable(home, pointer.stem)
    add_checkpoint(home, pointer.with_suffix(""))
    assert pointer.read_text() == written


def test_a_pointer_at_another_checkpoint_is_not_pulled(tmp_path, remote):
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home)).path
    before = contents(home.checkpoints)
    edited = pointer.rename(tmp_path / f"{'1' * 64}.dvc")
    with pytest.raises(BadInput, match=r"points at .*`erasure reconcile`"):
        pull_checkpoint(home, edited, "1" * 64)
    assert contents(home.checkpoints) == {n: c for n, c in before.items() if n != pointer.name}


def test_at_a_url_the_pointer_is_that_of_what_was_sent(tmp_path, remote):
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home))
    assert deliverable(home, pointer.path.stem, pointer.md5)
    assert not deliverable(home, pointer.path.stem, f"{'1' * 32}.dir")


def test_only_a_checkpoint_can_be_added(tmp_path):
    home = Home(tmp_path / "home")
    with pytest.raises(BadInput, match="<sha256>"):
        add_checkpoint(home, tmp_path)


@pytest.mark.parametrize("name", ["../../elsewhere/" + "0" * 64, "0" * 63, "A" * 64, "", "."])
def test_a_name_that_is_no_content_hash_becomes_no_path(tmp_path, name):
    with pytest.raises(BadInput, match="is no content hash"):
        checkpoint_folder(Home(tmp_path), name)


# --- whether the remote can deliver
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["remote", *map(slow, ("far", "bucket"))])
def test_what_was_added_can_be_delivered(tmp_path, where, request):
    request.getfixturevalue(where)
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    assert not deliverable(home, folder.name)
    add_checkpoint(home, folder)
    assert deliverable(home, folder.name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["remote", slow("far")])
def test_a_file_that_the_remote_lost_cannot_be_delivered(tmp_path, where, name, request):
    store, home = request.getfixturevalue(where), Home(tmp_path / "home")
    folder = checkpoint(home)
    add_checkpoint(home, folder)
    stored(store, FILES[name]).unlink()
    assert not deliverable(home, folder.name)


@pytest.mark.slow
def test_a_file_that_a_url_lost_cannot_be_delivered(tmp_path, bucket):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    add_checkpoint(home, folder)
    del bucket[f"/models/{stored(Path(), FILES['delta.safetensors'])}"]
    assert not deliverable(home, folder.name)


@pytest.mark.parametrize("where", ["remote", slow("far")])
def test_a_changed_byte_of_the_remote_cannot_be_delivered(tmp_path, where, request):
    store, home = request.getfixturevalue(where), Home(tmp_path / "home")
    folder = checkpoint(home)
    add_checkpoint(home, folder)
    flip_a_byte(stored(store, FILES["unet/weights.safetensors"]))
    assert not deliverable(home, folder.name)


@pytest.mark.slow
def test_a_pointer_to_other_bytes_cannot_be_delivered(tmp_path, remote):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    pointer = add_checkpoint(home, folder).path
    other = checkpoint(home, {**FILES, "delta.safetensors": b"another"})
    shutil.copyfile(add_checkpoint(home, other).path, pointer)
    assert not deliverable(home, folder.name)


# --- processes beside one another, and their end
# ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_remote_is_said_with_each_call_and_left_nowhere(tmp_path, monkeypatch, remote):
    """Another shell, without the variable, sends its own checkpoint to its own folder only."""
    home = Home(tmp_path / "home")
    first = add_checkpoint(home, checkpoint(home))
    monkeypatch.delenv("ERASURE_DVC_REMOTE")
    other = checkpoint(home, {**FILES, "delta.safetensors": b"another"})
    add_checkpoint(home, other)
    assert not stored(remote, b"another").exists()
    assert str(remote) not in "".join(f.read_text() for f in home.dvc.glob("config*"))
    monkeypatch.setenv("ERASURE_DVC_REMOTE", str(remote))
    assert deliverable(home, first.path.stem)


@pytest.mark.slow
def test_a_configuration_of_an_earlier_version_is_not_followed(tmp_path, remote):
    home = Home(tmp_path / "home")
    add_checkpoint(home, checkpoint(home))
    (home.dvc / "config").write_text('[core]\n    no_scm = True\n[cache]\n    type = "copy"\n')
    (home.dvc / "config.local").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'old'}\n"
    )
    folder = checkpoint(home, {**FILES, "delta.safetensors": b"another"})
    add_checkpoint(home, folder)
    assert (folder / "delta.safetensors").samefile(stored(remote, b"another"))
    assert not (tmp_path / "old").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.home import Home
from tasks.versions import dvc_store

call, before = dvc_store._Store.dvc, int(sys.argv[3])
verbs = []

def until(store, verb, *arguments, **environment):
    verbs.append(verb)
    answer = call(store, verb, *arguments, **environment) if len(verbs) <= before else None
    if len(verbs) > before:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

dvc_store._Store.dvc = until
dvc_store.add_checkpoint(Home(Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("done", [slow("nothing"), "add"])
def test_adding_is_finished_after_a_kill(tmp_path, far, done):
    home = Home(tmp_path / "home")
    folder, steps = checkpoint(home), ["nothing", "add"].index(done)
    command = [sys.executable, "-c", KILLED, str(home.root), str(folder), str(steps)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL

    add_checkpoint(home, folder)

    assert contents(folder) == FILES
    assert deliverable(home, folder.name)
    assert not (home.locks / "dvc-call").exists()


@pytest.mark.parametrize("text", ["", "outs:\n- md5: 12"])
def test_a_pointer_cut_off_by_a_kill_is_written_again(tmp_path, remote, text):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    folder.with_name(f"{folder.name}.dvc").write_text(text)
    add_checkpoint(home, folder)
    assert deliverable(home, folder.name)


def test_a_remote_that_cannot_be_reached_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("ERASURE_DVC_REMOTE", "http://someone:s3cr3t@127.0.0.1:9/models")
    home = Home(tmp_path / "home")
    with pytest.raises(ErasureError, match=r"dvc push failed .*http://\*\*\*@127") as caught:
        add_checkpoint(home, checkpoint(home))
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at https://user:word@host/x", "at https://***@host/x"),
        ("postgresql://u:a@b/c@host:5432/db", "postgresql://***@host:5432/db"),
        ("'s3://key@bucket' and s3://bucket/x", "'s3://***@bucket' and s3://bucket/x"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_users_and_passwords_of_urls_are_not_printed(text, expected):
    assert redacted(text) == expected


@pytest.mark.slow
def test_a_state_folder_inside_the_project_leaves_the_projects_own_dvc_clean(tmp_path):
    project = tmp_path / "project"
    project.mkdir()

    def dvc(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=project,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    dvc("init", "--quiet")
    (project / "prompts").mkdir()
    (project / "prompts" / "kept.csv").write_text("prompt\n")
    (project / "dvc.yaml").write_text(
        "stages:\n  prompts:\n    cmd: 'true'\n    outs:\n      - prompts:\n          "
        "cache: false\n"
    )
    dvc("commit", "--force", "--quiet", "prompts")

    home = Home(project / ".erasure")
    shutil.rmtree(
        add_checkpoint(home, checkpoint(home)).path.with_suffix("")
    )  # the project would report it missing if it looked

    assert dvc("status", "--json").strip() == "{}"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's part is Linux's")
def test_dvc_ends_with_the_command_that_called_it():
    """Stopped, it would never end by itself."""
    script = (
        "import subprocess, sys; from tasks.versions.dvc_store import ENDING_WITH_PARENT; "
        "subprocess.run([sys.executable, '-c', ENDING_WITH_PARENT, 'version'])"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    while not (children := psutil.Process(caller.pid).children()):
        time.sleep(0.05)
    (dvc,) = children
    while not any("pathspec" in m or "_sqlite3" in m for m in maps_of(dvc)):  # it is DVC by now
        time.sleep(0.05)
    dvc.suspend()
    caller.kill()
    caller.wait()
    assert psutil.wait_procs([dvc], timeout=5) == ([dvc], [])


def maps_of(process: psutil.Process) -> list[str]:
    return [m.path for m in process.memory_maps()]


@pytest.mark.slow
@pytest.mark.parametrize("left", [b"", b"outs:\n- md5: 5de7"])
def test_half_a_pointer_of_a_killed_dvc_counts_as_none(left, remote, tmp_path):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    whole = add_checkpoint(home, folder).path.read_bytes()
    pointer_file(home, folder.name).write_bytes(left)
    assert not deliverable(home, folder.name)
    assert add_checkpoint(home, folder).path.read_bytes() == whole
    assert deliverable(home, folder.name)


def test_what_a_killed_dvc_tried_links_with_is_removed(remote, tmp_path):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    left = home.checkpoints / ".qZqisFe7W-hSLOl0gIYIGw.tmp"
    left.write_bytes(b"")
    add_checkpoint(home, folder)
    assert not left.exists()


# --- forgetting


@pytest.mark.slow
@pytest.mark.parametrize("collected", [False, True])
def test_what_a_kill_left_of_forgetting_is_forgotten_when_asked_again(
    remote, tmp_path, monkeypatch, collected
):
    home, dvc = Home(tmp_path), _Store.dvc
    folder = checkpoint(home)
    add_checkpoint(home, folder)

    def killed(*arguments: object, **more: str) -> None:
        if collected:
            dvc(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_Store, "dvc", killed)
        with pytest.raises(KeyboardInterrupt):
            forget_checkpoint(home, folder.name)
    forget_checkpoint(home, folder.name)
    assert not list((remote / "files").rglob("*.dir"))
    assert not [f for f in remote.rglob("*") if f.is_file() and f.read_bytes() in FILES.values()]
    assert not list(home.checkpoints.glob("*.dvc*"))


OTHERS = {
    "another": lambda home, root: Home(root / "other"),
    "a copy": lambda home, root: Home(shutil.copytree(home.root, root / "copy")),
}


@pytest.mark.slow
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("who", OTHERS)
def test_a_remote_that_others_use_keeps_its_bytes(who, marked, remote, tmp_path):
    home = Home(tmp_path / "home")
    add_checkpoint(home, checkpoint(home))
    other = OTHERS[who](home, tmp_path)
    mine = checkpoint(other, {**FILES, "delta.safetensors": b"other"})
    add_checkpoint(other, mine)
    if not marked:  # by a version that left no marks
        shutil.rmtree(remote / "used-by")
    refused = home if who == "a copy" and not marked else other
    with pytest.raises(ErasureError, match="is not this state folder's alone"):
        forget_checkpoint(refused, next(iter(sorted(refused.checkpoints.glob("*.dvc")))).stem)
    for one in (home, other):
        assert all(deliverable(one, pointer.stem) for pointer in one.checkpoints.glob("*.dvc"))


@pytest.mark.slow
@pytest.mark.parametrize("old_mark", [False, True])
def test_one_state_folder_by_two_paths_is_one_user_of_a_remote(old_mark, remote, tmp_path):
    home = Home(tmp_path / "real/home")
    folder = checkpoint(home)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    by_link = Home(tmp_path / "link/home")
    add_checkpoint(by_link, by_link.checkpoints / folder.name)
    (mark,) = (remote / "used-by").iterdir()
    if old_mark:  # of the path as it was spelled
        mark.rename(mark.with_name("0" * 16)).write_text(f"{by_link.root}\n")
    add_checkpoint(home, folder)
    assert len(list((remote / "used-by").iterdir())) == 1
    forget_checkpoint(home, folder.name)
    assert not list((remote / "files").rglob("*.dir"))


def test_a_moved_state_folder_is_told_which_mark_to_remove(remote, tmp_path):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    add_checkpoint(home, folder)
    (mark,) = (remote / "used-by").iterdir()
    moved = Home(home.root.rename(tmp_path / "moved"))
    with pytest.raises(ErasureError, match=f"remove {mark}"):
        forget_checkpoint(moved, folder.name)
    mark.unlink()
    forget_checkpoint(moved, folder.name)
    assert not list((remote / "files").rglob("*.dir"))


@pytest.mark.slow
def test_a_remote_of_ones_own_is_emptied_and_stays_marked(remote, tmp_path):
    home = Home(tmp_path / "home")
    folder = checkpoint(home)
    add_checkpoint(home, folder)
    forget_checkpoint(home, folder.name)
    assert not [f for f in (remote / "files").rglob("*") if f.is_file()]
    assert [f.read_text().strip() for f in (remote / "used-by").iterdir()] == [str(home.root)]


def test_nothing_is_forgotten_as_long_as_a_pointer_of_what_is_kept_is_not_here(remote, tmp_path):
    """DVC removes whatever no pointer names, at a URL too."""
    home, kept = Home(tmp_path / "home"), "1" * 64
    pointer = pointer_file(home, checkpoint(home).name)
    pointer.write_text(f"outs:\n- md5: 0.dir\n  path: {pointer.stem}\n")
    with pytest.raises(ErasureError, match=f"{kept}.dvc, .* is not here.*`erasure reconcile`"):
        forget_checkpoint(home, pointer.stem, [pointer.stem, kept])
    assert pointer.is_file()


def test_what_was_never_sent_is_forgotten_whoever_uses_the_remote(remote, tmp_path):
    other, home = Home(tmp_path / "other"), Home(tmp_path / "home")
    add_checkpoint(other, checkpoint(other))
    forget_checkpoint(home, checkpoint(home).name)


@pytest.mark.slow
def test_a_copy_of_a_pointer_elsewhere_keeps_nothing(remote, tmp_path):
    """MLflow holds one of each version that it serves."""
    home = Home(tmp_path / "home")
    pointer = add_checkpoint(home, checkpoint(home)).path
    (home.root / "mlartifacts/models").mkdir(parents=True)
    shutil.copy(pointer, home.root / "mlartifacts/models")
    objects = remote / "files/md5"
    assert [f for f in objects.rglob("*") if f.is_file()]
    forget_checkpoint(home, pointer.stem)
    assert [f for f in objects.rglob("*") if f.is_file()] == []
