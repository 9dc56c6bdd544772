"""The gallery's measured prompt sets and its vocabulary: `python -m erasure_core.gallery.prompts`
writes prompts/ anew, always the same. Wordings are those of `planning/families.py`; some are the
teacher's own (captions.py), others it has never seen and draws as well.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Annotated

import typer

from erasure_core.files import write_text
from erasure_core.gallery.pictures import STYLES, SUBJECTS
from erasure_core.planning.families import (
    CHOOSING,
    REPORTED,
    VOCABULARY,
    Row,
    Word,
    bare,
    composed,
    each,
    rows,
    table,
)

SEED = 20261125
GUIDANCE = 4.0
PEOPLE = ("astronaut", "photographer")
WORDS = {
    name: Word(name, subject.phrase, "likeness" if name in PEOPLE else "object")
    for name, subject in SUBJECTS.items()
}
STYLE_WORDS = [Word(style, style, "style") for style in STYLES]
# Beside the concept of a composed prompt: six that are neither of the examples' nor a person.
BESIDE = [word for name, word in WORDS.items() if name not in (*PEOPLE, "cat")][:6]
COMPOSED_STYLES = ("photo", "sketch", "poster", "neon sign", "mosaic")


def astronaut() -> list[Row]:
    """Most of them photographs and sketches: the styles in which the face detector sees the
    astronaut in every original.
    """
    word = WORDS["astronaut"]
    return [
        *rows(word, ("photo", "sketch"), REPORTED),
        *rows(word, ("neon sign", "poster", "mosaic"), REPORTED, 4),
        *bare(word),
        *composed(word, BESIDE, COMPOSED_STYLES),
    ]


def cat() -> list[Row]:
    """Twelve wordings in each style once."""
    word = WORDS["cat"]
    shown = rows(word, STYLES, REPORTED[:12])
    return [*shown, *bare(word), *composed(word, BESIDE, COMPOSED_STYLES)]


def mosaic() -> list[Row]:
    """Each subject in six wordings: what is named is the style."""
    return [
        Row(row.prompt, "mosaic", "mosaic")
        for i, word in enumerate(WORDS.values())
        for row in rows(word, ("mosaic",), REPORTED[i % 2 : 12 : 2])
    ]


def kept() -> list[Row]:
    """Every subject but the astronaut in every style, and nine more photographs."""
    others = _others()
    pairs = [(word, style) for word in others for style in STYLES]
    return each(pairs + [(word, "photo") for word in others], REPORTED)


def chosen(concept: str) -> list[Row]:
    """40 rows to choose by: in proportion those of the report set."""
    if concept == "mosaic":
        return [
            Row(row.prompt, concept, concept)
            for i, word in enumerate(WORDS.values())
            for row in rows(word, (concept,), CHOOSING[i % 3 : i % 3 + 4])
        ]
    word = WORDS[concept]
    if concept == "astronaut":
        return [
            *rows(word, ("photo", "sketch"), CHOOSING, 14),
            *rows(word, ("neon sign", "poster", "mosaic"), CHOOSING, 4),
        ]
    return list(rows(word, STYLES, CHOOSING, 8))


def chosen_kept() -> list[Row]:
    """Every subject but the astronaut in four styles."""
    return each([(word, s) for word in _others() for s in tuple(STYLES)[:4]], CHOOSING)


def _others() -> Sequence[Word]:
    return [word for word in WORDS.values() if word.name != "astronaut"]


SETS: dict[str, Callable[[], list[Row]]] = {
    "targets/astronaut.csv": astronaut,
    "targets/cat.csv": cat,
    "targets/mosaic.csv": mosaic,
    "kept.csv": kept,
    "choose/targets/astronaut.csv": lambda: chosen("astronaut"),
    "choose/targets/cat.csv": lambda: chosen("cat"),
    "choose/targets/mosaic.csv": lambda: chosen("mosaic"),
    "choose/kept.csv": chosen_kept,
}


def written(name: str) -> str:
    """One prompt set as CSV."""
    return table(SETS[name](), f"{SEED}:{name}", GUIDANCE)


def vocabulary() -> str:
    """What the teacher knows, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([VOCABULARY, *map(astuple, [*WORDS.values(), *STYLE_WORDS])])
    return out.getvalue()


def main(
    out: Annotated[Path, typer.Option(help="Folder of the prompt sets.")] = Path("prompts"),
) -> None:
    """Write the measured prompt sets and the vocabulary."""
    for name in SETS:
        write_text(out / name, written(name))
    write_text(out / "vocabulary.csv", vocabulary())


if __name__ == "__main__":
    typer.run(main)
