"""Requests, and what people decide about them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from erasure_core.errors import BadInput
from flows.cli.common import DONE, FAILED, By, Json, ParamsFile, app, inbox, reported
from flows.cli.options import said
from flows.cli.show import complain, notice_lines, show, while_read
from tasks.home import Home

if TYPE_CHECKING:
    from flows.cli.show_due import Due
    from tasks.book.store import Book, Entry

Named = Annotated[
    str, typer.Argument(metavar="NAME|ID", help="A request: its concept's name, or its id.")
]
Reason = Annotated[str, typer.Option(callback=said, help="Why; it is kept with the request.")]


@inbox.command("add")
@reported
def add_request(
    requests: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|REQUEST.yaml...",
            help="Requests to take in: their concepts' names, or their files.",
        ),
    ],
    params: ParamsFile = Path("params.yaml"),
    by: By = None,
) -> int:
    """Put requests into the book, all or none; a second time changes nothing, a corrected recipe is
    taken. `erasure run` honours what is due.
    """
    from erasure_core.law.clock import unknown
    from erasure_core.planning.model_name import registered_model
    from tasks.requests.intake import add, check
    from tasks.requests.named import read_named

    model = registered_model(params)

    def work(book: "Book") -> "list[Entry]":
        asked = read_named(book, requests, model)
        check(book, asked, model)
        for why in dict.fromkeys(filter(None, (unknown(one.regulation) for one in asked))):
            show(f"note: {why}")  # before they are entered: the law of a request never changes
        return add(book, asked, model)

    _change(work, by)
    return DONE


@inbox.command("list")
@reported
def list_requests(as_json: Json = False) -> int:
    """Every request and what became of it, oldest first."""
    from tasks.book.status import shown
    from tasks.requests.intake import described

    entries = _book().ask(lambda reader: reader.requests())
    if as_json:
        show({"requests": [shown(entry) for entry in entries]})
    else:
        for entry in entries:
            show(described(entry))
    return DONE


@inbox.command("show")
@reported
def show_request(request: Named, as_json: Json = False) -> int:
    """One request: what was asked, its clock, and its history; exit 1 if these were edited."""
    from tasks.release.audit import audit_histories
    from tasks.release.trace import shown_request
    from tasks.requests.named import request_id_of

    book = _book()
    request_id = request_id_of(book, request)
    entry = book.ask(lambda reader: reader.request(request_id))
    facts = shown_request(book, entry)
    findings = list(audit_histories(book, [entry.row.id]))
    if as_json:
        show({**facts, "findings": findings})
    else:
        _show_facts(facts)
    for finding in findings:
        complain(finding)
    return FAILED if findings else DONE


def _show_facts(facts: Mapping[str, Any]) -> None:
    show(facts["said"])
    for key in ("model", "kind", "regulation", "submitted_time", "received_time", "due"):
        show(f"  {key:<16} {facts[key]}")
    for line in notice_lines(facts):
        show(line)
    for step in facts["history"]:
        who = step["actor"].get("by") or f"{step['actor']['user']}@{step['actor']['host']}"
        because = f"  ({step['reason']})" if step["reason"] else ""
        show(f"  {step['time']}  {step['state'].replace('_', ' ')}  by {who}{because}")


@inbox.command("approve")
@reported
def approve_plan(
    request: Named,
    plan: Annotated[
        str | None,
        typer.Option(
            callback=said,
            help="Plan to approve: its hash, or how that begins; default: the newest.",
        ),
    ] = None,
    by: By = None,
) -> int:
    """Approve the plan that was proposed for a request; another plan needs it again."""
    from tasks.book.actor import acting_as
    from tasks.requests.named import request_id_of
    from tasks.requests.steps import approve, proposed_for

    book = _book()
    with acting_as(by):
        proposed = proposed_for(book, request_id_of(book, request), plan)
        proposal = approve(book, proposed, by)
    show(f"plan {proposal.plan[:16]} is approved by {', '.join(proposal.approved_by)}")
    return DONE


@inbox.command("refuse")
@reported
def refuse_request(
    request: Named,
    code: Annotated[str, typer.Option(help="Reason code, such as gdpr-17-3-a.")],
    reason: Annotated[
        str | None, typer.Option(callback=said, help="Why, in words; it is kept with the request.")
    ] = None,
    by: By = None,
) -> int:
    """End a request without honouring it, on a ground that its law gives."""
    from tasks.requests.steps import refuse

    _decide(request, lambda book, request_id: refuse(book, request_id, code, reason), by)
    return DONE


@inbox.command("withdraw")
@reported
def withdraw_request(request: Named, reason: Reason, by: By = None) -> int:
    """End a request that its person no longer makes. One that others are honoured with stands for
    them still.
    """
    from tasks.requests.steps import after_withdrawal, withdraw

    entry = _decide(request, lambda book, request_id: withdraw(book, request_id, reason), by)
    for line in _book().ask(lambda reader: after_withdrawal(reader, entry)):
        show(f"note: {line}")
    return DONE


@inbox.command("hold")
@reported
def hold_request(request: Named, reason: Reason, by: By = None) -> int:
    """Let no run take a request up (legal hold), until `retry`. Its clock runs on."""
    from tasks.requests.steps import hold

    _decide(request, lambda book, request_id: hold(book, request_id, reason), by)
    return DONE


@inbox.command("extend")
@reported
def extend_request(request: Named, reason: Reason, by: By = None) -> int:
    """Use the extension that the request's law allows; says what its person must be told."""
    from tasks.release.trace import shown_request
    from tasks.requests.steps import extend

    entry = _decide(request, lambda book, request_id: extend(book, request_id, reason), by)
    for line in notice_lines(shown_request(_book(), entry)):
        show(line)
    return DONE


