"""The command that writes a request, and everything it is measured on, from a name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Kind
from flows.cli.common import DONE, Json, ParamsFile, inbox, reported, stdout_free
from flows.cli.options import (
    BadRows,
    Base,
    PromptColumn,
    TooLong,
    kind_named,
    out_folder,
    rows_and_length,
    said,
)
from flows.cli.printed import PARAMS, on
from flows.cli.show import hint, show
from tasks.home import Home

if TYPE_CHECKING:
    from tasks.book.store import Entry
    from tasks.requests.look import Look
    from tasks.requests.new import Draft


@inbox.command("new")
@reported
def new_request(
    name: Annotated[str, typer.Argument(help="What is to be erased, as prompts name it.")],
    kind: Annotated[
        Kind,
        typer.Option(
            parser=kind_named,
            metavar=f"<{'|'.join(get_args(Kind))}>",
            help="Kind of thing, by which it is measured: a likeness is of a person.",
        ),
    ],
    instead: Annotated[
        str, typer.Option(help="What should appear instead, with its article: 'a cup of tea'.")
    ],
    also: Annotated[
        list[str] | None,
        typer.Option(help="Another name of it, which goes too; again for another."),
    ] = None,
    law: Annotated[
        str,
        typer.Option(callback=said, help="Law that it rests on: gdpr, ccpa, ..., or own words."),
    ] = "own policy",
    prompts: Annotated[
        Path | None,
        typer.Option(help="Prompt file to report on, instead of the one that is written."),
    ] = None,
    prompt_column: PromptColumn = None,
    bad_rows: BadRows = "refuse",
    too_long: TooLong = "refuse",
    out: Annotated[
        Path,
        typer.Option(
            callback=out_folder,
            help="Folder of the request; its prompt sets go where the parameters say.",
        ),
    ] = Path("requests"),
    params: ParamsFile = PARAMS,
    base: Base = None,
    as_json: Json = False,
) -> int:
    """Write a request for one concept, with the prompts to train on and the sets to measure it on,
    after a look at what the base draws. A second time changes the recipe, not the clock.
    """
    how = (prompt_column, *rows_and_length(bad_rows, too_long))
    if prompts is None and how != (None, "refuse", "refuse"):
        raise BadInput(
            "--prompt-column, --bad-rows and --too-long say how a file is read; name it with "
            "--prompts, or leave them out"
        )
    hint(f"reading the base, and drawing a few pictures of {name!r}")
    with stdout_free():
        from erasure_core.network.images import save_png
        from tasks.book.door import open_book
        from tasks.requests.look import durations, look, sheet
        from tasks.requests.new import NewRequest, draft
        from tasks.requests.plan import Inputs

        home, settings = Home.from_env(), Inputs.read(params, base).params
        asked = NewRequest(name, kind, instead, tuple(also or ()), law, prompts, *how)
        book = open_book(home, make=False)
        made = draft(asked, settings, book, out)
        found = look(made, settings)
        made.write()
        picture = made.file.with_suffix(".png")
        save_png(sheet(found.seen), picture)
        times = durations(made, settings, found.seconds_a_picture)
        asked_before = book.ask(lambda reader: reader.find_request(made.request.subject_request_id))
    facts = _facts(made, found, times, picture, params, base, asked_before)
    show(facts if as_json else "\n".join(_lines(facts)))
    return DONE


def _facts(
    made: "Draft",
    found: "Look",
    times: dict[str, str],
    picture: Path,
    params: Path,
    base: str | None = None,
    known: "Entry | None" = None,
) -> dict[str, Any]:
    import shlex
    from datetime import UTC, datetime

    from erasure_core.law.clock import days_left, due, regulation, unknown

    request = made.request
    if known:  # its period may have been extended
        until = datetime.fromisoformat(known.row.due)
    else:
        until = due(regulation(request.regulation), request.submitted_time)
    default = made.file.parent == Path("requests")
    named = made.concept.name if default else str(made.file)
    words = shlex.join([named, *(("--base", base) if base else ())])
    return {
        "subject_request_id": str(request.subject_request_id),
        "request": str(made.file),
        "sets": {str(path): len(rows) for path, rows in made.sets.items()},
        "supplied": made.supplied,
        "said": list(made.said),
        "wordings": len(made.concept.prompts),
        "keep": len(made.concept.keep),
        "neighbours": list(made.neighbours),
        "pictures": str(picture),
        "seen": {seen.phrase: seen.said() for seen in found.seen},
        "pairs": [list(pair) for pair in made.pairs()],
        "seconds_a_picture": round(found.seconds_a_picture, 2),
        "durations": times,
        "due": f"{until:%Y-%m-%d}",
        "days_left": days_left(until, datetime.now(UTC)),
        "ended": made.ended,
        "warnings": [*filter(None, [unknown(request.regulation)]), *made.spelled, *found.warnings],
        "next": [on(params, f"erasure {do} {words}") for do in ("request check", "run")],
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    from erasure_core.law.clock import in_words

    wide = max(map(len, facts["durations"]))
    pairs = max(len(before) for before, _ in facts["pairs"])
    supplied = [
        f"          {facts['supplied']} of them supplied: by a name of --also that none of your "
        f"prompts has, or with something beside it (column `also`), which none has and the policy "
        f"limits"
    ][: facts["supplied"]]
    return [
        f"request   {facts['request']}  {facts['subject_request_id']}",
        *[f"          {facts['ended']}"][: bool(facts["ended"])],
        f"          {facts['wordings']} wordings to train on, {facts['keep']} prompts to keep",
        *(f"set       {path}  {n} rows" for path, n in facts["sets"].items()),
        *supplied,
        *(f"prompts   {line}" for line in facts["said"]),
        f"pictures  {facts['pictures']}  of the base; a few, and no evidence:",
        *(f"  {phrase}: {said}" for phrase, said in facts["seen"].items()),
        f"nearest   {', '.join(facts['neighbours'])}",
        "trained on, and what each becomes:",
        *(f"  {before:<{pairs}}  ->  {after}" for before, after in facts["pairs"]),
        f"how long, at the {facts['seconds_a_picture']} s a picture just measured (erasing: as it "
        f"was measured on the gallery, with one thread):",
        *(f"  {method:<{wide}}  {how}" for method, how in facts["durations"].items()),
        f"due       {facts['due']}, {in_words(facts['days_left'])}",
        *(f"warning   {warning}" for warning in facts["warnings"]),
        *(f"next      {command}" for command in facts["next"]),
    ]
