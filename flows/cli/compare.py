"""The command that puts methods beside one another."""

from pathlib import Path
from typing import Annotated

import typer

from erasure_core.law.gates import Tier
from flows.cli.common import DONE, Json, ParamsFile, app, reported, stdout_free
from flows.cli.options import out_folder
from flows.cli.show import announce, hint, show
from tasks.home import Home

MOST = 1000  # seeds or trials; each is a training, and more would outlast any machine


@app.command()
@reported
def compare(
    requests: Annotated[
        list[str],
        typer.Option(
            metavar="NAME|REQUEST.yaml",
            help="A request: its concept's name, its id or its file; again, or with commas, for "
            "another.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            callback=out_folder,
            help="Folder for tables, page and cells; what is there is not done again.",
        ),
    ],
    methods: Annotated[
        str | None, typer.Option(help="Methods, with commas between them; default: all.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST,
            help="Trainings of each form; more show how far they spread, and take longer.",
        ),
    ] = 3,
    tier: Annotated[
        Tier,
        typer.Option(help="Which attacks are made, by which budget; a higher one tries more."),
    ] = "smoke",
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST,
            help="Settings that each method is tuned over; more find better ones, or lucky ones.",
        ),
    ] = 4,
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """Compare methods, each as published and as tuned, on requests, over seeds: every metric,
    attacks, cost. Registers nothing, touches no request.
    """
    home = Home.from_env()
    announce(f"comparing on {', '.join(requests)}, in {out}", home)
    from erasure_core.methods import METHODS
    from erasure_core.planning.model_name import registered_model
    from tasks.book.door import open_book
    from tasks.requests.named import parted, read_named

    book, model = open_book(home, make=False), registered_model(params)
    asked = read_named(book, parted(book, requests, model), model)
    names = [name.strip() for name in methods.split(",")] if methods else sorted(METHODS)
    with stdout_free():
        from erasure_core.planning.params import read_params
        from tasks.comparing.compare import compare as compared
        from tasks.comparing.publish import publish_comparison
        from tasks.requests.base_file import with_folder

        found = compared(
            asked,
            names,
            with_folder(read_params(params), home),
            out.absolute(),
            seeds=seeds,
            tier=tier,
            trials=trials,
            say=hint,
        )
        written = publish_comparison(found, out.absolute(), book)
    if as_json:
        show({name: str(file) for name, file in written.items()})
    else:
        show(written["markdown"].read_text())
        show("\n".join(f"{name:<16} {file}" for name, file in written.items()))
    return DONE
