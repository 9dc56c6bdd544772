"""Commands that make a release."""

from collections.abc import Callable
from dataclasses import dataclass
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
from flows.cli.options import Base, Changed, Lambdas, Method, changes_of, said
from flows.cli.printed import RepeatedCommand
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

Outcomes = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `erasure run` is told beside the names of requests."""

    params: Path
    base: str | None
    method: str | None
    fresh: bool
    compare: bool
    trial: bool
    seed: int | None
    lambdas: str | None
    changed: tuple[str, ...]  # of --set
    no_wait: bool
    by: str | None
    as_json: bool

    @property
    def changes(self) -> list[str]:
        """What the command says in place of the parameters, as `key=value`."""
        named = [] if self.seed is None else [f"seed={self.seed}"]
        return [*named, *changes_of(self.lambdas, self.changed)]

    def inputs(self) -> "Inputs":
        """The parameters as this command changes them."""
        from tasks.requests.plan import Inputs

        return Inputs.read(self.params, self.base, self.method, self.compare, self.changes)

    def command(self, named: list[str]) -> RepeatedCommand:
        """What makes a run this one, as its command says it."""
        valued = {
            "--base": self.base,
            "--method": self.method,
            "--seed": self.seed,
            "--lambdas": self.lambdas,
        }
        options = [
            *((n,) for n, on in {"--trial": self.trial, "--compare": self.compare}.items() if on),
            *((name, str(value)) for name, value in valued.items() if value is not None),
            *(("--set", change) for change in self.changed),
        ]
        return RepeatedCommand(self.params, tuple(named), tuple(options))


@app.command()
@reported
def run(
    requests: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|REQUEST.yaml]...",
            help="Requests to honour, by concept, id or file; without any, all that are due.",
        ),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    base: Base = None,
    method: Method = None,
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
            help="Seed of all that the erasure draws at random, instead of the parameters'; the "
            "same one gives the same weights."
        ),
    ] = None,
    lambdas: Lambdas = None,
    changed: Changed = None,
    no_wait: NoWait = False,
    by: By = None,
    as_json: Json = False,
) -> int:
    """Honour deletion requests: erase, measure, gate, register, promote or refuse. Exit 0 promoted,
    3 refused.
    """
    options = RunOptions(
        *(params, base, method, fresh, compare, trial, seed, lambdas),
        *(tuple(changed or ()), no_wait, by, as_json),
    )
    home, named = Home.from_env(), requests or []
    if trial:
        _check_trial_options(options)
        return _try(home, named, options)
    from tasks.book.door import open_book, require_book

    if not named:
        require_book(home)  # what is due is in a book
    announce(f"honouring {', '.join(named) or 'what is due'}", home)
    book = book_of(home, params, no_wait)
    from tasks.requests.advice import advice

    if not named:
        _check_options_of_due(options)
    inputs = options.inputs()
    files, asked = _read(book, named, inputs)
    for note in advice(asked):
        hint(f"note: {note}")
    if not files and _nothing_asked(book, inputs, options):
        return DONE
    wanted = [str(r.subject_request_id) for r in asked] or [e.row.id for e in _due(book, inputs)]
    outcomes, code = _known_or_released(book, inputs, files, asked, options)
    book, how = open_book(home, make=False), options.command(named)
    return _answer(book, how, outcomes, code, wanted, bool(files), as_json)


def _check_trial_options(options: RunOptions) -> None:
    of_release = {"--fresh": options.fresh, "--no-wait": options.no_wait, "--by": options.by}
    for option, given in of_release.items():
        if given:
            raise BadInput(f"{option} is of a release; a trial is none, leave one of them out")


def _check_options_of_due(options: RunOptions) -> None:
    """Refuse options that only named requests have."""
    if options.changes:
        raise BadInput("--seed, --lambdas and --set are for named requests; name them")
    if options.fresh:
        raise BadInput("--fresh does named requests again; name them")
    if options.compare:
        raise BadInput("--compare reports beside named requests; name them")


def _nothing_asked(book: "Book", inputs: "Inputs", options: RunOptions) -> bool:
    """Whether nothing is due; then an earlier run's errands are done, and it is said."""
    from tasks.requests.plan import again_due

    if _due(book, inputs):
        return False
    if again_due(book, inputs):
        hint("note: nobody asks for anything; what is honoured is measured whole again")
        return False
    behind = _errands(book, inputs, options.no_wait)
    if options.as_json:
        how = options.command([])
        show({**released(None, book.home, how), "request_id": None, "behind": behind})
    else:
        show(_idle(book, inputs))
    return True


