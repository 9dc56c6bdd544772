"""How near a ridge state comes to the concept after UCE with directions taken away, and what that
moves of what is kept: the table of docs/methods.md.

    python -m benchmarks.deflate

On the gallery, from the request's own prompts: errors of keys and values over all projections, no
pictures. Writes `benchmarks/results/deflate.json`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from benchmarks.all_but_one import RESULTS, ROOT
from erasure_core.files import pretty_json, write_text
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import kept_rows, read_prompt_set
from erasure_core.law.requests import read_request
from erasure_core.methods import uce
from erasure_core.network import closed_form
from erasure_core.network.diffusion import encode_words
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.params import read_params

RIDGE = 0.001
ASKED, EVERY = 2, 7  # prompts of the concept; of the kept ones, one in so many
GRID = ((0, 0.5), (4, 0.5), (1, 50), (1, 500), (4, 50), (4, 500), (16, 500), (16, 100_000))
HEAD = """\
| deflate | deflate_lamb | ridge state misses the concept by | kept prompts move by |
|---|---|---|---|
"""


def measured(
    teacher: Teacher, concept: Concept, kept: Sequence[str]
) -> Iterator[dict[str, float | int]]:
    """For each setting of `GRID`: `miss`, of the nearest ridge state and of the words themselves,
    and `moved`, of what is kept; each a share of the norm of what the base makes of the prompts.
    """
    asked = _states(teacher, concept.prompts[:ASKED])
    held, edited = _states(teacher, kept), copy.deepcopy(teacher.unet)
    for rank, lamb in GRID:
        settings = uce.Settings(deflate=rank, deflate_lamb=lamb)
        delta = uce.erase(teacher, [concept], settings, Work(0))
        with delta.applied(edited):
            pairs = closed_form.edited_pairs(teacher.unet, edited)
        nearest = asked @ closed_form.ridge_map(pairs, RIDGE).T
        yield {
            "deflate": rank,
            "deflate_lamb": lamb,
            "miss": _error(pairs, nearest, asked),
            "miss_of_the_words": _error(pairs, asked, asked),
            "moved": _error(pairs, held, held),
        }


def _states(teacher: Teacher, prompts: Sequence[str]) -> Tensor:
    """(rows, d) float64."""
    return encode_words(teacher, list(prompts)).states.flatten(0, 1).double()


def _error(pairs: Sequence[closed_form.Pair], x: Tensor, c: Tensor) -> float:
    """|V x - W c| over all projections and rows, as a share of |W c|."""
    missed = sum(float((x @ v.T - c @ w.T).square().sum()) for w, v in pairs)
    whole = sum(float((c @ w.T).square().sum()) for w, _ in pairs)
    return float((missed / whole) ** 0.5)


def row(found: Mapping[str, Any]) -> str:
    """One line of the table."""
    lamb = f"{found['deflate_lamb']:,g}" if found["deflate"] else "-"
    return f"| {found['deflate']} | {lamb} | {found['miss']:.2f} | {found['moved']:.2f} |\n"


def main(
    out: Annotated[Path, typer.Option(help="File to keep the figures in.")] = RESULTS
    / "deflate.json",
) -> None:
    """Measure, print and keep."""
    params = read_params(ROOT / "params.yaml")
    concept = read_request(ROOT / "examples/requests/astronaut.yaml").concept
    kept = kept_rows(read_prompt_set(ROOT / "prompts/kept.csv"), [concept])
    teacher = load_teacher(params.base.path)
    rows = list(measured(teacher, concept, [r.prompt for r in kept[::EVERY]]))
    print(HEAD + "".join(map(row, rows)), end="")
    write_text(out, pretty_json({"ridge": RIDGE, "rows": rows}))


if __name__ == "__main__":
    typer.run(main)
