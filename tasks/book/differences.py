"""Rows that are not what the chain says, in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from erasure_core.errors import ErasureError
from erasure_core.law.chain import Event
from erasure_core.law.fold import Tables, fold, subjects

SHORT = ("checkpoint", "due", "promoted", "state", "verdict", "version")  # what a row is, in short
LONGEST = 200  # characters of a field


def differences(folded: Tables, stored: Tables) -> Iterator[str]:
    """Each row that is not what the chain says, and what puts it back."""
    for name in ("requests", "versions", "aliases", "proposals", "exports"):
        should, have = getattr(folded, name), getattr(stored, name)
        for key in sorted({*should, *have}, key=str):
            if should.get(key) != have.get(key):
                there, said = _rows(have.get(key), should.get(key))
                yield (
                    f"the book's {name} were edited: {_said(key)} is {there}, the chain says "
                    f"{said}; `erasure reconcile --tables` puts back what the chain says"
                )


def faults_of_row(subject: str, events: Iterable[Event], stored: Tables) -> Iterator[str]:
    """What is wrong with the one row in `stored`, which `events` alone must fold to."""
    try:
        own = fold(events)
    except (ErasureError, KeyError):
        yield listed_wrong(subject)
        return
    own.exports = {}  # an event overwrites these, whatever they were
    yield from differences(own, stored)


def listed_wrong(subject: str) -> str:
    """That not all events about a request or a version are found, or others."""
    return (
        f"the book's list of what happened to {subject} was edited; `erasure reconcile --tables` "
        "puts back what the chain says"
    )


class Listing:
    """Compares under what each event is found with what it is about, event by event in order."""

    def __init__(self, listed: Iterator[tuple[int, str]]):
        self._listed = listed  # number of event and what it is found under, by number
        self._next = next(listed, None)
        self._wrong: list[int] = []

    def compare(self, event: Event) -> None:
        """Note whether the next event is found under what it is about, and nothing else."""
        found = set()
        while self._next is not None and self._next[0] <= event.seq:
            number, subject = self._next
            found.add(subject if number == event.seq else "")
            self._next = next(self._listed, None)
        if found != set(subjects(event.event, event.facts)):
            self._wrong.append(event.seq)

    def faults(self) -> Iterator[str]:
        """What was noted, in one line."""
        if self._next is not None:
            self._wrong.append(self._next[0])
        if self._wrong:
            yield (
                f"the book's list of what each event is about was edited, first of event "
                f"{self._wrong[0]} ({len(self._wrong)} in all); `erasure reconcile --tables` puts "
                "back what the chain says"
            )


def _said(key: object) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _rows(*rows: object) -> list[str]:
    """Two rows of one key in words: in what they differ, or in short what the only one is."""
    one, other = (asdict(row) if row is not None else {} for row in rows)  # type: ignore[call-overload]
    both = [field for field in one if one[field] != other[field]] if one and other else SHORT
    return [_row(row, both) for row in (one, other)]


def _row(row: Mapping[str, object], fields: Sequence[str]) -> str:
    said = (f"{field} {row[field]}"[:LONGEST] for field in fields if field in row)
    return (", ".join(said) or "there") if row else "missing"
