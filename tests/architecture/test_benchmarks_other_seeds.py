"""What docs/metrics.md says of other seeds is what was measured."""

import json
from pathlib import Path

from benchmarks.other_seeds import RESULTS, agreement, table

ROWS = json.loads(RESULTS.read_bytes())["rows"]
PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def test_the_page_holds_the_measured_table_of_three_methods():
    assert len({row["method"] for row in ROWS}) == 3
    assert table(ROWS) in PAGE


def test_the_page_counts_the_intervals_that_agree():
    values, inside, meet = agreement(ROWS)
    said = (
        f"Of {values} values from other seeds {inside} lie in the printed interval, and of {meet}"
    )
    assert said in PAGE


def test_the_two_that_do_not_agree_are_the_ones_it_names():
    printed = {(r["method"], r["set"], r["metric"]): r for r in ROWS if r["shift"] == 0}
    others = [(r, printed[r["method"], r["set"], r["metric"]]) for r in ROWS if r["shift"]]
    apart = {(r["metric"], r["method"]) for r, p in others if not meets(r, p)}
    assert apart == {("ssim", "uce"), ("clip.score_drop", "speed")}


def meets(one: dict[str, float], other: dict[str, float]) -> bool:
    return one["low"] <= other["high"] and other["low"] <= one["high"]
