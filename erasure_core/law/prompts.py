"""Prompt sets: the tables of prompts that are measured, as typed rows.

`law/columns.py` knows how the field's files call their columns: `case_number,prompt,
evaluation_seed,evaluation_guidance` are this project's names, and `concept`, the word that names
what the picture should show, `style`, and `also`, a second thing that a composed prompt names.
Further columns are ignored. Whether the numbers are sensible is judged in
`tasks/evidence/data.py`, and whether the sets share anything in `planning/sealed.py`.
"""

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from decimal import Decimal
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from erasure_core.errors import BadInput
from erasure_core.law.columns import (
    COLUMNS,
    SHOWING,
    Record,
    Records,
    given_records,
    like_prompts,
    listed,
    read_records,
    without_codes,
)
from erasure_core.law.concepts import Concept
from erasure_core.law.naming import mentions
from erasure_core.text import broken, composed, visible, whole_number

SEEDS = 2**63  # below this: what torch's generator takes
NUMBERS = 10**19  # of cases: what `WRITTEN` reads
GUIDANCE = (0.0, 1000.0)  # I2P has 0 to 255
SHOWN = 5  # lines named in a message, of each fault
BadRows = Literal["refuse", "skip"]
WRITTEN = r"([0-9]{1,19})(\.[0-9]{0,19})?([eE]\+?[0-9]{1,2})?"  # pandas writes 42 as 42.0


LIST = re.compile(r"\[\s*(['\"]).*\1\s*,?\s*\]", re.DOTALL)  # a column of lists as pandas writes it
GAP = re.compile(r"\{(?:\w{0,20})\}")  # of a template: "a photo of a {}"
ITEM = re.compile(r'[-*\u2022#]\s|[0-9]{1,5}[.)]\s|"[^"]*",?$')  # of a list for people, or of code


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

    @property
    def noise(self) -> int:
        """Which noise its picture begins with."""
        return noise_of(self.evaluation_seed)


def noise_of(seed: int) -> int:
    """Which noise a seed stands for: torch's generator reads its lower 32 bits alone."""
    return seed % 2**32


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read where a file does not say, and what becomes of rows that cannot be used."""

    guidance: float | None = None  # of rows without one; None refuses them
    seed: int | None = None  # of the first row without one, one more for each next; None refuses
    bad_rows: BadRows = "refuse"
    prompt_column: str | None = None  # where several columns could be the prompt
    options: bool = False  # whether who asks can give these as options, which refusals then name


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The rows of a file that can be used, and what has to be said of the reading, a line each."""

    rows: list[PromptRow]
    said: list[str]


STRICT = Reading()


def read_prompt_set(path: Path, reading: Reading = STRICT) -> list[PromptRow]:
    """The rows of `read_prompt_file`, where what is said of them was said before."""
    return read_prompt_file(path, reading).rows


def read_prompt_file(path: Path, reading: Reading = STRICT) -> PromptFile:
    """Read one file, in its own order.

    Raises:
        BadInput: As `read_records`; missing column, no rows, and, unless bad rows are skipped,
            every row that cannot be used, in one message: by fault, with counts and lines.
    """
    records = without_codes(read_records(path, reading.prompt_column, reading.options))
    _check_columns(path, records, reading)
    if not records.rows:
        raise BadInput(f"{path}: no rows below the header; a prompt set needs at least one prompt")
    numbered = _numbered(records)
    rows, faults = _usable(records, numbered, reading)
    if faults and (reading.bad_rows == "refuse" or not rows):
        or_leave = ", or leave them out with --bad-rows skip" if reading.options and rows else ""
        raise BadInput(f"{path}: {_told(faults, len(records.rows))}; correct them{or_leave}")
    return PromptFile(rows, [*_said(records, numbered, reading), *_left_out(faults, records)])


def rows_given(columns: Mapping[str, Sequence[object]], reading: Reading) -> list[PromptRow]:
    """The rows of a table in memory, numbered by their place; a single column holds the prompts,
    whatever its name. Cells may be texts, numbers, None or NaN; prompts only texts.

    Raises:
        BadInput: No column of prompts, no row, or rows that cannot be used; a line is a row.
    """
    records = given_records(columns)
    if not records.rows:
        raise BadInput("no row; give at least one prompt")
    rows, faults = _usable(records, False, reading)
    if faults:
        raise BadInput(f"{_told(faults, len(records.rows))}; correct them")
    return rows


