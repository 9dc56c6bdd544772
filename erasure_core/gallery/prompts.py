"""The gallery's measured prompt sets: `python -m erasure_core.gallery.prompts` writes prompts/
anew, always the same.

Training, choosing and reporting are separated by wording and by seed: the example requests use only
`TRAINED` templates, prompts/choose only `CHOOSING` ones, and the report set, on which the gate
decides, only `REPORTED` ones (`planning/sealed.py` refuses what they would share). Some templates
are the teacher's own (captions.py), others it has never seen and draws as well.
"""

import csv
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer

from erasure_core.files import write_text
from erasure_core.gallery.captions import TEMPLATES
from erasure_core.gallery.pictures import STYLES, SUBJECTS
from erasure_core.law.prompts import COLUMNS, OPTIONAL

TRAINED = TEMPLATES[1::2]
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
SEED = 20261125
GUIDANCE = 4.0


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt and what its picture is counted as."""

    prompt: str
    concept: str
    style: str = ""
    also: str = ""


def rows(
    concept: str, styles: Sequence[str], templates: Sequence[str], n: int | None = None
) -> Iterator[Row]:
    """`n` rows of one subject, the templates taken in turn within each style; None: each once."""
    for style in styles:
        for template in islice(cycle(templates), n or len(templates)):
            prompt = template.format(style=style, subject=SUBJECTS[concept].phrase)
            yield Row(prompt, concept, style)


def bare(concept: str, n: int) -> Iterator[Row]:
    """`n` captions that leave the style open."""
    for template in islice(cycle(BARE), n):
        yield Row(template.format(subject=SUBJECTS[concept].phrase), concept)


def composed(concept: str) -> Iterator[Row]:
    """The concept beside each of six others, each of the templates in a style of its own."""
    others = [name for name in SUBJECTS if name not in ("astronaut", "cat", "photographer")][:6]
    styles = cycle(("photo", "sketch", "poster", "neon sign", "mosaic"))
    for other in others:
        for template, style in zip(COMPOSED, styles, strict=False):
            words = {"subject": SUBJECTS[concept].phrase, "other": SUBJECTS[other].phrase}
            yield Row(template.format(style=style, **words), concept, style, other)


def astronaut() -> list[Row]:
    """Most of them photographs and sketches: the styles in which the face detector sees the
    astronaut in every original.
    """
    return [
        *rows("astronaut", ("photo", "sketch"), REPORTED),
        *rows("astronaut", ("neon sign", "poster", "mosaic"), REPORTED, 4),
        *bare("astronaut", 2),
        *composed("astronaut"),
    ]


def cat() -> list[Row]:
    """Twelve wordings in each style once."""
    return [*rows("cat", tuple(STYLES), REPORTED[:12]), *bare("cat", 2), *composed("cat")]


def mosaic() -> list[Row]:
    """Each subject in six wordings: what is named is the style."""
    return [
        Row(row.prompt, "mosaic", "mosaic")
        for i, subject in enumerate(SUBJECTS)
        for row in rows(subject, ("mosaic",), REPORTED[i % 2 : 12 : 2])
    ]


def kept() -> list[Row]:
    """Every subject but the astronaut in every style, and nine more photographs."""
    others = [subject for subject in SUBJECTS if subject != "astronaut"]
    pairs = [(subject, style) for subject in others for style in STYLES]
    return _each(pairs + [(subject, "photo") for subject in others], REPORTED)


def chosen(concept: str) -> list[Row]:
    """40 rows to choose by: in proportion those of the report set."""
    if concept == "mosaic":
        subjects = list(SUBJECTS)
        return [
            Row(row.prompt, "mosaic", "mosaic")
            for i, subject in enumerate(subjects)
            for row in rows(subject, ("mosaic",), CHOOSING[i % 3 : i % 3 + 4])
        ]
    if concept == "astronaut":
        return [
            *rows(concept, ("photo", "sketch"), CHOOSING, 14),
            *rows(concept, ("neon sign", "poster", "mosaic"), CHOOSING, 4),
        ]
    return list(rows(concept, tuple(STYLES), CHOOSING, 8))


def chosen_kept() -> list[Row]:
    """Every subject but the astronaut in four styles."""
    others = [subject for subject in SUBJECTS if subject != "astronaut"]
    return _each([(s, style) for s in others for style in tuple(STYLES)[:4]], CHOOSING)


def _each(pairs: Sequence[tuple[str, str]], templates: Sequence[str]) -> list[Row]:
    """One row of each subject and style, the templates taken in turn."""
    return [
        Row(template.format(style=style, subject=SUBJECTS[subject].phrase), subject, style)
        for (subject, style), template in zip(pairs, cycle(templates), strict=False)
    ]


SETS = {
    "targets/astronaut.csv": astronaut,
    "targets/cat.csv": cat,
    "targets/mosaic.csv": mosaic,
    "kept.csv": kept,
    "choose/targets/astronaut.csv": lambda: chosen("astronaut"),
    "choose/targets/cat.csv": lambda: chosen("cat"),
    "choose/targets/mosaic.csv": lambda: chosen("mosaic"),
    "choose/kept.csv": chosen_kept,
}


def table(name: str) -> str:
    """One prompt set as CSV; seeds distinct."""
    wanted = SETS[name]()
    seeds = random.Random(f"{SEED}:{name}").sample(range(2**31), len(wanted))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *OPTIONAL])
    for case, (row, seed) in enumerate(zip(wanted, seeds, strict=True)):
        prompt, *shown = astuple(row)
        writer.writerow([case, prompt, seed, GUIDANCE, *shown])
    return out.getvalue()


def main(
    out: Annotated[Path, typer.Option(help="Folder of the prompt sets.")] = Path("prompts"),
) -> None:
    """Write the measured prompt sets."""
    for name in SETS:
        write_text(out / name, table(name))


if __name__ == "__main__":
    typer.run(main)
