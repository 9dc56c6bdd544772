"""Prompt files as the field keeps them: what their columns are called, and their records as text.

Which name means what is one table, `COLUMNS`; docs/prompt-files.md shows it. A file is a table
with a header (.csv, .tsv, any other name), a list of prompts, one a line (.txt whose first line is
no header), or JSON (.json, .jsonl, .ndjson).
"""

import csv
import io
import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from erasure_core.errors import BadInput
from erasure_core.files import read_table

# What a column is -> its names, the first one ours. Earlier names are preferred where a file has
# several. Capitals, blanks, hyphens and dots make no difference.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "case_number": (
        *("case_number", "case_id", "prompt_id", "image_id", "coco_id", "number", "idx", "index"),
        *("id", "unnamed_0", ""),
    ),
    "prompt": (
        *("prompt", "prompts", "caption", "captions", "text", "adv_prompt", "adversarial_prompt"),
        *("sensitive_prompt", "input_prompt", "p"),
    ),
    "evaluation_seed": ("evaluation_seed", "eval_seed", "sd_seed", "seed", "random_seed", "se"),
    "evaluation_guidance": (
        *("evaluation_guidance", "eval_guidance", "evaluation_guidance_scale"),
        *("sd_guidance_scale", "sd_guidance", "guidance_scale", "guidance", "cfg_scale"),
        *("cfg", "c"),
    ),
    "concept": ("concept", "class", "class_name", "object", "celebrity"),
    "style": ("style", "artist"),
    "also": ("also",),
}
SEPARATORS = (",", "\t", ";", "|")
PLAIN = ("\t", "|")  # separators that no prompt has, beside which files mostly quote nothing
KNOWN = frozenset(name for names in COLUMNS.values() for name in names if name)
SHORT = frozenset({"se", "c"})  # names that mean something else where no `p` stands beside them
NAMED = 12  # names of a header that a message lists
NUMBERED = ("case_number", "evaluation_seed")  # by whole numbers
NUMBERS = (*NUMBERED, "evaluation_guidance")
SHOWING = ("concept", "style", "also")  # what a picture shows; may be empty
HEADING = frozenset(COLUMNS["prompt"]) - {"text", "p"}  # what a list of one column is headed by
JSON = (".json", ".jsonl", ".ndjson")
YAML = (".yaml", ".yml")
BINARY = {".parquet": "parquet", ".feather": "feather", ".xlsx": "excel", ".xls": "excel"}
NOT_BLANK = re.compile(r'[^\s,;|"]')
EMPTY = ("none", "nan", "null", "n/a", "na", "<na>")  # written by programs where a number is not
SPOKEN = re.compile(r'"?sep=([^"\r\n])"?[;,\t]*(?:\r\n?|\n)', re.IGNORECASE)  # Excel's first line
FORMS = (
    "write a list of texts or of flat objects, one object of columns of one length, or a text or "
    "flat object a line"
)


@dataclass(frozen=True, slots=True)
class Record:
    """One row as text, by what its columns are; the fault of a row that has no such columns."""

    line: int
    values: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Records:
    """A file: its rows, and under which name of its own each column stands in it."""

    rows: Sequence[Record]
    named: Mapping[str, str]
    found: Sequence[str]  # every name of the header
    said: Sequence[str] = ()  # of the reading, beside what its columns are called


class _NoCsv(Exception):
    """A table that the reader of CSV does not take, with its line."""


def read_records(path: Path, prompt_column: str | None = None, options: bool = False) -> Records:
    """The rows of a prompt file, in its own order.

    Args:
        path: The file.
        prompt_column: The header's name of the column of prompts, where several could be it.
        options: Whether who asks can name that column, by a command's option.

    Raises:
        BadInput: As `read_table`; a binary table, no header or column of prompts, one that is there
            twice, several that could be it, broken quotes, JSON of another form.
    """
    kind = path.suffix.lower()
    if kind in BINARY and path.is_file():
        _refuse_binary(path, BINARY[kind])
    if kind in YAML:
        raise BadInput(f"{path}: YAML is not read as prompts; write them one a line into a .txt")
    text = read_table(path)
    if kind == ".txt" and not _is_table(path, text, prompt_column):
        return _from_lines(text, prompt_column)
    if kind in JSON:
        return _from_json(path, text, prompt_column, options)
    return _from_table(path, text, prompt_column, options)


