"""Hostile input to every command: exit 2, one line on stderr that says what is wrong, no traceback,
nothing drawn to a terminal but text, the state folder as it was; without waiting for a pipe and
without reading a device until memory is gone.
"""

import contextlib
import io
import os
import resource
import shutil
import signal
import socket
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from erasure_core.network.weights import tensors_sha256, write_tensors
from erasure_core.text import escaped
from tasks.book.door import open_book
from tasks.home import Home
from tasks.requests.park import park
from tests.flows.command import edit, erasure, state
from tests.marks import slow

SECONDS, MEMORY = 60, 2 * 2**30  # a hang and a leak end the test instead of the machine
CAT = "00000000-0000-0000-0000-00000000000c"
REQUEST = """\
subject_request_id: {id}
subject_request_type: erasure
submitted_time: 2024-11-22T10:00:00Z
regulation: gdpr
concept:
  name: {name}
  kind: object
  prompts: [a picture of the {name}]
  replacement: a photographer
  keep: [a fine photo of a retina]
"""
PARAMS = """\
base: {{path: {folder}/base}}
registered_model: toy
seed: 7
method: {{method: uce}}
sampling: {{steps: 2, batch_size: 4}}
prompts: {{targets: {folder}/targets, kept: {folder}/kept.csv}}
detector: {{labels: {{likeness: [FACE_FEMALE]}}, threshold: 0.5}}
clip: {{path: {folder}/clip, templates: ["a photo of {{}}"]}}
policy:
  min_n: 2
  control: 0.3
  targets: {{object: {{clip.concept_rate: 1}}}}
  kept: {{ssim: -1}}
"""
HEADER = "case_number,prompt,evaluation_seed,evaluation_guidance\n"
TABLE = HEADER + "0,a photo of a cat,11,4.0\n1,a photo of a rocket,12,4.0\n"


NAMES = {
    "REQUEST": "request.yaml",
    "PARAMS": "params.yaml",
    "TABLE": "table.csv",
    "PICTURE": "picture.png",
    "DELTA": "delta.safetensors",
    "OUT": "out",
}


def named(inputs: Path, words: Iterable[str]) -> list[str]:
    """The words of a command; those in capitals are files of `inputs`."""
    return [str(inputs / NAMES[word]) if word in NAMES else word for word in words]


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """A time and a memory after which the command fails rather than the machine."""

    def late(*_: object) -> None:
        raise AssertionError(f"not answered within {SECONDS} seconds")

    used = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) * 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, hard))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def inputs(tmp_path, tiny_folder) -> Path:
    """Good input of every kind."""
    folder = tmp_path / "inputs"
    (folder / "targets").mkdir(parents=True)
    shutil.copytree(tiny_folder, folder / "base")
    (folder / "request.yaml").write_text(REQUEST.format(id=CAT[:-1] + "a", name="rocket"))
    (folder / "params.yaml").write_text(PARAMS.format(folder=folder))
    for name in ("kept", "table", "targets/rocket", "targets/cat"):
        (folder / f"{name}.csv").write_text(TABLE)
    Image.new("RGB", (40, 30)).save(folder / "picture.png")
    return folder


@pytest.fixture(scope="module")
def home(mlflow_template, tmp_path_factory) -> Path:
    """A state folder that knows one request and has a registry; every test leaves it as it is."""
    folder = tmp_path_factory.mktemp("state")
    shutil.copy(mlflow_template, folder / "mlflow.db")
    request = tmp_path_factory.mktemp("requests") / "cat.yaml"
    request.write_text(REQUEST.format(id=CAT, name="cat"))
    parameters = request.with_name("params.yaml")
    parameters.write_text("registered_model: toy\n")
    added = erasure(folder, "request", "add", request, "--params", parameters)
    assert added.exit_code == 0, added.stderr
    return folder


