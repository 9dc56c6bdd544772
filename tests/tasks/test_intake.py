import re
from pathlib import Path

import pytest

from erasure_core.errors import BadInput
from erasure_core.law.audit import AuditLog
from erasure_core.law.requests import Ledger, read_request
from tasks.home import Home
from tasks.requests.intake import accept_requests

EXAMPLES = Path(__file__).parents[2] / "examples" / "requests"
CAT, ASTRONAUT = EXAMPLES / "cat.yaml", EXAMPLES / "astronaut.yaml"
accept = accept_requests.fn


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


def logged(home: Home) -> list[tuple[str, object]]:
    return [(entry.event, entry.facts["concept"]) for entry in AuditLog(home.audit_log).entries()]


def test_a_request_is_remembered_and_logged_once(home):
    first = accept([CAT, ASTRONAUT], home)
    assert [r.request.concept.name for r in first] == ["cat", "astronaut"]
    assert accept([ASTRONAUT, CAT], home) == [first[1], first[0]]
    assert logged(home) == [("request.added", "cat"), ("request.added", "astronaut")]
    facts = AuditLog(home.audit_log).entries()[0].facts
    assert facts["request_sha256"] == read_request(CAT).sha256
    assert facts["submitted_time"] == "2026-11-21T14:40:00Z"


def test_one_bad_file_stops_all(home, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text(CAT.read_text().replace("kind: object", "kind: person"))
    with pytest.raises(BadInput, match=r"concept\.kind: found 'person'"):
        accept([ASTRONAUT, bad], home)
    assert not home.root.exists()


def test_a_reused_id_stops_all_and_leaves_ledger_and_log(home, tmp_path):
    accept([CAT], home)
    before = home.audit_log.read_bytes()
    other = tmp_path / "other.yaml"
    other.write_text(re.sub("replacement: .*", "replacement: a retina", CAT.read_text()))
    with pytest.raises(
        BadInput, match=r"already known with other content .*concept\.replacement differs"
    ):
        accept([ASTRONAUT, other], home)
    assert len(Ledger(home.requests).all()) == 1
    assert home.audit_log.read_bytes() == before


def test_a_crash_between_ledger_and_log_is_made_good(home):
    Ledger(home.requests).add(read_request(CAT))  # what a process that died there leaves
    accept([CAT], home)
    assert logged(home) == [("request.added", "cat")]
