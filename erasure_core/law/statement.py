"""What a release says of itself, signed: a statement, and the head of the audit chain.

A signature is Ed25519 over RFC 8785 bytes, so that a verifier in any language recomputes them. An
envelope lists its signatures; each names its key by the sha256 of the 32 raw bytes of the public
key. Room for other forms of signature is left in that list.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from erasure_core.errors import ErasureError
from erasure_core.files import pretty_json
from erasure_core.law.gates import Verdict

Signed = TypeVar("Signed", bound=BaseModel)
Trusted = Mapping[str, Ed25519PublicKey]  # by the name the keys are trusted under
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _utc(time: datetime) -> datetime:
    if time.utcoffset() != timedelta(0):
        raise ValueError("a statement is dated in UTC")
    return time


class Statement(BaseModel):
    """What one registered version is, and what it rests on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: str
    version: int = Field(ge=1)
    verdict: Verdict
    audience: str | None = None  # against whom it was tried: who types words, has embeddings, ...
    request_ids: tuple[str, ...]
    restored_ids: tuple[str, ...]
    base_sha256: Sha256
    policy_sha256: Sha256
    checkpoint_sha256: Sha256
    delta_sha256: Sha256 | None  # None: the base itself, nothing is erased
    record_sha256: Sha256
    head_seq: int = Field(ge=0)  # the audit chain's newest event when this was issued
    head_sha256: Sha256
    issued: Annotated[AwareDatetime, AfterValidator(_utc)]


class Head(BaseModel):
    """The newest event of the audit chain: what a cut-off end is measured against."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seq: int = Field(ge=0)
    sha256: Sha256


class Signature(BaseModel):
    """One signature of an envelope. `name` is for the reader: nothing is trusted because of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: Sha256
    name: str
    signature: str  # base64


class Envelope(BaseModel):
    """A statement as it was parsed, not yet believed, and its signatures."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    statement: dict[str, Any]
    signatures: tuple[Signature, ...]


class SignedHead(Head):
    """The head file as it was parsed, not yet believed."""

    key: Sha256
    signature: str  # base64


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the name that its signatures carry."""

    name: str
    private: Ed25519PrivateKey

    @property
    def key(self) -> str:
        return key_id(self.private.public_key())

    def signature(self, value: BaseModel) -> str:
        """Base64 of the Ed25519 signature over the RFC 8785 bytes of `value`."""
        payload = rfc8785.dumps(value.model_dump(mode="json"))
        return base64.b64encode(self.private.sign(payload)).decode()


def key_id(public: Ed25519PublicKey) -> str:
    """The sha256 of the 32 raw bytes of a public key."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()


def sign(statement: Statement, signer: Signer) -> bytes:
    """The envelope of `statement` as JSON. The same statement and key give the same bytes."""
    signature = {"key": signer.key, "name": signer.name, "signature": signer.signature(statement)}
    envelope = {"statement": statement.model_dump(mode="json"), "signatures": [signature]}
    return pretty_json(envelope).encode()


def opened(envelope: bytes, trusted: Trusted) -> Statement:
    """The statement of a signed envelope.

    Every signature by a trusted key must fit, and there must be one.

    Raises:
        ErasureError: Not an envelope, signed by no trusted key, or changed after it was signed.
    """
    what = "signed statement"
    found = _parsed(envelope, Envelope, what)
    signed_by = [(signature.key, signature.signature) for signature in found.signatures]
    payload = _checked(found.statement, signed_by, trusted, what)
    return _validated(payload, Statement, what)


def sign_head(head: Head, signer: Signer) -> bytes:
    """`head` and its signature as JSON."""
    signature = {"key": signer.key, "signature": signer.signature(head)}
    return pretty_json({**head.model_dump(), **signature}).encode()


def opened_head(file: bytes, trusted: Trusted) -> Head:
    """The head of the chain that a signed head file names.

    Raises:
        ErasureError: Not a head file, signed by no trusted key, or changed after it was signed.
    """
    found = _parsed(file, SignedHead, "signed head")
    head = Head(seq=found.seq, sha256=found.sha256)
    _checked(head.model_dump(), [(found.key, found.signature)], trusted, "signed head")
    return head


def _parsed(text: bytes, form: type[Signed], what: str) -> Signed:
    """`text` as JSON of one `form`; a key written twice is refused, for readers differ on it."""
    try:
        content = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as fault:
        raise ErasureError(f"{what}: not JSON ({fault}); take it from a copy") from None
    return _validated(json.dumps(content).encode(), form, what)


def _validated(text: bytes, form: type[Signed], what: str) -> Signed:
    try:
        return form.model_validate_json(text, strict=True)
    except ValidationError as error:
        faults = (
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise ErasureError(f"{what}: {'; '.join(faults)}; take it from a copy") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key is written twice")
    return content


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a JSON number")


def _checked(
    content: dict[str, Any], signed_by: Sequence[tuple[str, str]], trusted: Trusted, what: str
) -> bytes:
    """The RFC 8785 bytes of `content`, after every signature (key id, base64) by a trusted key was
    found to fit them.
    """
    try:
        payload = rfc8785.dumps(content)
    except rfc8785.CanonicalizationError as fault:
        raise ErasureError(f"{what}: {fault}; take it from a copy") from None
    known = {key_id(key): (name, key) for name, key in trusted.items()}
    believed = [(*known[key], signature) for key, signature in signed_by if key in known]
    if not believed:
        raise ErasureError(
            f"{what}: signed by {', '.join(key[:16] for key, _ in signed_by) or 'nobody'}, trusted "
            f"are {', '.join(trusted) or 'none'}; `erasure keys trust NAME FILE` trusts another key"
        )
    for name, key, signature in believed:
        _verify(payload, signature, key, f"{what}: the signature by {name}")
    return payload


def _verify(payload: bytes, signature: str, key: Ed25519PublicKey, which: str) -> None:
    try:
        key.verify(base64.b64decode(signature, validate=True), payload)
    except (InvalidSignature, ValueError):  # the latter where it is no base64
        raise ErasureError(
            f"{which} is wrong: a field or the signature changed after it was signed; take it "
            f"from a copy"
        ) from None
