"""A working folder where there is no checkout."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import DONE, app, reported
from flows.cli.options import out_folder
from flows.cli.show import show


@app.command()
@reported
def init(
    folder: Annotated[
        Path,
        typer.Argument(
            callback=out_folder, metavar="DIR", help="Folder to lay out; made if need be."
        ),
    ],
) -> int:
    """Make a working folder: parameters, prompt sets, example requests, the gallery's model, and
    what DVC needs to take it in. What is there already stays.
    """
    from tasks.workspace import lay_out

    written = lay_out(folder)
    show(f"{folder}: {len(written)} files written; now:")
    show(f"  cd {shlex.quote(str(folder))} && erasure run examples/requests/astronaut.yaml")
    return DONE
