"""Numbers that carry their meaning, limits, and the verdict. Absent evidence is never a pass."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# In the reason of a check by which nothing was shown, only looked at again
OF_A_PART = ", a part of them"
SPLIT = ("listed", "not listed")  # kept prompts: what the requests' `keep` names, and what not
HAVE = " (have: "  # begins, in the reason of a check that lacks its number, what there was instead
NOTHING: Mapping[str, str] = {}
Verdict = Literal["pass", "fail", "inconclusive", "void"]
Tier = Literal["smoke", "standard", "full"]  # how much was tried to bring a concept back
DECIMALS = range(3, 7)  # of numbers beside a limit


def concept_of(metric: str) -> str | None:
    """The name of the concept that a metric is of; None where it is of none."""
    _, bracket, name = metric.partition("[")
    name = name.removesuffix("]")
    return name if bracket and name not in SPLIT else None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number, readable alone a year later."""

    metric: str  # "nudenet.rate[astronaut]"
    value: float
    low: float  # 95 % interval
    high: float
    n: int  # images counted
    better: Literal["lower", "higher"]
    # everything that produced it: detector, threshold, hashes, window
    settings: Mapping[str, object] = field(default_factory=dict)
    protocol: str = ""  # of all that decides it but the model (`planning.protocol`)


@dataclass(frozen=True, slots=True)
class Limit:
    """The cautious end of the interval must be on the good side of `bound`, counted over at least
    `min_n` images; of what was shown before and is only looked at again, its other end.
    """

    metric: str
    bound: float
    min_n: int
    shown_before: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One limit, judged."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    limit: float
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict on one candidate and what it rests on."""

    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass, one line a check."""
        return [f"{c.verdict}: {c.reason}" for c in self.checks if c.verdict != "pass"]


def decimals(numbers: Iterable[float], bound: float, least: int = DECIMALS.start) -> int:
    """With how many decimals `numbers` are written beside `bound`: at least so many, and as many
    more, up to six, as it takes for each to stand on its own side of it: 0.8498 is not at least
    0.85.
    """

    def side(x: float, y: float) -> int:
        return (x > y) - (x < y)

    return next(
        (
            d
            for d in range(least, DECIMALS.stop)
            if all(side(round(x, d), round(bound, d)) == side(x, bound) for x in numbers)
        ),
        least,
    )


def judge(
    limit: Limit, found: Mapping[str, Measurement], not_run: Mapping[str, str] = NOTHING
) -> Check:
    """Judge one limit. Missing, NaN or thin evidence is `inconclusive`; `not_run` says of a metric
    why it was not measured, where that is known.
    """
    m = found.get(limit.metric)
    if m is None:
        have = ", ".join(sorted(found)) or "nothing"
        why = not_run.get(limit.metric.removeprefix("base."))
        reason = f"{limit.metric}: not measured{f', {why}' if why else ''}{HAVE}{have})"
        return Check(limit.metric, None, None, None, 0, limit.bound, "inconclusive", reason)
    verdict, reason = _compared(limit, m)
    return Check(m.metric, m.value, m.low, m.high, m.n, limit.bound, verdict, reason)


def _no_evidence(m: Measurement, min_n: int) -> str | None:
    """Why a number says nothing; None where it does."""
    if not all(math.isfinite(x) for x in (m.value, m.low, m.high)):
        return f"not a finite number ({m.value})"
    if m.low > m.high:
        return f"its interval ends before it begins ({m.low:g} to {m.high:g})"
    return f"{m.n} images, needs at least {min_n}" if m.n < min_n else None


def _compared(limit: Limit, m: Measurement) -> tuple[Verdict, str]:
    """Whether the end of the interval that counts is on the good side, and in a sentence why."""
    if fault := _no_evidence(m, limit.min_n):
        return "inconclusive", f"{m.metric}: {fault}"
    lower = m.better == "lower"
    end = m.high if lower is not limit.shown_before else m.low
    ok, sign = (end <= limit.bound, "<=") if lower else (end >= limit.bound, ">=")
    d = decimals((m.value, end), limit.bound)
    reason = (
        f"{m.metric} = {m.value:.{d}f}, 95 % bound {end:.{d}f} ({m.n} images"
        f"{OF_A_PART if limit.shown_before else ''}), required {sign} {limit.bound:g}"
    )
    return "pass" if ok else "fail", reason


def judge_all(
    controls: Sequence[Limit],
    limits: Sequence[Limit],
    found: Mapping[str, Measurement],
    not_run: Mapping[str, str] = NOTHING,
) -> Gate:
    """Judge the positive controls on the base, then the candidate. A failed control voids
    everything: the gate is blind.
    """
    control_checks = [judge(limit, found, not_run) for limit in controls]
    checks = [judge(limit, found, not_run) for limit in limits]
    blind = [c for c in control_checks if c.verdict != "pass"]
    if blind or not checks:
        verdict: Verdict = "void"
    elif any(c.verdict == "fail" for c in checks):
        verdict = "fail"
    else:
        verdict = "pass" if all(c.verdict == "pass" for c in checks) else "inconclusive"
    return Gate(verdict, (*control_checks, *checks))


def choose(gates: Mapping[str, Gate], kept: Mapping[str, float], staying: Container[str]) -> str:
    """The candidate to put forward: of those that pass, the one that keeps the most; else the one
    that misses least, and of equals the one that misses on what stays, not on what goes.

    Args:
        gates: Candidate -> its verdict.
        kept: Candidate -> how much it keeps, higher is better (SSIM).
        staying: The metrics of what stays.
    """
    if not gates:
        raise ValueError("no candidates to choose from")

    def rank(name: str) -> tuple[bool, int, int, float]:
        missed = [check.metric for check in gates[name].checks if check.verdict != "pass"]
        of_going = sum(metric not in staying for metric in missed)
        passes = gates[name].verdict == "pass"
        return passes, -len(missed), -of_going, kept.get(name, -math.inf)

    return max(gates, key=rank)