def _usable(
    records: Records, numbered: bool, reading: Reading
) -> tuple[list[PromptRow], list[tuple[int, str]]]:
    """The rows that can be used, and line and fault of each other one."""
    rows, faults, line_of = [], list[tuple[int, str]](), dict[int, int]()
    for position, record in enumerate(records.rows):
        try:
            row = _row(record, position, numbered, reading)
            if row.case_number in line_of:
                first = line_of[row.case_number]
                raise ValueError(f"case_number {row.case_number} is already on line {first}")
        except ValueError as fault:
            faults.append((record.line, str(fault)))
            continue
        line_of[row.case_number] = record.line
        rows.append(row)
    return rows, faults


def _check_columns(path: Path, records: Records, reading: Reading) -> None:
    given = {"evaluation_seed": reading.seed, "evaluation_guidance": reading.guidance}
    needed = ("prompt", *(column for column, value in given.items() if value is None))
    if missing := [column for column in needed if column not in records.named]:
        names = "; ".join(f"{c} may be called {', '.join(COLUMNS[c][1:])}" for c in missing)
        raise BadInput(
            f"{path}: line 1: column {', '.join(missing)} missing "
            f"(found {listed(records.found)}); {names}; add it"
            + _or_choose(records.found, missing, reading.options)
        )


def _or_choose(found: Sequence[str], missing: Sequence[str], options: bool) -> str:
    """What else may be done about missing columns than adding them."""
    if missing == ["evaluation_guidance"]:
        return " or give it (--guidance of `erasure evaluate`, sampling.guidance of params)"
    if "prompt" not in missing or not found:
        return ""
    a_line_each = "; if it is a list, one prompt a line, write `prompt` above it, or call it .txt"
    of_list = a_line_each if len(found) == 1 else ""
    if not options or (of_list and " " in found[0].strip()):  # chosen, that prompt would be lost
        return of_list
    near = like_prompts(found)
    return (
        f", or choose it with --prompt-column{f'; near: {listed(near)}' if near else ''}{of_list}"
    )


def _numbered(records: Records) -> bool:
    """Whether the file numbers its rows: by a column of that name, or by one that could be it and
    holds each number once.
    """
    name = records.named.get("case_number")
    if name == "case_number":
        return True
    if name is None:
        return False
    numbers = [whole(r.values["case_number"]) for r in records.rows if r.values]
    return bool(numbers) and None not in numbers and len(set(numbers)) == len(numbers)


def _row(record: Record, position: int, numbered: bool, reading: Reading) -> PromptRow:
    """`ValueError` says what is wrong with the row."""
    if record.fault:
        raise ValueError(record.fault)
    values = record.values
    for column in ("prompt", *SHOWING):
        if found := broken(values.get(column, "")):
            raise ValueError(f"{column} holds {found}, which is no character of a text")
    prompt = composed(values["prompt"])
    if not visible(prompt):
        raise ValueError("prompt is empty")
    if LIST.fullmatch(prompt):
        raise ValueError(f"prompt is a list of texts, '{prompt[:40]}'; write one a row")
    number = _whole("case_number", values["case_number"], NUMBERS) if numbered else position
    if written := values.get("evaluation_seed", ""):
        seed = _whole("evaluation_seed", written, SEEDS)
    elif reading.seed is not None:
        seed = reading.seed + position
    else:
        raise ValueError("evaluation_seed is empty")
    if seed >= SEEDS:
        raise ValueError(f"evaluation_seed is {seed}; allowed is 0 to {SEEDS - 1}")
    if written := values.get("evaluation_guidance", ""):
        guidance = _number(written)
    elif reading.guidance is not None:
        guidance = reading.guidance
    else:
        raise ValueError("evaluation_guidance is empty")
    shown = [composed(values.get(column, "")) for column in SHOWING]
    return PromptRow(number, prompt, seed, guidance, *shown)


def whole(text: str) -> int | None:
    """The whole number that `text` writes, as 42, 42.0 or 4.2e1; None if it writes none."""
    if not re.fullmatch(WRITTEN, text):
        return None
    value = Decimal(text)
    return whole_number(str(int(value))) if value == value.to_integral_value() else None


def _whole(column: str, text: str, end: int) -> int:
    """The number of a cell, below `end`; `ValueError` says what is allowed."""
    if (value := whole(text)) is None or value >= end:
        raise ValueError(f"{column} is {text[:40]!r}; allowed is a whole number, 0 to {end - 1}")
    return value


