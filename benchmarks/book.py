"""How the book of record grows: seconds of everyday questions at 100 to 100,000 requests.

    python -m benchmarks.book --save benchmarks/results

One state folder of the toy world is begun by a real run (version 1 honours a request) and then
grows to N requests with 10 N events and N/10 versions, in the states of a service that has run for
years (four in ten ask for the concept that is honoured, three are due, three ended). Its chain and
tables are proved whole at every size. Each figure is the best of several, so that what else the
machine does counts least; the processes of the lower table are measured with all they import.

Versions are rows of the book; run folders and DVC hold version 1 only, which is what tracing its
request reads. MLflow's rows are copied by SQL up to `--mlflow-up-to` versions.
"""

import hashlib
import json
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid5

import psutil
import typer
from sqlalchemy import insert, update

from erasure_core.files import pretty_json, write_text
from erasure_core.law import chain, clock, fold
from erasure_core.law.chain import stamp
from erasure_core.law.fold import CANDIDATE
from erasure_core.law.lineage import canonical_json, sha256_json
from erasure_core.law.requests import DeletionRequest
from erasure_core.law.statement import Signer, sign
from tasks.book import schema
from tasks.book.actor import acting
from tasks.book.door import faults_of_chain, open_book
from tasks.book.keys import Keys
from tasks.book.status import status
from tasks.book.store import Book, Transaction
from tasks.home import Home
from tasks.release.settle import ERRANDS, move_alias, statement_of
from tasks.requests.intake import add

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/book.json"
MODEL = "toy"  # this and the ids of its two requests are those of tests/toy.py
HONOURED, DUE = (UUID(f"00000000-0000-0000-0000-00000000000{last}") for last in "ca")
SIZES = (100, 1_000, 10_000, 100_000)
EVENTS, PER_VERSION = 10, 10  # events a request; requests a version
BATCH = 1_000  # requests a transaction
SPACE = UUID("00000000-0000-0000-0000-0000000b00c5")  # of the ids, the same in every run
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
# how a request goes on and how it ends, ten after one another
LIVES = (
    *[("duplicate", "honoured")] * 4,
    *[("waiting", "waiting")] * 2,
    ("waiting", "waiting"),
    *[("waiting", "withdrawn")] * 2,
    ("waiting", "refused"),
)
# what the tables show: key of a row, its heading
IN_PROCESS = {
    "request_add": "`request add`",
    "duplicate_add": "the same, of what many ask for",
    "status": "`status`",
    "trace": "`audit ID`",
    "plan": "planning",
    "alias": "move an alias",
    "mirror_alias": "and in MLflow",
    "verify": "verify chain and tables",
    "export": "export the chain",
}
PROCESSES = {
    "help_process": "`erasure --help`",
    "status_process": "`erasure status`",
    "add_process": "`erasure request add`",
    "trace_process": "`erasure audit ID`",
    "first_line": "first line of `erasure run`",
}


# --- a book of N requests
# ---------------------------------------------------------------------------------------------


def begin(folder: Path) -> Book:
    """A state folder whose version 1 honours one request, by a real run of the toy world."""
    from tests.toy import world

    inputs = world(folder)
    params = ("--params", inputs / "passing.yaml")
    _erasure(folder, "run", inputs / "cat.yaml", *params)
    _erasure(folder, "request", "add", inputs / "astronaut.yaml", *params)
    return open_book(Home(folder / "state"))


