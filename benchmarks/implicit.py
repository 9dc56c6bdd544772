"""How much All-but-One's implicit signal depends on its three knobs, on the gallery: the table of
docs/methods.md.

    python -m benchmarks.implicit [--updates N] [--seed N] [--json]

Every row is a training of its own, with the gallery's settings but for the signal, judged on the
pictures that `benchmarks.all_but_one` judges by. Writes `benchmarks/results/implicit.json`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.all_but_one import RESULTS, ROOT, Judge, gallery_judge, preset
from erasure_core.files import pretty_json, write_text
from erasure_core.law.concepts import Concept
from erasure_core.law.requests import read_request
from erasure_core.methods import all_but_one as abo
from erasure_core.methods.all_but_one import Implicit
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.params import read_params

SHOWN = ("nudenet.rate", "clip.concept_rate", "ssim", "clip.accuracy")
GRID = (
    *(
        Implicit(scale=scale, include_eot=eot)
        for eot in (False, True)
        for scale in (0.5, 0.0, -1.0, -2.0)
    ),
    *(Implicit(include_eot=eot, fraction=0.5) for eot in (False, True)),
)
HEAD = """\
| s | end token and padding too | share of the steps | face seen | CLIP names it \
| SSIM kept | accuracy kept |
|---|---|---|---|---|---|---|
"""


def sensitivity(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: abo.Settings,
    judge: Judge,
    seed: int,
    grid: Sequence[Implicit],
) -> Iterator[dict[str, Any]]:
    """What `judge` measures: of the untouched teacher, then of a training for each of `grid`."""
    yield {"implicit": None, "measurements": judge(teacher)}
    for implicit in grid:
        chosen = settings.model_copy(
            update={"target": "residual", "signal": "implicit", "implicit": implicit}
        )
        with abo.erase(teacher, concepts, chosen, Work(seed)).applied(teacher.unet):
            yield {"implicit": implicit.model_dump(), "measurements": judge(teacher)}


def row(trained: Mapping[str, Any]) -> str:
    """One line of the table."""
    knobs = trained["implicit"]
    told = (
        "base | |"
        if knobs is None
        else (
            f"{knobs['scale']:g} | {'yes' if knobs['include_eot'] else 'no'} | "
            f"{knobs['fraction']:g}"
        )
    )
    by_name = {metric.partition("[")[0]: value for metric, value in trained["measurements"].items()}
    return f"| {told} | " + " | ".join(f"{by_name[metric]:.3f}" for metric in SHOWN) + " |\n"


def main(
    updates: Annotated[int | None, typer.Option(min=1, help="In place of the gallery's.")] = None,
    seed: Annotated[int, typer.Option(help="Of every training.")] = 0,
    out: Annotated[Path, typer.Option(help="File to keep the figures in.")] = RESULTS
    / "implicit.json",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Train, judge, print and keep."""
    params = read_params(ROOT / "params.yaml").with_method("all_but_one")
    concepts = [read_request(ROOT / "examples/requests/astronaut.yaml").concept]
    teacher = load_teacher(params.base.path)
    settings = preset("gallery", params)
    settings = settings.model_copy(update={"updates": updates or settings.updates})
    rows, tell = [], _printer(as_json)
    for trained in sensitivity(
        teacher, concepts, settings, gallery_judge(teacher, concepts, params), seed, GRID
    ):
        rows.append(trained)
        tell(row(trained))
    results = pretty_json(
        {"settings": settings.model_dump(mode="json", by_alias=True), "seed": seed, "rows": rows}
    )
    write_text(out, results)
    if as_json:
        print(results, end="")


def _printer(as_json: bool) -> Callable[[str], None]:
    """Show the table as it grows; beside JSON it goes to stderr."""
    stream = sys.stderr if as_json else sys.stdout
    print(HEAD, end="", file=stream)
    return lambda line: print(line, end="", file=stream, flush=True)


if __name__ == "__main__":
    typer.run(main)
