"""What is due, as a table and as Prometheus reads it."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.cli.show_due import Due, due_table, overdue, prometheus

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)


def row(request_id: str, days: int, model: str = "gallery", **other: object) -> Due:
    facts = {"concept": "astronaut", "regulation": "gdpr", "state": "ready", "extended": False}
    until = NOW + timedelta(days=days, hours=1)
    return Due(request_id, model, received=NOW, due=until, **{**facts, **other})


ROWS = [row("calm", 20), row("late", -3), row("today", 0, "sd14", concept=None, extended=True)]


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_table_lists_the_most_urgent_first():
    assert due_table(ROWS, NOW) == [
        "days left  due                    request  model    concept    regulation  state",
        "-3 LATE    2026-05-07             late     gallery  astronaut  gdpr        ready",
        "0          2026-05-10 (extended)  today    sd14     (purged)   gdpr        ready",
        "20         2026-05-30             calm     gallery  astronaut  gdpr        ready",
    ]


def test_table_of_nothing_is_its_headings():
    assert len(due_table([], NOW)) == 1


def test_only_what_is_late_is_overdue():
    assert [r.request_id for r in overdue(ROWS, NOW)] == ["late"]


def test_prometheus_reads_days_left_and_overdue():
    assert samples(prometheus(ROWS, NOW)) == {
        ("erasure_request_days_left", "gallery", "calm", "ready"): 20,
        ("erasure_request_days_left", "gallery", "late", "ready"): -3,
        ("erasure_request_days_left", "sd14", "today", "ready"): 0,
        ("erasure_requests_overdue", "gallery"): 1,
        ("erasure_requests_overdue", "sd14"): 0,
    }


@pytest.mark.parametrize("model", ['a"b', "a\\b", "a\nb"])
def test_labels_are_escaped(model):
    assert ("erasure_requests_overdue", model) in samples(prometheus([row("x", 1, model)], NOW))


def test_no_label_names_the_concept():
    assert "astronaut" not in prometheus(ROWS, NOW)
