"""A report set of a person's own: its rows that can be drawn, and which of them show the
concept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, same_name
from erasure_core.law.naming import mentions
from erasure_core.law.prompts import SHOWN, PromptRow, Reading, read_prompt_file, where
from tasks.evidence.evaluate import TooLong, fitted, without_copies

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


@dataclass(frozen=True, slots=True)
class Own:
    """The rows that are reported on, and what has to be said of the file, a line each."""

    rows: Sequence[PromptRow] = ()
    said: Sequence[str] = ()


def read_own(
    path: Path,
    concept: Concept,
    reading: Reading,
    tokenizers: "Sequence[CLIPTokenizer]",
    long: TooLong = "refuse",
) -> Own:
    """The rows of a file that show `concept`, labelled with it: those that say so or name it. Where
    none names it, and of explicit content, which prompts seldom name, also those that say nothing.

    Args:
        path: The file.
        concept: What it is the report set of.
        reading: What it is read with where it does not say.
        tokenizers: The base's.
        long: What becomes of prompts with more tokens than it reads.

    Raises:
        BadInput: As `read_prompt_file`; a prompt is too long; every row says something else.
    """
    file = read_prompt_file(path, reading)
    fitting, of_length = fitted(file.rows, tokenizers, long, path)
    once, of_copies = without_copies(fitting)
    rows, of_others = _of_concept(once, concept, path)
    return Own(rows, file.said + of_length + of_copies + of_others + _unnamed(rows, concept))


def _of_concept(
    rows: Sequence[PromptRow], concept: Concept, path: Path
) -> tuple[list[PromptRow], list[str]]:
    """The rows that are of the concept, labelled, and what has to be said of the others."""
    column = _column(rows, concept)
    others = [row for row in rows if (word := getattr(row, column)) and not _is(concept, word)]
    words = sorted({getattr(row, column) for row in others})
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    what = (
        f"{len(others)} of {len(rows)} rows, of which the column `{column}` says "
        f"{', '.join(words[:SHOWN])}{more}"
    )
    if len(others) == len(rows):
        raise BadInput(
            f"{path}: {what}, show another concept than {concept.name!r}; give rows that show it, "
            f"or take the column out"
        )
    gone = {row.case_number for row in others}
    left = [row for row in rows if row.case_number not in gone]
    shown = _naming(left, column, concept)
    said = [f"left out: {what}"] if others else []
    if len(shown) < len(left):
        said.append(
            f"left out: {len(left) - len(shown)} of {len(left)} rows, which do not name "
            f"{concept.name!r} where others do, and of which the column `{column}` says nothing; "
            f"write it there in those that show it"
        )
    return [_labelled(row, concept) for row in shown], said


def _naming(rows: Sequence[PromptRow], column: str, concept: Concept) -> list[PromptRow]:
    """The rows that name the concept or say it, where some name it: files of several people often
    have no column that says who is meant.
    """
    named = {row.case_number for row in rows if concept.named_in(row.prompt)}
    if concept.kind == "explicit" or not named:
        return list(rows)
    return [row for row in rows if row.case_number in named or getattr(row, column)]


def _column(rows: Sequence[PromptRow], concept: Concept) -> str:
    """The column that says which concept a row shows: of a style mostly `style`, and `concept` is
    its subject.
    """
    if concept.kind != "style":
        return "concept"
    named = any(_is(concept, row.concept) for row in rows)
    return "concept" if named and not any(row.style for row in rows) else "style"


def _is(concept: Concept, word: str) -> bool:
    """Whether a label is the concept: "Vincent van Gogh" is "van Gogh", "cat food" is no "cat". A
    label may hold several names of one thing, as ImageNet's do: "chain saw, chainsaw".
    """
    if concept.kind in ("likeness", "style"):
        return concept.named_in(word)
    labels = {word, *(part.strip() for part in word.split(","))}
    return any(_is_called(concept.names, label) for label in labels)


def _is_called(names: Sequence[str], label: str) -> bool:
    """Whether the whole label is one of the names, in any spelling or several of it."""
    if any(same_name(name, label) for name in names):
        return True
    return any(label[m.begin : m.end] == label for m in mentions(names, label))


def _labelled(row: PromptRow, concept: Concept) -> PromptRow:
    """The row with the name that is asked for; of a style it may say its subject."""
    if concept.kind != "style":
        return replace(row, concept=concept.name)
    subject = row.concept if row.concept and not _is(concept, row.concept) else concept.name
    return replace(row, concept=subject, style=concept.name)


def _unnamed(rows: Sequence[PromptRow], concept: Concept) -> list[str]:
    """What has to be said of prompts that do not name the concept: they may show another, and the
    replacement stands in no words of theirs.
    """
    others = [row.case_number for row in rows if not concept.named_in(row.prompt)]
    if not others:
        return []
    cases = where(others).replace("line", "case", 1)
    return [
        f"{len(others)} of {len(rows)} prompts do not name {concept.name!r} and are counted as "
        f"showing it ({cases}), with {concept.replacement!r} and nothing beside in its place; take "
        f"out those that show something else"
    ]
