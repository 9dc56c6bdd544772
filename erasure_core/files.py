"""Files: written whole or not at all; what a user names read within limits; and YAML read into a
typed model with every fault named at once.
"""

import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from erasure_core.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)

MIB = 2**20
# The largest file of each kind that is read, in bytes: far above any real one, far below memory.
YAML_BYTES, TABLE_BYTES, PICTURE_BYTES = MIB // 4, 16 * MIB, 256 * MIB
TABLE_LINES = 100_000  # COCO-30k, the largest prompt set of the field, has 30 thousand
YAML_DEPTH, YAML_VALUES, INTEGER_BITS = 32, 20_000, 64
OTHERS = {"d": "a folder", "p": "a named pipe", "s": "a socket", "c": "a device", "b": "a device"}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the marks of what Excel calls Unicode text
# How files begin that are named by mistake -> what they are, and what to do.
OTHER_FORMS = {
    b"\x1f\x8b": "packed by gzip; unpack it: gunzip",
    b"BZh": "packed by bzip2; unpack it: bunzip2",
    b"\xfd7zXZ": "packed by xz; unpack it: unxz",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
    b"PAR1": "a Parquet file; read it with pandas.read_parquet and write it with to_csv",
    b"ARROW1": "an Arrow file; load the data set with datasets and write it with to_csv",
    b"version https://git-lfs": "a pointer of Git LFS; fetch what it stands for: git lfs pull",
    **dict.fromkeys(
        (b"<!DOCTYPE", b"<!doctype", b"<html"),
        "a web page; save the file that it shows (on GitHub: Raw)",
    ),
}
# What the parser of YAML says -> what to do; of anything else the last.
MENDED = {
    "\\t": "indent with blanks",
    "duplicate key": "keep one of the two",
    "another document": "a file holds one, without a line of ---; write the next into its own",
    "": "correct it: keys of one section begin in one column, and a text that begins with a sign "
    '(@ * & ! % ` [ { ") or holds a colon and a blank needs quotes around it',
}
# What the command line, or a person, calls a key.
MEANT = {"instead": "replacement", "law": "regulation", "id": "subject_request_id"}
NEW_ID = "python3 -c 'import uuid; print(uuid.uuid4())'"
UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(value: object) -> Any:
    """`value` as it will be after a round trip through JSON; NaN and infinities become null, which
    no reader mistakes for a number.
    """
    return from_json(to_json(value, inf_nan_mode="null"))


