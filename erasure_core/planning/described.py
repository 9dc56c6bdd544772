"""What every key of the parameters and every setting of a method is, read from the fields
themselves. `python -m erasure_core.planning.described` writes docs/params.md with it.
"""

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from erasure_core.files import write_text
from erasure_core.methods import METHODS, OWN
from erasure_core.planning.params import Params

PAGE = Path("docs/params.md")
INTRO = """# Parameters

Every key of `params.yaml`, and below them the settings of each method, which `method` and `methods`
hold. An unknown key is an error. What a method's settings leave out is as published for the kind of
the concept; the defaults here are used where nothing is published for that kind.
`a.b` is the key b of the section a, `a[].b` the key b of each section in the list a. YAML's word
for nothing is `null`; `None` would be a text.
`python -m erasure_core.planning.described` writes this page from the fields.
"""


@dataclass(frozen=True, slots=True)
class Described:
    """One key: its path below the model, its default as YAML reads it, and what it is."""

    key: str
    default: str
    text: str


def fields(model: type[BaseModel], within: str = "") -> Iterator[Described]:
    """Every key of a model, those of its sections, and of the sections in its lists, by their
    paths.
    """
    for name, field in model.model_fields.items():
        key = f"{within}{field.alias or name}"
        if (section := _section(field)) is not None:
            text = field.description or inspect.getdoc(section) or ""
            yield Described(key, _default(field, "as below"), _one_line(text))
            yield from fields(section, f"{key}.")
        elif not _is_name(field):
            yield Described(key, _default(field), _one_line(field.description or ""))
            for section in _listed(field):
                yield from fields(section, f"{key}[].")


def _is_name(field: FieldInfo) -> bool:
    """Whether it can have one value alone, as `method` in a method's settings."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The model that a field's keys are of, also where the section may be left out."""
    kinds = {*(get_args(field.annotation) or (field.annotation,))} - {NoneType}
    (kind, *others) = kinds
    is_one = not others and isinstance(kind, type) and issubclass(kind, BaseModel)
    return kind if is_one else None


def _listed(field: FieldInfo) -> list[type[BaseModel]]:
    """The models that the items of a list are of."""
    items = get_args(field.annotation) if get_origin(field.annotation) is tuple else ()
    return [item for item in items if isinstance(item, type) and issubclass(item, BaseModel)]


def _default(field: FieldInfo, of_section: str = "") -> str:
    if field.is_required():
        return "to be given"
    default = to_jsonable_python(field.get_default(call_default_factory=True, validated_data={}))
    return of_section if of_section and default is not None else json.dumps(default)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def page() -> str:
    """docs/params.md."""
    parts = [INTRO, "## The file\n", _table(fields(Params))]
    for name in sorted(OWN):
        parts += [f"## Settings of `{name}`\n", _table(fields(METHODS[name].Settings))]
    return "\n".join(parts)


def _table(rows: Iterator[Described]) -> str:
    lines = ["| key | default | what it is |", "|---|---|---|"]
    for row in rows:
        default = row.default if row.default in ("to be given", "as below") else f"`{row.default}`"
        lines.append(f"| `{row.key}` | {default} | {row.text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_text(PAGE, page())
