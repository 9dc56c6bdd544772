"""What a comparison leaves for people: tables, page, plots, and its mirror in MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from erasure_core.files import pretty_json, write_text
from erasure_core.law.lineage import sha256_json
from erasure_core.planning.plan import BASE, KEPT, Plan
from erasure_core.text import names_of
from tasks.book.store import Book
from tasks.comparing.cells import Written, pictures_of
from tasks.comparing.compare import Comparison
from tasks.comparing.table import (
    HEADINGS,
    ORDERS,
    Row,
    as_csv,
    as_json,
    as_markdown,
    cells_of,
    name_of,
    orders_of,
    rows_of,
    settings_of,
    untrained,
)
from tasks.pages.comparison import Part, Strip, point_of, render_comparison
from tasks.registry.runs import (
    COMPARISON,
    REQUESTS,
    VERDICT,
    CandidateRun,
    RunFacts,
    mirror_run,
)
from tasks.requests.made_with import machine

NAME = 180  # characters of a concept in the name of a cell's run, which MLflow keeps 250 of
SHOWN = (5, 4)  # pictures of the concept, and of what is kept, in the page's strips


def publish_comparison(comparison: Comparison, out: Path, book: Book) -> dict[str, Path]:
    """Write results.json, cells.csv, table.md, index.html and a plot a request into `out`, and log
    them to MLflow; name -> file.
    """
    rows = rows_of(comparison)
    results = as_json(comparison, rows, machine())
    files = {
        "results": out / "results.json",
        "csv": out / "cells.csv",
        "markdown": out / "table.md",
    }
    write_text(files["results"], pretty_json(results))
    write_text(files["csv"], as_csv(comparison.cells))
    write_text(files["markdown"], as_markdown(results))
    concepts = dict.fromkeys(row["concept"] for row in rows)
    parts = [_part(comparison, [r for r in rows if r["concept"] == c], out) for c in concepts]
    files["page"] = render_comparison(out, said_of(results), parts)
    files |= {f"plot {part.concept}": part.plot for part in parts}
    of_cells = [[c.folder.name, c.delta_sha256, c.form, c.attacked_by] for c in comparison.cells]
    key = sha256_json(of_cells)[:16]
    mirror_run(
        book.home,
        f"comparison {key}",
        replace(run_facts(comparison, key), book=book.identity()),
        candidates=[_mirrored(cell) for cell in comparison.cells],
        artifacts=list(files.values()),
    )
    return files


def run_facts(comparison: Comparison, key: str) -> RunFacts:
    """What MLflow shows of a comparison: by its model and its requests a purge finds it."""
    plans = {cell.concept: Plan.read(cell.folder) for cell in comparison.cells}
    requests = [request for plan in plans.values() for request in plan.requests]
    (model,) = {plan.params.registered_model for plan in plans.values()}
    return RunFacts(
        model=model,
        folder=f"comparison-{key}",
        name=f"compare {names_of(list(plans))}",
        tags={
            COMPARISON: ", ".join(dict.fromkeys(cell.method for cell in comparison.cells)),
            REQUESTS: ",".join(str(request.subject_request_id) for request in requests),
        },
    )


def said_of(results: Mapping[str, Any]) -> list[str]:
    """How it was made, in sentences."""
    return [
        f"{results['seeds']} training seeds a row: means, with the widest ends of their 95 % "
        "intervals in round brackets and the least and greatest value in square ones.",
        f"The tuned form is the best of {results['trials a method']} trials a method and request, "
        "on the set that chooses; the first trial is what the parameters hold. All rows are judged "
        "on the report set.",
        f"Attacks with the budget {results['attacks']['budget']}; of each audience the one that "
        "brings back the most above its control, in any seed. What was not run is no evidence.",
        "Seconds and UNet evaluations (counted in pictures) are of the erasure with all that it "
        "prepares, nothing taken from a cache; "
        f"{results['machine']['processor']}, {results['machine']['threads']} thread(s).",
        *untrained(results),
    ]


def _part(comparison: Comparison, rows: Sequence[Row], out: Path) -> Part:
    concept = rows[0]["concept"]
    first = {
        (cell.method, cell.form): cell
        for cell in reversed(comparison.cells)  # of each form the first seed
        if cell.concept == concept
    }
    plan = Plan.read(next(iter(first.values())).folder)
    sets = [next(name for name in plan.prompt_sha256 if name != KEPT), KEPT]
    tables = dict(plan.rows())
    spread = {name: _spread(len(tables[name]), n) for name, n in zip(sets, SHOWN, strict=True)}
    prompts = [tables[name][i].prompt for name in sets for i in spread[name]]

    def strip(label: str, cell: Written, who: str) -> Strip:
        pictures = [(name, pictures_of(cell, who, name)) for name in sets]
        return Strip(label, [files[i] for name, files in pictures for i in spread[name]])

    some = next(iter(first.values()))
    strips = [strip("base", some, BASE)]
    strips += [strip(name_of(r), first[r["method"], r["form"]], "candidate") for r in rows]
    orders, absent = orders_of(rows, concept)
    return Part(
        concept=concept,
        kind=rows[0]["kind"],
        headings=HEADINGS,
        rows=[cells_of(row) for row in rows],
        notes=[f"{name_of(row)}: {settings_of(row)}" for row in rows],
        orders=[ORDERS, *orders],
        absent=absent,
        points=[point_of(row) for row in rows],
        prompts=prompts,
        strips=strips if rows[0]["kind"] != "explicit" else [],
        plot=out / f"pareto-{plan.concepts[0].slug}.png",
    )


def _spread(rows: int, n: int) -> list[int]:
    """Indices of n of the rows, evenly."""
    return [i * rows // n for i in range(min(n, rows))]


def _mirrored(cell: Written) -> CandidateRun:
    return CandidateRun(
        f"{names_of([cell.concept], most=NAME)}, {cell.method} {cell.form}, seed {cell.seed}",
        settings={**cell.settings, "seed": cell.seed},
        measurements=cell.measurements,
        tags={"delta.sha256": cell.delta_sha256, VERDICT: cell.gate.verdict},
    )
