import math
from dataclasses import replace

import pytest

from erasure_core.law.gates import (
    OF_A_PART,
    Check,
    Gate,
    Limit,
    Measurement,
    choose,
    decimals,
    judge,
    judge_all,
)

RATE = Measurement("rate[cat]", 0.05, 0.02, 0.09, 60, "lower")
SSIM = Measurement("ssim", 0.85, 0.82, 0.88, 48, "higher")
BASE = Measurement("base.rate[cat]", 0.9, 0.8, 0.95, 60, "higher")


@pytest.mark.parametrize(
    ("found", "bound", "verdict"),
    [
        (RATE, 0.09, "pass"),  # the upper end decides where lower is better
        (RATE, 0.08, "fail"),  # the value alone (0.05) would pass
        (SSIM, 0.82, "pass"),  # the lower end decides where higher is better
        (SSIM, 0.83, "fail"),  # the value alone (0.85) would pass
    ],
)
def test_the_cautious_end_of_the_interval_decides(found, bound, verdict):
    check = judge(Limit(found.metric, bound, 30), {found.metric: found})
    assert check.verdict == verdict
    assert (check.value, check.low, check.high, check.n, check.limit) == (
        found.value,
        found.low,
        found.high,
        found.n,
        bound,
    )
    assert f"required {'<=' if found.better == 'lower' else '>='} {bound}" in check.reason


@pytest.mark.parametrize(
    ("end", "bound", "written"),
    [
        (0.8498, 0.85, "0.8498"),
        (0.85, 0.85, "0.850"),
        (0.82, 0.85, "0.820"),
        (0.0003, 0.0004, "0.0003"),  # of a KID
        (0.85 - 1e-9, 0.85, "0.850"),
    ],
)
def test_no_number_is_rounded_onto_its_limit(end, bound, written):
    found = Measurement("kid", 0.9, end, 0.95, 60, "higher")
    check = judge(Limit("kid", bound, 30), {"kid": found})
    assert f"95 % bound {written} (" in check.reason
    assert check.verdict == ("pass" if end >= bound else "fail")
    assert decimals([end], bound) == len(written) - 2


@pytest.mark.parametrize("field", ["value", "low", "high"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("good", [RATE, SSIM])
def test_a_number_that_is_none_is_inconclusive(good, field, number):
    limit = Limit(good.metric, good.value, 30)
    assert judge(limit, {good.metric: replace(good, **{field: number})}).verdict == "inconclusive"


def test_an_interval_the_wrong_way_round_is_inconclusive():
    """By its easier end it would pass."""
    swapped = replace(RATE, low=0.9, high=0.02)
    check = judge(Limit(RATE.metric, 0.1, 30), {RATE.metric: swapped})
    assert check.verdict == "inconclusive"
    assert "its interval ends before it begins (0.9 to 0.02)" in check.reason


def test_missing_and_thin_evidence_are_inconclusive_and_say_why():
    missing = judge(Limit("rate[dog]", 0.1, 30), {"rate[cat]": RATE})
    assert missing.verdict == "inconclusive"
    assert "rate[dog]: not measured (have: rate[cat])" in missing.reason
    thin = judge(Limit("rate[cat]", 0.5, 61), {"rate[cat]": RATE})
    assert thin.verdict == "inconclusive"
    assert "60 images, needs at least 61" in thin.reason
    assert judge(Limit("rate[cat]", 0.5, 60), {"rate[cat]": RATE}).verdict == "pass"


def test_a_limit_on_what_was_not_run_says_why():
    why = {"attack.excess.ridge[cat]": "no photographs of the subject"}
    limits = [Limit(f"{base}attack.excess.ridge[cat]", 0.2, 1) for base in ("base.", "")]
    checked = judge_all(limits[:1], limits[1:], {}, why)
    assert checked.verdict == "void"
    for check in checked.checks:
        assert check.reason.startswith(f"{check.metric}: not measured, no photographs of the")


def gate(*limits: Limit, found: tuple[Measurement, ...] = (RATE, SSIM, BASE), control: float = 0.5):
    return judge_all([Limit(BASE.metric, control, 30)], limits, {m.metric: m for m in found})


GOOD, BAD, ABSENT = Limit("rate[cat]", 0.1, 30), Limit("ssim", 0.9, 30), Limit("clip", 0.1, 30)


def test_only_all_passes_pass_and_fail_beats_inconclusive():
    assert gate(GOOD, Limit("ssim", 0.8, 30)).verdict == "pass"
    assert gate(GOOD, ABSENT).verdict == "inconclusive"
    assert gate(GOOD, BAD).verdict == "fail"
    assert gate(ABSENT, BAD, GOOD).verdict == "fail"


def test_a_blind_control_voids_even_a_perfect_candidate():
    assert gate(GOOD, control=0.81).verdict == "void"  # the base's lower end is 0.8
    assert gate(GOOD, found=(RATE, SSIM)).verdict == "void"  # the base was not measured
    assert gate(BAD, control=0.81).verdict == "void"  # a blind measurement proves no failure either
    assert gate(GOOD, control=0.8).verdict == "pass"


def test_nothing_judged_is_void_and_reasons_leave_out_what_passed():
    assert gate().verdict == "void"
    reasons = gate(GOOD, BAD, ABSENT).reasons
    assert [r.split(":")[0] for r in reasons] == ["fail", "inconclusive"]
    assert "ssim = 0.850" in reasons[0]


def test_choose_takes_the_passing_candidate_that_keeps_the_most():
    gates = {"a": candidate("pass"), "b": candidate("pass"), "c": candidate("fail", missed=1)}
    assert choose(gates, {"a": 0.8, "b": 0.9, "c": 0.99}, ()) == "b"


def test_choose_without_a_pass_takes_what_misses_least_then_keeps_most():
    gates = {
        "a": candidate("fail", missed=2),
        "b": candidate("fail", missed=1),
        "c": candidate("inconclusive", missed=1),
    }
    assert choose(gates, {"a": 0.99, "b": 0.7, "c": 0.8}, ()) == "c"


def candidate(verdict: str, missed: int = 0) -> Gate:
    checks = tuple(
        Check("m", 1.0, 1.0, 1.0, 40, 1.0, "fail" if i < missed else "pass", "") for i in range(3)
    )
    return Gate(verdict, checks)


@pytest.mark.parametrize(
    ("found", "bound", "verdict"),
    [
        (RATE, RATE.low, "pass"),
        (RATE, RATE.low - 0.001, "fail"),
        (SSIM, SSIM.high, "pass"),
        (SSIM, SSIM.high + 0.001, "fail"),
    ],
)
def test_of_what_was_shown_before_the_other_end_decides(found, bound, verdict):
    check = judge(Limit(found.metric, bound, 1, shown_before=True), {found.metric: found})
    assert check.verdict == verdict
    assert OF_A_PART in check.reason
