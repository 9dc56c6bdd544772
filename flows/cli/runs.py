"""Commands that make a release."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from erasure_core.errors import BadInput
from flows.cli.common import (
    DONE,
    REFUSED,
    Json,
    ParamsFile,
    app,
    reported,
    stdout_free,
    uuid_or_none,
)
from flows.cli.server import prefect_server
from flows.cli.show import announce, because, released, show, show_release
from tasks.home import Home
from tasks.registry.reach import reachable


@app.command()
@reported
def run(
    requests: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[REQUEST.yaml]...", help="Without any: all pending ones."),
    ] = None,
    params: ParamsFile = Path("params.yaml"),
    base: Annotated[
        str | None,
        typer.Option(help="Folder, or hub id as owner/name@revision, instead of the parameters'."),
    ] = None,
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
    as_json: Json = False,
) -> int:
    """Honour deletion requests: erase, measure, gate, register, promote or refuse. Exit 0 promoted,
    3 refused.
    """
    home, files = Home.from_env(), requests or []
    names = ", ".join(map(str, files)) or "what is pending in the inbox"
    announce(f"honouring {names}", home)
    from erasure_core.law.requests import Ledger, read_request
    from erasure_core.planning.params import read_params

    ledger = Ledger(home.requests)
    if fresh and not files:
        raise BadInput(
            "--fresh does named requests again; name their files, pending ones were never done"
        )
    wanted = [read_request(file) for file in files] or [
        record.request for record in ledger.pending()
    ]
    ledger.check(wanted)
    read_params(params).with_method(method)  # before a server is started for nothing
    if not wanted:
        show({**released(None, home), "request_id": None} if as_json else "nothing pending")
        return DONE
    reachable(home.tracking_uri)
    began, first = datetime.now(UTC), str(wanted[0].subject_request_id)
    with stdout_free():
        from flows.erase import answer, erase_concepts, honour_pending

        known = answer(files, params, base, method) if files and not fresh else None
        if known is None:
            with prefect_server(home):
                records = (
                    [erase_concepts(files, params, base, fresh, method)]
                    if files
                    else honour_pending(params, base, method)
                )
        else:
            records = [known]
    best = next((r for r in reversed(records) if r["promoted"]), records[-1] if records else None)
    settled = [ledger.get(request.subject_request_id) for request in wanted]
    if as_json:
        show({**released(best, home), "request_id": first})
    else:
        for record in records:
            show_release(record, home, answered=datetime.fromisoformat(record["created"]) < began)
        if not files:
            for r in settled:
                show(
                    f"{r.request.subject_request_id}  {r.request.concept.name}: {r.state}"
                    + because(r.version, r.reason)
                )
    promoted = best["promoted"] if best and files else all(r.state == "honoured" for r in settled)
    return DONE if promoted else REFUSED


@app.command()
@reported
def restore(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger and the audit log.")],
    params: ParamsFile = Path("params.yaml"),
    method: Annotated[
        str | None,
        typer.Option(help="How to erase what stays erased, instead of the champion's method."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Take an honoured request back: release without its erasure, its pictures must return. Exit 0
    promoted, 3 refused.
    """
    home, wanted = Home.from_env(), uuid_or_none(request_id)
    announce(f"taking request {request_id} back", home)
    from erasure_core.planning.params import read_params
    from tasks.requests.intake import to_restore

    if wanted is None:
        raise BadInput(
            f"{request_id!r} is not a subject_request_id (a UUID); `erasure status` lists them"
        )
    if not reason.strip():
        raise BadInput("--reason is empty; say why the erasure is taken back")
    to_restore(wanted, home)
    read_params(params).with_method(method)
    reachable(home.tracking_uri)
    with stdout_free():
        from flows.erase import restore_concept

        with prefect_server(home):
            record = restore_concept(wanted, reason.strip(), params, method)
    if as_json:
        show({**released(record, home), "request_id": str(wanted)})
    else:
        show_release(record, home, answered=False)
    return DONE if record["promoted"] else REFUSED
