"""What purification takes out of real pictures and what it leaves, on the gallery: the table and
the picture of docs/methods.md.

    python -m benchmarks.purify [--count N] [--plot docs/purified.png] [--json]

Trains the student of `params.purify.yaml` (lambda 0) on the astronaut's request, then unmakes
photographs of every subject, crops that nobody trained on, with the teacher and makes them again:
with the teacher, as a control of what the way there and back costs, and with the student. Under the
null prompt, both ways. Writes `benchmarks/results/purify.json`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from erasure_core.files import pretty_json, write_text
from erasure_core.gallery.pictures import SIZE, SUBJECTS, draw
from erasure_core.law.requests import read_request
from erasure_core.methods import METHODS
from erasure_core.metrics.detectors import NudeNet
from erasure_core.metrics.ssim import paired_ssim
from erasure_core.network.images import save_png
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work
from erasure_core.planning.params import Params, read_params
from erasure_core.purify import purify

ROOT = Path(__file__).parents[1]
HEAD = """\
| pictures of | face seen: original | teacher both ways | purified \
| SSIM: teacher both ways | purified |
|---|---|---|---|---|---|
"""
SEED = 20261124  # of the crops; the teacher's training has another

Pictures = dict[str, list[Image.Image]]  # by subject


def student_of(teacher: Teacher, params: Params) -> WeightDelta:
    """The change of weights that a run of `params` on the astronaut's request would register."""
    method, concepts = (
        METHODS[params.method.method],
        [read_request(ROOT / "examples/requests/astronaut.yaml").concept],
    )
    (lam,) = params.lambdas
    return method.erase(
        teacher, concepts, params.method.model_copy(update={"lambda_": lam}), Work(params.seed)
    )


def photographs(count: int) -> Pictures:
    """`count` crops of every subject's photograph."""
    rng = np.random.default_rng(SEED)
    return {name: [draw(name, "photo", rng) for _ in range(count)] for name in SUBJECTS}


def purified(teacher: Teacher, student: WeightDelta, pictures: Pictures, steps: int) -> Pictures:
    """Every picture unmade by the teacher and made again by the student, under the null prompt."""
    return {
        name: purify(teacher, student, group, steps=steps).pictures
        for name, group in pictures.items()
    }


def compared(
    before: Pictures, control: Pictures, after: Pictures, detector: NudeNet, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a subject: share of pictures with a face, and SSIM with the originals."""

    def faces(group: Sequence[Image.Image]) -> float:
        return sum(detector.detects(group, labels)) / len(group)

    return [
        {
            "subject": name,
            "n": len(group),
            "faces": [faces(shown[name]) for shown in (before, control, after)],
            "ssim": [
                paired_ssim(group, shown[name], clusters=None).value for shown in (control, after)
            ],
        }
        for name, group in before.items()
    ]


def row(subject: Mapping[str, Any]) -> str:
    """One line of the table."""
    return (
        f"| {subject['subject']} | "
        + " | ".join(f"{value:.2f}" for value in subject["faces"] + subject["ssim"])
        + " |\n"
    )


def sheet(*rows: Pictures) -> Image.Image:
    """The first picture of every subject, one row a set, twice as large."""
    page = Image.new("RGB", (SIZE * len(rows[0]), SIZE * len(rows)))
    for y, pictures in enumerate(rows):
        for x, group in enumerate(pictures.values()):
            page.paste(group[0], (SIZE * x, SIZE * y))
    return page.resize((2 * page.width, 2 * page.height), Image.Resampling.NEAREST)


def main(
    count: Annotated[int, typer.Option(min=1, help="Photographs of each subject.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="DDIM steps, each way.")] = 20,
    params_file: Annotated[Path, typer.Option("--params", help="What trains the student.")] = ROOT
    / "params.purify.yaml",
    out: Annotated[Path, typer.Option(help="File to keep the figures in.")] = ROOT
    / "benchmarks/results/purify.json",
    plot: Annotated[
        Path | None, typer.Option(help="PNG to draw: originals, control, purified.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Train, purify, compare, keep and print."""
    params = read_params(params_file)
    teacher, before = load_teacher(params.base.path), photographs(count)
    untouched = WeightDelta.between(teacher.unet, teacher.unet, frozenset({"conv_out.bias"}))
    control, after = (
        purified(teacher, student, before, steps)
        for student in (untouched, student_of(teacher, params))
    )
    detector = NudeNet(params.detector.threshold, params.detector.inference_resolution)
    rows = compared(before, control, after, detector, params.detector.labels["likeness"])
    settings = params.method.model_dump(mode="json", by_alias=True)
    results = pretty_json({"settings": settings, "steps": steps, "seed": SEED, "rows": rows})
    write_text(out, results)
    if plot:
        save_png(sheet(before, control, after), plot)
    print(results if as_json else HEAD + "".join(map(row, rows)), end="")


if __name__ == "__main__":
    typer.run(main)
