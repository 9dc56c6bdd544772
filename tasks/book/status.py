"""What the book holds now, in short."""

from datetime import UTC, datetime
from typing import Any

from erasure_core.law.clock import days_left
from erasure_core.law.fold import CANDIDATE, CHAMPION, Request, Version
from erasure_core.law.life import DUE, STATES
from erasure_core.redact import redacted
from tasks.book.lease import alive, said
from tasks.book.store import Book, Entry, Reader

NEWEST = 20  # versions and settled requests a model that are listed; the others are counted


def status(book: Book) -> dict[str, Any]:
    """Requests by state, versions by model, what is behind, and where everything lives."""

    def ask(reader: Reader) -> dict[str, Any]:
        requests: dict[str, list[dict[str, Any]]] = {state: [] for state in STATES}
        settled = [state for state in STATES if state not in DUE]
        entries = reader.requests(states=sorted(DUE), newest=500)
        for entry in (*entries, *reader.requests(states=settled, newest=NEWEST)):
            requests[entry.row.state].append(shown(entry))
        counts = reader.counts()
        return {
            "requests": requests,
            "counts": {state: counts.get(state, 0) for state in STATES},
            "models": [_model(reader, name) for name in reader.models()],
            "behind": [_errand(row) for row in reader.waiting_outside()],
        }

    home = book.home
    places = {
        "home": str(home.root),
        "book": redacted(book.engine.url.render_as_string(hide_password=True)),
        "tracking_uri": redacted(home.tracking_uri),
        "dvc_remote": redacted(home.dvc_remote),
    }
    return {**places, **book.ask(ask)}


def shown(entry: Entry) -> dict[str, Any]:
    """A request in short."""
    row = entry.row
    return {
        "subject_request_id": row.id,
        "model": row.model,
        "concept": entry.concept,
        "kind": entry.kind,
        "state": row.state,
        "since": row.since,
        "version": row.version,
        "reason": entry.reason,
        "duplicate_of": row.duplicate_of,
        "due": row.due,
        "days_left": left_of(row),
    }


def left_of(row: Request) -> int | None:
    """Whole days in which a request is still to be answered; None once it is settled, and where the
    date was edited into none: the audit says that, and must be reached.
    """
    if row.state not in DUE and row.state != "on_hold":
        return None
    try:
        return days_left(datetime.fromisoformat(row.due), datetime.now(UTC))
    except (ValueError, TypeError):
        return None


def _model(reader: Reader, name: str) -> dict[str, Any]:
    aliases = reader.aliases(name)
    lease = reader.lease(name)
    versions = reader.versions(name, NEWEST)
    return {
        "name": name,
        **{alias: aliases.get(alias) for alias in (CHAMPION, CANDIDATE)},
        "released_now": said(lease) if lease and alive(lease) else None,
        "count": reader.next_version(name) - 1,
        "versions": [shown_version(v, aliases) for v in versions],
    }


def shown_version(version: Version, aliases: dict[str, int]) -> dict[str, Any]:
    """A version in short."""
    return {
        "version": version.version,
        "verdict": version.verdict,
        "promoted": version.promoted,
        "aliases": sorted(a for a, number in aliases.items() if number == version.version),
        "request_ids": list(version.requests),
        "checkpoint_sha256": version.checkpoint,
        "created": version.created,
    }


def _errand(row: Any) -> str:
    return row["key"] + (f": {row['fault']}" if row["fault"] else "")