def _number(text: str) -> float:
    try:
        value = float(text) if re.fullmatch(r"[0-9.eE+-]+", text) else math.nan
    except ValueError:
        value = math.nan
    low, high = GUIDANCE
    if not low <= value <= high:
        raise ValueError(
            f"evaluation_guidance is {text[:40]!r}; allowed is a number such as 7.5, "
            f"{low:g} to {high:g}"
        )
    return value


def _told(faults: Sequence[tuple[int, str]], rows: int) -> str:
    """Each kind of fault once, with its first example, how many rows have it, and their lines."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    for line, fault in faults:
        kinds.setdefault(re.sub(r"'.*'|[0-9]+", "", fault), []).append((line, fault))
    parts = []
    for same in kinds.values():
        lines = [line for line, _ in same]
        parts.append(f"{where(lines)}: {same[0][1]}" + (f" ({len(same)} rows)" * (len(same) > 1)))
    return f"{'; '.join(parts)}; {len(faults)} of {rows} rows cannot be used"


def where(lines: Sequence[int]) -> str:
    """The first few of `lines`, and how many more there are."""
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:SHOWN]))}{more}"


def _left_out(faults: Sequence[tuple[int, str]], records: Records) -> list[str]:
    return [f"left out: {_told(faults, len(records.rows))}"] if faults else []


def _said(records: Records, numbered: bool, reading: Reading) -> list[str]:
    """What the reading supplied, and which columns it took under another name."""
    other = [
        f"{column} from {name or 'the column without a name'}"
        for column, name in records.named.items()
        if name != column and (column != "case_number" or numbered)
    ]
    said = [*([f"columns: {', '.join(other)}"] if other else []), *records.said]
    for column, value in (
        ("evaluation_seed", reading.seed),
        ("evaluation_guidance", reading.guidance),
    ):
        lack = sum(not r.values.get(column) for r in records.rows if not r.fault)
        if lack:
            then = ", one more for each further row" if column == "evaluation_seed" else ""
            said.append(f"{column} of {lack} rows without one: {value}{then}")
    if gaps := [gap for r in records.rows if (gap := GAP.search(r.values.get("prompt", "")))]:
        said.append(
            f"{len(gaps)} of {len(records.rows)} prompts have a gap as templates have, "
            f"{gaps[0].group()!r}, and are drawn with it; write the name there"
        )
    if items := [i for r in records.rows if (i := ITEM.match(r.values.get("prompt", "")))]:
        said.append(
            f"{len(items)} of {len(records.rows)} prompts are marked as items of a list, "
            f"{items[0].string[:40]!r}, and are drawn with the mark; take it off"
        )
    if not numbered:
        said.append("rows are numbered by their place, from 0")
    return said


def written(rows: Iterable[PromptRow]) -> str:
    """The table of `rows`, as `read_prompt_set` reads it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
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
    """The rows that none of the erased `concepts` touches, neither by what they say that they show
    nor by their wording.
    """

    @cache
    def touched(word: str) -> bool:
        return any(concept.named_in(word) for concept in concepts)

    return [
        row for row in rows if not any(map(touched, (row.prompt, row.concept, row.style, row.also)))
    ]


def part_of(rows: Sequence[PromptRow], which: int, of: int) -> list[PromptRow]:
    """One of `of` parts of a prompt set, in its order: every row is in exactly one part, and each
    part has its share of the composed prompts. Which row is in which looks drawn by lot, and is
    the same for ever.
    """
    mine: set[int] = set()
    for beside in (False, True):
        numbers = [row.case_number for row in rows if bool(row.also) is beside]
        mine |= set(sorted(numbers, key=_lot)[which::of])
    return [row for row in rows if row.case_number in mine]


def _lot(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def is_listed(row: PromptRow, keep: Sequence[str]) -> bool:
    """Whether a prompt of `keep` names what the row shows, in the row's style if it has one: then
    the erasure was told to keep it. Of a row without a word nobody can tell, so it is not.
    """
    words = [word for word in (row.concept, row.style, row.also) if word]
    named = [_naming(word, tuple(keep)) for word in words]
    return bool(named) and bool(frozenset.intersection(*named))


@lru_cache(maxsize=512)
def _naming(word: str, prompts: tuple[str, ...]) -> frozenset[int]:
    """Which of `prompts` name a word, however it is spelled, one or several of it."""
    return frozenset(i for i, prompt in enumerate(prompts) if any(mentions([word], prompt)))
