import hashlib
import json
import os
import shutil
import subprocess
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from erasure_core.errors import ErasureError
from erasure_core.law.audit import GENESIS, AuditLog


@pytest.fixture
def log(tmp_path) -> AuditLog:
    log = AuditLog(tmp_path / "state" / "audit.jsonl")
    log.append(
        "request.added",
        subject_request_id="1",
        sha256="not the entry's own",
        note='he said: ","sha256":"0"}',
    )
    log.append("model.refused", version=1, value=float("nan"))
    log.append("model.promoted", version=2, path=Path("a/b"))
    return log


def lines(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def test_entries_are_chained_by_a_hash_anybody_can_recompute(log):
    previous = GENESIS
    for number, line in enumerate(lines(log), 1):
        entry = json.loads(line)
        body = line.decode().removesuffix(f',"sha256":"{entry["sha256"]}"}}\n') + "}"
        assert entry["sha256"] == hashlib.sha256(body.encode()).hexdigest()
        assert (entry["seq"], entry["previous"]) == (number, previous)
        previous = entry["sha256"]
    log.verify()
    assert [e.event for e in log.entries()] == ["request.added", "model.refused", "model.promoted"]
    assert log.entries()[1].facts == {"version": 1, "value": None}
    assert log.entries()[2].facts["path"] == "a/b"


def test_an_empty_log_is_whole(tmp_path):
    empty = AuditLog(tmp_path / "audit.jsonl")
    empty.verify()
    assert empty.entries() == []


def swap(text: list[bytes]) -> list[bytes]:
    return [text[0], text[2], text[1]]


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda t: [t[0], t[1].replace(b"refused", b"allowed"), t[2]], 2),  # a fact changed
        (
            lambda t: [t[0], t[1].replace(b'"version":1', b'"version": 1'), t[2]],
            2,
        ),  # the same value in other bytes
        (lambda t: [t[0], t[2]], 2),  # one removed
        (swap, 2),
        (lambda t: t[1:], 1),  # the beginning removed
        (lambda t: [*t, t[2]], 4),  # one repeated
        (lambda t: [t[0], t[1], t[2][:-5]], 3),  # torn
        (lambda t: [t[0], t[1], t[2].rstrip(b"\n")], 3),
        (lambda t: [t[0], b"\n", t[1], t[2]], 2),
    ],
)
def test_verify_names_the_first_broken_line(log, damage, line):
    log.path.write_bytes(b"".join(damage(lines(log))))
    with pytest.raises(ErasureError, match=rf"audit\.jsonl: line {line} is broken"):
        log.verify()


def test_an_entry_rewritten_with_a_right_hash_breaks_the_link_to_it(log):
    entry = json.loads(lines(log)[1])
    entry["facts"]["version"] = 7
    del entry["sha256"]
    body = json.dumps(entry, sort_keys=True, separators=(",", ":"))
    forged = f'{body[:-1]},"sha256":"{hashlib.sha256(body.encode()).hexdigest()}"}}\n'.encode()
    log.path.write_bytes(b"".join([lines(log)[0], forged, lines(log)[2]]))
    with pytest.raises(ErasureError, match="line 3 is broken: it is entry 3 after"):
        log.verify()


def test_nothing_is_appended_to_a_torn_log(log):
    log.path.write_bytes(log.path.read_bytes()[:-5])
    before = log.path.read_bytes()
    with pytest.raises(ErasureError, match="line 3 is broken"):
        log.append("later")
    assert log.path.read_bytes() == before


def test_a_full_disk_leaves_the_log_whole(log, monkeypatch):
    before = log.path.read_bytes()

    def disk_full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        log.append("later")
    assert log.path.read_bytes() == before


def _append(path: Path, start: Barrier) -> None:
    start.wait()
    for i in range(20):
        AuditLog(path).append("tick", i=i)


def test_processes_append_at_once_without_breaking_the_chain(log):
    spawn = get_context("spawn")
    start = spawn.Barrier(3)
    writers = [spawn.Process(target=_append, args=(log.path, start)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    log.verify()
    assert len(log.entries()) == 63


@pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "sed", "sha256sum", "jq"))),
    reason="needs bash, sed, sha256sum and jq",
)
def test_the_commands_in_the_documentation_agree(log):
    documentation = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    script = documentation.split("<!-- verify -->\n```bash\n")[1].split("```")[0]

    def by_hand() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, "ERASURE_HOME": str(log.path.parent)},
            capture_output=True,
            text=True,
        )

    assert by_hand().stdout.splitlines()[-1] == "whole: 3 entries"
    log.path.write_bytes(log.path.read_bytes().replace(b"refused", b"allowed"))
    assert by_hand().stdout.splitlines()[-1] == "line 2 is broken"
