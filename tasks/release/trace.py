"""Lineage both ways: what a version rests on, and what became of a request."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.chain import Event
from erasure_core.law.clock import regulation
from erasure_core.law.fold import Request, Version
from erasure_core.law.lineage import RunRecord
from tasks.book.status import left_of
from tasks.book.store import Book, Entry, Reader
from tasks.release.audit import audit_aliases, audit_histories, audit_rows, audit_version
from tasks.release.record import record_of
from tasks.requests.intake import described
from tasks.requests.named import called
from tasks.versions.dvc_store import check_checkpoint, checkpoint_folder


def trace_version(book: Book, version: int, model: str | None = None) -> dict[str, Any]:
    """Where one version came from and whether that still holds.

    Raises:
        BadInput: No such version, or several models have one and none is named.
    """
    models = [model] if model else book.ask(lambda reader: reader.models())
    have = [m for m in models if book.ask(lambda r, m=m: version < r.next_version(m))]  # type: ignore[misc]
    if not have or version < 1:
        raise BadInput(
            f"no {model or 'model'} version {version} was ever decided on in {book.home.root}; "
            "`erasure versions` lists them"
        )
    if len(have) > 1:
        raise BadInput(
            f"version {version} exists of {', '.join(have)}; add --name with one of them"
        )
    row = book.ask(lambda reader: reader.version(have[0], version))
    return _answer(book, [row], {"honoured_by": _named([row] if row.promoted else [])})


def trace_alias(book: Book, alias: str, model: str | None = None) -> dict[str, Any]:
    """The same of the version that `candidate` or `champion` names.

    Raises:
        BadInput: It names none, or one of each of several models and none is named.
    """
    models = [model] if model else book.ask(lambda reader: reader.models())
    named = {m: v for m in models if (v := book.ask(lambda r, m=m: r.alias(m, alias)))}  # type: ignore[misc]
    if len(named) != 1:
        found = f"{alias} is a version of {', '.join(named)}; add --name with one of them"
        none = (
            f"there is no {alias} of {model or 'any model'} yet; `erasure versions` lists versions"
        )
        raise BadInput(found if named else none)
    ((name, version),) = named.items()
    return trace_version(book, version, name)


def trace_request(book: Book, request_id: UUID) -> dict[str, Any]:
    """What became of one request: the versions that settled it and the champion, and whether
    those still hold. `BadInput` if it is unknown.
    """
    traced = _traced(book, book.ask(lambda reader: reader.request(request_id)))
    honoured_by = traced.shown["honoured_by"]
    return _answer(book, traced.versions, {"request": traced.shown, "honoured_by": honoured_by})


def trace_concept(book: Book, name: str) -> dict[str, Any]:
    """What became of every request that asks for a concept. `BadInput` if none does."""
    entries = called(book, name)
    if not entries:
        raise BadInput(
            f"{name!r} is neither a version's number, nor a subject_request_id, nor a concept that "
            "a request names; `erasure request list` and `erasure versions` list them"
        )
    traced = [_traced(book, entry) for entry in entries]
    versions = {(v.model, v.version): v for each in traced for v in each.versions}
    honouring = {(v.model, v.version): v for each in traced for v in each.honouring}
    found = {
        "requests": [each.shown for each in traced],
        "honoured_by": _named(honouring.values()),
    }
    return _answer(book, list(versions.values()), found)


def shown_request(book: Book, entry: Entry) -> dict[str, Any]:
    """A request with its history, as the book has it."""
    return book.ask(lambda reader: _shown_request(reader, entry))


def _shown_request(reader: Reader, entry: Entry) -> dict[str, Any]:
    row = entry.row
    events = list(reader.events(row.id, kind="request."))
    return {
        "subject_request_id": row.id,
        "model": row.model,
        "concept": entry.concept,
        "kind": entry.kind,
        "regulation": entry.regulation,
        "submitted_time": row.submitted,
        "received_time": row.received,
        "due": row.due,
        "days_left": left_of(row),
        "notice": _notice(row, events),
        "state": row.state,
        "said": described(entry),
        "version": row.version,
        "reason": entry.reason,
        "code": row.code,
        "duplicate_of": row.duplicate_of,
        "recipe": row.recipe_number,
        "attempts": row.attempts,
        "history": [_step(reader, event) for event in events],
    }


def _notice(row: Request, events: Sequence[Event]) -> dict[str, str] | None:
    """What the person must be told of an extension, and by when: the end of the first period. None
    where nothing was extended, or the event that says when was removed, which the findings name.
    """
    extension = regulation(row.regulation).extension
    first_due = [e.facts["due"] for e in events if e.event == "request.added" and "due" in e.facts]
    if not row.extended or extension is None or not first_due:
        return None
    return {"tell": extension.notice, "by": first_due[0]}


def _step(reader: Reader, event: Event) -> dict[str, Any]:
    return {
        "time": event.facts.get("at", event.time),
        "state": event.event.removeprefix("request."),
        "version": event.facts.get("version"),
        "reason": reader.text(event.facts.get("reason")),
        "actor": dict(event.actor),
        "event": event.seq,
    }


@dataclass(frozen=True, slots=True)
class _Traced:
    """What became of one request."""

    shown: dict[str, Any]
    versions: list[Version]  # that settled it, and the champion
    honouring: list[Version]  # those of them by which it was honoured


def _traced(book: Book, entry: Entry) -> _Traced:
    with book.read() as reader:
        versions, honouring = _versions_of(reader, entry.row)
        shown = {**_shown_request(reader, entry), "honoured_by": _named(honouring)}
    return _Traced(shown, versions, honouring)


def _versions_of(reader: Reader, row: Request) -> tuple[list[Version], list[Version]]:
    """The versions that settled a request, with the champion where it erases what is asked for, if
    only together with another; and those by which it was honoured: not the one that restored it.
    """
    events = [e for e in reader.events(row.id, kind="request.") if e.facts.get("version")]
    numbers = {event.facts["version"] for event in events}
    honouring = {e.facts["version"] for e in events if e.event == "request.honoured"}
    champion = reader.champion(row.model)
    if champion and (row.duplicate_of or row.id) in champion.requests:
        numbers.add(champion.version)
        honouring.add(champion.version)
    versions = [reader.version(row.model, number) for number in sorted(numbers)]
    return versions, [version for version in versions if version.version in honouring]


def _named(versions: Iterable[Version]) -> list[dict[str, Any]]:
    return [{"model": version.model, "version": version.version} for version in versions]


def _answer(book: Book, versions: Sequence[Version], found: dict[str, Any]) -> dict[str, Any]:
    entries = found.get("requests") or [found[key] for key in ("request",) if key in found]
    about = [entry["subject_request_id"] for entry in entries]
    about += [f"{version.model}/{version.version}" for version in versions]
    faults = list(audit_histories(book, about))
    beside = {i for version in versions for i in version.requests} - {*about}
    faults += audit_rows(book, sorted(beside))
    faults += (finding for version in versions for finding in audit_version(book, version))
    for model in sorted({version.model for version in versions}):
        faults += audit_aliases(book, model)
    findings = list(dict.fromkeys(faults))
    shown = [_shown_version(book, version) for version in versions]
    return {
        **found,
        "versions": shown,
        "intact": not findings,
        "findings": findings,
    }


def _shown_version(book: Book, version: Version) -> dict[str, Any]:
    """One version as the book and its record have it."""
    shown: dict[str, Any] = {
        "model": version.model,
        "version": version.version,
        "promoted": version.promoted,
        "verdict": version.verdict,
    }
    with suppress(ErasureError):  # the findings say what is wrong with it
        shown |= _of_record(record_of(book.home, version))
    shown["requests"] = book.ask(
        lambda reader: [_shown_request(reader, e) for e in _there(reader, version.requests)]
    )
    shown["alias_history"] = _moves(book, version)
    names = book.ask(lambda reader: reader.aliases(version.model))
    shown["aliases"] = sorted(a for a, number in names.items() if number == version.version)
    folder = checkpoint_folder(book.home, version.checkpoint)
    shown["checkpoint"] = {
        "path": str(folder),
        "sha256": version.checkpoint,
        "state": _state_of(folder),
    }
    return shown


def _there(reader: Reader, ids: Sequence[str]) -> Iterator[Entry]:
    """The requests whose rows are there; the findings name the others."""
    entries = map(reader.find_request, ids)
    return (entry for entry in entries if entry is not None)


def _state_of(folder: Path) -> str:
    """What can be said of a released folder: `matches`, `changed` or `absent`."""
    if not folder.is_dir():
        return "absent"
    try:
        check_checkpoint(folder)
    except ErasureError:
        return "changed"
    return "matches"


def _moves(book: Book, version: Version) -> list[dict[str, Any]]:
    subject = f"{version.model}/{version.version}"
    events = book.ask(lambda reader: list(reader.events(subject)))
    return [
        {"time": e.facts.get("at", e.time), "before": None}
        | {key: e.facts[key] for key in ("alias", "version", "before") if key in e.facts}
        for e in events
        if e.event == "alias.moved"
    ]


def _of_record(record: RunRecord) -> dict[str, Any]:
    left_out = {"model_name", "model_version", "lambdas", "promoted"}
    shown = record.model_dump(mode="json", by_alias=True, exclude=left_out)
    chosen = [c for c in record.lambdas if c.delta_sha256 == record.delta_sha256]
    measurements = chosen[0].measurements if chosen else ()
    return {**shown, "measurements": _with_limits(measurements, record.gate["checks"])}


def _with_limits(
    measurements: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each measurement of the chosen candidate with the limit and verdict it got, and the gate's
    sentence; null where the policy sets none.
    """
    judged = {check["metric"]: check for check in checks}
    limits = [
        {key: judged.get(m["metric"], {}).get(key) for key in ("limit", "verdict", "reason")}
        for m in measurements
    ]
    measured = [{**m, **limit} for m, limit in zip(measurements, limits, strict=True)]
    names = {m["metric"] for m in measurements}
    return measured + [check for name, check in judged.items() if name not in names]