def without_codes(records: Records) -> Records:
    """The rows without the classes that are numbers, as ImageNet's are: nobody is called so. What
    is called `concept` holds names.
    """
    name = records.named.get("concept")
    words = {row.values["concept"] for row in records.rows if row.values.get("concept")}
    if name in (None, "concept") or not words or not all(map(str.isdecimal, words)):
        return records
    named = {column: own for column, own in records.named.items() if column != "concept"}
    rows = [
        replace(row, values={c: v for c, v in row.values.items() if c != "concept"})
        for row in records.rows
    ]
    said = f"column {name} holds numbers and no names, and is not read"
    return replace(records, rows=rows, named=named, said=[*records.said, said])


def _refuse_binary(path: Path, kind: str) -> None:
    once = f"pandas.read_{kind}(sys.argv[1]).to_csv(sys.argv[2], index=False)"
    files = shlex.join([str(path), str(path.with_suffix(".csv"))])
    raise BadInput(
        f"{path}: {path.suffix} files are not read; export it as CSV: "
        f'python -c "import pandas, sys; {once}" {files}'
    )


def _from_lines(text: str, prompt_column: str | None) -> Records:
    """A prompt a line, below the name of the column if that is the first."""
    rows = [Record(n, {"prompt": line}) for n, line in enumerate(_lines(text), 1) if line.strip()]
    heading = _heading(text)
    if prompt_column is None and _plain(heading) not in HEADING:
        return Records(rows, {"prompt": "prompt"}, ["prompt"])
    return Records(rows[1:], {"prompt": heading}, [heading])


def _heading(text: str) -> str:
    """The first line that is not empty, as the name of one column."""
    return next(filter(str.strip, _lines(text)), "").strip().strip('"')


def _lines(text: str) -> list[str]:
    """What editors call lines: a prompt may hold other separators of Unicode."""
    return re.split(r"\r\n|\r|\n", text)


def matched(
    path: Path, header: Sequence[str], prompt_column: str | None = None, options: bool = False
) -> dict[str, str]:
    """What a column is -> the header's name of it, for all that are there."""
    if twice := sorted({c for c in header if c.strip() and list(header).count(c) > 1}):
        raise BadInput(
            f"{path}: line 1: column {listed(twice)} is there more than once; keep one of each"
        )
    by_name: dict[str, str] = {}
    for name in header:
        by_name.setdefault(_plain(name), name)
    if "p" not in by_name:
        by_name = {plain: name for plain, name in by_name.items() if plain not in SHORT}
    named = {
        column: by_name[known[0]]
        for column, names in COLUMNS.items()
        if (known := [name for name in names if name in by_name])
    }
    if prompt_column is not None:
        if prompt_column not in header:
            near = get_close_matches(prompt_column, list(filter(None, header)), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BadInput(
                f"{path}: line 1: no column {prompt_column!r} (found {listed(header)}){hint}"
            )
        return {**named, "prompt": prompt_column}
    several = [by_name[name] for name in COLUMNS["prompt"] if name in by_name]
    if len(several) > 1 and _plain(several[0]) != "prompt":
        raise BadInput(
            f"{path}: line 1: columns {', '.join(several)} could each be the prompt; call one of "
            f"them prompt{', or choose with --prompt-column' if options else ''}"
        )
    return named


def like_prompts(header: Sequence[str]) -> list[str]:
    """The names of a header that could be the prompts', though no table knows them."""
    return [name for name in header if re.search("prompt|caption|text", name, re.IGNORECASE)]


def _from_table(path: Path, text: str, prompt_column: str | None, options: bool) -> Records:
    text, separator = _separated(path, text, prompt_column)

    def read(quoting: Literal[0, 3]) -> Records:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            strict=True,
            delimiter=separator,
            skipinitialspace=True,
            quoting=quoting,
        )
        try:
            header = next(filter(_says, reader), [])
            named = matched(path, header, prompt_column, options)
            place = {column: header.index(name) for column, name in named.items()}
            told = [(reader.line_num, row) for row in reader if _says(row)]
            told = _without_ends(told, len(header))
            rows = [_record(line, row, header, place, separator != ",") for line, row in told]
        except csv.Error as error:
            raise _NoCsv(f"line {reader.line_num}: not valid CSV: {error}") from None
        return Records(rows, named, header)

    try:
        return read(csv.QUOTE_MINIMAL)
    except _NoCsv as fault:
        why = fault
    if separator in PLAIN and '"' not in _first(text):
        said = [f"quotes are read as they stand, for with them it is {why}"]
        with suppress(_NoCsv):
            return replace(read(csv.QUOTE_NONE), said=said)
    raise BadInput(f"{path}: {why}; correct it")


def _says(row: Sequence[str]) -> bool:
    """Whether a row has anything in it: spreadsheets end a table with rows of separators."""
    return any(cell.strip() for cell in row)


