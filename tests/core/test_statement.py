"""A signed statement is believed only as it was signed, and only by a key that is trusted."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from erasure_core.errors import ErasureError
from erasure_core.law.statement import Head, Signer, Statement, opened, opened_head, sign, sign_head

FIELDS = {
    "model": "gällery",
    "version": 3,
    "verdict": "pass",
    "request_ids": ("b", "a"),
    "restored_ids": (),
    **{
        f"{name}_sha256": f"{i:x}" * 64
        for i, name in enumerate(("base", "policy", "checkpoint", "delta", "record", "head"))
    },
    "head_seq": 12,
    "issued": datetime(2026, 11, 25, 3, 0, tzinfo=UTC),
}


@pytest.fixture
def signer() -> Signer:
    return Signer("ours", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))


@pytest.fixture
def trusted(signer):
    return {"ours": signer.private.public_key()}


@pytest.fixture
def statement() -> Statement:
    return Statement(**FIELDS)


def edited(envelope: bytes, **fields: object) -> bytes:
    content = json.loads(envelope)
    content["statement"] |= fields
    return json.dumps(content).encode()


def test_what_was_signed_comes_back(statement, signer, trusted):
    assert opened(sign(statement, signer), trusted) == statement


def test_a_statement_from_before_audiences_is_still_believed(statement, signer, trusted):
    """It was signed without that field."""
    content = {k: v for k, v in statement.model_dump(mode="json").items() if k != "audience"}
    payload = rfc8785.dumps(content)
    signature = base64.b64encode(signer.private.sign(payload)).decode()
    named = {"key": signer.key, "name": signer.name, "signature": signature}
    envelope = json.dumps({"statement": content, "signatures": [named]}).encode()
    assert opened(envelope, trusted).audience is None


def test_the_same_statement_and_key_give_the_same_bytes(statement, signer):
    assert sign(statement, signer) == sign(Statement(**FIELDS), signer)


def test_the_signature_is_over_rfc_8785_bytes(statement, signer):
    """By a second implementation: for text and small integers RFC 8785 is what json does here."""
    content = json.loads(sign(statement, signer))
    canonical = json.dumps(
        content["statement"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    signature = base64.b64decode(content["signatures"][0]["signature"])
    signer.private.public_key().verify(signature, canonical.encode())


def test_the_key_is_named_by_the_hash_of_its_raw_bytes(statement, signer):
    raw = signer.private.public_key().public_bytes_raw()
    (signature,) = json.loads(sign(statement, signer))["signatures"]
    assert signature["key"] == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("field", FIELDS)
def test_any_changed_field_is_refused(field, statement, signer, trusted):
    other = {
        "version": 4,
        "head_seq": 13,
        "verdict": "fail",
        "request_ids": ["b"],
        "restored_ids": ["b"],
        "issued": "2026-11-25T03:00:01Z",
    }.get(field, "f" * 64)
    with pytest.raises(ErasureError, match="signature by ours is wrong"):
        opened(edited(sign(statement, signer), **{field: other}), trusted)


def test_an_added_field_is_refused(statement, signer, trusted):
    with pytest.raises(ErasureError, match="signature by ours is wrong"):
        opened(edited(sign(statement, signer), note="approved"), trusted)


def test_a_removed_field_is_refused(statement, signer, trusted):
    content = json.loads(sign(statement, signer))
    del content["statement"]["restored_ids"]
    with pytest.raises(ErasureError, match="signature by ours is wrong"):
        opened(json.dumps(content).encode(), trusted)


def test_whitespace_and_order_do_not_matter(statement, signer, trusted):
    content = json.loads(sign(statement, signer))
    content["statement"] = dict(reversed(content["statement"].items()))
    assert opened(json.dumps(content).encode(), trusted) == statement


def test_an_unknown_key_is_named(statement, trusted):
    stranger = Signer("ours", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
    with pytest.raises(ErasureError, match=rf"signed by {stranger.key[:16]}, trusted are ours"):
        opened(sign(statement, stranger), trusted)


def test_one_wrong_signature_beside_a_good_one_is_refused(statement, signer, trusted):
    content = json.loads(sign(statement, signer))
    wrong = {**content["signatures"][0], "signature": base64.b64encode(bytes(64)).decode()}
    content["signatures"].insert(0, wrong)
    with pytest.raises(ErasureError, match="signature by ours is wrong"):
        opened(json.dumps(content).encode(), trusted)


def test_a_stranger_who_signs_too_does_no_harm(statement, signer, trusted):
    stranger = Signer("stranger", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
    content = json.loads(sign(statement, signer))
    content["signatures"] += json.loads(sign(statement, stranger))["signatures"]
    assert opened(json.dumps(content).encode(), trusted) == statement


def test_no_signature_is_refused(statement, signer, trusted):
    content = json.loads(sign(statement, signer)) | {"signatures": []}
    with pytest.raises(ErasureError, match="signed by nobody"):
        opened(json.dumps(content).encode(), trusted)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"pass",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"statement": {"version": NaN}, "signatures": []}',
        b'{"statement": {"version": 1e999}, "signatures": []}',
        b'{"statement": {}, "signatures": [], "signatures": []}',
        b'{"statement": {}, "signatures": [], "note": 1}',
        b'{"statement": {"version": ' + b"9" * 5000 + b'}, "signatures": []}',
    ],
)
def test_what_is_no_envelope_is_refused_in_one_line(text, trusted):
    with pytest.raises(ErasureError, match=r"^signed statement: ") as refused:
        opened(text, trusted)
    assert "\n" not in str(refused.value)


def test_a_statement_is_dated_in_utc():
    with pytest.raises(ValidationError, match="UTC"):
        Statement(**FIELDS | {"issued": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))})


def test_a_signed_head_comes_back(signer, trusted):
    head = Head(seq=7, sha256="a" * 64)
    assert opened_head(sign_head(head, signer), trusted) == head


@pytest.mark.parametrize("change", [{"seq": 6}, {"sha256": "b" * 64}])
def test_a_changed_head_is_refused(change, signer, trusted):
    file = json.loads(sign_head(Head(seq=7, sha256="a" * 64), signer)) | change
    with pytest.raises(ErasureError, match="signed head: the signature by ours is wrong"):
        opened_head(json.dumps(file).encode(), trusted)
