from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID

import pytest

from erasure_core.errors import BadInput, ErasureError
from erasure_core.law.requests import DeletionRequest, Ledger, read_request

FIRST, SECOND = UUID(int=1), UUID(int=2)
TEXT = """\
subject_request_id: 00000000-0000-0000-0000-000000000001
subject_request_type: erasure
submitted_time: 2026-11-22T10:00:00Z
regulation: gdpr
concept:
  name: cat
  kind: object
  prompts: [a cat]
  replacement: a cup of coffee
  keep: [a rocket]
"""


def request(
    request_id: UUID = FIRST, time: str = "2026-11-22T10:00:00Z", **concept: object
) -> DeletionRequest:
    described = {
        "name": "cat",
        "kind": "object",
        "prompts": ["a cat"],
        "replacement": "a cup of coffee",
        "keep": ["a rocket"],
    } | concept
    return DeletionRequest.model_validate(
        {
            "subject_request_id": request_id,
            "subject_request_type": "erasure",
            "submitted_time": time,
            "regulation": "gdpr",
            "concept": described,
        }
    )


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "requests")


def files(ledger: Ledger) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in ledger.folder.iterdir() if p.name != ".lock"}


def test_a_file_reads_as_the_request_it_describes(tmp_path):
    path = tmp_path / "cat.yaml"
    path.write_text(TEXT)
    assert read_request(path) == request()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "regulation: gdpr",
            "regulation: gdpr\nurgency: high",
            "urgency: unknown key; allowed: subject_request_id, subject_request_type",
        ),
        (
            "  keep: [a rocket]",
            "  kept: [a rocket]",
            "concept.kept: unknown key; allowed: name, kind, prompts, replacement, keep",
        ),
        ("prompts: [a cat]", "prompts: []", "concept.prompts: found []"),
        (
            "kind: object",
            "kind: person",
            (
                "concept.kind: found 'person'; Input should be 'likeness', 'style', 'object' "
                "or 'explicit'"
            ),
        ),
        (
            "type: erasure",
            "type: access",
            "subject_request_type: found 'access'; Input should be 'erasure'",
        ),
        ("0000-000000000001", "0001", "subject_request_id: found '00000000-0000-0000-0001'"),
        (
            "2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00",
            "submitted_time: found datetime.datetime(2026, 11, 22, 10, 0)",
        ),
        (
            "2026-11-22T10:00:00Z",
            "20261122",
            "submitted_time: found 20261122; expected an RFC 3339 time",
        ),
        ("regulation: gdpr", "regulation: ''", "regulation: found ''"),
        ("regulation: gdpr\n", "", "regulation: missing"),
    ],
)
def test_a_faulty_request_is_refused_by_name(tmp_path, old, new, expected):
    path = tmp_path / "bad.yaml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(BadInput) as caught:
        read_request(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["bad.yaml"]


def test_the_hash_is_of_the_content_not_of_its_spelling():
    assert request().sha256 == request(time="2026-11-22T12:00:00+02:00").sha256
    assert request().sha256 != request(prompts=["a tabby cat"]).sha256
    assert request().sha256 != request(SECOND).sha256


def test_adding_twice_changes_nothing(ledger):
    record = ledger.add(request())
    assert (record.state, record.sha256, len(record.history)) == ("pending", request().sha256, 1)
    before = files(ledger)
    assert list(before) == [f"{FIRST}.json"]
    assert ledger.add(request()) == record == ledger.get(FIRST)
    assert files(ledger) == before


def test_one_id_with_two_contents_is_refused_and_nothing_is_left_behind(ledger):
    ledger.add(request())
    before = files(ledger)
    changed = request(prompts=["a tabby cat"])
    with pytest.raises(
        BadInput,
        match=(
            r"already known with other content .*concept\.prompts differs; give a "
            r"changed request a new"
        ),
    ) as caught:
        ledger.add_all([request(SECOND), changed])
    assert str(FIRST) in str(caught.value)
    assert files(ledger) == before  # the blameless second request was not added either


def test_two_contents_of_one_id_in_one_call_are_refused(ledger):
    with pytest.raises(BadInput, match="already known with other content"):
        ledger.add_all([request(), request(replacement="a rocket")])
    assert files(ledger) == {}


def test_requests_come_in_the_order_they_were_submitted(ledger):
    late, early, tied = (
        request(FIRST, "2026-11-22T12:00:00+01:00"),
        request(SECOND, "2026-11-22T10:59:59Z"),
        request(UUID(int=3)),
    )
    ledger.add_all([late, request(UUID(int=9), "2026-11-22T11:00:00Z"), early, tied])
    assert [r.request.subject_request_id.int for r in ledger.all()] == [3, 2, 1, 9]


def test_a_request_lives_from_pending_to_honoured(ledger):
    ledger.add_all([request(), request(SECOND)])
    refused = ledger.settle(FIRST, "refused", version=4, reason="fail: ssim")
    assert [r.request.subject_request_id for r in ledger.pending()] == [SECOND]
    assert (refused.state, refused.version, refused.reason) == ("refused", 4, "fail: ssim")
    ledger.settle(FIRST, "pending")
    ledger.settle(FIRST, "honoured", version=5)
    again = ledger.settle(FIRST, "honoured", version=6)
    assert again == ledger.get(FIRST)
    assert [(h.state, h.version) for h in again.history] == [
        ("pending", None),
        ("refused", 4),
        ("pending", None),
        ("honoured", 5),
        ("honoured", 6),
    ]
    assert [r.request.subject_request_id for r in ledger.honoured()] == [FIRST]
    assert all(a.time <= b.time for a, b in zip(again.history, again.history[1:], strict=False))


@pytest.mark.parametrize(
    ("state", "facts", "expected"),
    [
        ("honoured", {}, "without the version"),
        ("refused", {"version": 2}, "without a reason"),
        ("pending", {}, "is pending .*can become honoured, refused, not pending"),
    ],
)
def test_a_step_without_its_facts_is_refused(ledger, state, facts, expected):
    ledger.add(request())
    before = files(ledger)
    with pytest.raises(ErasureError, match=expected):
        ledger.settle(FIRST, state, **facts)
    assert files(ledger) == before


def test_a_later_refusal_does_not_undo_an_honoured_request(ledger):
    ledger.add(request())
    ledger.settle(FIRST, "honoured", version=1)
    with pytest.raises(
        ErasureError,
        match=r"is honoured \(version 1\); it can become honoured, restored, not refused",
    ):
        ledger.settle(FIRST, "refused", version=2, reason="fail")
    assert ledger.get(FIRST).version == 1


def test_an_unknown_request_is_named(ledger):
    ledger.add(request())
    with pytest.raises(BadInput, match=f"{SECOND} is not among the 1 of"):
        ledger.settle(SECOND, "honoured", version=1)


def test_a_record_that_was_edited_or_truncated_is_not_believed(ledger):
    ledger.add(request())
    path = ledger.folder / f"{FIRST}.json"
    whole = path.read_text()
    path.write_text(whole.replace("a cup of coffee", "a dog"))
    with pytest.raises(ErasureError, match="changed after it was accepted"):
        ledger.get(FIRST)
    path.write_text(whole[:-20])
    with pytest.raises(ErasureError, match=f"{FIRST}.json: not a readable request record"):
        ledger.all()


def _add_at_once(job: tuple[Path, int]) -> str:
    folder, variant = job
    try:
        Ledger(folder).add(request(prompts=[f"cat {variant}"]))
    except BadInput:
        return "refused"
    return "added"


def test_of_processes_that_add_different_contents_at_once_one_wins(tmp_path):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_add_at_once, [(tmp_path / "requests", i) for i in range(8)]))
    assert sorted(found) == ["added"] + ["refused"] * 7
