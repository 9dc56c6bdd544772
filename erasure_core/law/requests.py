"""Deletion requests: what a valid one is, and the ledger that remembers each and
what became of it.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal
from uuid import UUID

from filelock import FileLock
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from erasure_core.errors import BadInput, ErasureError
from erasure_core.files import pretty_json, read_yaml, write_text
from erasure_core.law.concepts import Concept
from erasure_core.law.lineage import sha256_json
from erasure_core.text import one_line

State = Literal["pending", "honoured", "refused", "restored"]
# an honoured request stays honoured by the version that honours it; a later refusal concerns the
# later candidate
NEXT: dict[State, tuple[State, ...]] = {
    "pending": ("honoured", "refused"),
    "refused": ("pending", "honoured", "refused"),
    "honoured": ("honoured", "restored"),
    "restored": ("restored",),  # to erase the concept again takes a new request
}
LOCK_SECONDS = 60


RECORDED = {"recorded": True}  # context with which what was accepted before is read back
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)  # no law on the deletion of data is older
AHEAD = timedelta(days=1)  # how far a clock or a time zone may be wrong


def _written_as_time(value: Any) -> Any:
    """A number, quoted or not, would be read as seconds since 1970."""
    known = not isinstance(value, str) or re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:", value, re.ASCII)
    if isinstance(value, int | float) or not known:
        raise ValueError("expected an RFC 3339 time such as 2026-11-22T10:00:00Z")
    return value


def _possible(time: datetime, info: ValidationInfo) -> datetime:
    latest = datetime.now(UTC) + AHEAD
    if info.context != RECORDED and not EARLIEST <= time <= latest:
        raise ValueError(
            f"a request is submitted between {EARLIEST:%Y-%m-%d} and {latest:%Y-%m-%d}, "
            f"the day after it is read; correct the time"
        )
    return time.astimezone(UTC)


UtcTime = Annotated[AwareDatetime, BeforeValidator(_written_as_time), AfterValidator(_possible)]


def known_methods() -> list[str]:
    """The methods by name, without importing them: they need torch, which a request does not."""
    spec = find_spec("erasure_core.methods")
    folders = spec.submodule_search_locations if spec else None
    return sorted(module.name for module in iter_modules(folders))


def _known(method: str, info: ValidationInfo) -> str:
    if info.context != RECORDED and method not in known_methods():
        raise ValueError(f"it is not a method; choose {', '.join(known_methods())}")
    return method


class DeletionRequest(BaseModel):
    """One data subject's request to erase one concept, in the field names of
    privacy-request tools.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    subject_request_id: UUID
    subject_request_type: Literal["erasure"]
    submitted_time: UtcTime
    regulation: Annotated[str, AfterValidator(one_line)] = Field(
        min_length=1, max_length=200, description="the law it rests on: gdpr, ccpa, ..."
    )
    concept: Concept
    method: Annotated[str, AfterValidator(_known)] | None = Field(
        None, description="how to erase it; None: as the parameters say"
    )

    @property
    def sha256(self) -> str:
        """Hash of the content; the same instant written in another time zone is the
        same content.
        """
        return sha256_json(self.model_dump(mode="json", exclude_none=True))


def read_request(path: Path) -> DeletionRequest:
    """Read one request file. `BadInput` names the file and every faulty key."""
    return read_yaml(path, DeletionRequest)


class Transition(BaseModel):
    """One step in a request's life."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    time: AwareDatetime
    state: State
    version: int | None = None
    reason: str | None = None


class RequestRecord(BaseModel):
    """A request and what became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    request: DeletionRequest
    sha256: str
    state: State
    version: int | None = None  # the registered model version that honours or was refused for it
    reason: str | None = None
    history: tuple[Transition, ...]


