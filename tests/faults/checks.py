"""What is to be seen of a state folder, and what must hold of it after any fault."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from erasure_core.law.fold import CHAMPION

# Names that are drawn at random or by the clock: MLflow's ids, the name of a new key
DRAWN = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])|(?<=own-)[0-9a-f]{12}")
# DVC's notes to itself and its own drafts in its store, what readers of a database leave, the
# server's own, locks
UNTOLD = re.compile(r"\.dvc/tmp/|dvc-remote/.*\.tmp$|prefect/|.*\.lock$|.*\.db-(wal|shm)$")
DECIDED = (
    *("model", "version", "verdict", "promoted", "delta", "checkpoint", "base"),
    *("requests", "restored"),
)
# what may never be said twice in the same words
ONCE = ("request.added", "request.honoured", "request.restored", "version.decided", "alias.moved")
NAMED = ("id", "of", "model", "version", "alias", "before", "verdict", "requests", "restored")


def facts(root: Path) -> dict[str, Any]:
    """Everything that a command's result is known by, without times and drawn names."""
    from sqlalchemy import select

    from tasks.book.door import open_book
    from tasks.book.lease import alive
    from tasks.book.schema import leases
    from tasks.book.status import status
    from tasks.home import Home
    from tasks.registry.runs import unfinished_runs
    from tasks.registry.versions import aliases, version_numbers
    from tasks.release.audit import audit

    home = Home(root)
    book = open_book(home, make=False)
    own = book.identity()
    with book.read() as reader:
        tables, models = reader.tables(), reader.models()
        names = list(reader.connection.scalars(select(leases.c.name)))
        seen = {
            "events": [_event(e.event, e.facts) for e in reader.events()],
            # the row of a holder that died is taken by whoever comes next
            "leases": sum(alive(lease) for lease in map(reader.lease, names) if lease),
        }
    return seen | {
        "versions": [
            {name: getattr(version, name) for name in DECIDED}
            for _, version in sorted(tables.versions.items())
        ],
        "aliases": {f"{m} {a}": row.version for (m, a), row in sorted(tables.aliases.items())},
        "requests": {i: [r.state, r.version] for i, r in sorted(tables.requests.items())},
        "together": {i: r.duplicate_of for i, r in tables.requests.items() if r.duplicate_of},
        "mlflow": {
            m: [version_numbers(home, own, m), aliases(home, m), unfinished_runs(home, own)]
            for m in models
        },
        "behind": status(book)["behind"],
        "audit": list(audit(book)),
        "files": sorted({DRAWN.sub("*", name) for name in _files(root)}),
    }


def _event(event: str, given: Mapping[str, Any]) -> str:
    return " ".join([event, *(f"{k}={given[k]}" for k in NAMED if given.get(k) is not None)])


def _files(root: Path) -> Iterator[str]:
    for file in root.rglob("*"):
        name = file.relative_to(root).as_posix()
        if file.is_file() and not UNTOLD.match(name):
            yield name


def faults(found: Mapping[str, Any], undisturbed: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong after a fault, against what an undisturbed command came to."""
    yield from same_result(found, undisturbed)
    lost = Counter(undisturbed["events"])
    lost.subtract(found["events"])
    for event, count in lost.items():
        if count:
            yield f"event {'lost' if count > 0 else 'doubled'}: {event}"
    for name in sorted({*found["files"]} ^ {*undisturbed["files"]}):
        yield f"{'left over' if name in found['files'] else 'missing'}: {name}"


def same_result(found: Mapping[str, Any], undisturbed: Mapping[str, Any]) -> Iterator[str]:
    """Versions with the same bytes, the same requests in the same states, and a whole state."""
    for what in ("versions", "aliases", "requests"):
        if found[what] != undisturbed[what]:
            yield f"{what}: {found[what]}, undisturbed {undisturbed[what]}"
    yield from whole(found)


def whole(found: Mapping[str, Any]) -> Iterator[str]:
    """What must hold of every state folder at rest, whatever was asked of it."""
    yield from (f"audit: {line}" for line in found["audit"])
    yield from (f"behind: {line}" for line in found["behind"])
    if found["leases"]:
        yield f"{found['leases']} lease(s) are still held"
    once = Counter(event for event in found["events"] if event.startswith(ONCE))
    yield from (f"{n} times: {event}" for event, n in once.items() if n > 1)
    for model, registry in found["mlflow"].items():
        yield from _of_model(found, model, *registry)


def _of_model(
    found: Mapping[str, Any],
    model: str,
    numbers: list[int],
    points: Mapping[str, int],
    running: list[str],
) -> Iterator[str]:
    versions = {v["version"]: v for v in found["versions"] if v["model"] == model}
    if numbers != list(versions):
        yield f"MLflow has versions {numbers} of {model}, the book {list(versions)}"
    for alias, version in points.items():
        if version != (should := found["aliases"].get(f"{model} {alias}")):
            yield f"MLflow's {alias} of {model} is {version}, the book's {should}"
    if running:
        yield f"MLflow shows {len(running)} run(s) as running"
    champion = versions.get(found["aliases"].get(f"{model} {CHAMPION}"))
    erased = sorted(champion["requests"]) if champion else []
    own = {i: state for i, (state, _) in found["requests"].items() if i not in found["together"]}
    honoured = [i for i, state in own.items() if state == "honoured"]
    if erased != honoured:
        yield f"the champion erases {erased}, honoured are {honoured}"


def survivors(session: int) -> list[psutil.Process]:
    """The processes of a session that are still there."""
    return [p for p in psutil.process_iter() if _is_of(p, session)]


def _is_of(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.Error):
        return False


def left_alive(session: int, seconds: float = 3.0) -> list[str]:
    """Those that did not end within a moment, by their command lines; they are ended here."""
    _, alive = psutil.wait_procs(survivors(session), timeout=seconds)
    lines = []
    for process in alive:
        lines.append("outlived its command: " + " ".join(process.cmdline()[:5]))
        process.kill()
    return lines
