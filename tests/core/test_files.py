import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from erasure_core.errors import BadInput
from erasure_core.files import (
    TABLE_LINES,
    YAML_DEPTH,
    YAML_VALUES,
    new_folder,
    plain,
    read_bytes,
    read_input,
    read_table,
    read_yaml,
    temporary_name,
    write_text,
)

ROOT = Path(__file__).parents[2]


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = Field(1, ge=1)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: str
    rate: float = 0.5
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()


def yaml(tmp_path, text: str | bytes):
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_yaml_is_read_as_the_writer_meant_it(tmp_path):
    found = read_yaml(yaml(tmp_path, "word: no\nrate: 1e-5\nmany: [{depth: 2}]\n"), Outer)
    assert found == Outer(word="no", rate=0.00001, many=(Inner(depth=2),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("word: a\nword: b\n", 'line 2 is not valid YAML: found duplicate key "word"'),
        ("word: a\nword: b\n", "keep one of the two"),
        ("word: a\n---\nword: b\n", "a file holds one, without a line of ---"),
        ("word: a\n number: 3\n", "keys of one section begin in one column"),
        ("word: [a\nrate: 1", "line 2 is not valid YAML"),
        ("word: @elonmusk\n", "a text that begins with a sign (@ * & "),
        ("word: *NSYNC\n", "needs quotes around it"),
        ("word: Spider-Man: Homecoming\n", "or holds a colon and a blank needs quotes"),
        ("word:\n\trate: 1\n", "; indent with blanks"),
        ("word: !!python/object:os.system {}\n", "line 1 is not valid YAML"),
        (b"word: \xff\n", "byte 6 is not UTF-8"),
        ("", "found NoneType, expected a mapping with the keys word, rate, inner, many"),
        ("- word\n", "found list, expected a mapping"),
        ("rate: 1\n", "word: missing"),
        (
            "word: a\nwrod: b\n",
            "wrod: unknown key; allowed: word, rate, inner, many (did you mean word?)",
        ),
        (
            "word: a\ninner: {dept: 2}\n",
            "inner.dept: unknown key; allowed: depth (did you mean depth?)",
        ),
        ("word: a\nmany: [{depth: 1}, {dept: 1}]\n", "many.1.dept: unknown key; allowed: depth"),
        ("word: 1984\n", "word: found 1984; quote it: '1984'"),
        ("word: 007\n", "word: found 7; quote it: '7', with all its digits"),
        ("word: #blessed\n", "word: found None; write it; what begins with #"),
        ("word: {cat: portrait}\n", "quote it: 'cat: portrait'"),
        (
            "word: a\nmany: a cat\n",
            "many: found 'a cat'; write a list, in [ ] or one a line: - 'a cat'",
        ),
        ("word: a\nmany:\n", "many: found None; write a list, in [ ] or one a line"),
        (
            "word: a\ninner: {depth: 0}\n",
            "inner.depth: found 0; Input should be greater than or equal to 1",
        ),
    ],
)
def test_each_fault_is_one_line_that_names_the_file_and_the_place(tmp_path, text, expected):
    path = yaml(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        read_yaml(path, Outer)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_are_named_at_once(tmp_path):
    with pytest.raises(BadInput, match=r"rate: found 'x'.*; other: unknown key") as caught:
        read_yaml(yaml(tmp_path, "rate: x\nother: 1\n"), Outer)
    assert "word: missing" in str(caught.value)


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_bad_input(tmp_path, name):
    with pytest.raises(BadInput, match="name a file that exists"):
        read_yaml(tmp_path / name, Outer)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (os.mkfifo, "found a named pipe"),
        (lambda p: p.symlink_to("/dev/zero"), "found a device"),
        (lambda p: p.mkdir(), "found a folder"),
        (lambda p: p.symlink_to(p), "symbolic links"),
        (lambda p: p.symlink_to("gone"), "No such file"),
        (lambda p: p.write_bytes(bytes(101)), "more than 100 bytes"),
    ],
)
def test_only_a_regular_file_of_bounded_size_is_read(make, expected, tmp_path):
    make(tmp_path / "file")
    with pytest.raises(BadInput, match=expected):
        read_bytes(tmp_path / "file", 100)


def test_a_file_of_the_largest_size_is_read_whole(tmp_path):
    (tmp_path / "file").write_bytes(bytes(100))
    assert read_bytes(tmp_path / "file", 100) == bytes(100)


def test_the_size_that_a_file_claims_is_not_believed():
    """A file of the kernel claims to have no bytes."""
    assert os.stat("/proc/self/status").st_size == 0
    with pytest.raises(BadInput, match="more than 100 bytes"):
        read_bytes(Path("/proc/self/status"), 100)