def refused(home: Path, inputs: Path, *words: str) -> str:
    """The one line with which a command refuses, having changed nothing."""
    before = state(home)
    assert before["book"]
    assert {"head.json", "mlflow.db"} <= before.keys()
    with limited():
        answer = erasure(home, *named(inputs, words))
    assert answer.exit_code == 2, answer.stderr
    assert answer.stdout == ""
    assert state(home) == before
    assert not (inputs / "out").exists()
    *first, line = answer.stderr.splitlines()
    at_once = [said for said in first if not said.startswith("note: ")]
    assert len(at_once) <= (words[0] in {"run", "restore"})  # what a long command says
    assert line.startswith("error: ")
    assert all(said.isprintable() for said in (*first, line))
    assert "Traceback" not in line
    assert len(line) < 2000
    return line


# The good input of each command, so that a row below is refused for its own fault

GOOD = {
    "run": "run REQUEST --params PARAMS",
    "run due": "run --params PARAMS",
    "request add": "request add REQUEST --params PARAMS",
    "request check": "request check REQUEST --params PARAMS",
    "request list": "request list",
    "request show": f"request show {CAT}",
    "request approve": f"request approve {CAT}",
    "request refuse": f"request refuse {CAT} --code gdpr-17-3-a --reason asked",
    "request withdraw": f"request withdraw {CAT} --reason asked",
    "request hold": f"request hold {CAT} --reason asked",
    "request extend": f"request extend {CAT} --reason asked",
    "request retry": f"request retry {CAT} --reason asked",
    "due": "due",
    "generate": "generate cat --model base --seed 1 --out OUT --params PARAMS",
    "export": "export --model 1 --format delta --out OUT --params PARAMS",
    "purify": "purify PICTURE --model DELTA --out OUT --params PARAMS",
    "evaluate": "evaluate --model base --prompts TABLE --params PARAMS",
    "cite": "cite --model 1 --params PARAMS",
    "restore": f"restore {CAT} --reason asked --params PARAMS",
    "rollback": "rollback --to 1 --reason asked --params PARAMS",
    "audit": f"audit {CAT}",
    "reconcile": "reconcile",
    "purge": "purge --params PARAMS",
    "verify": "verify PICTURE",
    "status": "status",
    "versions": "versions --params PARAMS",
    "methods": "methods",
    "keys list": "keys list",
    "keys rotate": "keys rotate",
    "keys trust": "keys trust partner TABLE",
}
READS = {  # which file each command reads
    "REQUEST": ("run", "request add", "request check"),
    "PARAMS": (
        "run",
        "run due",
        "request add",
        "generate",
        "export",
        "purify",
        "evaluate",
        "cite",
        "versions",
        "purge",
    ),
    "TABLE": ("evaluate", "keys trust"),
    "PICTURE": ("purify", "verify"),
    "DELTA": ("purify",),
}


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def a_hole(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(2**40)


NO_FILES = {
    "pipe": (os.mkfifo, "found a named pipe"),
    "endless device": (lambda f: f.symlink_to("/dev/zero"), "found a device"),
    "terminal": (lambda f: f.symlink_to("/dev/tty"), ""),
    "folder": (Path.mkdir, ""),
    "socket": (a_socket, ""),
    "loop of links": (lambda f: f.symlink_to(f), ""),
    "absent": (lambda f: None, ""),
    "huge file": (a_hole, ""),
    "nothing but zeros": (lambda f: f.write_bytes(bytes(1000)), ""),
}


HASHED = ("folder", "huge file", "nothing but zeros")  # `verify` hashes them as any other content


@pytest.mark.parametrize(
    ("kind", "file", "command"),
    [
        (kind, file, command)
        for kind in NO_FILES
        for file in READS
        for command in READS[file]
        if command != "verify" or kind not in HASHED
    ],
)
def test_what_is_no_file_is_refused_where_a_file_is_named(kind, file, command, inputs, home):
    make, expected = NO_FILES[kind]
    path = inputs / NAMES[file]
    path.unlink(missing_ok=True)
    make(path)
    line = refused(home, inputs, *GOOD[command].split())
    assert str(path) in line
    assert expected in line


@pytest.mark.parametrize("make", [os.mkfifo, lambda f: f.symlink_to("/dev/zero")])
def test_what_is_no_file_in_a_folder_is_not_waited_for(make, inputs, home):
    folder = inputs / "folder"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    make(folder / "beside")
    with limited():
        answer = erasure(home, "verify", folder)
    assert answer.exit_code == 2, answer.stderr
    assert str(folder / "beside") in answer.stderr


REQUESTS = {
    "deep nesting": ("keep: [a fine photo of a retina]", f"keep: {'[' * 20000}"),
    "nesting that parses": ("keep: [a fine photo of a retina]", f"keep: {'[' * 40}{']' * 40}"),
    "digits": ("regulation: gdpr", f"regulation: {'9' * 5000}"),
    "hexadecimal digits": ("regulation: gdpr", f"regulation: 0x{'f' * 5000}"),
    "a key of digits": ("regulation: gdpr", f"regulation: gdpr\n? 0x{'f' * 5000}\n: 1"),
    "aliases that multiply": (
        "regulation: gdpr",
        "x0: &x0 [a,a,a,a,a,a,a,a,a,a]\n"
        + "".join(f"x{i + 1}: &x{i + 1} [{','.join([f'*x{i}'] * 10)}]\n" for i in range(9))
        + "regulation: *x9",
    ),
    "an alias of itself": ("regulation: gdpr", "regulation: &r [*r]"),
    "a tag with a bad value": ("regulation: gdpr", "regulation: !!int ''"),
    "a key that is a mapping": ("regulation: gdpr", "? [{a: b}]\n: c"),
    "NUL": ("regulation: gdpr", 'regulation: "a\\0b"'),
    "half a character": ("regulation: gdpr", 'regulation: "\\ud800"'),
    "terminal codes in a law": ("regulation: gdpr", 'regulation: "\\e[2J"'),
    "right to left override in a law": ("regulation: gdpr", 'regulation: "\\u202egdpr"'),
    "end of the calendar": ("2024-11-22T10:00:00Z", "9999-12-31T23:59:59-12:00"),
    "beginning of the calendar": ("2024-11-22T10:00:00Z", "0001-01-01T00:00:00+12:00"),
    "the same quoted": ("2024-11-22T10:00:00Z", '"9999-12-31T23:59:59-12:00"'),
    "year nought": ("2024-11-22T10:00:00Z", "0000-01-01T00:00:00Z"),
    "an impossible zone": ("2024-11-22T10:00:00Z", "2024-11-22T10:00:00-99:99"),
    "far in the future": ("2024-11-22T10:00:00Z", "2999-01-01T00:00:00Z"),
    "before any law": ("2024-11-22T10:00:00Z", "1969-12-31T23:59:59Z"),
    "quoted epoch": ("2024-11-22T10:00:00Z", '"1700000000"'),
    "epoch": ("2024-11-22T10:00:00Z", "1700000000"),
    "a long name": ("name: rocket", f"name: {'r' * 300}"),
    "a name with terminal codes": ("name: rocket", 'name: "\\e[31mrocket"'),
    "zero width prompt": ("[a picture of the rocket]", '["\\u200b\\u200d"]'),
    "byte order mark as prompt": ("[a picture of the rocket]", '["\\ufeff"]'),
    "filler as replacement": ("a photographer\n", '"\\u3164"\n'),
    "unknown method": ("regulation: gdpr", "regulation: gdpr\nmethod: erase_all"),
    "a key with terminal codes": ("regulation: gdpr", 'regulation: gdpr\n"\\e[31m": 1'),
    "a long key": ("regulation: gdpr", f"regulation: gdpr\n? {'k' * 100_000}\n: 1"),
}


@pytest.mark.parametrize("command", READS["REQUEST"])
@pytest.mark.parametrize("fault", REQUESTS)
def test_a_hostile_request_is_refused(fault, command, inputs, home):
    edit(inputs / "request.yaml", *REQUESTS[fault])
    assert str(inputs / "request.yaml") in refused(home, inputs, *GOOD[command].split())


PARAMETERS = {
    "a seed that JSON cannot hold": ("seed: 7", f"seed: {2**53}"),
    "digits": ("seed: 7", f"seed: {'9' * 5000}"),
    "hexadecimal digits": ("seed: 7", f"seed: 0x{'f' * 5000}"),
    "NaN": ("threshold: 0.5", "threshold: .nan"),
    "infinite limit": ("ssim: -1", "ssim: -.inf"),
    "infinite by exponent": ("control: 0.3", "control: 1e999"),
    "a picture without end": (
        "threshold: 0.5",
        f"threshold: 0.5, inference_resolution: {32 * 2**40}",
    ),
    "deep nesting": ("seed: 7", f"seed: {'[' * 20000}"),
    "NUL in a path": ("registered_model: toy", 'registered_model: "toy\\0"'),
}


@pytest.mark.parametrize("fault", PARAMETERS)
def test_hostile_parameters_are_refused(fault, inputs, home):
    edit(inputs / "params.yaml", *PARAMETERS[fault])
    assert str(inputs / "params.yaml") in refused(home, inputs, *GOOD["cite"].split())


ROW = "0,a photo of a cat,11,4.0\n"
TABLES = {
    "a column twice": "case_number,prompt,prompt,evaluation_seed,evaluation_guidance\n0,a,b,1,4\n",
    "an ignored column twice": f"{HEADER.strip()},note,note\n0,a,1,4,x,y\n",
    "zero width prompt": f"{HEADER}0,\u200b\u200d,1,4\n",
    "control characters as prompt": f"{HEADER}0,\x01\x7f,1,4\n",
    "braille blank as prompt": f"{HEADER}0,\u2800,1,4\n",
    "NUL": f"{HEADER}0,a\0b,1,4\n",
    "digits": f"{HEADER}0,a,{'9' * 5000},4\n",
    "digits of a case": f"{HEADER}{'9' * 5000},a,1,4\n",
    "digits of a guidance": f"{HEADER}0,a,1,{'9' * 5000}\n",
    "infinite": f"{HEADER}0,a,1,inf\n",
    "too many rows": HEADER + "".join(f"{i},a,1,4\n" for i in range(100_001)),
    "terminal codes in a column": "\x1b[2J,b\n1,2\n",
    "one long field": f'{HEADER}0,"{"a" * 10**6}",1,4\n',
    "an open quote": f'{HEADER}0,"{ROW * 100}',
}


@pytest.mark.parametrize("fault", TABLES)
def test_a_hostile_table_is_refused(fault, inputs, home):
    (inputs / "table.csv").write_text(TABLES[fault])
    assert str(inputs / "table.csv") in refused(home, inputs, *GOOD["evaluate"].split())


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG whose header claims any size."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = (header, *chunks, (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def bits(width: int, height: int) -> bytes:
    """A black picture of one bit a pixel, whole."""
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, format="PNG")
    return stream.getvalue()


