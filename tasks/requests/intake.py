"""Take deletion requests in, and plan the run that answers them. Nothing is written before every
input was checked.
"""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE

from erasure_core.errors import BadInput
from erasure_core.law.audit import AuditLog
from erasure_core.law.prompts import read_prompt_set
from erasure_core.law.requests import DeletionRequest, Ledger, RequestRecord, read_request
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.plan import Plan, checked_base, make_plan
from tasks.home import Home
from tasks.placement import IO

ADDED = "request.added"


def read_requests(paths: Sequence[Path], home: Home) -> list[DeletionRequest]:
    """Read request files, and refuse what the ledger would refuse.

    Raises:
        BadInput: A file is not a valid request, re-uses an id with other content, or was restored
            since.
    """
    requests, ledger = [read_request(path) for path in paths], Ledger(home.requests)
    ledger.check(requests)
    back = {record.request.subject_request_id for record in ledger.restored()}
    if found := [str(r.subject_request_id) for r in requests if r.subject_request_id in back]:
        raise BadInput(
            f"request {', '.join(found)} was restored; to erase its concept again, give "
            f"a new request a new subject_request_id"
        )
    return requests


def to_restore(request_id: UUID, home: Home) -> tuple[DeletionRequest, list[DeletionRequest]]:
    """The request to take back, and the honoured ones that stay.

    Raises:
        BadInput: It is unknown, not honoured, or the only one.
    """
    ledger = Ledger(home.requests)
    record = ledger.get(request_id)
    if record.state != "honoured":
        raise BadInput(
            f"request {request_id} is {record.state}; only an honoured request can be restored"
        )
    left = honoured_requests(home, [record.request])
    if not left:
        raise BadInput(
            f"request {request_id} is the only one that is honoured; without it the "
            f"model is the base itself: serve that"
        )
    return record.request, left


def honoured_requests(home: Home, beside: Sequence[DeletionRequest]) -> list[DeletionRequest]:
    """Every request that a promoted version honours, except those in `beside`."""
    ids = {request.subject_request_id for request in beside}
    return [
        r.request
        for r in Ledger(home.requests).honoured()
        if r.request.subject_request_id not in ids
    ]


def restored_requests(
    home: Home, erased: Sequence[DeletionRequest], also: Sequence[DeletionRequest] = ()
) -> list[DeletionRequest]:
    """What was restored before, and `also`, but for concepts that are erased again."""
    names = {request.concept.name for request in erased}
    back = [*(record.request for record in Ledger(home.requests).restored()), *also]
    return [request for request in back if request.concept.name not in names]


def pending_requests(home: Home) -> list[DeletionRequest]:
    """The inbox, oldest first."""
    return [record.request for record in Ledger(home.requests).pending()]


@task(name="check what every run needs", cache_policy=NO_CACHE)
def check_setup(params_file: Path, base: str | None, method: str | None) -> None:
    """Check parameters, method, base and kept prompts: what is wrong there is no fault of any
    request, and must not refuse one.

    Raises:
        BadInput: For the first that is not acceptable.
    """
    params = _with_base(read_params(params_file), base).with_method(method)
    checked_base(params.base)
    read_prompt_set(params.prompts.kept)


def _with_base(params: Params, base: str | None) -> Params:
    """`params` with another base, given as a folder or as hub id and revision:
    `owner/name@revision`.
    """
    if base is None:
        return params
    path, _, revision = (base, "", "") if Path(base).is_dir() else base.partition("@")
    other = params.base.model_copy(
        update={"path": path, "revision": revision or None, "sha256": None}
    )
    return params.model_copy(update={"base": other})


@task(name="plan run", cache_policy=NO_CACHE)
def plan_run(
    requests: Sequence[DeletionRequest],
    params_file: Path,
    home: Home,
    base: str | None = None,
    method: str | None = None,
    restoring: Sequence[DeletionRequest] = (),
) -> Plan:
    """Check every input of a run and fix its plan; `base` and `method` replace what the parameters
    name.

    What was restored before, or is now being restored, is part of the plan: its pictures must be
    there again.

    Raises:
        BadInput: For any input with which the run could not be finished.
    """
    if not requests:
        raise BadInput(
            "no request to honour; name a request file, or add one to the inbox with "
            "`erasure request add FILE`"
        )
    params = _with_base(read_params(params_file), base)
    back = restored_requests(home, requests, restoring)
    return make_plan(requests, params, home.runs, method, back)


@task(name="accept requests", **IO)
def accept_requests(paths: Sequence[Path], home: Home) -> list[RequestRecord]:
    """Put the requests of `paths` into the ledger, all or none; what is already there is returned
    as it stands.

    Raises:
        BadInput: A file is not a valid request, or re-uses an id with other content; the ledger is
            unchanged.
    """
    requests = [read_request(path) for path in paths]
    ledger, log = Ledger(home.requests), AuditLog(home.audit_log)
    with ledger.lock:  # held over both, so that two processes cannot both log the same request
        records = ledger.add_all(requests)
        logged = {
            entry.facts["subject_request_id"] for entry in log.entries() if entry.event == ADDED
        }
        for record in records:
            request = record.request
            if str(request.subject_request_id) not in logged:
                # also after a crash between ledger and log
                log.append(
                    ADDED,
                    subject_request_id=request.subject_request_id,
                    request_sha256=record.sha256,
                    concept=request.concept.name,
                    kind=request.concept.kind,
                    regulation=request.regulation,
                    submitted_time=request.submitted_time,
                )
                logged.add(str(request.subject_request_id))
    return records
