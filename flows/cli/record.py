"""Commands that read what was recorded."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erasure_core.errors import BadInput
from flows.cli.common import (
    DONE,
    FAILED,
    By,
    Json,
    NoWait,
    ParamsFile,
    app,
    look_at_lease,
    reported,
    stdout_free,
)
from flows.cli.options import printable, said
from flows.cli.show import (
    complain,
    hint,
    labelled,
    show,
    show_status,
    show_trace,
    version_line,
    while_read,
)
from tasks.home import Home

if TYPE_CHECKING:
    from tasks.book.store import Book


@app.command()
@reported
def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Method to show with its settings; without any, all."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """The methods of erasing: paper, cost, what each changes, how it is taken back, and whether
    its change can be a LoRA; of one also its settings.
    """
    with stdout_free():
        from tasks.release.cite import methods as known
        from tasks.release.cite import settings

        of_one = settings(name) if name is not None else []
        found = [method for method in known() if name in (None, method["method"])]
    if as_json:
        one: dict[str, Any] = {"settings": of_one} if name is not None else {}
        show({"methods": [{**method, **one} for method in found]})
    else:
        show(
            "\n\n".join(
                "\n".join(
                    [
                        m["method"],
                        *labelled(
                            {k: m[k] for k in ("paper", "changes", "cost", "restore", "lora")}
                        ),
                    ]
                )
                for m in found
            )
        )
        for each in of_one:
            show("\n".join(labelled({f"{each['setting']} = {each['default']}": each["text"]})))
    return DONE


@app.command()
@reported
def cite(
    model: Annotated[
        str,
        typer.Option(
            callback=printable,
            help="Version to cite: candidate, champion or a version's number.",
        ),
    ],
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """The papers that a version rests on: of the method that made it and of the measurements that
    judged it.
    """
    from erasure_core.planning.params import read_params

    name = read_params(params).registered_model
    with stdout_free():
        from tasks.book.door import open_book
        from tasks.release.cite import papers
        from tasks.release.record import record_of
        from tasks.release.resolve import version_named

        book = open_book(Home.from_env(), make=False)
        version = version_named(book, model, name)
        found = papers(record_of(book.home, version))
    if as_json:
        show({"model": name, "version": version.version, "papers": found})
    else:
        show("\n".join(f"{p['used']}: {p['paper']}" for p in found))
    return DONE


@app.command()
@reported
def status(as_json: Json = False) -> int:
    """Requests by state, versions with verdict and aliases, what is behind, where state lives."""
    from tasks.book.door import open_book, without_book
    from tasks.book.status import status as current

    home = Home.from_env()
    book = open_book(home, make=False)
    now = current(book)
    if missing := without_book(book):
        hint(f"note: {missing}")
    if as_json:
        show(now)
    else:
        show_status(now)
    return DONE


@app.command()
@reported
def versions(params: ParamsFile = Path("params.yaml"), as_json: Json = False) -> int:
    """Every version of the registered model: verdict, aliases, what it erases."""
    from erasure_core.planning.model_name import registered_model
    from tasks.book.door import known_book
    from tasks.book.status import shown_version

    model, book = registered_model(params), known_book(Home.from_env())
    aliases = book.ask(lambda reader: reader.aliases(model))
    rows = [shown_version(v, aliases) for v in book.ask(lambda reader: reader.versions(model))]
    if as_json:
        show({"model": model, "versions": rows})
    else:
        show("\n".join(map(version_line, rows)) or f"{model} has no version yet")
    return DONE


@app.command()
@reported
def audit(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION|REQUEST_ID|CONCEPT|export]",
            help="What to trace, candidate and champion too; without any, everything is compared. "
            "export: the chain as JSON lines.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(callback=said, help="Registered model, where several have that version."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Prove that the book is whole and everything outside its mirror, or trace one version, request
    or concept, and say whether it still holds (exit 1 if not).
    """
    from erasure_core.law.fold import ALIASES
    from erasure_core.text import whole_number
    from tasks.book.door import known_book

    of_version = what in ALIASES or (what is not None and whole_number(what) is not None)
    if name is not None and not of_version:
        raise BadInput("--name says whose version a number is; leave it out, or name a version")
    book = known_book(Home.from_env())
    if what == "export":
        # line by line: a long chain does not fit into memory
        with while_read(), book.read() as reader:
            for event in reader.events():  # what is hashed is UTF-8, whatever a terminal reads
                sys.stdout.buffer.write(f"{event.line}\n".encode())
            sys.stdout.flush()
        return DONE
    with stdout_free():
        at_work = _at_work(book)  # before: it may end meanwhile
        found = _everything(book) if what is None else _traced(book, what, name)
    for line in at_work if found["findings"] else ():
        hint(f"note: {line}: what has not followed yet may be on its way")
    if as_json:
        show(found)
    elif what is not None:
        show_trace(found)
    elif found["intact"]:
        show(f"{found['events']} events: chain, tables, files, MLflow, DVC and signatures agree")
    for finding in found["findings"]:
        complain(finding)
    return DONE if found["intact"] else FAILED


