"""How a release grows with the requests that are honoured in it: seconds of the erasure, and
pictures to draw, at 1, 10 and 100 requests.

    python -m benchmarks.releases --plot docs/releases.png

On the embedded teacher, by the settings of `params.yaml`, with 32 wordings a request as the
examples have. `uce` solves for all at once; `sepme` trains one request after another, so that it is
timed with few updates and pictures (`SHORT`) and said for its full ones. Pictures are counted, not
drawn: one request is new, the others were honoured before and are measured whole or, as
`policy.again` says, by a part. Writes `benchmarks/results/releases.json`.
"""

import string
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from erasure_core.files import pretty_json, write_text
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import read_prompt_set
from erasure_core.methods import METHODS, AnySettings
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.families import TRAINED
from erasure_core.planning.params import Params, read_params

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/releases.json"
SIZES = (1, 10, 100)
WORDINGS = 32
SHORT: Mapping[str, int] = {"updates": 10, "images": 4}  # of sepme; at least 10 updates are made
ONE_BY_ONE = 10  # requests up to which sepme is timed: it trains one after another
LIKE = "astronaut"  # whose prompt sets are counted


def concepts(number: int) -> list[Concept]:
    """Invented ones, which the base does not know: time does not depend on that."""
    names = ["".join(letters) for letters in product(string.ascii_lowercase, repeat=2)][:number]
    styles = ("photo", "sketch", "mosaic", "poster", "neon sign", "picture")
    return [
        Concept(
            name=name,
            kind="object",
            prompts=tuple(
                template.format(style=style, subject=f"the {name}")
                for template, style in list(product(TRAINED, styles))[:WORDINGS]
            ),
            replacement="a rocket",
            keep=("a fine photo of a cat", "a fine sketch of a galaxy"),
        )
        for name in names
    ]


def seconds_of(teacher: Teacher, settings: AnySettings, number: int) -> float:
    """Of erasing so many requests, with all that the method prepares."""
    begun = time.perf_counter()
    METHODS[settings.method].erase(teacher, concepts(number), settings, Work(seed=7))
    return time.perf_counter() - begun


def pictures(params: Params, number: int, *, parts: int) -> int:
    """Pictures of a candidate's report set: one new request, the others by a part of theirs."""
    own = len(read_prompt_set(params.prompts.targets / f"{LIKE}.csv", params.reading))
    kept = len(read_prompt_set(params.prompts.kept, params.reading))
    return own + (number - 1) * -(-own // parts) + kept


def measured(params: Params, teacher: Teacher, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """A row a size."""
    again = params.policy.again
    assert again is not None
    uce, sepme = params.methods["uce"], params.methods["sepme"]
    short = sepme.model_copy(update=dict(SHORT))
    rows = []
    for number in sizes:
        row = {
            "requests": number,
            "uce": seconds_of(teacher, uce, number),
            "sepme": seconds_of(teacher, short, number) if number <= ONE_BY_ONE else None,
            "pictures": pictures(params, number, parts=1),
            "pictures by parts": pictures(params, number, parts=again.parts),
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def table(content: Mapping[str, Any]) -> str:
    """As the docs have it."""
    lines = [
        "| requests | `uce`, s | `sepme`, s a request, short | pictures, all whole | by parts |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['requests']} | {row['uce']:.1f} | {_each(row)} | "
        f"{row['pictures']} | {row['pictures by parts']} |"
        for row in content["rows"]
    ]
    return "\n".join(lines)


def _each(row: Mapping[str, Any]) -> str:
    return "not run" if row["sepme"] is None else f"{row['sepme'] / row['requests']:.1f}"


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Seconds and pictures against requests, both on logarithmic axes."""
    from matplotlib.figure import Figure

    rows = content["rows"]
    sizes = [row["requests"] for row in rows]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name in ("uce", "sepme"):
        run = [row for row in rows if row[name] is not None]
        at = [row["requests"] for row in run]
        left.plot(at, [row[name] for row in run], marker="o", label=name)
    for name in ("pictures", "pictures by parts"):
        right.plot(sizes, [row[name] for row in rows], marker="o", label=name)
    for axes, what in ((left, "seconds of the erasure"), (right, "pictures of a candidate")):
        axes.set(xscale="log", yscale="log", xlabel="requests honoured", ylabel=what)
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def main(
    plot: Annotated[Path | None, typer.Option(help="PNG of the curves.")] = None,
    sizes: Annotated[str, typer.Option(help="Requests, with commas between them.")] = "1,10,100",
) -> None:
    """Measure, write, print, and draw."""
    params = read_params(ROOT / "params.yaml")
    teacher = load_teacher(ROOT / params.base.path)
    content = {
        "wordings": WORDINGS,
        "short": dict(SHORT),
        "rows": measured(params, teacher, [int(size) for size in sizes.split(",")]),
    }
    write_text(RESULTS, pretty_json(content))
    print(table(content))
    if plot:
        draw(content, plot)


if __name__ == "__main__":
    typer.run(main)