PICTURES = {
    "a decompression bomb": png(50_000, 50_000),
    "a whole picture of too many pixels": bits(10_000, 10_000),
    "a bomb of text": png(4, 4, (b"zTXt", b"k\0\0" + zlib.compress(bytes(10**8)))),
    "no size": png(0, 0),
    "no data": png(8, 8),
    "a chunk cut short": png(8, 8)[:45],
    "a wrong header": png(8, 8, (b"pHYs", b"")),
    "a JPEG of nothing": b"\xff\xd8\xff\xe0\x00\x10JFIF\0",
    "text": b"no picture",
}


@pytest.mark.parametrize("fault", PICTURES)
def test_a_hostile_picture_is_refused(fault, inputs, home):
    (inputs / "picture.png").write_bytes(PICTURES[fault])
    assert str(inputs / "picture.png") in refused(home, inputs, *GOOD["purify"].split())


def a_delta(inputs: Path, **tensors: torch.Tensor) -> None:
    (unet,) = (inputs / "base/unet").glob("*.safetensors")
    metadata = {"base_sha256": tensors_sha256(load_file(unet))}
    write_tensors(inputs / "delta.safetensors", tensors, metadata)


DELTAS = {
    "a name that the base has not": ({"nowhere": torch.zeros(3)}, "'nowhere'"),
    "another shape": ({"conv_in.bias": torch.zeros(3)}, r"(8,)"),
    "NaN": ({"conv_in.bias": torch.full((8,), torch.nan)}, "NaN or infinite"),
    "infinity": ({"conv_in.bias": torch.full((8,), torch.inf)}, "NaN or infinite"),
    "nothing": ({}, "changes no weight"),
}


