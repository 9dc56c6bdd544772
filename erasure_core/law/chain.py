"""The chain of events: each carries the hash of the one before, so that none is changed unseen.

An event is one line of canonical JSON (RFC 8785) with its own `sha256` put last. That hash is of
the line's bytes without `,"sha256":"..."`, so that `sed`, `sha256sum` and `jq` can check it
(docs/audit.md). What a chain cannot show is that its end was cut off: its head is signed for that.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from erasure_core.errors import ErasureError
from erasure_core.law.lineage import canonical_json

GENESIS = "0" * 64  # `previous` of the first event


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it stands in the chain."""

    seq: int  # 1, 2, 3...
    time: str  # UTC, RFC 3339 with milliseconds
    event: str  # "request.honoured"
    actor: Mapping[str, Any]  # who did it: user and host, a Prefect run, or a name that was given
    facts: Mapping[str, Any]  # ids, hashes, verdicts; never a name, a wording or a reason in words
    previous: str  # sha256 of the event before, `GENESIS` for the first
    sha256: str

    @property
    def body(self) -> str:
        """What is hashed: everything but the hash, as canonical JSON."""
        return canonical_json(
            {
                "actor": self.actor,
                "event": self.event,
                "facts": self.facts,
                "previous": self.previous,
                "seq": self.seq,
                "time": self.time,
            }
        )

    @property
    def line(self) -> str:
        """The event as one line of an export, without its newline."""
        return f'{self.body[:-1]},"sha256":"{self.sha256}"}}'


def now() -> str:
    """The time now, as events write it."""
    return stamp(datetime.now(UTC))


def stamp(time: datetime) -> str:
    """A time as events write it: UTC, milliseconds, Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sealed(
    previous: Event | None,
    event: str,
    facts: Mapping[str, Any],
    actor: Mapping[str, Any],
    time: str,
) -> Event:
    """The event that follows `previous`, with its hash.

    Raises:
        ValueError: A fact has no canonical JSON: NaN, an infinity, or an integer above 2**53.
    """
    seq, before = (previous.seq + 1, previous.sha256) if previous else (1, GENESIS)
    draft = Event(seq, time, event, actor, facts, before, "")
    return Event(seq, time, event, actor, facts, before, _sha256(draft.body))


def checked(events: Iterable[Event], previous: Event | None = None) -> Iterator[Event]:
    """Pass on `events`, which must follow `previous` and one another, each with its own hash.

    Raises:
        ErasureError: Names the first event that is not what its hash, its number or the hash of
            the one before says.
    """
    for event in events:
        seq, before = (previous.seq + 1, previous.sha256) if previous else (1, GENESIS)
        if event.seq != seq:
            raise ErasureError(
                f"event {seq} of the chain is missing, event {event.seq} stands in its place; "
                "restore the book from a copy, what follows is not evidence"
            )
        if (fault := fault_of(event, before)) is not None:
            raise ErasureError(fault)
        previous = event
        yield event


def fault_of(event: Event, before: str | None) -> str | None:
    """What is wrong with one event, if it must have its own hash and follow the event that has the
    hash `before` (None: there is no such event).
    """
    if event.previous == before and event.sha256 == _sha256(event.body):
        return None
    return (
        f"event {event.seq} ({event.event}) of the chain was changed: its content hashes to "
        f"{_sha256(event.body)[:16]}... after {event.previous[:16]}..., recorded is "
        f"{event.sha256[:16]}... after {(before or 'nothing')[:16]}...; restore the book from a "
        "copy, what follows is not evidence"
    )


def read(line: str) -> Event:
    """One line of an export.

    Raises:
        ErasureError: It is not one.
    """
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError):
        raise ErasureError(f"not an event of a chain: {line[:80]!r}; export it again") from None


def _sha256(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