def _without_ends(told: list[tuple[int, list[str]]], width: int) -> list[tuple[int, list[str]]]:
    """The rows without the separators that end each of them, and no header."""
    more = min((len(row) for _, row in told), default=0) - width
    if more <= 0 or any(_says(row[-more:]) for _, row in told):
        return told
    return [(line, row[:-more]) for line, row in told]


def _record(
    line: int, row: Sequence[str], header: Sequence[str], place: Mapping[str, int], commas: bool
) -> Record:
    """A row; with `commas`, numbers may have one for their point."""
    row = [*row, *[""] * (len(header) - len(row))] if _is_cut(row, place) else row
    if len(row) < len(header):
        return Record(line, fault=f"{len(row)} fields, fewer than the {len(header)} of the header")
    if len(row) > len(header):
        return Record(
            line,
            fault=f"not {len(header)} fields as in the header; quote prompts that hold a comma",
        )
    cells = {column: _told(column, row[at].strip()) for column, at in place.items()}
    return Record(line, {c: _pointed(c, v) if commas else v for c, v in cells.items()})


def _told(column: str, cell: str) -> str:
    """A cell's text; nothing where a program wrote that there is no number."""
    return "" if cell.casefold() in EMPTY and column in NUMBERS else cell


def _is_cut(row: Sequence[str], place: Mapping[str, int]) -> bool:
    """Whether a row lacks only what may be empty: Excel leaves separators out where the last
    columns of 16 rows are.
    """
    return all(at < len(row) for column, at in place.items() if column not in SHOWING)


def _pointed(column: str, cell: str) -> str:
    """A number's cell with its decimal comma as a point: of a whole one, "42,0"; "42,000" could be
    42 or 42000 and stays.
    """
    if column in NUMBERED:
        return re.sub(r"^([0-9]+),(0{1,2})$", r"\1.\2", cell)
    return cell.replace(",", ".") if column == "evaluation_guidance" else cell


def _separated(path: Path, text: str, prompt_column: str | None) -> tuple[str, str]:
    """The table, and its separator: the one that Excel's first line says, which is emptied, or that
    with which the first line has most columns that are known; of several, the ending's, or that
    with most columns.
    """
    if said := SPOKEN.match(text):
        return "\n" + text[said.end() :], said[1]
    known = _known(prompt_column)

    def rank(separator: str) -> tuple[int, bool, int]:
        names = _header(text, separator)
        ending = separator == "\t" and path.suffix.lower() == ".tsv" and len(names) > 1
        return sum(name in known for name in names), ending, len(names)

    return text, max(SEPARATORS, key=rank)


def _known(prompt_column: str | None) -> frozenset[str]:
    """The plain names that columns may have."""
    return KNOWN if prompt_column is None else KNOWN | {_plain(prompt_column)}


def _is_table(path: Path, text: str, prompt_column: str | None) -> bool:
    """Whether the first line is a header: several names, one of them the prompts'; all known, or
    parted by tabs, or single words above a line of as many fields. Who names that column says that
    there is one, and has a list only where the first line is its name.
    """
    if prompt_column is not None:
        return _heading(text) != prompt_column
    text, separator = _separated(path, text, prompt_column)
    names = [name for name in _header(text, separator) if name]
    if len(names) < 2 or set(names).isdisjoint(COLUMNS["prompt"]):
        return False
    if KNOWN.issuperset(names) or separator == "\t":
        return True
    first, following = [*filter(NOT_BLANK.search, _lines(text)), ""][:2]
    words = all(re.fullmatch(r'"?[\w.-]*"?', cell) for cell in first.split(separator))
    return words and following.count(separator) >= first.count(separator)


def _header(text: str, separator: str) -> list[str]:
    """The plain names of the first line that says something."""
    return [_plain(cell.strip().strip('"')) for cell in _first(text).split(separator)]


def _first(text: str) -> str:
    """The first line that says something: spreadsheets begin with rows of separators too."""
    return next(filter(NOT_BLANK.search, _lines(text)), "")


def _from_json(path: Path, text: str, prompt_column: str | None, options: bool) -> Records:
    """A list of texts or of flat objects, an object of columns, or one text or flat object a
    line.
    """
    try:
        values = list(_values(text, _known(prompt_column)))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{path}: not a JSON list of prompts ({reason}); {FORMS}") from None
    items = [(n, {"prompt": v} if isinstance(v, str) else v) for n, v in values]
    header = list(dict.fromkeys(name for _, v in items if isinstance(v, dict) for name in v))
    named = matched(path, header, prompt_column, options)
    rows = []
    for line, item in items:
        if not isinstance(item, dict):
            rows.append(Record(line, fault="neither a text nor an object"))
            continue
        rows.append(_cells(line, {column: item.get(name) for column, name in named.items()}))
    return Records(rows, named, header)