@pytest.mark.parametrize("fault", DELTAS)
def test_a_hostile_delta_is_refused(fault, inputs, home):
    tensors, expected = DELTAS[fault]
    a_delta(inputs, **tensors)
    assert expected in refused(home, inputs, *GOOD["purify"].split())


def test_a_delta_that_fits_is_taken(inputs, home):
    """The same call as above is refused for the delta alone."""
    a_delta(inputs, **{"conv_in.bias": torch.zeros(8)})
    answer = erasure(home, *named(inputs, GOOD["purify"].split()), "--steps", 2)
    assert answer.exit_code == 0, answer.stderr


@pytest.mark.parametrize("command", ["run", "run due", "generate", "purify", "evaluate"])
@pytest.mark.parametrize("value", [torch.nan, slow(torch.inf)])
def test_a_base_that_is_not_finite_is_refused(value, command, inputs, home):
    a_delta(inputs, **{"conv_in.bias": torch.zeros(8)})
    file = next((inputs / "base/vae").glob("*.safetensors"))
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = value
    save_file(tensors, file, metadata={"format": "pt"})
    assert "NaN or infinite" in refused(home, inputs, *GOOD[command].split())


@pytest.mark.parametrize("command", ["run", "run due", "generate", "purify", "evaluate"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda f: f.write_text("[" * 100_000), lambda f: f.write_bytes(b"\xff")]
)
def test_a_base_with_a_hostile_configuration_is_refused(make, command, inputs, home):
    a_delta(inputs, **{"conv_in.bias": torch.zeros(8)})
    (inputs / "base/unet/config.json").unlink()
    make(inputs / "base/unet/config.json")
    assert "config.json" in refused(home, inputs, *GOOD[command].split())