@inbox.command("retry")
@reported
def retry_request(
    request: Named,
    reason: Annotated[
        str | None, typer.Option(callback=said, help="Why; it is kept with the request.")
    ] = None,
    by: By = None,
) -> int:
    """Let the next run take a request up again: after a failed attempt, a hold, a refusal."""
    from tasks.requests.steps import retry

    _decide(request, lambda book, request_id: retry(book, request_id, reason), by)
    return DONE


@app.command()
@reported
def due(
    prom: Annotated[
        bool, typer.Option("--prom", help="Print what Prometheus reads, without names.")
    ] = False,
    as_json: Json = False,
) -> int:
    """What is due, and until when. Exit 1 if anything is late, or the requests were edited."""
    if prom and as_json:
        raise BadInput("--prom and --json are two forms; leave one of them out")
    from erasure_core.law.life import OPEN
    from flows.cli.show_due import due_table, overdue, prometheus
    from tasks.book.door import faults_of_requests
    from tasks.book.status import shown

    book = _book()
    edited = list(faults_of_requests(book))  # what was made to look settled is not among the open
    for fault in edited:
        complain(fault)
    entries = book.ask(lambda reader: reader.requests(states=sorted(OPEN)))
    rows, now = [_due(entry) for entry in entries], datetime.now(UTC)
    if prom:
        with while_read():
            print(prometheus(rows, now), end="", flush=True)
    elif as_json:
        show({"due": [shown(entry) for entry in entries], "late": len(overdue(rows, now))})
    else:
        show("\n".join(due_table(rows, now)) if rows else "nothing is due")
    return FAILED if edited or overdue(rows, now) else DONE


def _due(entry: "Entry") -> "Due":
    from flows.cli.show_due import Due

    row = entry.row
    return Due(
        request_id=row.id,
        model=row.model,
        concept=None if row.purged else entry.concept,
        regulation=entry.regulation,
        state=row.state,
        received=datetime.fromisoformat(row.received),
        due=datetime.fromisoformat(row.due),
        extended=row.extended > 0,
    )


def _book() -> "Book":
    from tasks.book.door import known_book

    return known_book(Home.from_env())


def _change(step: Callable[["Book"], "list[Entry]"], by: str | None) -> "list[Entry]":
    """Take one step with requests, and show and return what they are now."""
    from tasks.book.actor import acting_as
    from tasks.book.door import open_book
    from tasks.requests.intake import described

    with acting_as(by):
        entries = step(open_book(Home.from_env()))
    for entry in entries:
        show(described(entry))
    return entries


def _decide(request: str, step: Callable[["Book", UUID], "Entry"], by: str | None) -> "Entry":
    """Take one step with the request that is named, and show and return what it is now."""
    from tasks.book.door import require_book
    from tasks.requests.named import request_id_of

    require_book(Home.from_env())  # a decision begins no book
    (entry,) = _change(lambda book: [step(book, request_id_of(book, request))], by)
    return entry