def pretty_json(value: object) -> str:
    """The form in which JSON is kept on disk: sorted keys, indent 2, a final newline."""
    return (
        json.dumps(plain(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        + "\n"
    )


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of `text` in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all; a reader sees the old file or the new one.

    Raises:
        OSError: Disk full, no permission; `path` is then as it was and no temporary file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path.parent, f".{path.name}.")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def new_folder(parent: Path, prefix: str) -> Path:
    """An empty folder in `parent` with a name of its own, open to whom the umask allows (the
    library's mkdtemp shuts out everybody else, also once it is renamed).
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = temporary_name(parent, prefix)
    folder.mkdir()
    return folder


def remedy(fault: BaseException) -> str:
    """What lets a file be written that could not be, by what the system said."""
    code = fault.errno if isinstance(fault, OSError) else None
    if code in (errno.ENOENT, errno.ENOTDIR):
        return "make its folder first"
    if code in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
        return "name a file, where no folder is"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "name a place where you may write"
    return "free some space"  # also of a library that says no number


def temporary_name(parent: Path, prefix: str) -> Path:
    """An unused name in `parent` for what is being written; it names its writer, so that a later
    one can tell what a killed writer left, and removes that first.
    """
    sweep(parent, prefix)
    return parent / f"{prefix}{here()}-{os.getpid()}-{secrets.token_hex(4)}"


def sweep(parent: Path, prefix: str) -> None:
    """Remove the drafts in `parent` whose writer on this machine is no more."""
    for left in parent.glob(f"{escape(prefix)}{here()}-*-*"):
        if _is_gone(int(left.name.split("-")[-2])):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def here() -> str:
    """This machine and, on Linux, this container: within it a process has one number."""
    host = " ".join(filter(None, (platform.node(), _machine_id())))
    with suppress(OSError):
        return _shortly(f"{host} {os.readlink('/proc/self/ns/pid')}")
    return _shortly(host)


def _machine_id() -> str:
    """What tells machines of one name apart: systemd's id; empty where there is none, as in many
    containers.
    """
    with suppress(OSError, ValueError):
        return Path("/etc/machine-id").read_text(encoding="ascii").strip()
    return ""


def _shortly(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        return False
    return False


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file the user named: the one door for all of them.

    Args:
        path: Any path; what is not a regular file is never waited for.
        limit: The most bytes that are read.

    Raises:
        BadInput: Absent, not permitted, a pipe, a device, a folder, or larger than `limit`.
    """
    try:
        content = _beginning(path, limit + 1)
    except OSError as error:
        raise BadInput(
            f"{path}: {error.strerror}; name a file that exists and can be read"
        ) from None
    except ValueError:
        raise BadInput(f"{path}: no file has such a name; use one in UTF-8, without NUL") from None
    if len(content) > limit:
        raise BadInput(
            f"{path}: more than {limit} bytes, the most that is read of such a file; "
            f"split it, or name another"
        )
    return content


def _beginning(path: Path, length: int) -> bytes:
    """The first bytes of a regular file, whatever size it claims to have."""
    str(path).encode()  # an undecodable name could be shown nowhere
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for its writer
    try:
        _check_kind(path, os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(length)
    finally:
        os.close(handle)


def check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a folder at `path` before a library waits for it; what is absent
    is left to the library.
    """
    if path.exists():
        _check_kind(path, path.stat())


def _check_kind(path: Path, status: os.stat_result) -> None:
    kind = stat.filemode(status.st_mode)[0]
    if kind != "-":
        raise BadInput(f"{path}: found {OTHERS[kind]}; name a file that exists and can be read")


def read_input(path: Path, limit: int = TABLE_BYTES) -> str:
    """The text of a file the user named.

    Raises:
        BadInput: See `read_bytes`; or it is neither UTF-8 nor, by its mark, UTF-16, is packed or
            what stands in a file's place, or holds NUL.
    """
    content = read_bytes(path, limit)
    if (found := next(filter(content.startswith, OTHER_FORMS), None)) is not None:
        raise BadInput(f"{path}: it is {OTHER_FORMS[found]}")
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text"
        ) from None
    if "\0" in text:
        raise BadInput(f"{path}: character {text.index(chr(0))} is NUL; save the file as text")
    return text


def read_table(path: Path) -> str:
    """The text of a CSV table the user named. `BadInput` as `read_input`, or for too many lines."""
    text = read_input(path, TABLE_BYTES)
    if (lines := text.count("\n")) > TABLE_LINES:
        raise BadInput(f"{path}: {lines} lines, read are at most {TABLE_LINES}; split the table")
    return text


def read_yaml(path: Path, model: type[Model], changes: Sequence[str] = ()) -> Model:
    """Read `path` as one `model`.

    YAML 1.2, so that `no` is a word and `1e-5` a number, and a key written twice is an error.

    Args:
        path: The file.
        model: What it holds.
        changes: `key=value` each, each key once: the value, as YAML has it, takes the place of what
            the file has for the key, `a.b` being the key b of the mapping a.

    Raises:
        BadInput: Unreadable, not YAML, or not a `model`; one line that names every faulty key, what
            was found and what is allowed.
    """
    content = _loaded(path)
    if not isinstance(content, dict):
        allowed = ", ".join(_keys(model))
        raise BadInput(
            f"{path}: found {type(content).__name__}, expected a mapping with the keys {allowed}"
        )
    _check_once(changes)
    for change in changes:
        _change(content, change)
    where = " with ".join([str(path), *filter(None, [", ".join(changes)])])
    _check_values(where, content)
    try:
        read = model.model_validate(content)
    except ValidationError as error:
        faults = [_describe(fault, model) for fault in error.errors(include_url=False)]
        raise BadInput(f"{where}: {'; '.join(faults)}") from None
    if faults := list(_no_numbers(content, read)):
        raise BadInput(f"{where}: {'; '.join(faults)}")
    return read


def _no_numbers(given: object, read: object, *keys: object) -> Iterator[str]:
    """Each truth value and each text, `true` and '50', that a model took for a number."""
    if isinstance(read, BaseModel):
        fields = type(read).model_fields.items()
        read = {field.alias or name: getattr(read, name) for name, field in fields}
    if isinstance(given, dict) and isinstance(read, dict):
        for key in filter(read.__contains__, given):
            yield from _no_numbers(given[key], read[key], *keys, key)
    elif isinstance(given, list) and isinstance(read, list | tuple):
        for at, pair in enumerate(zip(given, read, strict=False)):
            yield from _no_numbers(*pair, *keys, at)
    elif isinstance(given, bool | str) and type(read) in (int, float):
        yield (
            f"{'.'.join(map(str, keys))}: found {_shortened(given)}; Input should be a number, "
            f"without quotes"
        )


def _check_once(changes: Sequence[str]) -> None:
    """Refuse two values for one key: only the last would be read."""
    given: dict[str, str] = {}
    for change in changes:
        key = change.partition("=")[0].strip()
        if key in given:
            raise BadInput(
                f"{key} is given twice ({_shortened(given[key])}, {_shortened(change)}); give it "
                f"once"
            )
        given[key] = change


def _change(content: dict[Any, Any], change: str) -> None:
    """Put `key=value` into a YAML file's content."""
    key, equals, text = change.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise BadInput(f"{_shortened(change)} is no change; write key=value, as seed=3 or a.b=3")
    value = _parsed(text, _shortened(change))
    while len(names) > (n := _length_of_key(content, names)):
        name, names = ".".join(names[:n]), names[n:]
        if content.get(name) is None:
            content[name] = {}
        content = content[name]
        if not isinstance(content, dict):
            raise BadInput(f"{_shortened(change)}: {name} is a value and has no keys")
    content[".".join(names)] = value


def _length_of_key(content: dict[Any, Any], names: Sequence[str]) -> int:
    """How many of `names` are the first key in `content`: metrics have dots in their names."""
    for n in range(len(names), 0, -1):
        if ".".join(names[:n]) in content:
            return n
    return len(names) if any("." in str(key) for key in content) else 1


def _loaded(path: Path) -> object:
    return _parsed(read_input(path, YAML_BYTES), str(path))


def _parsed(text: str, where: str) -> object:
    from ruamel.yaml import YAML
    from ruamel.yaml.composer import Composer, ComposerError
    from ruamel.yaml.error import MarkedYAMLError

    class Bounded(Composer):
        """Stops at the limits, before recursion, look-ahead and memory cost seconds."""

        depth = count = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth, self.count = self.depth + 1, self.count + 1
            if fault := _beyond(self.depth, self.count):
                mark = self.parser.peek_event().start_mark
                raise ComposerError(problem=fault, problem_mark=mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    reader = YAML(typ="safe", pure=True)
    reader.Composer = Bounded
    try:
        return reader.load(text)
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}" if error.problem_mark else "the file"
        how = next(do for said, do in MENDED.items() if said in str(error.problem))
        raise BadInput(f"{where}: {line} is not valid YAML: {error.problem}; {how}") from None
    except Exception as error:  # the parser meets bad text with nearly any exception of Python
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(f"{where}: not valid YAML: {problem}; correct it") from None


def _beyond(depth: int, count: int) -> str | None:
    """Which limit of a YAML file is passed, if one is."""
    if depth > YAML_DEPTH:
        return f"nested deeper than {YAML_DEPTH} levels"
    return f"more than {YAML_VALUES} values" if count > YAML_VALUES else None


def _check_values(where: str, content: object) -> None:
    """Refuse what no key of ours can mean and what would cost memory or fail later: depth and
    number of values as the aliases multiply them, huge integers, characters that cannot be written.
    """
    waiting, count = [(content, 1)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if fault := _beyond(depth, count) or _fault_of(value):
            raise BadInput(f"{where}: {fault}; correct it")
        waiting += ((part, depth + 1) for part in _parts(value))


def _parts(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set) else []


def _fault_of(value: object) -> str | None:
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS:
        return f"an integer of {value.bit_length()} bits, where {INTEGER_BITS} are allowed"
    if isinstance(value, str) and (found := UNWRITABLE.search(value)):
        return f"{_shortened(value)} holds U+{ord(found[0]):04X}, which is no character of a text"
    return None


def _describe(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """One fault as `key: what was found, what is allowed`."""
    parent, keys = _followed(model, fault["loc"])
    key = _shortened(".".join(map(str, keys)) or "the file", str)
    if fault["type"] == "extra_forbidden":
        allowed = _keys(parent)
        meant = MEANT.get(said := str(keys[-1]), said)
        near = [meant] if meant in allowed else _within(parent, meant)
        near = near or get_close_matches(said, allowed, n=1)
        return f"{key}: unknown key; allowed: {', '.join(allowed)}" + (
            f" (did you mean {' or '.join(near)}?)" if near else ""
        )
    if fault["type"] == "missing":
        return f"{key}: missing; add it"
    found = fault["input"]
    shown = found.isoformat() if isinstance(found, date) else _shortened(found)
    advice = _in_yaml(fault["type"], found) or fault["msg"].removeprefix("Value error, ")
    return f"{key}: found {shown}; {advice}"


def _in_yaml(fault: str, found: object) -> str | None:
    """How to write in YAML what was found as something else; None where that is not the fault."""
    if fault in ("tuple_type", "list_type") and found is None:
        return "write a list, in [ ] or one a line: - ...; [] is none"
    if fault == "string_type" and found is None:
        return "write it; what begins with # or is 'null' needs quotes"
    if fault == "string_type" and not isinstance(found, list):
        pairs = found.items() if isinstance(found, dict) else [(found,)]
        text = ", ".join(": ".join(map(str, pair)) for pair in pairs)
        number = isinstance(found, int | float) and not isinstance(found, bool)
        return f"quote it: {_shortened(text)}{', with all its digits' if number else ''}"  # 007
    if fault in ("tuple_type", "list_type") and not isinstance(found, dict):
        return f"write a list, in [ ] or one a line: - {_shortened(found)}"
    if fault in ("model_type", "model_attributes_type", "dict_type") and found is not None:
        return "write its keys below it, one a line: key: value"
    if fault in ("uuid_type", "uuid_parsing"):
        return f"write a UUID of its own; a new one: {NEW_ID}"
    if fault == "timezone_aware":
        return "write a time with its zone, as 2026-11-22T10:00:00Z"
    return None


def _shortened(value: object, written: Callable[[object], str] = repr, limit: int = 120) -> str:
    text = written(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _within(model: type[BaseModel] | None, key: str) -> list[str]:
    """Where the sections of a model have a key that it has not itself: `sampling.steps`."""
    return [
        f"{field.alias or name}.{key}"
        for name, field in (model.model_fields if model else {}).items()
        if get_origin(field.annotation) is not dict
        and any(key in _keys(section) for section in _models(field.annotation))
    ]


def _followed(
    model: type[BaseModel], loc: Sequence[int | str]
) -> tuple[type[BaseModel] | None, list[int | str]]:
    """The model that holds the last of the keys, and the keys as the user wrote them.

    Between a key whose value may be one of several models and the keys of that model, pydantic puts
    the tag that chose it.
    """
    *parents, last = loc or ("the file",)
    at: type[BaseModel] | None = model
    choices: list[type[BaseModel]] = []
    keys: list[int | str] = []
    for key in parents:
        chosen = [
            c for c in choices if any(field.default == key for field in c.model_fields.values())
        ]
        if len(choices) > 1 and chosen:
            at, choices = chosen[0], []
            continue
        keys.append(key)
        if at is not None and key in at.model_fields:
            # an index or the key of a mapping stays with the models of its items
            choices = _models(at.model_fields[key].annotation)
            at = choices[0] if choices else None
    return at, [*keys, last]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Every model that an annotation allows, in lists, mappings, unions and optional values too."""
    if isinstance(annotation, type) and not get_origin(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for part in get_args(annotation) for found in _models(part)]