class Ledger:
    """One JSON file a request in `folder`. Any number of processes may use it: changes happen under
    `lock`, which is re-entrant.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock = FileLock(
            folder / ".lock", timeout=LOCK_SECONDS
        )  # makes the folder; reading an empty ledger makes nothing

    def add(self, request: DeletionRequest) -> RequestRecord:
        """Remember `request`; a request that is already known is returned as it stands."""
        return self.add_all([request])[0]

    def add_all(self, requests: Sequence[DeletionRequest]) -> list[RequestRecord]:
        """Remember every request, or none.

        Raises:
            BadInput: An id is already in the ledger, or earlier in `requests`, with other content.
        """
        with self.lock:
            records = self._matched(requests)
            for record in records.values():
                if not self._file(record.request.subject_request_id).exists():
                    self._write(record)
            return [records[request.subject_request_id] for request in requests]

    def check(self, requests: Sequence[DeletionRequest]) -> None:
        """Raise what `add_all` would raise; change nothing."""
        self._matched(requests)

    def _matched(self, requests: Sequence[DeletionRequest]) -> dict[UUID, RequestRecord]:
        """The record of each request, by id: the ledger's own, or a new one that is not written
        yet.
        """
        records: dict[UUID, RequestRecord] = {}
        for request in requests:
            known = records.get(request.subject_request_id) or self._find(
                request.subject_request_id
            )
            if known is None:
                first = Transition(time=datetime.now(UTC), state="pending")
                known = RequestRecord(
                    request=request, sha256=request.sha256, state="pending", history=(first,)
                )
            elif known.sha256 != request.sha256:
                raise BadInput(
                    f"request {request.subject_request_id} is already known with other content "
                    f"(sha256 {known.sha256[:16]}..., found {request.sha256[:16]}...): "
                    f"{_difference(known.request, request)}; "
                    "give a changed request a new subject_request_id"
                )
            records[request.subject_request_id] = known
        return records

    def get(self, request_id: UUID) -> RequestRecord:
        """The record of one request. `BadInput` if the ledger does not hold it."""
        record = self._find(request_id)
        if record is None:
            raise BadInput(
                f"request {request_id} is not among the {len(self.all())} of "
                f"{self.folder}; add its file first"
            )
        return record

    def all(self) -> list[RequestRecord]:
        """Every record, by time of submission, then id."""
        found = (self._find(UUID(path.stem)) for path in self.folder.glob("*.json"))
        records = [record for record in found if record is not None]
        return sorted(
            records, key=lambda r: (r.request.submitted_time, r.request.subject_request_id)
        )

    def pending(self) -> list[RequestRecord]:
        """Records that wait for a run."""
        return [record for record in self.all() if record.state == "pending"]

    def honoured(self) -> list[RequestRecord]:
        """Records that a promoted version honours."""
        return [record for record in self.all() if record.state == "honoured"]

    def restored(self) -> list[RequestRecord]:
        """Records whose concept was brought back."""
        return [record for record in self.all() if record.state == "restored"]

    def settle(
        self, request_id: UUID, state: State, version: int | None = None, reason: str | None = None
    ) -> RequestRecord:
        """Move a request to `state` and write that into its history.

        Args:
            request_id: A request of this ledger.
            state: `honoured` and `restored` need a `version`, `refused` and `restored` a `reason`;
                `pending` puts a refused request back.
            version: Registered model version.
            reason: Why it was refused or restored, in one line.

        Raises:
            BadInput: The ledger does not hold the request.
            ErasureError: The step is not allowed, or lacks its version or reason.
        """
        with self.lock:
            record = self.get(request_id)
            if state not in NEXT[record.state]:
                allowed = ", ".join(NEXT[record.state])
                raise ErasureError(
                    f"request {request_id} is {record.state} (version {record.version}); "
                    f"it can become {allowed}, not {state}"
                )
            if state in ("honoured", "restored") and version is None:
                raise ErasureError(
                    f"request {request_id} cannot be {state} without the version that "
                    f"does it; pass version"
                )
            if state in ("refused", "restored") and not reason:
                raise ErasureError(
                    f"request {request_id} cannot be {state} without a reason; pass reason"
                )
            step = Transition(time=datetime.now(UTC), state=state, version=version, reason=reason)
            settled = record.model_copy(
                update={
                    "state": state,
                    "version": version,
                    "reason": reason,
                    "history": (*record.history, step),
                },
            )
            self._write(settled)
            return settled

    def _file(self, request_id: UUID) -> Path:
        return self.folder / f"{request_id}.json"

    def _write(self, record: RequestRecord) -> None:
        write_text(self._file(record.request.subject_request_id), pretty_json(record))

    def _find(self, request_id: UUID) -> RequestRecord | None:
        path = self._file(request_id)
        try:
            record = RequestRecord.model_validate_json(path.read_bytes(), context=RECORDED)
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ErasureError(
                f"{path}: not a readable request record ({error.errors()[0]['msg']}); "
                f"restore it from a copy"
            ) from None
        if record.sha256 != record.request.sha256:
            raise ErasureError(
                f"{path}: the request was changed after it was accepted (recorded sha256 "
                f"{record.sha256[:16]}..., "
                f"found {record.request.sha256[:16]}...); restore it from a copy"
            )
        return record


def _difference(known: DeletionRequest, found: DeletionRequest) -> str:
    """The keys in which two requests differ."""
    before, after = known.model_dump(), found.model_dump()
    before |= {f"concept.{key}": value for key, value in before.pop("concept").items()}
    after |= {f"concept.{key}": value for key, value in after.pop("concept").items()}
    return ", ".join(f"{key} differs" for key in before if before[key] != after[key])