HUGE, LONG = "9" * 19, "9" * 5000
REASONED = ("withdraw", "hold", "extend", "refuse", "retry")
OPTIONS = [
    *[("generate", "--guidance", value) for value in ("nan", "inf", "-inf", "1e999", "x\x1b[31m")],
    *[("generate", "--count", value) for value in ("0", "-1", "1000000000", HUGE, LONG, "1e3")],
    *[("generate", "--seed", value) for value in ("-1", HUGE, LONG, "nan")],
    *[("generate", "--model", value) for value in (HUGE, LONG, "\x1b[31m", "7", "x" * 300)],
    *[("generate", "--out", value) for value in ("a\x1b[31mb", "a\nb", "PICTURE")],
    *[("export", "--model", value) for value in (HUGE, LONG, "0", "\u00b2", "\u0661")],
    *[("export", "--out", value) for value in ("a\x1b[31mb", "PICTURE")],
    *[("purify", "--guidance", value) for value in ("nan", "inf")],
    *[("purify", "--steps", value) for value in ("0", HUGE, LONG, "nan")],
    *[("purify", "--model", value) for value in (HUGE, LONG, "none.safetensors", "x" * 300)],
    *[("purify", "--out", value) for value in ("a\x1b[31mb", "PICTURE")],
    *[("evaluate", "--model", value) for value in (HUGE, LONG, "x" * 5000)],
    *[("cite", "--model", value) for value in ("0", HUGE, LONG, "nan")],
    *[("run", option, "\x1b[31m" + "x" * 300) for option in ("--method", "--base")],
    *[("run", "--base", value) for value in ("x" * 5000, "a/b@\x1b[31m", "owner/na me@main")],
    *[
        (command, "--reason", value)
        for command in ("restore", "rollback", *(f"request {s}" for s in REASONED))
        for value in ("", " ", "\u200b", "a\nb", "a\x1b[31mb", "x" * 2001)
    ],
    *[("request refuse", "--code", value) for value in ("", "because", "\x1b[31m", HUGE)],
    *[("request approve", "--plan", value) for value in ("", "0" * 64, "\x1b[31m", LONG)],
    *[("request hold", "--by", value) for value in ("", " ", "a\nb", "a\x1b[31mb", "x" * 201)],
    *[("rollback", "--to", value) for value in ("0", "7", HUGE, LONG, "nan")],
    *[("rollback", "--accept-breach", value) for value in ("x", "\x1b[31m")],
    *[(command, "--nope\x1b[31m", "x") for command in GOOD],
]


