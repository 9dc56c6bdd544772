"""A first pair of pictures, seconds after a run began: the base's, and the base's with the concepts
taken out by UCE's one solve. It is no candidate and no evidence; it shows what the run is about
while the candidates are trained.
"""

import sys

import numpy as np
from PIL import Image
from prefect import task
from prefect.cache_policies import NO_CACHE
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from erasure_core.methods import uce
from erasure_core.network.diffusion import sample
from erasure_core.network.images import save_png, to_pil
from erasure_core.network.work import Work
from erasure_core.planning.plan import Plan
from tasks.erasing.snapshot import teacher_of
from tasks.home import Home

GUIDANCE = 4.0
GAP = "  "  # behind each picture
COLUMNS = 24  # of a picture in the terminal; each character is two pixels, one above the other


@task(name="first look", tags=["gpu"], cache_policy=NO_CACHE)
def first_look(plan: Plan, home: Home) -> None:
    """Draw the newest request's first prompt before and after, and say where the files are; show
    them too where the terminal has colours. Nothing explicit is drawn.
    """
    concept = plan.concepts[-1]
    folder = plan.folder / "first-look"
    if concept.kind == "explicit" or (folder / "after.png").exists():
        return
    teacher = teacher_of(plan, home)
    delta = uce.erase(
        teacher, plan.concepts, uce.Settings(), Work(plan.params.seed, cache=home.prepared)
    )
    sampling, seed = plan.params.sampling, plan.params.seed

    def drawn() -> Image.Image:
        return to_pil(sample(teacher, concept.prompts[:1], [seed], [GUIDANCE], sampling.steps, 1))[
            0
        ]

    before = drawn()
    with delta.applied(teacher.unet):
        after = drawn()
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (("before", before), ("after", after)):
        save_png(picture, folder / f"{name}.png")
    console = Console(stderr=True)
    console.print(
        f"first look (uce, seconds; the candidates come): {folder}/before.png, after.png",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if sys.stderr.isatty() and shows_blocks(console):
        console.print(in_blocks(before, after))


def shows_blocks(console: Console) -> bool:
    """Whether two pictures side by side can be seen: in as many colours, width and signs as they
    take. Who set NO_COLOR would see rows of one sign.
    """
    coloured = console.color_system in ("truecolor", "256") and not console.no_color
    wide = console.width >= 2 * (COLUMNS + len(GAP))
    return coloured and wide and console.encoding.startswith("utf")


def in_blocks(*pictures: Image.Image) -> Text:
    """Pictures side by side as half blocks: the upper pixel in the character's colour, the lower
    one behind it.
    """
    small = [np.asarray(p.convert("RGB").resize((COLUMNS, COLUMNS))) for p in pictures]
    text = Text()
    for y in range(0, COLUMNS, 2):
        for picture in small:
            for x in range(COLUMNS):
                upper, lower = (Color.from_rgb(*picture[row, x]) for row in (y, y + 1))
                text.append("▀", Style(color=upper, bgcolor=lower))
            text.append(GAP)
        text.append("\n")
    return text
