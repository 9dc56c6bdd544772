"""Does a measurement hold on pictures that nobody has seen before? The report set's prompts are
drawn again from other seeds and measured by what `erasure evaluate` measures with; each value is
held against the interval that was printed for the seeds of the report.

    python -m benchmarks.other_seeds --methods uce,speed,all_but_one

The astronaut's request, the settings of `params.yaml`, the last of its lambdas. The printed
interval is of the mean over all such pictures, and the other seeds' mean errs as much as the
printed one: both intervals must have a point in common, and most values lie in the printed one.
Writes `benchmarks/results/other_seeds.json`.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from erasure_core.files import pretty_json, write_text
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Measurement
from erasure_core.law.prompts import PromptRow, read_prompt_set
from erasure_core.law.requests import read_request
from erasure_core.methods import METHODS
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.params import Params, has_lambda, read_params
from tasks.erasing.draw import draw_rows
from tasks.evidence.evaluate import compared, labels_of, look
from tasks.evidence.instruments import Instruments

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/other_seeds.json"
SHIFTS = (0, 100_000, 200_000)  # added to every seed; 0: the seeds of the report
ERASED = ("nudenet.rate[likeness]", "clip.accuracy")  # on the concept's own prompts
KEPT = ("ssim", "clip.accuracy", "clip.score_drop")


def shifted(rows: Sequence[PromptRow], shift: int) -> list[PromptRow]:
    """The same prompts from other seeds."""
    return [replace(row, evaluation_seed=row.evaluation_seed + shift) for row in rows]


def drawn(model: Teacher, rows: Sequence[PromptRow], params: Params, folder: Path) -> list[Path]:
    """A file a row."""
    folder.mkdir(parents=True)
    files = {row.case_number: folder / f"{row.case_number}.png" for row in rows}
    draw_rows(model, rows, params.sampling, lambda row: files[row.case_number])
    return list(files.values())


def measured(methods: Sequence[str], folder: Path) -> Iterator[list[dict[str, Any]]]:
    """For each method its rows, one a set, metric and shift."""
    params = read_params(ROOT / "params.yaml")
    concept = read_request(ROOT / "examples/requests/astronaut.yaml").concept
    sets = {
        "erased": read_prompt_set(ROOT / "prompts/targets/astronaut.csv", params.reading),
        "kept": read_prompt_set(ROOT / params.prompts.kept, params.reading),
    }
    teacher, instruments = load_teacher(ROOT / params.base.path), Instruments.of(params)
    labels = {name: labels_of(rows, params) for name, rows in sets.items()}
    base = {
        (name, shift): drawn(teacher, shifted(rows, shift), params, folder / f"base-{name}-{shift}")
        for name, rows in sets.items()
        for shift in SHIFTS
    }
    for method in methods:
        found = []
        with erased(teacher, concept, method, params):
            for (name, shift), before in base.items():
                rows = shifted(sets[name], shift)
                after = drawn(teacher, rows, params, folder / f"{method}-{name}-{shift}")
                seen = look(instruments, rows, before, after, labels[name])
                wanted = ERASED if name == "erased" else KEPT
                found += [
                    {"method": method, "set": name, "shift": shift, **_facts(m)}
                    for m in compared(instruments, rows, seen, labels[name])
                    if m.metric in wanted
                ]
                print(method, name, shift, flush=True)
        yield found


def erased(
    teacher: Teacher, concept: Concept, method: str, params: Params
) -> AbstractContextManager[object]:
    """The teacher without the concept, as long as it is entered."""
    settings = params.with_method(method).method
    if has_lambda(settings):
        assert params.lambdas is not None
        settings = settings.model_copy(update={"lambda_": params.lambdas[-1]})
    delta = METHODS[method].erase(teacher, [concept], settings, Work(params.seed))
    return delta.applied(teacher.unet)


def _facts(m: Measurement) -> dict[str, Any]:
    return {"metric": m.metric, "value": m.value, "low": m.low, "high": m.high, "n": m.n}


def agreement(rows: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """Of the values from other seeds: how many there are, how many lie in the printed interval,
    and how many of their intervals have a point in common with it.
    """
    printed = {_of(row): row for row in rows if row["shift"] == 0}
    others = [(row, printed[_of(row)]) for row in rows if row["shift"]]
    inside = sum(p["low"] <= row["value"] <= p["high"] for row, p in others)
    meet = sum(p["low"] <= row["high"] and row["low"] <= p["high"] for row, p in others)
    return len(others), inside, meet


def _of(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["method"], row["set"], row["metric"]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As Markdown: a line a method and metric."""
    lines = [
        "| method | pictures | metric | printed | other seeds |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        if row["shift"] == 0:
            others = [o["value"] for o in rows if _of(o) == _of(row) and o["shift"]]
            lines.append(
                f"| `{row['method']}` | {row['set']}, {row['n']} | {row['metric']} "
                f"| {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}) "
                f"| {', '.join(f'{value:.3f}' for value in others)} |"
            )
    return "\n".join(lines)


def main(
    methods: Annotated[str, typer.Option(help="names, by comma")] = "uce,speed,all_but_one",
) -> None:
    """Draw and measure; each method's rows take the place of its earlier ones as soon as they are
    there.
    """
    rows = json.loads(RESULTS.read_bytes())["rows"] if RESULTS.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for found in measured(methods.split(","), Path(folder)):
            rows = [row for row in rows if row["method"] != found[0]["method"]] + found
            write_text(RESULTS, pretty_json({"rows": rows}))
    print(table(rows), agreement(rows), sep="\n")


if __name__ == "__main__":
    typer.run(main)
