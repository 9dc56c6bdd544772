"""Commands that make a release."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from erasure_core.errors import BadInput
from flows.cli.common import (
    DONE,
    REFUSED,
    By,
    Json,
    NoWait,
    ParamsFile,
    app,
    book_of,
    reported,
    stdout_free,
)
from flows.cli.options import all_said, said
from flows.cli.printed import Asked
from flows.cli.server import prefect_server
from flows.cli.show import (
    announce,
    complain,
    hint,
    released,
    show,
    show_release,
    trial_lines,
    tried,
)
from tasks.home import Home

if TYPE_CHECKING:
    from erasure_core.law.requests import DeletionRequest
    from tasks.book.store import Book, Entry
    from tasks.requests.plan import Inputs

Base = Annotated[
    str | None,
    typer.Option(
        help=(
            "Folder, checkpoint in one .safetensors file, or hub id as owner/name@commit, "
            "instead of the parameters'."
        )
    ),
]
Outcomes = list[dict[str, Any]]


@app.command()
@reported
def run(
    requests: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME|REQUEST.yaml]...", help="Without any: all that are due."),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    base: Base = None,
    method: Annotated[
        str | None,
        typer.Option(help="How to erase, instead of the parameters' or the requests' method."),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Do everything again, even if the same run was answered before."
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Train the parameters' `comparisons` too, for the report; takes as much longer.",
        ),
    ] = False,
    trial: Annotated[
        bool,
        typer.Option(
            "--trial",
            help="Only try: erase, measure, gate and report, in a folder of its own. Nothing is "
            "registered, no request is touched.",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of all that the erasure draws at random, instead of the parameters': the same "
            "one gives the same weights."
        ),
    ] = None,
    lambdas: Annotated[
        str | None,
        typer.Option(
            help="One candidate for each, instead of the parameters'; commas between them. A "
            "higher lambda holds on to more, and may erase less."
        ),
    ] = None,
    changed: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            callback=all_said,
            help="A value in place of the parameters', as method.updates=100; again for another.",
        ),
    ] = None,
    no_wait: NoWait = False,
    by: By = None,
    as_json: Json = False,
) -> int:
    """Honour deletion requests: erase, measure, gate, register, promote or refuse. Exit 0 promoted,
    3 refused.
    """
    home, named = Home.from_env(), requests or []
    changes = _changes(seed, lambdas, changed or [])
    how = _asked(params, named, base, method, compare, trial, seed, lambdas, changed or [])
    if trial:
        for option, given in {"--fresh": fresh, "--no-wait": no_wait, "--by": by}.items():
            if given:
                raise BadInput(f"{option} is of a release; a trial is none, leave one of them out")
        return _try(home, named, how, base, method, compare, changes, as_json)
    from tasks.book.door import open_book, require_book

    if not named:
        require_book(home)  # what is due is in a book
    announce(f"honouring {', '.join(named) or 'what is due'}", home)
    book = book_of(home, params, no_wait)
    from tasks.book.actor import acting_as
    from tasks.requests.advice import advice
    from tasks.requests.plan import Inputs, again_due, known_answer

    if changes and not named:
        raise BadInput("--seed, --lambdas and --set are for named requests; name them")
    if fresh and not named:
        raise BadInput("--fresh does named requests again; name them")
    if compare and not named:
        raise BadInput("--compare reports beside named requests; name them")
    inputs = Inputs.read(params, base, method, compare, changes)
    files, asked = _read(book, named, inputs)
    for note in advice(asked):
        hint(f"note: {note}")
    idle = not files and not _due(book, inputs)
    if idle and again_due(book, inputs):
        hint("note: nobody asks for anything; what is honoured is measured whole again")
    elif idle:
        behind = _errands(book, inputs, no_wait)
        show(
            {**released(None, home, how), "request_id": None, "behind": behind}
            if as_json
            else _idle(book, inputs)
        )
        return DONE
    wanted = [str(r.subject_request_id) for r in asked] or [e.row.id for e in _due(book, inputs)]
    with stdout_free(), acting_as(by):
        known = None if fresh or not files else known_answer(book, inputs, asked)
        if known is not None:
            known["behind"] = _errands(book, inputs, no_wait)
            outcomes, code = [known], DONE if known["promoted"] else REFUSED
        else:
            outcomes, code = _flow(
                home,
                lambda flow: _started(
                    flow, files, params, base, fresh, method, not no_wait, compare, changes
                ),
            )
    return _answer(open_book(home, make=False), how, outcomes, code, wanted, bool(files), as_json)


def _started(
    flow: Any,
    files: "list[Path | UUID]",
    params: Path,
    base: str | None,
    fresh: bool,
    method: str | None,
    wait: bool,
    compare: bool,
    changes: list[str],
) -> Outcomes:
    if files:
        return list(flow.erase_concepts(files, params, base, fresh, method, wait, compare, changes))
    return list(flow.honour_pending(params, base, method, wait))


def _changes(seed: int | None, lambdas: str | None, changed: list[str]) -> list[str]:
    """What the command says in place of the parameters, as `key=value`."""
    named = [] if seed is None else [f"seed={seed}"]
    if lambdas is not None:
        named.append(f"lambdas=[{lambdas}]")
    return [*named, *changed]


def _asked(
    params: Path,
    named: list[str],
    base: str | None,
    method: str | None,
    compare: bool,
    trial: bool,
    seed: int | None,
    lambdas: str | None,
    changed: list[str],
) -> Asked:
    """What makes a run this one, as its command says it."""
    valued = {"--base": base, "--method": method, "--seed": seed, "--lambdas": lambdas}
    options = [
        *((name,) for name, on in {"--trial": trial, "--compare": compare}.items() if on),
        *((name, str(value)) for name, value in valued.items() if value is not None),
        *(("--set", change) for change in changed),
    ]
    return Asked(params, tuple(named), tuple(options))


def _try(
    home: Home,
    named: list[str],
    how: Asked,
    base: str | None,
    method: str | None,
    compare: bool,
    changes: list[str],
    as_json: bool,
) -> int:
    """Show what a run would come to. Exit 0 if it would be promoted, 3 if not."""
    if not named:
        raise BadInput("--trial tries named requests; name them")
    announce(f"trying {', '.join(named)}; nothing is registered", home)
    from tasks.book.door import open_book
    from tasks.requests.plan import Inputs

    params = how.params
    inputs, book = Inputs.read(params, base, method, compare, changes), open_book(home, make=False)
    files, _ = _read(book, named, inputs)
    with stdout_free(), prefect_server(home):
        from flows import erase

        found = erase.try_concepts(files, params, base, method, compare, changes)
    show(tried(found, how) if as_json else "\n".join(trial_lines(found, how)))
    return DONE if found["gate"]["verdict"] == "pass" else REFUSED


@app.command()
@reported
def restore(
    request: Annotated[str, typer.Argument(metavar="NAME|ID")],
    reason: Annotated[str, typer.Option(callback=said, help="Why; it is kept with the request.")],
    params: ParamsFile = Path("params.yaml"),
    base: Base = None,
    method: Annotated[
        str | None,
        typer.Option(help="How to erase what stays erased, instead of the champion's method."),
    ] = None,
    no_wait: NoWait = False,
    by: By = None,
    as_json: Json = False,
) -> int:
    """Take an honoured request back: release without its erasure, its pictures must return. Exit 0
    promoted, 3 refused.
    """
    home = Home.from_env()
    announce(f"taking request {request} back", home)
    book = book_of(home, params, no_wait)
    from tasks.book.actor import acting_as
    from tasks.requests.named import request_id_of
    from tasks.requests.plan import Inputs, check_restorable, known_restoring

    valued = {"--reason": reason, "--base": base, "--method": method}
    options = tuple((name, value) for name, value in valued.items() if value)
    how = Asked(params, (request,), options)
    inputs = Inputs.read(params, base, method)
    wanted = request_id_of(book, request, inputs.model)
    if (known := known_restoring(book, inputs, wanted)) is not None:
        outcomes, code = [{**known, "behind": _errands(book, inputs, no_wait)}], DONE
        return _answer(book, how, outcomes, code, [str(wanted)], True, as_json)
    check_restorable(book, inputs, wanted)
    with stdout_free(), acting_as(by):
        outcomes, code = _flow(
            home,
            lambda flow: list(
                flow.restore_concept(wanted, reason, params, base, method, not no_wait)
            ),
        )
    return _answer(book, how, outcomes, code, [str(wanted)], True, as_json)


@app.command()
@reported
def rollback(
    to: Annotated[int, typer.Option(min=1, help="The version that is to be served again.")],
    reason: Annotated[str, typer.Option(callback=said, help="Why; it is kept with the event.")],
    accept_breach: Annotated[
        list[str] | None,
        typer.Option(help="A request (name or id) it lacks: open again, and said to be."),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    no_wait: NoWait = False,
    by: By = None,
) -> int:
    """Serve an earlier version again. One that lacks something honoured is refused. No run serves
    what was left by it again, unless --fresh or with another recipe or parameters.
    """
    from erasure_core.planning.params import read_params
    from tasks.book.actor import acting_as

    book, model = book_of(Home.from_env(), params, no_wait), read_params(params).registered_model
    from tasks.release.errands import run_errands
    from tasks.release.rollback import roll_back
    from tasks.requests.named import request_id_of

    breached = [str(request_id_of(book, text, model)) for text in accept_breach or ()]
    with acting_as(by), stdout_free():
        moved = roll_back(book, model, to, reason, breached, wait=not no_wait)
        behind = run_errands(book, model, wait=not no_wait)
    show(f"{model}: champion is version {to} " + ("again" if moved else "already"))
    for line in behind:
        complain(f"behind: {line}")
    return DONE


def _read(
    book: "Book", named: list[str], inputs: "Inputs"
) -> "tuple[list[Path | UUID], list[DeletionRequest]]":
    """Where the named requests are, and what they ask; `BadInput` if the book would refuse one."""
    from tasks.requests.intake import check
    from tasks.requests.named import read_source, requests_of
    from tasks.requests.plan import check_changes

    files = requests_of(book, named, inputs.model)
    asked = [read_source(book, source) for source in files]
    check(book, asked, inputs.model)
    check_changes(inputs, asked)
    return files, asked


def _due(book: "Book", inputs: "Inputs") -> list["Entry"]:
    from tasks.requests.intake import workable

    return book.ask(lambda reader: workable(reader, inputs.model))


def _idle(book: "Book", inputs: "Inputs") -> str:
    """Nothing pending, and for which other models there is something."""
    from erasure_core.law.life import WORKABLE

    def others(reader: Any) -> dict[str, int]:
        counts = {m: reader.counts(m) for m in reader.models() if m != inputs.model}
        return {m: sum(c.get(s, 0) for s in WORKABLE) for m, c in counts.items()}

    due = {model: n for model, n in book.ask(others).items() if n}
    also = "; ".join(f"{n} request(s) of {model} are due" for model, n in due.items())
    return "nothing pending" + (
        f" for {inputs.model} ({also}: give its parameters)" if also else ""
    )


def _errands(book: "Book", inputs: "Inputs", no_wait: bool) -> list[str]:
    """What an earlier run left to do outside."""
    if not book.ask(lambda reader: reader.waiting_outside(inputs.model)):
        return []
    from tasks.release.errands import run_errands

    with stdout_free():
        return run_errands(book, inputs.model, wait=not no_wait)


def _flow(home: Home, start: Callable[[Any], Outcomes]) -> tuple[Outcomes, int]:
    """Run a flow on its server; what it came to, and the exit code."""
    with prefect_server(home):
        from flows import erase
        from tasks.requests.plan import NeedsApproval

        try:
            return start(erase), DONE
        except (erase.NotPromoted, NeedsApproval) as refused:
            if not refused.outcomes:
                raise
            return refused.outcomes, refused.exit_code


def _answer(
    book: "Book",
    how: Asked,
    outcomes: Outcomes,
    code: int,
    wanted: list[str],
    named: bool,
    as_json: bool,
) -> int:
    """Show what came of it. Exit 0 only if every request that was meant is settled as wanted."""
    from erasure_core.law.life import WORKABLE
    from tasks.requests.intake import described

    entries = [book.ask(lambda r, i=i: r.request(i)) for i in wanted]  # type: ignore[misc]
    best = next(
        (o for o in reversed(outcomes) if o["promoted"]), outcomes[-1] if outcomes else None
    )
    behind = outcomes[-1]["behind"] if outcomes else []
    if as_json:
        show(
            {
                **released(best, book.home, how),
                "request_id": next(iter(wanted), None),
                "behind": behind,
            }
        )
    else:
        for outcome in outcomes:
            show_release(outcome, book.home, how)
        if not named or any(e.row.state in WORKABLE for e in entries):
            for entry in entries:
                show(described(entry))
    for line in [*(outcomes[-1]["failed"] if outcomes else []), *(f"behind: {b}" for b in behind)]:
        complain(line)
    unsettled = any(entry.row.state in WORKABLE for entry in entries)
    return code if code != DONE else REFUSED if unsettled else DONE
