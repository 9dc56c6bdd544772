"""Files: written whole or not at all, and YAML read into a typed model with every fault named at
once.
"""

import json
import os
import secrets
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from erasure_core.errors import BadInput

Model = TypeVar("Model", bound=BaseModel)


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
    """Write `text` to `path` whole or not at all; a reader sees the old file or the new one.

    Raises:
        OSError: Disk full, no permission; `path` is then as it was and no temporary file is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unused(path.parent, f".{path.name}.")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
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
    folder = _unused(parent, prefix)
    folder.mkdir()
    return folder


def _unused(parent: Path, prefix: str) -> Path:
    return parent / f"{prefix}{secrets.token_hex(8)}"


def read_input(path: Path) -> str:
    """The text of a file the user named.

    Raises:
        BadInput: Absent, a folder, not permitted, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise BadInput(
            f"{path}: {error.strerror}; name a file that exists and can be read"
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text"
        ) from None


def read_yaml(path: Path, model: type[Model]) -> Model:
    """Read `path` as one `model`.

    YAML 1.2, so that `no` is a word and `1e-5` a number, and a key written twice is an error.

    Raises:
        BadInput: Unreadable, not YAML, or not a `model`; one line that names every faulty key, what
            was found and what is allowed.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    text = read_input(path)
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark else "the file"
        raise BadInput(f"{path}: {where} is not valid YAML: {error.problem}; correct it") from None
    except (YAMLError, ValueError) as error:
        raise BadInput(
            f"{path}: not valid YAML: {str(error).splitlines()[0]}; correct it"
        ) from None
    if not isinstance(content, dict):
        allowed = ", ".join(_keys(model))
        raise BadInput(
            f"{path}: found {type(content).__name__}, expected a mapping with the keys {allowed}"
        )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(_describe(fault, model) for fault in error.errors(include_url=False))
        raise BadInput(f"{path}: {faults}") from None


def _describe(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """One fault as `key: what was found, what is allowed`."""
    parent, keys = _followed(model, fault["loc"])
    key = ".".join(map(str, keys)) or "the file"
    if fault["type"] == "extra_forbidden":
        allowed = _keys(parent)
        near = get_close_matches(str(keys[-1]), allowed, n=1)
        return f"{key}: unknown key; allowed: {', '.join(allowed)}" + (
            f" (did you mean {near[0]}?)" if near else ""
        )
    if fault["type"] == "missing":
        return f"{key}: missing; add it"
    return (
        f"{key}: found {_shortened(fault['input'])}; {fault['msg'].removeprefix('Value error, ')}"
    )


def _shortened(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


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