@pytest.mark.parametrize(("command", "option", "value"), OPTIONS)
def test_a_hostile_option_is_refused(command, option, value, inputs, home):
    a_delta(inputs, **{"conv_in.bias": torch.zeros(8)})
    words = GOOD[command].split()
    if option in words:
        words[words.index(option) + 1] = value
    else:
        words += [option, value]
    line = refused(home, inputs, *words)
    words = (option, escaped(value)[:20], repr(value)[1:20], value.partition("@")[0])
    assert any(word in line for word in words if word)  # and not for another fault


def test_a_user_whose_name_is_no_text_is_recorded(home, tmp_path, monkeypatch):
    home = Path(shutil.copytree(home, tmp_path / "home"))
    monkeypatch.setenv("LOGNAME", os.fsdecode(b"caf\xe9"))
    answer = erasure(home, "request", "hold", CAT, "--reason", "x" * 2000)
    assert answer.exit_code == 0, answer.stderr
    shown = erasure(home, "request", "show", CAT)
    assert "on hold  by caf\\udce9@" in shown.stdout


ARGUMENTS = [
    ("audit", HUGE),
    ("audit", LONG),
    ("audit", "\x1b[2J"),
    ("audit", "\u00b2"),
    ("audit", os.fsdecode(b"caf\xe9")),
    ("audit", "1", "--name", os.fsdecode(b"caf\xe9")),
    ("request", "approve", CAT, "--plan", os.fsdecode(b"caf\xe9")),
    ("restore", "\x1b[2J", "--reason", "asked"),
    ("restore", LONG, "--reason", "asked"),
    ("restore", CAT),
    ("request", "show", "dog"),  # for which nobody asked
    ("request", "show", CAT[:-1] + "9"),
    ("request", "hold", "\x1b[2J", "--reason", "asked"),
    ("keys", "trust", "\x1b[2J", "TABLE"),
    ("verify", "x" * 5000),
    ("request", "add"),
    ("request", "add", "x" * 5000),
    ("request", "add", "a\x1b[2J.yaml"),
    ("request", "add", os.fsdecode(b"\xff.yaml")),
    ("request", "\x1b[2J"),
    ("\x1b[2J",),
    ("generate", "\u200b", "--model", "base", "--seed", "1", "--out", "OUT", "--params", "PARAMS"),
    ("generate", "", "--model", "base", "--seed", "1", "--out", "OUT", "--params", "PARAMS"),
    (
        *("generate", os.fsdecode(b"a cat \xff"), "--model", "base", "--seed", "1"),
        *("--out", "OUT", "--params", "PARAMS"),
    ),
    ("purify", "x" * 5000, "--model", "1", "--out", "OUT", "--params", "PARAMS"),
]


@pytest.mark.parametrize("words", ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_a_hostile_argument_is_refused(words, inputs, home):
    refused(home, inputs, *words)


@pytest.mark.parametrize("command", GOOD)
@pytest.mark.parametrize(
    ("place", "make"),
    [
        ("state", lambda f: f.write_text("")),
        ("state", os.mkfifo),
        ("state", lambda f: f.symlink_to("gone")),
        ("absent/state", lambda f: None),
        ("x" * 300, lambda f: None),
        ("file/state", lambda f: f.parent.write_text("")),
    ],
    ids=["file", "pipe", "dangling link", "typo", "long", "in a file"],
)
def test_a_state_folder_that_cannot_be_one_is_refused(place, make, command, inputs, tmp_path):
    make(tmp_path / place)
    before = sorted(tmp_path.iterdir())
    with limited():
        answer = erasure(tmp_path / place, *GOOD[command].split())
    assert answer.exit_code == 2, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert line.startswith("error: state folder ")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "words", [["status"], ["status", "--json"], ["request", "list"], ["request", "show", CAT]]
)
def test_what_is_shown_steers_no_terminal(words, home, tmp_path):
    """A reason that came from elsewhere than the command line, which refuses such."""
    home = Path(shutil.copytree(home, tmp_path / "home"))
    park(open_book(Home(home)), {CAT: "\x1b[2J\u202e\n forged"})
    answer = erasure(home, *words)
    assert answer.exit_code == 0, answer.stderr
    assert "\\u001b[2J\\u202e" in answer.stdout
    assert all(line.isprintable() for line in answer.stdout.splitlines())
