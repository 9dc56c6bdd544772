"""The checks of docs/audit.md, typed as they stand there: true of a state that nobody touched, and
false of one that somebody did.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.book.conftest import Shell

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL)
World = Path


def environment(place: World) -> dict[str, str]:
    """Of a shell in which `erasure` is this checkout's and the state is that of `place`."""
    facts = {"ERASURE_HOME": place / "state", "BASE": place / "base", "MODEL": "toy"}
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    known = {name: v for name, v in os.environ.items() if not name.startswith("ERASURE_")}
    return {**known, **{n: str(v) for n, v in facts.items()}, "PATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def place(released_state: Shell, tmp_path: Path) -> World:
    """A copy of a world whose version 1 honours a request, to be touched."""
    released = released_state.home.parent
    for name in ("state", "base"):
        shutil.copytree(released / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    command = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m flows.cli "$@"\n'
    (tmp_path / "bin/erasure").write_text(command)
    (tmp_path / "bin/erasure").chmod(0o755)
    return tmp_path


def checked(place: World) -> "subprocess.CompletedProcess[str]":
    """All blocks, one after another in one shell."""
    (place / "work").mkdir()
    script = ["bash", "-euo", "pipefail", "-c", "\n".join(BLOCKS)]
    return subprocess.run(
        script, cwd=place / "work", env=environment(place), capture_output=True, text=True
    )


def test_they_hold_of_an_untouched_state(place):
    answer = checked(place)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(r"^whole: \d+ events$", answer.stdout, re.MULTILINE)
    assert answer.stdout.count("Signature Verified Successfully") == 2


def in_book(place: World, statement: str) -> None:
    with sqlite3.connect(place / "state/book.db") as book:
        assert book.execute(statement).rowcount == 1


def edit(file: Path, old: str, new: str) -> None:
    """Replace text in a file, and leave the file what it was otherwise."""
    text = file.read_text()
    assert old in text
    file.chmod(0o644)
    file.write_text(text.replace(old, new, 1))


def the(place: World, pattern: str) -> Path:
    return next((place / "state").glob(pattern))


def of_version_1(place: World) -> Path:
    """The run that the checks are about; another one was refused."""
    record = json.loads((place / "state/records/toy-v1.json").read_text())
    return place / "state/runs" / record["folder"]


def statement_of_1(place: World) -> Path:
    files = (place / "state").glob("mlartifacts/**/statement.json")
    return next(f for f in files if '"verdict":"pass"' in f.read_text().replace(" ", ""))


def cut_off(place: World) -> None:
    in_book(place, "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")


def older_head(place: World) -> None:
    head = json.loads((place / "state/head.json").read_text())
    edit(place / "state/head.json", f'"seq": {head["seq"]}', '"seq": 1')


def other_key(place: World) -> None:
    key = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True)
    public = ["openssl", "pkey", "-pubout", "-out", the(place, "keys/trusted/*.pub")]
    subprocess.run(public, input=key.stdout, check=True)


def other_picture(place: World) -> None:
    kept = next(of_version_1(place).glob("images/*/kept"))
    shutil.copy(kept / "1.png", kept / "2.png")


TOUCHED: dict[str, tuple[Callable[[World], None], str]] = {
    "an event": (
        lambda p: in_book(p, "UPDATE events SET time = 'never' WHERE seq = 2"),
        "event 2 is broken",
    ),
    "the chain's end": (cut_off, "the end was cut off"),
    "the signed head": (older_head, "Signature Verification Failure"),
    "the statement": (
        lambda p: edit(statement_of_1(p), '"pass"', '"fail"'),
        "Signature Verification Failure",
    ),
    "whom to believe": (other_key, "no trusted key is"),
    "the record": (
        lambda p: edit(p / "state/records/toy-v1.json", "pass", "fail"),
        "the record was",
    ),
    "a picture": (other_picture, "kept was changed"),
    "a delta": (
        lambda p: next(of_version_1(p).glob("deltas/*.safetensors")).write_bytes(b""),
        ".safetensors was changed",
    ),
    "the checkpoint": (
        lambda p: edit(the(p, "checkpoints/*/unet/config.json"), "{", "{ "),
        "the checkpoint was changed",
    ),
    "the base": (lambda p: edit(p / "base/unet/config.json", "{", "{ "), "the base was changed"),
    "a text": (
        lambda p: in_book(
            p, "UPDATE texts SET body = replace(body, 'cat', 'dog') WHERE label LIKE '%:cat'"
        ),
        "the text was changed",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", TOUCHED)
def test_they_find_what_was_touched(place, what):
    touch, expected = TOUCHED[what]
    touch(place)
    answer = checked(place)
    assert answer.returncode != 0
    assert expected in answer.stdout + answer.stderr
