"""Deletion requests: what a valid one is. What becomes of one is in `life.py`."""

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from erasure_core.files import read_yaml
from erasure_core.law.concepts import Concept
from erasure_core.law.lineage import sha256_json

ASKED = ("subject_request_id", "subject_request_type", "submitted_time", "regulation")


def _not_a_number(value: Any) -> Any:
    if isinstance(value, int | float):  # would be read as seconds since 1970
        raise ValueError("expected an RFC 3339 time such as 2026-11-22T10:00:00Z")
    return value


UtcTime = Annotated[
    AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(lambda time: time.astimezone(UTC))
]


class DeletionRequest(BaseModel):
    """One data subject's request to erase one concept, in the field names of
    privacy-request tools.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)
    subject_request_id: UUID
    subject_request_type: Literal["erasure"]
    submitted_time: UtcTime
    regulation: str = Field(min_length=1, description="the law it rests on: gdpr, ccpa, ...")
    concept: Concept
    method: str | None = Field(None, description="how to erase it; None: as the parameters say")

    @property
    def asked(self) -> dict[str, Any]:
        """Who asks for what, under which law, since when: what never changes of a request."""
        content = self.model_dump(mode="json")
        of_concept = {key: content["concept"][key] for key in ("name", "kind")}
        return {**{key: content[key] for key in ASKED}, "concept": of_concept}

    @property
    def recipe(self) -> dict[str, Any]:
        """How it is to be honoured: wordings, replacement, what to keep, method; may be corrected."""
        content = self.model_dump(mode="json")
        of_concept = {k: v for k, v in content["concept"].items() if k not in ("name", "kind")}
        return {"concept": of_concept, "method": content["method"]}

    @classmethod
    def joined(cls, asked: Mapping[str, Any], recipe: Mapping[str, Any]) -> Self:
        """The request whose two parts these are."""
        concept = {**asked["concept"], **recipe["concept"]}
        return cls.model_validate({**asked, "method": recipe["method"], "concept": concept})

    @property
    def sha256(self) -> str:
        """Hash of the content; the same instant written in another time zone is the
        same content.
        """
        return sha256_json(self.model_dump(mode="json", exclude_none=True))


def read_request(path: Path) -> DeletionRequest:
    """Read one request file. `BadInput` names the file and every faulty key."""
    return read_yaml(path, DeletionRequest)
