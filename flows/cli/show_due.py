"""What is due, as text: a table for people, and Prometheus' exposition format. No I/O here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from erasure_core.law.clock import days_left

COLUMNS = ("days left", "due", "request", "model", "concept", "regulation", "state")


@dataclass(frozen=True, slots=True)
class Due:
    """A request that still awaits its answer, and until when."""

    request_id: str
    model: str
    concept: str | None  # None: purged
    regulation: str
    state: str
    received: datetime
    due: datetime  # the extended date, where it was extended
    extended: bool


def overdue(rows: Sequence[Due], now: datetime) -> list[Due]:
    """The rows that are late."""
    return [row for row in rows if days_left(row.due, now) < 0]


def due_table(rows: Sequence[Due], now: datetime) -> list[str]:
    """One line a request, the most urgent first, below a line of headings."""
    table = [COLUMNS, *(_cells(row, now) for row in sorted(rows, key=lambda row: row.due))]
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, wide, strict=True)).rstrip()
        for cells in table
    ]


def _cells(row: Due, now: datetime) -> tuple[str, ...]:
    left = days_left(row.due, now)
    return (
        f"{left}" if left >= 0 else f"{left} LATE",
        f"{row.due.date()}" + (" (extended)" if row.extended else ""),
        row.request_id,
        row.model,
        row.concept or "(purged)",
        row.regulation,
        row.state,
    )


def prometheus(rows: Sequence[Due], now: datetime) -> str:
    """The rows as Prometheus reads them. No label names a person or a concept."""
    registry = CollectorRegistry()
    left = Gauge(
        "erasure_request_days_left",
        "Whole days until a request must be answered; negative when it is late.",
        ("request", "model", "state"),
        registry=registry,
    )
    late = Gauge(
        "erasure_requests_overdue", "Requests that are late.", ("model",), registry=registry
    )
    for row in rows:
        left.labels(row.request_id, row.model, row.state).set(days_left(row.due, now))
    counts = Counter(row.model for row in overdue(rows, now))
    for model in sorted({row.model for row in rows}):
        late.labels(model).set(counts[model])
    return generate_latest(registry).decode()
