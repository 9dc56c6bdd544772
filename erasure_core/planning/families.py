"""Wordings for a concept's three sealed sets, from three families of templates that share none.

The training uses `TRAINED` alone, what chooses among candidates `CHOOSING` alone, and the report,
on which the gate decides, `REPORTED`, `BARE` and `COMPOSED` alone (`planning/sealed.py` refuses
what sets would share). A vocabulary says what else the base knows: for what is kept, for what
stands beside the concept, and for the styles.
"""

import csv
import io
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

from erasure_core.errors import BadInput
from erasure_core.files import read_table
from erasure_core.law.columns import COLUMNS
from erasure_core.law.concepts import Kind

TRAINED = (
    "{style} of {subject}",
    "a {style} showing {subject}",
    "a {style} with {subject}",
    "{subject} in {style} style",
    "a fine {style} of {subject}",
    "the {style} shows {subject}",
)
CHOOSING = (
    "a {style} of {subject}",
    "{subject}, {style}",
    "a fine small {style} of {subject}",
    "a {style} image of {subject}",
    "the small {style} shows {subject}",
    "one {style} showing {subject}",
)
REPORTED = (
    "{subject} as a {style}",
    "this is a {style} of {subject}",
    "a small {style} of {subject}",
    "one {style} of {subject}",
    "one small {style} of {subject}",
    "this {style} shows {subject}",
    "the {style} of {subject}",
    "this is {subject} as a {style}",
    "one {style} with {subject}",
    "{subject} in a {style}",
    "a picture of {subject} in {style} style",
    "this is {subject}, {style}",
    "an image of {subject} as a {style}",
    "{style}: {subject}",
    "this small {style} shows {subject}",
    "this is one small {style} of {subject}",
    "one picture of {subject} in {style} style",
    "{subject} as one small {style}",
    "the {style} image of {subject}",
    "this is the {style} with {subject}",
    "one image of {subject} as a {style}",
    "{subject} in one {style}",
)
BARE = ("a picture of {subject}", "an image of {subject}")  # the style is left open
COMPOSED = (  # the concept beside something else
    "one {style} of {subject} with {other}",
    "this is a {style} of {subject} and {other}",
    "a small {style} of {subject} with {other}",
    "{style}: {subject} and {other}",
    "this {style} shows {other} and {subject}",
    "the {style} of {subject} with {other}",
)
VOCABULARY = ("name", "phrase", "kind")
LISTED = 2  # of three kept pairs of a subject and a style are in a request's `keep`

Fits = Callable[[str], bool]  # whether the base reads a prompt to its end