def given_records(columns: Mapping[str, Sequence[object]]) -> Records:
    """A table in memory, its columns by name; a single one holds the prompts.

    Raises:
        BadInput: No column of prompts, or several that could be it.
    """
    header = list(columns)
    named = {"prompt": header[0]} if len(header) == 1 else matched(Path("input"), header)
    if "prompt" not in named:
        raise BadInput(f"no column prompt (found {listed(header)}); call the prompts' column so")
    given = zip(*(columns[name] for name in named.values()), strict=True)
    rows = [_cells(n, dict(zip(named, row, strict=True))) for n, row in enumerate(given, 1)]
    return Records(rows, named, header)


def _cells(line: int, cells: Mapping[str, object]) -> Record:
    """A row whose cells are values; None and NaN are empty ones."""
    plain = (str, int, float, type(None))
    if any(isinstance(c, bool) or not isinstance(c, plain) for c in cells.values()):
        return Record(line, fault="a list or an object where a text or number is read")
    written = {c: "" if v is None or v != v else _told(c, str(v).strip()) for c, v in cells.items()}
    if written.get("prompt") and not isinstance(cells["prompt"], str):
        return Record(line, fault=f"prompt is '{written['prompt'][:40]}', which is no text")
    return Record(line, written)


def _values(text: str, known: frozenset[str]) -> Iterator[tuple[int, object]]:
    """Each row with its number: its line, where each has one. `ValueError` if it is no JSON."""
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > 1 and _is_json(lines[0][1]):
        for n, line in lines:
            try:
                yield n, json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {n} of the file: {error}") from None
        return
    value = json.loads(text)
    if isinstance(value, dict):
        value = _across(value, known)
    yield from enumerate(value if isinstance(value, list) else [value], 1)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _across(value: Mapping[str, object], known: frozenset[str]) -> list[object]:
    """The rows of an object: itself, if its prompt is a text; the one list in it whose objects have
    prompts; its values, if they are rows or, by number, texts; or the rows of its columns, each a
    list or, as pandas writes them, an object by row.
    """
    prompts = frozenset(COLUMNS["prompt"]) | (known - KNOWN)
    if any(isinstance(cell, str) and _plain(name) in prompts for name, cell in value.items()):
        return [dict(value)]
    if len(lists := [rows for rows in map(_rows, value.values()) if _have(rows, prompts)]) == 1:
        return lists[0]
    if _by_row(value, known):
        return list(value.values())
    columns = {n: dict(enumerate(v)) if isinstance(v, list) else v for n, v in value.items()}
    nested = {n: v for n, v in columns.items() if isinstance(v, dict)}
    if not nested:
        return [dict(value)]
    keys = [list(column) for column in nested.values()]
    if len(nested) < len(columns) or any(of != keys[0] for of in keys):
        sizes = [f"{n} {len(nested[n])}" if n in nested else f"{n} no column" for n in value]
        raise ValueError(f"an object of columns that differ in length: {listed(sizes)}")
    return [{n: column[key] for n, column in nested.items()} for key in keys[0]]


def _rows(value: object) -> list[object]:
    """The objects of a list, those of a data set's page on the web without what is around them."""
    rows = value if isinstance(value, list) else []
    return [row.get("row", row) if isinstance(row, dict) else row for row in rows]


def _have(rows: Sequence[object], names: Collection[str]) -> bool:
    """Whether some of `rows` are objects with one of `names`."""
    return any(_plain(name) in names for row in rows if isinstance(row, dict) for name in row)


def _by_row(value: Mapping[str, object], known: frozenset[str]) -> bool:
    """Whether an object names its rows and not its columns, as DiffusionDB's parts do."""
    if any(_plain(name) in known for name in value):
        return False
    rows = [row for row in value.values() if isinstance(row, dict)]
    if rows:
        inner = {_plain(name) for row in rows for name in row}
        return len(rows) == len(value) and not inner.isdisjoint(known)
    return all(n.isdecimal() and isinstance(v, str) for n, v in value.items())


def _plain(name: str) -> str:
    """A column's name without what makes no difference."""
    return re.sub(r"[\s\-.:_]+", "_", name.strip().casefold()).strip("_")


def listed(header: Sequence[str]) -> str:
    """The names of a header, of many the first dozen."""
    more = f" and {len(header) - NAMED} more" if len(header) > NAMED else ""
    names = ", ".join(name or "one without a name" for name in header[:NAMED]) or "nothing"
    return f"{names}{more}"