@pytest.mark.parametrize("name", ["a\0b", "\udcff", "x" * 300, "x" * 5000])
def test_a_name_that_no_file_has_is_bad_input(name, tmp_path):
    with pytest.raises(BadInput, match="name"):
        read_bytes(tmp_path / name, 100)


def test_text_with_nul_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"a\0b")
    with pytest.raises(BadInput, match="character 1 is NUL"):
        read_input(tmp_path / "file")


def test_a_table_has_a_largest_number_of_lines(tmp_path):
    (tmp_path / "file").write_text("a\n" * TABLE_LINES)
    assert read_table(tmp_path / "file").count("\n") == TABLE_LINES
    (tmp_path / "file").write_text("a\n" * (TABLE_LINES + 1))
    with pytest.raises(BadInput, match="at most 100000"):
        read_table(tmp_path / "file")


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def multiplied(levels: int) -> str:
    """Ten to the power of `levels` values, by aliases."""
    lists = "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, levels))
    return f"x0: &x0 [{', '.join('a' * 10)}]\n{lists}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"word: {nested(YAML_DEPTH)}", "nested deeper than 32"),
        (f"word: {'[' * 100_000}", "nested deeper than 32"),
        (f"word: {'{a: ' * 1000}", "nested deeper than 32"),
        ("- " * 50_000, "nested deeper than 32"),
        ("word: &a [*a]", "nested deeper than 32"),
        (multiplied(9), f"more than {YAML_VALUES} values"),
        ("word:\n" + "- a\n" * YAML_VALUES, f"more than {YAML_VALUES} values"),
        (f"rate: {'9' * 4000}", "an integer of 13288 bits"),
        (f"rate: {'9' * 5000}", "not valid YAML"),
        (f"rate: 0x{'f' * 5000}", "an integer of 20000 bits"),
        (f"rate: {-(2**64)}", "an integer of 65 bits"),
        (f"? 0x{'f' * 5000}\n: a", "an integer of 20000 bits"),
        ('word: "a\\0b"', "holds U+0000"),
        ('word: "\\e[2J"', "holds U+001B"),
        ('word: "\\ud800"', "holds U+D800"),
        ('"\\x9b": a', "holds U+009B"),
        ("word: !!int ''", "not valid YAML"),
        ("word: !!bool x", "not valid YAML"),
        ("? [{a: b}]\n: c", "not valid YAML"),
        ("word: 0000-01-01T00:00:00Z", "not valid YAML"),
        ("word: 2001-12-14t21:59:43-99:99", "not valid YAML"),
        ('word: "\\UFFFFFFFF"', "not valid YAML"),
        (f"? {'k' * 100_000}\n: a", "unknown key"),
    ],
)
def test_yaml_that_costs_or_breaks_is_one_short_line(tmp_path, text, expected):
    path = yaml(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        read_yaml(path, Outer)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_yaml_with_a_few_aliases_is_read(tmp_path):
    found = read_yaml(yaml(tmp_path, "word: a\nmany: [&i {depth: 2}, *i]\n"), Outer)
    assert found.many == (Inner(depth=2), Inner(depth=2))


def test_a_tab_and_a_line_break_are_text(tmp_path):
    assert read_yaml(yaml(tmp_path, 'word: "a\\tb\\nc"'), Outer).word == "a\tb\nc"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "new" / "record.json"
    write_text(path, "old\n")

    def disk_full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new\n")
    assert path.read_text() == "old\n"
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)]
)
def test_what_is_written_is_open_to_whom_the_umask_allows(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "record.json", "text\n")
        made = new_folder(tmp_path, "draft-")
    finally:
        os.umask(before)
    assert mode(tmp_path / "record.json") == file
    assert mode(made) == folder


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_plain_turns_what_json_lacks_into_null():
    assert plain({"a": float("nan"), "b": (1, float("inf"))}) == {"a": None, "b": [1, None]}


WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from erasure_core import files

def die(*_): os.kill(os.getpid(), signal.SIGKILL)

os.replace = die
files.write_text(Path(sys.argv[1]), "half")
"""


def killed_while_writing(path: Path) -> list[Path]:
    done = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    left = list(path.parent.iterdir())
    assert len(left) == 1
    return left


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    killed_while_writing(tmp_path / "head.json")
    write_text(tmp_path / "head.json", "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["head.json"]


def test_the_draft_of_a_living_writer_stays(tmp_path):
    (mine := temporary_name(tmp_path, ".head.json.")).touch()
    write_text(tmp_path / "head.json", "whole")
    assert mine.exists()


def test_the_draft_of_another_machine_stays(tmp_path):
    (left,) = killed_while_writing(tmp_path / "head.json")
    elsewhere = left.rename(left.with_name(".head.json.00000000-1-aaaaaaaa"))
    write_text(tmp_path / "head.json", "whole")
    assert elsewhere.exists()