def _known_or_released(
    book: "Book",
    inputs: "Inputs",
    files: "list[Path | UUID]",
    asked: "list[DeletionRequest]",
    options: RunOptions,
) -> tuple[Outcomes, int]:
    """What an earlier run answered to the same, or what a new one comes to; and the exit code."""
    from tasks.book.actor import acting_as
    from tasks.requests.plan import known_answer

    with stdout_free(), acting_as(options.by):
        known = None if options.fresh or not files else known_answer(book, inputs, asked)
        if known is None:
            return _flow(book.home, lambda flow: _started(flow, files, options))
        known["behind"] = _errands(book, inputs, options.no_wait)
        return [known], DONE if known["promoted"] else REFUSED


def _started(flow: Any, files: "list[Path | UUID]", options: RunOptions) -> Outcomes:
    params, base, method = options.params, options.base, options.method
    wait = not options.no_wait
    if not files:
        return list(flow.honour_pending(params, base, method, wait))
    how = options.fresh, method, wait, options.compare, options.changes
    return list(flow.erase_concepts(files, params, base, *how))


def _try(home: Home, named: list[str], options: RunOptions) -> int:
    """Show what a run would come to. Exit 0 if it would be promoted, 3 if not."""
    if not named:
        raise BadInput("--trial tries named requests; name them")
    announce(f"trying {', '.join(named)}; nothing is registered", home)
    from tasks.book.door import open_book

    inputs, book = options.inputs(), open_book(home, make=False)
    files, _ = _read(book, named, inputs)
    given = options.params, options.base, options.method, options.compare, options.changes
    with stdout_free(), prefect_server(home):
        from flows import erase

        found = erase.try_concepts(files, *given)
    how = options.command(named)
    show(tried(found, how) if options.as_json else "\n".join(trial_lines(found, how)))
    return DONE if found["gate"]["verdict"] == "pass" else REFUSED


@app.command()
@reported
def restore(
    request: Annotated[
        str,
        typer.Argument(
            metavar="NAME|ID", help="Request to take back: its concept's name, or its id."
        ),
    ],
    reason: Annotated[str, typer.Option(callback=said, help="Why; it is kept with the request.")],
    params: ParamsFile = Path("params.yaml"),
    base: Base = None,
    method: Annotated[
        str | None,
        typer.Option(help="Method of erasing what stays erased, instead of the champion's."),
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
    how = RepeatedCommand(params, (request,), options)
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
    to: Annotated[int, typer.Option(min=1, help="Version to serve again.")],
    reason: Annotated[str, typer.Option(callback=said, help="Why; it is kept with the event.")],
    accept_breach: Annotated[
        list[str] | None,
        typer.Option(
            help="Request (name or id) that the version lacks, and that will be open again; give "
            "it again for another."
        ),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    no_wait: NoWait = False,
    by: By = None,
    as_json: Json = False,
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
    if as_json:
        facts = {"champion": to, "moved": moved, "breached": breached, "behind": behind}
        show({"model": model, **facts})
    else:
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
        except erase.NotPromoted as refused:
            return refused.outcomes, refused.exit_code
        except NeedsApproval as needed:
            if not needed.outcomes:
                raise
            return needed.outcomes, needed.exit_code


def _answer(
    book: "Book",
    how: RepeatedCommand,
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
