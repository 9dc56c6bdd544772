"""The page of a comparison: one self-contained file with tables, plots and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erasure_core.files import write_text
from tasks.pages.filled import filled
from tasks.pages.pictures import data_uri, embedded


@dataclass(frozen=True, slots=True)
class ComparedPoint:
    """One method in one form, on one request."""

    method: str
    form: str
    shown: float  # share of target pictures that still show the concept
    kept: float  # SSIM of what is kept
    attacked: float  # highest share that an attack brings back above its control


@dataclass(frozen=True, slots=True)
class Strip:
    """A row's pictures, of the prompts that head the columns."""

    label: str
    pictures: Sequence[Path]


@dataclass(frozen=True, slots=True)
class Part:
    """One request's share of the page."""

    concept: str
    kind: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    orders: Sequence[Sequence[str]]  # of the paper's table: metric, order, whether it holds here
    absent: Sequence[str]  # methods of that table that were not run
    points: Sequence[ComparedPoint]
    prompts: Sequence[str]
    strips: Sequence[Strip]
    plot: Path  # PNG to write


def render_comparison(out: Path, said: Sequence[str], parts: Sequence[Part]) -> Path:
    """Write `index.html` into `out`, and each part's plot; return the page.

    Args:
        out: Folder.
        said: Sentences of how the comparison was made.
        parts: One a request.
    """
    from tasks.pages import charts

    for part in parts:
        charts.pareto(part.points, part.plot)
    page = filled(
        "comparison.html.j2",
        {"embed": embedded},
        said=said,
        parts=[(part, data_uri(part.plot.read_bytes())) for part in parts],
    )
    path = out / "index.html"
    write_text(path, page)
    return path


def point_of(row: Mapping[str, Any]) -> ComparedPoint:
    """A row as a point: by the worst of what shows the concept, and of all attacks."""
    concept, metrics = row["concept"], row["metrics"]
    shown = [f"{name}[{concept}]" for name in ("nudenet.rate", "clip.concept_rate")]
    tried = [found["value"] for found in row["attacks"].values() if "value" in found]
    return ComparedPoint(
        row["method"],
        row["form"],
        max(metrics[name]["mean"] for name in shown if name in metrics),
        metrics["ssim"]["mean"],
        max(tried, default=float("nan")),
    )