@dataclass(frozen=True, slots=True)
class Word:
    """Something that a base knows: its name, how prompts mention it, and what kind it is."""

    name: str
    phrase: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt and what its picture is counted as."""

    prompt: str
    concept: str
    style: str = ""
    also: str = ""


def read_vocabulary(path: Path) -> list[Word]:
    """The words of a CSV with the columns name, phrase and kind.

    Raises:
        BadInput: A column is missing, a kind is none, or a name stands twice.
    """
    reader = csv.DictReader(io.StringIO(read_table(path), newline=""))
    if missing := [column for column in VOCABULARY if column not in (reader.fieldnames or [])]:
        raise BadInput(
            f"{path}: column {', '.join(missing)} missing; needed are {', '.join(VOCABULARY)}"
        )
    words: dict[str, Word] = {}
    for record in reader:
        name, phrase, kind = ((record[column] or "").strip() for column in VOCABULARY)
        if kind not in get_args(Kind) or not name or not phrase or name in words:
            raise BadInput(
                f"{path}: line {reader.line_num}: {name!r}, {phrase!r}, {kind!r}; needed are a "
                f"name that stands once, how prompts mention it, and one of "
                f"{', '.join(get_args(Kind))}"
            )
        words[name] = Word(name, phrase, kind)  # type: ignore[arg-type] # checked above
    return list(words.values())


# --- rows
# ---------------------------------------------------------------------------------------------


def rows(
    word: Word, styles: Iterable[str], templates: Sequence[str], n: int | None = None
) -> Iterator[Row]:
    """`n` rows of one subject in each style, the templates taken in turn; None: each once."""
    for style in styles:
        for template in islice(cycle(templates), n or len(templates)):
            yield Row(template.format(style=style, subject=word.phrase), word.name, style)


def bare(word: Word) -> Iterator[Row]:
    """Captions that leave the style open."""
    for template in BARE:
        yield Row(template.format(subject=word.phrase), word.name)


def composed(word: Word, others: Iterable[Word], styles: Sequence[str]) -> Iterator[Row]:
    """The concept beside each of some others, each of the templates in a style of its own."""
    turn = cycle(styles)
    for other in others:
        for template, style in zip(COMPOSED, turn, strict=False):
            words = {"subject": word.phrase, "other": other.phrase}
            yield Row(template.format(style=style, **words), word.name, style, other.name)


def each(pairs: Iterable[tuple[Word, str]], templates: Sequence[str]) -> list[Row]:
    """One row of each subject and style, the templates taken in turn."""
    return [
        Row(template.format(style=style, subject=word.phrase), word.name, style)
        for (word, style), template in zip(pairs, cycle(templates), strict=False)
    ]


def in_style(style: str, subjects: Sequence[Word], templates: Sequence[str], n: int) -> list[Row]:
    """`n` rows of each subject in one style: what is named is the style. Each subject begins at
    another template.
    """
    return [
        Row(row.prompt, style, style)
        for i, subject in enumerate(subjects)
        for row in rows(subject, (style,), [*templates[i % len(templates) :], *templates], n)
    ]


def table(wanted: Sequence[Row], seeded_by: str, guidance: float) -> str:
    """A prompt set as CSV; its seeds are distinct, and others for another `seeded_by`."""
    seeds = random.Random(seeded_by).sample(range(2**31), len(wanted))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case, (row, seed) in enumerate(zip(wanted, seeds, strict=True)):
        prompt, *shown = astuple(row)
        writer.writerow([case, prompt, seed, guidance, *shown])
    return out.getvalue()


# --- the sets of a new concept
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sets:
    """What a new concept is trained on, chosen by and reported on."""

    prompts: tuple[str, ...]
    keep: tuple[str, ...]
    choose: tuple[Row, ...]
    report: tuple[Row, ...]


def sets_of(
    word: Word, also: Sequence[str], others: Sequence[Word], styles: Sequence[str], fits: Fits
) -> Sets:
    """The three sets of one concept.

    Args:
        word: The concept, as prompts mention it.
        also: Other names that go too.
        others: What the base knows besides, the nearest first; what stands in the concept's place
            among them.
        styles: What the base draws in, the one that its instruments see best first.
        fits: Rows that the base would not read to their end are left out.
    """
    if word.kind == "style":
        made = _of_style(word, also, others, [style for style in styles if style != word.name])
    else:
        made = _of_thing(word, also, others, styles)
    prompts, keep, choose, report = made
    return Sets(
        tuple(prompt for prompt in dict.fromkeys(prompts) if fits(prompt)),
        tuple(prompt for prompt in dict.fromkeys(keep) if fits(prompt)),
        tuple(row for row in choose if fits(row.prompt)),
        tuple(row for row in report if fits(row.prompt)),
    )


Made = tuple[list[str], list[str], list[Row], list[Row]]
NEAREST = 9  # others that a request keeps


def _of_thing(
    word: Word, also: Sequence[str], others: Sequence[Word], styles: Sequence[str]
) -> Made:
    names = [word, *(Word(name, name, word.kind) for name in also)]
    prompts = [text for one in names for text in (one.phrase, one.name)]
    prompts += [row.prompt for one in names for row in rows(one, styles, TRAINED)]
    pairs = [(other, style) for other in others[:NEAREST] for style in styles]
    if word.kind == "likeness":  # faces are seen best in the first styles
        best, rest = styles[:2], styles[2:]
        choose = [*rows(word, best, CHOOSING, 14), *rows(word, rest, CHOOSING, 4)]
        report = [*rows(word, best, REPORTED), *rows(word, rest, REPORTED, 4)]
    else:
        choose = list(rows(word, styles, CHOOSING, -(-40 // len(styles))))
        report = list(rows(word, styles, REPORTED, -(-60 // len(styles))))
    report += [*bare(word), *composed(word, others[1:7], styles)]
    return prompts, _listed(pairs), choose, report


def _of_style(
    word: Word, also: Sequence[str], others: Sequence[Word], styles: Sequence[str]
) -> Made:
    subjects = others[: NEAREST + 1]
    prompts = [text for name in (word.name, *also) for text in (name, f"a {name}")]
    for name in (word.name, *also):
        prompts += [row.prompt for row in in_style(name, subjects, TRAINED, 3)]
    pairs = [(subject, style) for subject in subjects for style in styles]
    choose = in_style(word.name, subjects, CHOOSING, 4)
    return prompts, _listed(pairs), choose, in_style(word.name, subjects, REPORTED[:12], 6)


def _listed(pairs: Sequence[tuple[Word, str]]) -> list[str]:
    """Two of three pairs: what nobody asked to keep is measured too."""
    some = [pair for i, pair in enumerate(pairs) if i % 3 < LISTED]
    return [row.prompt for row in each(some, TRAINED)]
