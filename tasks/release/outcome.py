"""What a run came to, as commands and scripts are told."""

from typing import Any

from erasure_core.law.fold import Version
from tasks.book.store import Book
from tasks.release.record import record_of


def outcome_of(book: Book, version: Version, *, answered: bool) -> dict[str, Any]:
    """The record of a version, and how this run came to it."""
    record = record_of(book.home, version)
    outcome = "promoted to champion" if version.promoted else "refused, the champion is unchanged"
    return {
        **record.model_dump(mode="json", by_alias=True),
        "answered": answered,
        "said": f"{version.model} version {version.version}: {version.verdict}, {outcome}",
    }


def refreshed(book: Book, outcome: dict[str, Any]) -> dict[str, Any]:
    """What only is known once the world outside has followed."""
    key = f"{outcome['model_name']}/{outcome['model_version']}/mlflow run"
    return {"mlflow_run_id": book.ask(lambda reader: reader.outcome(key))}
