"""Deletion requests: what a valid one is. What becomes of one is in `life.py`."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
)

from erasure_core.files import read_yaml
from erasure_core.law.concepts import RECORDED, Concept
from erasure_core.law.lineage import sha256_json
from erasure_core.plugins import names
from erasure_core.text import one_line

ASKED = ("subject_request_id", "subject_request_type", "submitted_time", "regulation")


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
    return time


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


# kept in its time zone, whose days a period counts; written in UTC, where an instant has one form
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_written_as_time),
    AfterValidator(_possible),
    PlainSerializer(_utc, return_type=datetime, when_used="json"),
]


def known_methods() -> list[str]:
    """The methods by name, plug-ins too, without importing them: they need torch, which a request
    does not.
    """
    spec = find_spec("erasure_core.methods")
    folders = spec.submodule_search_locations if spec else None
    return sorted({*(module.name for module in iter_modules(folders)), *names("erasure.methods")})


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
    submitted_time: Time
    regulation: Annotated[str, AfterValidator(one_line)] = Field(
        min_length=1, max_length=200, description="the law it rests on: gdpr, ccpa, ..."
    )
    concept: Concept
    method: Annotated[str, AfterValidator(_known)] | None = Field(
        None, description="how to erase it; None: as the parameters say"
    )

    @property
    def asked(self) -> dict[str, Any]:
        """Who asks for what, under which law, since when: what never changes of a request."""
        content = self.model_dump(mode="json")
        of_concept = {key: content["concept"][key] for key in ("name", "kind")}
        return {**{key: content[key] for key in ASKED}, "concept": of_concept}

    @property
    def recipe(self) -> dict[str, Any]:
        """How it is to be honoured: wordings, replacement, kept prompts, method."""
        content = self.model_dump(mode="json")
        of_concept = {k: v for k, v in content["concept"].items() if k not in ("name", "kind")}
        return {"concept": of_concept, "method": content["method"]}

    @classmethod
    def joined(cls, asked: Mapping[str, Any], recipe: Mapping[str, Any]) -> Self:
        """The request whose two parts these are."""
        concept = {**asked["concept"], **recipe["concept"]}
        return cls.model_validate(
            {**asked, "method": recipe["method"], "concept": concept}, context=RECORDED
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
