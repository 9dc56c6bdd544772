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
    with stdout_free():
        from erasure_core.planning.params import read_params
        from tasks.requests import intake
        from tasks.requests.preflight import preflight

        home = Home.from_env()
        wanted = intake.read_requests(files, home) if files else intake.pending_requests(home)
        erased = [*intake.honoured_requests(home, wanted), *wanted]
        back = intake.restored_requests(home, erased)
        faults = preflight(read_params(params), erased, home, gpu_needed=True, restored=back)
    if as_json:
        found = [{"who": fault.who, "what": fault.what} for fault in faults]
        show({"ready": not faults, "faults": found})
    else:
        show("\n".join(f"{fault.who}: {fault.what}" for fault in faults) or "ready")
    return BadInput.exit_code if faults else DONE
