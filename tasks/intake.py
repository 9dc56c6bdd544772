"""Take deletion requests in: into the ledger, and into the audit log once each."""

from collections.abc import Sequence
from pathlib import Path

from prefect import task

from erasure_core.audit import AuditLog
from erasure_core.requests import Ledger, RequestRecord, read_request
from tasks.home import Home
from tasks.placement import IO

ADDED = "request.added"


@task(name="accept requests", **IO)
def accept_requests(paths: Sequence[Path], home: Home) -> list[RequestRecord]:
    """Put the requests of `paths` into the ledger, all or none; what is already there is returned as it stands.

    Raises:
        BadInput: A file is not a valid request, or re-uses an id with other content; the ledger is unchanged.
    """
    requests = [read_request(path) for path in paths]
    ledger, log = Ledger(home.requests), AuditLog(home.audit_log)
    with ledger.lock:  # held over both, so that two processes cannot both log the same request
        records = ledger.add_all(requests)
        logged = {entry.facts["subject_request_id"] for entry in log.entries() if entry.event == ADDED}
        for record in records:
            request = record.request
            if str(request.subject_request_id) not in logged:  # also after a crash between ledger and log
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
