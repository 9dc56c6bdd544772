import os
import stat

import pytest
from pydantic import BaseModel, ConfigDict, Field

from erasure_core.errors import BadInput
from erasure_core.files import new_folder, plain, read_yaml, write_text


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
        ("word: [a\nrate: 1", "line 2 is not valid YAML"),
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