class Bulk:
    """The events and rows that the door's `Transaction` would write, sent to the database at once:
    a million events one by one would take half an hour. That they are the same is what
    `faults_of_chain` proves of each book that is measured.
    """

    def __init__(self, tx: Transaction) -> None:
        """Go on from where the book in `tx` ends."""
        self.tx, self.last, self.actor = tx, tx.head(), acting()
        self.version, self.candidate = tx.next_version(MODEL) - 1, tx.alias(MODEL, CANDIDATE)
        self.tables = fold.Tables()
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def append(self, event: str, **facts: object) -> None:
        """See `Transaction.append`."""
        given = {name: value for name, value in facts.items() if value is not None}
        sealed = chain.sealed(self.last, event, given, self.actor, chain.now())
        fold.apply(self.tables, sealed)
        row = {**asdict(sealed), "operation": self.tx.operation}
        row |= {name: canonical_json(row[name]) for name in ("actor", "facts")}
        self.rows["events"].append(row)
        about = fold.subjects(event, given)
        self.rows["subjects"] += ({"subject": s, "seq": sealed.seq} for s in about)
        self.last = sealed

    def keep_text(self, subject: str, body: str, label: str | None = None) -> str:
        """See `Transaction.keep_text`."""
        salt = secrets.token_hex(16)
        sha256 = hashlib.sha256(f"{salt}{body}".encode()).hexdigest()
        row = {"sha256": sha256, "subject": subject, "label": label, "salt": salt, "body": body}
        self.rows["texts"].append(row)
        return sha256

    def send(self) -> None:
        """Everything to the database; the new head is signed when the transaction ends."""
        for name in ("requests", "versions"):
            self.rows[name] = list(map(asdict, getattr(self.tables, name).values()))
        for name, rows in self.rows.items():
            self.tx.connection.execute(insert(schema.metadata.tables[name]), rows)
        aliases = schema.aliases.c
        mine = (aliases.model == MODEL, aliases.alias == CANDIDATE)
        self.tx.connection.execute(update(schema.aliases).where(*mine), {"version": self.candidate})
        self.tx.appended = self.last


def grow(book: Book, to: int) -> None:
    """Add requests and versions until the book holds `to` requests, the honoured one included."""
    numbers = iter(range(_requests(book), to))
    while batch := list(islice(numbers, BATCH)):
        book.change(lambda tx, batch=batch: _enter(tx, book.home, batch))  # type: ignore[misc]


def _requests(book: Book) -> int:
    return sum(book.ask(lambda reader: reader.counts()).values())


def _enter(tx: Transaction, home: Home, numbers: Sequence[int]) -> None:
    bulk, signer = Bulk(tx), Keys(home).current()
    for number in numbers:
        of_version = 3 if number % PER_VERSION == 0 else 0
        _live(bulk, number, EVENTS - of_version)
        if of_version:
            _decide(bulk, signer, number)
    bulk.send()


def _live(bulk: Bulk, number: int, events: int) -> None:
    """One request with its events: entered, some time on its way, ended."""
    on_its_way, end = LIVES[number % len(LIVES)]
    request_id = _enter_request(bulk, number, "cat" if end == "honoured" else f"person {number}")
    of = str(HONOURED) if end == "honoured" else None
    for state in [*[on_its_way] * (events - 2), end]:
        why = None if of else bulk.keep_text(request_id, f"prompts/targets/person-{number}.csv")
        version = 1 if state == "honoured" else None
        bulk.append(f"request.{state}", id=request_id, of=of, version=version, reason=why)


def request_of(number: int, name: str) -> DeletionRequest:
    """A request, one an hour since `BEGUN`."""
    concept = {"name": name, "kind": "object", "prompts": [f"a picture of the {name}"]}
    return DeletionRequest.model_validate(
        {
            "subject_request_id": uuid5(SPACE, f"{name} {number}"),
            "subject_request_type": "erasure",
            "submitted_time": BEGUN + timedelta(minutes=number),
            "regulation": "gdpr",
            "concept": {**concept, "replacement": "a photographer", "keep": ["a retina"]},
        }
    )


def _enter_request(bulk: Bulk, number: int, name: str) -> str:
    request = request_of(number, name)
    request_id, submitted = str(request.subject_request_id), request.submitted_time
    asked = bulk.keep_text(request_id, canonical_json(request.asked), request.concept.label)
    bulk.append(
        "request.added",
        id=request_id,
        model=MODEL,
        regulation=request.regulation,
        submitted=stamp(submitted),
        received=stamp(submitted),
        due=stamp(clock.due(clock.regulation(request.regulation), submitted)),
        asked=asked,
        recipe=bulk.keep_text(request_id, canonical_json(request.recipe)),
    )
    return request_id


def _decide(bulk: Bulk, signer: Signer, number: int) -> None:
    """A version that its gate refused, with its statement and with errands that are done."""
    bulk.version, sha256 = bulk.version + 1, sha256_json(number)
    names = {"model": MODEL, "version": bulk.version}
    hashes = dict.fromkeys(("plan", "base", "policy", "checkpoint", "delta", "record"), sha256)
    key = sha256[:16]
    bulk.append(
        "version.decided",
        **names,
        **hashes,
        verdict="fail",
        promoted=False,
        run_key=key,
        folder=key,
        requests=[str(HONOURED)],
    )
    bulk.append("alias.moved", **names, alias=CANDIDATE, before=bulk.candidate)
    bulk.candidate = bulk.version
    _state(bulk, signer)
    made = {
        "model": MODEL,
        "version": bulk.version,
        "made": stamp(BEGUN),
        "done": stamp(BEGUN),
        "tries": 0,
    }
    bulk.rows["outbox"] += (
        {**made, "key": f"{MODEL}/{bulk.version}/{kind}", "kind": kind} for kind in ERRANDS
    )


