"""The inbox."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import DONE, inbox, reported
from flows.cli.show import because, show
from tasks.home import Home


@inbox.command("add")
@reported
def add_request(file: Annotated[Path, typer.Argument(metavar="REQUEST.yaml")]) -> int:
    """Put a request into the inbox; a second time changes nothing. `erasure run` honours what is
    pending.
    """
    from tasks.requests.intake import accept_requests

    (record,) = accept_requests.fn([file], Home.from_env())
    show(
        f"{record.request.subject_request_id}  {record.request.concept.name}: {record.state}"
        + because(record.version, record.reason)
    )
    return DONE


@inbox.command("list")
@reported
def list_requests() -> int:
    """Every request and what became of it, oldest first."""
    from erasure_core.law.requests import Ledger

    for record in Ledger(Home.from_env().requests).all():
        show(
            f"{record.request.subject_request_id}  {record.request.concept.name}: {record.state}"
            + because(record.version, record.reason)
        )
    return DONE
