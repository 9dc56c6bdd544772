"""Commands that read what was recorded."""

from pathlib import Path
from typing import Annotated

import typer

from erasure_core.errors import BadInput
from erasure_core.text import whole_number
from flows.cli.common import (
    DONE,
    FAILED,
    Json,
    ParamsFile,
    app,
    reported,
    stdout_free,
    uuid_or_none,
)
from flows.cli.options import LARGEST
from flows.cli.show import because, complain, labelled, or_none, show, show_trace
from tasks.home import Home


@app.command()
@reported
def methods(as_json: Json = False) -> int:
    """The methods of erasing: paper, cost, what each changes, how it is taken back."""
    with stdout_free():
        from tasks.release.cite import methods as known

        found = known()
    if as_json:
        show({"methods": found})
    else:
        show(
            "\n\n".join(
                "\n".join(
                    [
                        m["method"],
                        *labelled({k: m[k] for k in ("paper", "changes", "cost", "restore")}),
                    ]
                )
                for m in found
            )
        )
    return DONE


@app.command()
@reported
def cite(
    model: Annotated[int, typer.Option(min=1, max=LARGEST, help="A registered version's number.")],
    params: ParamsFile = Path("params.yaml"),
    as_json: Json = False,
) -> int:
    """The papers that a version rests on: of the method that made it and of the measurements that
    judged it.
    """
    from erasure_core.planning.params import read_params

    name = read_params(params).registered_model
    with stdout_free():
        from tasks.release.cite import papers
        from tasks.release.release import record_of

        found = papers(record_of(Home.from_env(), name, model))
    if as_json:
        show({"model": name, "version": model, "papers": found})
    else:
        show("\n".join(f"{p['used']}: {p['paper']}" for p in found))
    return DONE


@app.command()
@reported
def status(as_json: Json = False) -> int:
    """Requests by state, versions with verdict and aliases, and where state lives."""
    with stdout_free():
        from tasks.book.status import status as current

        now = current(Home.from_env())
    if as_json:
        show(now)
        return DONE
    show(f"state     {now['home']}\nregistry  {now['tracking_uri']}\ndvc       {now['dvc_remote']}")
    for state, requests in now["requests"].items():
        show(f"{state}: {len(requests) or 'none'}")
        for request in requests:
            show(
                f"  {request['subject_request_id']}  {request['concept']}"
                + because(request["version"], request["reason"])
            )
    for found in now["models"]:
        show(
            f"{found['name']}: champion {or_none(found['champion'])}, candidate "
            f"{or_none(found['candidate'])}"
        )
        for version in found["versions"]:
            aliases = f"  [{', '.join(version['aliases'])}]" if version["aliases"] else ""
            show(
                f"  version {version['version']}  {version['verdict']}  "
                f"{version['created'][:19]}{aliases}"
            )
    return DONE


@app.command()
@reported
def audit(
    what: Annotated[str, typer.Argument(metavar="VERSION|REQUEST_ID")],
    name: Annotated[
        str | None, typer.Option(help="Registered model, where several have that version.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Where a version came from, or what became of a request, as recorded; and whether it still
    holds (exit 1 if not).
    """
    version = whole_number(what)
    asked = uuid_or_none(what) if version is None else version
    if asked is None:
        raise BadInput(
            f"{what!r} is neither a version's number nor a subject_request_id (a UUID); "
            f"`erasure status` lists both"
        )
    with stdout_free():
        from tasks.book.trace import trace_request, trace_version

        home = Home.from_env()
        found = (
            trace_version(home, asked, name)
            if isinstance(asked, int)
            else trace_request(home, asked)
        )
    if as_json:
        show(found)
    else:
        show_trace(found)
    for finding in found["findings"]:
        complain(finding)
    return DONE if found["intact"] else FAILED
