"""What a run would stumble over, asked before it starts."""

from pathlib import Path
from typing import Annotated

import typer

from erasure_core.errors import BadInput
from flows.cli.common import DONE, Json, ParamsFile, inbox, reported, stdout_free
from flows.cli.show import show
from tasks.home import Home


@inbox.command("check")
@reported
def check_requests(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[REQUEST.yaml]...", help="Without any: all pending ones."),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Check all that a run of these requests needs, in seconds; nothing is trained or written. Exit
    0 ready, 2 not.
    """
    from erasure_core.law.requests import read_request
    from tasks.book.door import open_book

    with stdout_free():
        from tasks.requests.plan import Inputs, faults_before_run

        asked = [read_request(file) for file in files or ()]
        book = open_book(Home.from_env(), make=False)
        faults = faults_before_run(book, Inputs.read(params), asked if files else None)
    if as_json:
        found = [{"who": who, "what": what} for who, what in faults.items()]
        show({"ready": not faults, "faults": found})
    else:
        show("\n".join(f"{who}: {what}" for who, what in faults.items()) or "ready")
    return BadInput.exit_code if faults else DONE