def _at_work(book: "Book") -> list[str]:
    """Who releases a model, or lets the world outside follow, at this moment."""
    from tasks.book.lease import alive, named
    from tasks.release.errands import OUTSIDE

    leases = book.ask(lambda reader: [reader.lease(n) for n in (*reader.models(), OUTSIDE)])
    return [named(lease) for lease in leases if lease is not None and alive(lease)]


def _everything(book: "Book") -> dict[str, Any]:
    from tasks.release.audit import audit as disagreements

    findings = list(dict.fromkeys(disagreements(book)))
    head = book.ask(lambda reader: reader.head())
    events = head.seq if head else 0
    return {"events": events, "intact": not findings, "findings": findings}


def _traced(book: "Book", what: str, name: str | None) -> dict[str, Any]:
    from erasure_core.law.fold import ALIASES
    from erasure_core.text import whole_number
    from tasks.release.trace import trace_alias, trace_concept, trace_request, trace_version
    from tasks.requests.named import called, uuid_or_none

    if (request_id := uuid_or_none(what)) is not None:
        return trace_request(book, request_id)
    if (version := whole_number(what)) is not None:
        return trace_version(book, version, name)
    if what in ALIASES and not called(book, what):  # it could be somebody's name
        return trace_alias(book, what, name)
    return trace_concept(book, what)


@app.command()
@reported
def reconcile(
    tables: Annotated[
        bool,
        typer.Option("--tables", help="Write the book's tables anew from its chain, first."),
    ] = False,
    as_json: Json = False,
) -> int:
    """Finish what is left to do outside the book, and put back what was changed there."""
    from tasks.book.door import known_book

    book = known_book(Home.from_env())
    with stdout_free():
        from tasks.release.reconcile import reconcile as put_right

        left = put_right(book, tables=tables)
    for line in left:
        complain(line)
    if as_json:
        show({"left": left})
    elif not left:
        show("MLflow, DVC, reports and released folders are what the book says")
    return FAILED if left else DONE


@app.command()
@reported
def purge(
    params: ParamsFile = Path("params.yaml"),
    no_wait: NoWait = False,
    by: By = None,
    as_json: Json = False,
) -> int:
    """Remove names, pictures and weights that the parameters' retention no longer keeps. Exit 1
    with what could not be removed.
    """
    from tasks.book.door import known_book

    book = known_book(Home.from_env())
    look_at_lease(book, params, no_wait)
    with stdout_free():
        from erasure_core.planning.params import read_params
        from tasks.book.actor import acting_as
        from tasks.release.purge import NotAllPurged
        from tasks.release.purge import purge as let_go

        settings = read_params(params)
        left: Sequence[str] = ()
        try:
            with acting_as(by):
                model, kept = settings.registered_model, settings.retention
                removed = let_go(book, model, kept, wait=not no_wait)
        except NotAllPurged as fault:
            removed, left = list(fault.removed), fault.left
    for line in left:
        complain(line)
    if as_json:
        show({"model": model, "purged": removed, "left": list(left)})
    elif removed or not left:
        said = "\n".join(f"purged {line}" for line in removed)
        show(said or "nothing is old enough to be purged")
    return FAILED if left else DONE


@app.command()
@reported
def verify(
    path: Annotated[
        Path, typer.Argument(metavar="FILE|FOLDER", help="File or folder to find in the book.")
    ],
    as_json: Json = False,
) -> int:
    """Which version a file or folder is, by its content and signatures. Exit 1 if it is none."""
    from tasks.book.door import known_book

    with stdout_free():
        from tasks.release.verify import verify as known

        found = known(known_book(Home.from_env()), path)
    version = found.version
    facts = {
        "path": str(path),
        "sha256": found.sha256,
        "what": found.what,
        "model": version.model,
        "version": version.version,
        "verdict": version.verdict,
        "champion": found.served,
        "request_ids": list(version.requests),
    }
    if as_json:
        show(facts)
    else:
        served = "the champion" if found.served else "not the champion"
        show(f"{path}: {version.model} version {version.version}, {found.what}")
        show(f"  verdict {version.verdict}, {served}, erases {len(version.requests)} request(s)")
    return DONE
