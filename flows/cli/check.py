"""What a run would stumble over, asked before it starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from erasure_core.errors import BadInput
from flows.cli.common import DONE, Json, ParamsFile, inbox, reported, stdout_free
from flows.cli.options import Base, Changed, Lambdas, Method, changes_of
from flows.cli.show import show
from tasks.home import Home

if TYPE_CHECKING:
    from tasks.book.store import Book


@inbox.command("check")
@reported
def check_requests(
    requests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|REQUEST.yaml]...",
            help="Requests to look at, by concept, id or file; without any, all that are pending.",
        ),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    base: Base = None,
    method: Method = None,
    lambdas: Lambdas = None,
    changed: Changed = None,
    as_json: Json = False,
) -> int:
    """Check all that a run of these requests needs, with the same options, in seconds; nothing is
    trained or written. Exit 0 ready, 2 not.
    """
    changes = changes_of(lambdas, changed)
    if changes and not requests:
        raise BadInput("--lambdas and --set are for named requests; name them")
    from tasks.book.door import known_book, open_book

    with stdout_free():
        from tasks.requests.advice import advice
        from tasks.requests.named import read_source, requests_of
        from tasks.requests.plan import Inputs, check_changes, faults_before_run

        home = Home.from_env()
        book = open_book(home, make=False) if requests else known_book(home)
        inputs = Inputs.read(params, base, method, changes=changes)
        sources = requests_of(book, requests or (), inputs.model)
        asked = [read_source(book, source) for source in sources]
        check_changes(inputs, asked)
        faults = faults_before_run(book, inputs, asked if requests else None)
        notes = list(advice(asked))
        found = [{"who": who, "what": what, **_clock(book, who)} for who, what in faults.items()]
    if as_json:
        show({"ready": not faults, "faults": found, "notes": notes})
    else:
        show("\n".join(map(_said, found)) or "ready")
        for note in notes:
            show(f"note: {note}")
    return BadInput.exit_code if faults else DONE


def _clock(book: "Book", who: str) -> dict[str, Any]:
    """Until when a request is to be answered, if it is one that the book has."""
    from tasks.book.status import left_of

    entry = book.ask(lambda reader: reader.find_request(who))
    row = entry.row if entry else None
    return {"due": row and row.due, "days_left": row and left_of(row)}


def _said(fault: Mapping[str, Any]) -> str:
    from erasure_core.law.clock import until

    clock = fault["due"] and until(fault["due"], fault["days_left"])
    return "; ".join(filter(None, (f"{fault['who']}: {fault['what']}", clock)))
