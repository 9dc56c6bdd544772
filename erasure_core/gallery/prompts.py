"""The gallery's measured prompt sets: `python -m erasure_core.gallery.prompts` writes prompts/
anew, always the same.

Training and measuring are separated by wording: the example requests use only `TRAINED` templates,
these tables only `MEASURED` ones, so that no erasure is judged on a sentence it was trained on.
"""

import csv
import io
import random
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer

from erasure_core.files import write_text
from erasure_core.gallery.captions import TEMPLATES
from erasure_core.gallery.pictures import STYLES, SUBJECTS
from erasure_core.law.prompts import COLUMNS

MEASURED = TEMPLATES[0::2]
TRAINED = TEMPLATES[1::2]
SEED = 20261123
GUIDANCE = 4.0


def astronaut() -> list[tuple[str, str]]:
    """45 photographs and 15 sketches: the styles in which the face detector sees her in every
    original.
    """
    return [("astronaut", "photo")] * 45 + [("astronaut", "sketch")] * 15


def cat() -> list[tuple[str, str]]:
    """12 of each style: with 60 pictures, one that still shows it keeps the upper
    bound below 0.1.
    """
    return [("cat", style) for style in STYLES for _ in range(12)]


def mosaic() -> list[tuple[str, str]]:
    """6 of each subject: every measured wording once."""
    return [(subject, "mosaic") for subject in SUBJECTS for _ in MEASURED]


def kept() -> list[tuple[str, str]]:
    """48 of everything but the astronaut: each subject in each style, and three
    more photographs.
    """
    others = [subject for subject in SUBJECTS if subject != "astronaut"]
    return [(subject, style) for subject in others for style in STYLES] + [
        (subject, "photo") for subject in others[:3]
    ]


SETS = {
    "targets/astronaut.csv": astronaut,
    "targets/cat.csv": cat,
    "targets/mosaic.csv": mosaic,
    "kept.csv": kept,
}


def table(name: str) -> str:
    """One prompt set as CSV; templates taken in turn, seeds distinct."""
    pairs = SETS[name]()
    seeds = random.Random(f"{SEED}:{name}").sample(range(2**31), len(pairs))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, "concept"])
    for case, (pair, template, seed) in enumerate(
        zip(pairs, islice(cycle(MEASURED), len(pairs)), seeds, strict=True)
    ):
        subject, style = pair
        # what the picture is counted as
        concept = style if name == f"targets/{style}.csv" else subject
        writer.writerow(
            [
                case,
                template.format(style=style, subject=SUBJECTS[subject].phrase),
                seed,
                GUIDANCE,
                concept,
            ]
        )
    return out.getvalue()


def main(
    out: Annotated[Path, typer.Option(help="Folder of the prompt sets.")] = Path("prompts"),
) -> None:
    """Write the measured prompt sets."""
    for name in SETS:
        write_text(out / name, table(name))


if __name__ == "__main__":
    typer.run(main)