def _state(bulk: Bulk, signer: Signer) -> None:
    head, version = bulk.last, bulk.tables.versions[MODEL, bulk.version]
    assert head is not None
    envelope = sign(statement_of(version, head.seq, head.sha256), signer).decode()
    text = bulk.keep_text(f"{MODEL}/{version.version}", envelope)
    bulk.append("version.stated", model=MODEL, version=version.version, statement=text)


def copy_in_mlflow(home: Home, to: int) -> None:
    """Rows like those of version 1 in MLflow's own tables, up to version `to`."""
    with sqlite3.connect(home.root / "mlflow.db") as db:
        for table in ("model_versions", "model_version_tags"):
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            others = ", ".join(name for name in names if name != "version")
            last = db.execute(f"SELECT max(version) FROM {table}").fetchone()[0]
            db.execute(
                f"WITH RECURSIVE more(n) AS (VALUES(?) UNION ALL SELECT n+1 FROM more WHERE n < ?) "
                f"INSERT INTO {table} (version, {others}) SELECT more.n, {others} FROM {table}, "
                f"more WHERE version = 1 AND more.n <= ?",
                (last + 1, to, to),
            )


# --- measuring
# ---------------------------------------------------------------------------------------------


def best(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Wall and CPU seconds of `work`, the best of `repeats`, after one that does not count; what is
    done once is long enough to need none.
    """
    if repeats > 1:
        work()
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return _least(times)


def in_process(book: Book, folder: Path, repeats: int, mirrored: bool) -> dict[str, Any]:
    """Seconds of each question, in a process that has imported what it needs."""
    from tasks.registry.versions import mirror_aliases
    from tasks.release.mirrored import version_key
    from tasks.release.trace import trace_request
    from tasks.requests.plan import Inputs, plan_release

    inputs = Inputs.read(folder / "inputs/passing.yaml")
    versions = [1, book.ask(lambda reader: reader.next_version(MODEL)) - 1]
    astronaut = book.ask(lambda reader: reader.request(DUE))
    more, turns = count(_requests(book)), count()
    key = version_key(book, book.ask(lambda reader: reader.version(MODEL, 1)))  # of every row there

    def one_more() -> None:
        number = next(more)
        add(book, [request_of(number, f"somebody {number}")], MODEL)

    def one_more_of_many() -> None:
        add(book, [request_of(next(more), "cat")], MODEL)

    def other_alias() -> None:
        to = versions[next(turns) % 2]
        book.change(lambda tx: move_alias(tx, MODEL, CANDIDATE, to))

    def mirror() -> None:
        to = versions[next(turns) % 2]
        keys = {1: key, to: key}
        mirror_aliases(book.home, book.identity(), MODEL, {"candidate": to, "champion": 1}, keys)

    def whole() -> None:
        assert list(faults_of_chain(book)) == []

    work = {
        "request_add": one_more,
        "duplicate_add": one_more_of_many,
        "status": lambda: status(book),
        "trace": lambda: trace_request(book, HONOURED),
        "plan": lambda: plan_release(book, inputs, [astronaut]),
        "alias": other_alias,
        "mirror_alias": mirror if mirrored else None,
        "verify": whole,
        "export": lambda: book.ask(lambda reader: sum(len(e.line) for e in reader.events())),
    }
    once = ("verify", "export")
    return {k: run and best(run, 1 if k in once else repeats) for k, run in work.items()}


def processes(folder: Path, repeats: int) -> dict[str, Any]:
    """Seconds of whole processes, from their start."""
    passing = folder / "inputs/passing.yaml"
    again = ("request", "add", folder / "inputs/astronaut.yaml", "--params", passing)
    commands: dict[str, tuple[object, ...]] = {
        "help_process": ("--help",),
        "status_process": ("status",),
        "add_process": again,
        "trace_process": ("audit", HONOURED),
    }
    found = {k: _best_process(folder, c, repeats) for k, c in commands.items()}
    run = ("run", folder / "inputs/astronaut.yaml", "--params", passing)
    found["first_line"] = _least([_first_line(folder, run) for _ in range(repeats)])
    return found


def _best_process(folder: Path, command: Sequence[object], repeats: int) -> dict[str, float]:
    times = []
    for _ in range(repeats):
        before, began = os.times(), time.perf_counter()
        _erasure(folder, *command)
        wall, after = time.perf_counter() - began, os.times()
        cpu = after.children_user + after.children_system
        times.append((wall, cpu - before.children_user - before.children_system))
    return _least(times)


def _first_line(folder: Path, command: Sequence[object]) -> tuple[float, float]:
    """Until the first line on stderr; the process is stopped then."""
    began = time.perf_counter()
    with _started(folder, command, stderr=subprocess.PIPE) as child:
        assert child.stderr
        assert child.stderr.readline()
        wall, used = time.perf_counter() - began, psutil.Process(child.pid).cpu_times()
        child.kill()
    return wall, used.user + used.system


def _least(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    walls, cpus = zip(*times, strict=True)
    return {"wall": min(walls), "cpu": min(cpus), "median": statistics.median(walls)}


def _erasure(folder: Path, *command: object) -> None:
    with _started(folder, command, stderr=subprocess.PIPE) as child:
        _, said = child.communicate()
    if child.returncode:
        raise SystemExit(f"erasure {' '.join(map(str, command))}: {said.decode()}")


def _started(folder: Path, command: Sequence[object], **io: Any) -> "subprocess.Popen[bytes]":
    place = {"ERASURE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *map(str, command)],
        env={**os.environ, **place},
        stdout=subprocess.DEVNULL,
        **io,
    )


def measured(
    book: Book, folder: Path, size: int, repeats: int, mlflow_up_to: int
) -> dict[str, Any]:
    """One row: the book grown to `size` requests, and what its questions cost."""
    began = time.perf_counter()
    grow(book, size)
    grown = time.perf_counter() - began
    with book.read() as reader:
        head, versions = reader.head(), reader.next_version(MODEL) - 1
    assert head is not None
    mirrored = versions <= mlflow_up_to
    if mirrored:
        copy_in_mlflow(book.home, versions)
    return {
        "requests": size,
        "events": head.seq,
        "versions": versions,
        "mb": (book.home.root / "book.db").stat().st_size / 1e6,
        "grow": grown,
        "load": os.getloadavg()[0],
        **in_process(book, folder, repeats, mirrored),
        **processes(folder, repeats),
    }


# --- tables
# ---------------------------------------------------------------------------------------------


def tables(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The figures for people, as docs/operations.md shows them: milliseconds of wall clock and, in
    brackets, of CPU, which a busy machine does not stretch.
    """
    yield from _table("in a process that runs", IN_PROCESS, rows)
    yield ""
    yield from _table("a whole process", PROCESSES, rows)


def _table(title: str, keys: dict[str, str], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(f"{r['requests']:,}" for r in rows) + " |"
    yield "|---" * (len(rows) + 1) + "|"
    for key, name in keys.items():
        yield f"| {name} | " + " | ".join(_milliseconds(r[key]) for r in rows) + " |"


def _milliseconds(times: dict[str, float] | None) -> str:
    if times is None:
        return "not run"
    return f"{1000 * times['wall']:,.0f} ({1000 * times['cpu']:,.0f})"


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of requests, rising.")] = ",".join(
        map(str, SIZES)
    ),
    repeats: Annotated[int, typer.Option(min=1, help="The best of so many counts.")] = 5,
    mlflow_up_to: Annotated[int, typer.Option(help="Versions up to which MLflow's grow.")] = 10_000,
    folder: Annotated[
        Path | None, typer.Option(help="An empty folder to work in; default: one that is removed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    save: Annotated[Path | None, typer.Option(help="Folder to keep the figures in.")] = None,
) -> None:
    """Measure, print, and keep the figures where asked."""
    from benchmarks.closed_form import processor

    results: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "rows": []}
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or Path(scratch)
        Home(place / "state").prepare_environment()
        book = begin(place)
        for size in map(int, sizes.split(",")):
            results["rows"].append(measured(book, place, size, repeats, mlflow_up_to))
            typer.echo(json.dumps(results["rows"][-1]), err=True)
    typer.echo(pretty_json(results).rstrip() if as_json else "\n".join(tables(results["rows"])))
    if save:
        write_text(save / RESULTS.name, pretty_json(results))


if __name__ == "__main__":
    typer.run(main)
