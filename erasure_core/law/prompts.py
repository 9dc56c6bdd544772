"""Prompt sets: the CSV tables of prompts that are measured.

The columns are the field's: `case_number,prompt,evaluation_seed,evaluation_guidance`, and ours:
`concept`, the word that names what the picture should show, `style`, and `also`, a second thing
that a composed prompt names. Further columns are allowed and ignored. This module makes typed rows;
whether the numbers are sensible is judged in `tasks/evidence/data.py`, and whether the sets share
anything in `planning/sealed.py`.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from difflib import get_close_matches
from pathlib import Path

from erasure_core.errors import BadInput
from erasure_core.files import read_table
from erasure_core.law.concepts import Concept
from erasure_core.text import composed, visible, whole_number

OPTIONAL = ("concept", "style", "also")  # what the picture should show
COLUMNS = (
    "case_number",
    "prompt",
    "evaluation_seed",
    "evaluation_guidance",
)


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One picture to be made."""

    case_number: int
    prompt: str
    evaluation_seed: int
    evaluation_guidance: float
    concept: str  # what the picture should show, "cat"; "" where the table does not say
    style: str = ""  # in which style, "sketch"; "" where the table does not say
    also: str = ""  # what else it should show, "rocket": a composed prompt


def read_prompt_set(path: Path) -> list[PromptRow]:
    """Read one table, in its own order.

    Raises:
        BadInput: Absent file, missing column, no rows, duplicate case number, empty prompt, a
            number that is not one; names the file, the line, what was found and what is allowed.
    """
    reader = csv.DictReader(io.StringIO(read_table(path), newline=""), strict=True)
    rows: list[PromptRow] = []
    line_of: dict[int, int] = {}
    try:
        header = reader.fieldnames or []
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            have = ", ".join(header) or "nothing"
            raise BadInput(
                f"{path}: line 1: column {', '.join(missing)} missing (found {have}); "
                f"needed are {', '.join(COLUMNS)}"
            )
        if twice := sorted({c for c in header if c.strip() and header.count(c) > 1}):
            raise BadInput(
                f"{path}: line 1: column {', '.join(twice)} is there more than once; "
                f"keep one of each"
            )
        for record in reader:
            line = reader.line_num
            if None in record or None in record.values():
                raise BadInput(
                    f"{path}: line {line}: not {len(header)} fields as in the header; "
                    f"quote prompts that hold a comma"
                )
            row = _row(record, f"{path}: line {line}")
            if row.case_number in line_of:
                first = line_of[row.case_number]
                raise BadInput(
                    f"{path}: line {line}: case_number {row.case_number} is already on "
                    f"line {first}; number each row once"
                )
            line_of[row.case_number] = line
            rows.append(row)
    except csv.Error as error:
        raise BadInput(
            f"{path}: line {reader.line_num}: not valid CSV: {error}; correct it"
        ) from None
    if not rows:
        raise BadInput(f"{path}: no rows below the header; a prompt set needs at least one prompt")
    return rows


def _row(record: Mapping[str, str], where: str) -> PromptRow:
    def whole(column: str) -> int:
        value = whole_number(record[column].strip())
        if value is None:
            raise BadInput(
                f"{where}: {column} is {record[column][:40]!r}; "
                f"allowed is a whole number of 0 or more"
            )
        return value

    def number(column: str) -> float:
        try:
            value = float(record[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadInput(
                f"{where}: {column} is {record[column]!r}; allowed is a number such as 7.5"
            )
        return value

    prompt = composed(record["prompt"].strip())
    if not visible(prompt):
        raise BadInput(f"{where}: prompt is empty; write one or remove the row")
    return PromptRow(
        whole("case_number"),
        prompt,
        whole("evaluation_seed"),
        number("evaluation_guidance"),
        *(composed(record.get(column, "").strip()) for column in OPTIONAL),
    )


def written(rows: Iterable[PromptRow]) -> str:
    """The table of `rows`, as `read_prompt_set` reads it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *OPTIONAL])
    writer.writerows(astuple(row) for row in rows)
    return out.getvalue()


def target_set(folder: Path, concept: Concept) -> Path:
    """The table of prompts on which the erasure of `concept` is measured.

    Raises:
        BadInput: `folder` has none for it; names the near ones.
    """
    path = folder / f"{concept.slug}.csv"
    if path.is_file():
        return path
    have = sorted(p.stem for p in folder.glob("*.csv"))
    near = get_close_matches(concept.slug, have)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"there is {', '.join(have) or 'none at all'}"
    )
    raise BadInput(
        f"{path}: no prompt set for concept '{concept.name}' ({hint}); write one, an "
        f"erasure that is not measured is not released"
    )


def kept_rows(rows: Iterable[PromptRow], concepts: Sequence[Concept]) -> list[PromptRow]:
    """The rows that none of the erased `concepts` touches, neither by their `concept` nor by their
    wording.
    """
    erased = {name.casefold() for concept in concepts for name in concept.names}
    return [
        row
        for row in rows
        if not {row.concept.casefold(), row.also.casefold()} & erased
        and not any(c.named_in(row.prompt) for c in concepts)
    ]


def is_listed(row: PromptRow, keep: Sequence[str]) -> bool:
    """Whether a prompt of `keep` names what the row shows, in the row's style if it has one: then
    the erasure was told to keep it.
    """
    words = [word for word in (row.concept, row.style, row.also) if word]
    return any(all(names(prompt, word) for word in words) for prompt in keep)


def names(prompt: str, word: str) -> bool:
    """Whether `word` stands in `prompt` as a word of its own."""
    return re.search(rf"\b{re.escape(word)}\b", prompt, re.IGNORECASE) is not None
