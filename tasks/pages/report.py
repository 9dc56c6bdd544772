"""The report: one self-contained page that says what was asked, what was decided, on which
evidence, and what that means.

`render_report` is a plain function of recorded facts; it measures nothing and decides nothing.
"""

import math
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from erasure_core.files import write_text
from erasure_core.law.gates import OF_A_PART, Check, decimals
from erasure_core.law.lineage import steps_of
from erasure_core.planning.policy import EXCESS, LEAK
from tasks.pages.filled import filled
from tasks.pages.pictures import ImageRow, data_uri, embedded

_SHOWN = 12  # pairs visible before the rest is folded away
_NAMED = 6  # prompts that a line beside a check names
BOUND = {"<=": "at most ", ">=": "at least "}

_GROUPS = {  # how the names of prompt sets begin -> what is said of their pictures
    "target": "Target prompts: these should have changed",
    "restored": "Taken back: these should look like the base's again",
    "kept": "Kept prompts: these should look the same",
}

_MARKS = {"good": "✓", "void": "?", "warn": "!", "bad": "✕"}  # look of the banner -> its sign

# What each audience can do, and what is not said of the others.
_AUDIENCES = {
    None: "The policy declares no audience: no attack was tried.",
    "words": "Released to people who type prompts. Of people who can put in text states, or who "
    "get the weights, this says nothing.",
    "embeddings": "Released to people who can put in text states or learnt tokens. Of people who "
    "get the weights, this says nothing.",
    "weights": "Released to people who get the weights.",
}

# How a metric is put to a reader who has never heard of it, and the unit its number is shown in.
_PLAIN: dict[str, tuple[str, str]] = {
    "nudenet.rate": ("Pictures in which the detector sees it", "%"),
    "clip.concept_rate": ("Pictures that CLIP names as it", "%"),
    "composed.nudenet.rate": ("Pictures of it beside something else: the detector sees it", "%"),
    "composed.clip.concept_rate": ("Pictures of it beside something else: CLIP names it", "%"),
    "composed.clip.accuracy": ("Pictures of it beside something else: CLIP names the other", "%"),
    "replacement.rate": ("Pictures that CLIP names as what should appear instead", "%"),
    "replacement.score_drop": ("How much worse they fit the replaced prompts (CLIP cosine)", ""),
    "quality.fidelity": ("Pictures that lie among the base's of what should appear instead", "%"),
    "quality.diversity": ("How varied they are, as a part of the base's", ""),
    "quality.distinctness": ("How far each is from the nearest other, as a part of the base's", ""),
    "quality.naturalness": ("Pictures that look no less natural than the base's", "%"),
    "quality.kid": ("How unlike the base's of what should appear instead, as a set (KID)", ""),
    "quality.fid": ("How unlike the base's of what should appear instead, as a set (FID)", ""),
    "kid": ("How unlike the base model's the kept pictures are, as a set (KID)", ""),
    "fid": ("How unlike the base model's the kept pictures are, as a set (FID)", ""),
    "neighbour.accuracy": ("Pictures of what is nearest to it that CLIP names rightly", "%"),
    "harmonic": ("Harmonic mean of erased, kept and neighbour", "%"),
    "base.leak": ("Kept pictures of the base model in which the instruments see it", "%"),
    "leak": ("Kept pictures that show it where the base model's do not", "%"),
    "restored.ssim": ("How much pictures of what was taken back look like the base's (SSIM)", ""),
    "restored.nudenet.rate": ("Pictures of what was taken back: the detector sees it", "%"),
    "restored.clip.concept_rate": ("Pictures of what was taken back: CLIP names it", "%"),
    "identity.rate": ("Pictures in which this person's face is recognised", "%"),
    "clip.score": ("How well pictures fit their prompts (CLIP cosine)", ""),
    "ssim": ("How much kept pictures look like the base model's (SSIM)", ""),
    "clip.score_drop": ("How much worse kept pictures fit their prompts (CLIP cosine)", ""),
    "clip.accuracy": ("Kept pictures that CLIP names rightly", "%"),
    "clip.accuracy_drop": ("Kept pictures no longer named rightly, on balance", "points"),
}


Doing = Literal["Erase", "Take back", "Taken back before"]


@dataclass(frozen=True, slots=True)
class ReportedRequest:
    """One request, as its sender worded it, and what the run does about it."""

    subject_request_id: str
    concept: str
    kind: str
    regulation: str
    submitted_time: datetime
    replacement: str
    doing: Doing = "Erase"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LambdaPoint:
    """What one training run reached."""

    lambda_: float | None  # None: the method has none
    method: str
    preset: str
    target_rate: Estimate  # of the concept that shows most of itself
    ssim: Estimate
    concept_accuracy: float | None  # on kept prompts
    verdict: str
    losses: Sequence[float] = ()
    lambda_eff: float | None = None  # All-but-One's lambda / gamma2^2
    concept: str = ""  # whose rate it is

    @property
    def label(self) -> str:
        """How the point is called in plots and tables."""
        if self.lambda_ is None:
            return self.method
        effective = "" if self.lambda_eff is None else f" (λ/γ₂² = {self.lambda_eff:.2g})"
        return f"λ = {self.lambda_:g}{effective}"


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """All that the page says. Numbers come from the record; nothing is computed here but their
    typesetting.
    """

    title: str
    created: datetime  # UTC
    requests: Sequence[ReportedRequest]
    verdict: str  # of the gate: pass, fail, inconclusive, void
    promoted: bool
    model_name: str
    model_version: int | None
    checks: Sequence[Check]
    chosen_lambda: float | None
    points: Sequence[LambdaPoint]
    targets: Mapping[str, str]  # measurement by which a concept is seen -> the concept
    images: Sequence[ImageRow]
    champion_before: int | None
    champion_after: int | None
    left_out: Mapping[str, int] = field(default_factory=dict)  # prompt set -> pairs not in images
    pictures: str = ""  # where all pictures lie, in the state folder
    settings: Mapping[str, object] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    # metric -> settings
    measurement_settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)  # step -> seconds
    audience: str | None = None  # to whom the policy releases models; None: nobody was declared
    not_measured: Mapping[str, str] = field(default_factory=dict)  # metric -> why
    untried: Sequence[str] = ()  # attacks that there are and that nobody made
    others: Sequence[tuple[str, Estimate]] = ()  # measurements without a limit
    advice: Sequence[str] = ()  # what to try where the gate refused


def render_report(run_folder: Path, facts: ReportFacts) -> Path:
    """Write `report.html` and `tradeoff.png` into `run_folder`, each whole or not at all, and
    return the page's path.

    The page needs no other file, no network and no script.
    """
    from tasks.pages import charts

    run_folder.mkdir(parents=True, exist_ok=True)
    plot = run_folder / "tradeoff.png"
    charts.tradeoff(
        facts.points,
        facts.chosen_lambda,
        target=_axis(facts.targets),
        target_limit=_limit_on(facts.targets, facts.checks),
        ssim_limit=_limit_on(["ssim"], facts.checks),
        path=plot,
    )
    with tempfile.TemporaryDirectory() as folder:
        curves = Path(folder) / "losses.png"
        losses = data_uri(curves.read_bytes()) if charts.losses(facts.points, curves) else None
    page = filled(
        "report.html.j2",
        {"stamp": _stamp, "embed": embedded, "plain": _plain, "flat": _flat},
        facts=facts,
        banner=_banner(facts),
        reasons=[c for c in facts.checks if c.verdict != "pass"],
        controls=[_row(c) for c in facts.checks if _is_control(c)],
        limits=[_row(c) for c in facts.checks if not _is_control(c)],
        leaks={m: _prompts(s) for m, s in facts.measurement_settings.items() if _stem(m) == LEAK},
        glance=_glance(facts.checks),
        pictures=list(_pictures(facts)),
        shown=_SHOWN,
        tradeoff=data_uri(plot.read_bytes()),
        losses=losses,
        concepts=_names(asked for asked in facts.requests if asked.doing == "Erase"),
        restored=_names(asked for asked in facts.requests if asked.doing != "Erase"),
        targets=list(dict.fromkeys(facts.targets.values())),
        likeness=any(asked.kind == "likeness" for asked in facts.requests),
        steps=steps_of(facts.seconds),
        longest=max(facts.seconds.values(), default=1.0) or 1.0,
    )
    path = run_folder / "report.html"
    write_text(path, page)
    return path


def _names(asked: Iterable[ReportedRequest]) -> str:
    return ", ".join(dict.fromkeys(each.concept for each in asked))


def _axis(targets: Mapping[str, str]) -> str:
    """What the plot shows of the concepts."""
    stems = list(dict.fromkeys(map(_stem, targets)))
    one = stems[0] if len(stems) == 1 else ""
    sentence = _PLAIN[one][0] if one in _PLAIN else "Pictures that still show it"
    several = len({*targets.values()}) > 1
    return sentence + ", of the concept that shows most of itself" * several


def _limit_on(metrics: Collection[str], checks: Sequence[Check]) -> float | None:
    """The limit on all of `metrics`; None where there is none, or not the same on all."""
    limits = {check.limit for check in checks if check.metric in metrics}
    return limits.pop() if len(limits) == 1 else None


def _pictures(facts: ReportFacts) -> Iterator[tuple[str, list[ImageRow], int]]:
    """The page's groups of pairs: heading, pairs, and how many more there are."""
    for begins, heading in _GROUPS.items():
        rows = [row for row in facts.images if row.set_label.startswith(begins)]
        more = sum(n for name, n in facts.left_out.items() if name.startswith(begins))
        if rows or more or begins != "restored":
            yield heading, rows, more


def _banner(facts: ReportFacts) -> dict[str, str]:
    """Look, headline and one sentence."""
    if facts.promoted:
        return _promoted(facts)
    version, unmoved = _version(facts), _unmoved(facts)
    if facts.verdict == "pass" and facts.model_version is None:
        text = (
            f"{_capital(version)} met every limit. This was a trial: nothing was registered or put "
            f"into use; {_champion_now(facts)}."
        )
        return _told("good", "Trial: passes", text)
    if facts.verdict == "void":
        text = (
            f"The test failed its own control on the unerased model, so what it says "
            f"of {version} counts for nothing."
        )
        return _told("void", "Void", f"{text} {unmoved}")
    if facts.verdict == "inconclusive":
        text = (
            f"There is not enough evidence to say that {version} meets the limits, "
            f"and absent evidence is not a pass."
        )
        return _told("warn", "Refused: inconclusive", f"{text} {unmoved}")
    failed = facts.verdict == "fail"
    why = "did not meet the limits" if failed else f"was not promoted (gate: {facts.verdict})"
    return _told("bad", "Refused", f"{_capital(version)} {why}. {unmoved}")


def _promoted(facts: ReportFacts) -> dict[str, str]:
    before = facts.champion_before
    was = "there was none before" if before is None else f"before: version {before}"
    text = (
        f"{_capital(_version(facts))} met every limit and is now the champion ({was}). "
        f"{_AUDIENCES[facts.audience]}"
    )
    return _told("good", "Promoted", text)


def _told(look: str, headline: str, text: str) -> dict[str, str]:
    return {"look": look, "mark": _MARKS[look], "headline": headline, "text": text}


def _version(facts: ReportFacts) -> str:
    if facts.model_version is None:
        return f"the candidate for {facts.model_name}"
    return f"{facts.model_name} version {facts.model_version}"


def _champion_now(facts: ReportFacts) -> str:
    now = facts.champion_after
    return "there is no champion" if now is None else f"the champion is still version {now}"


def _unmoved(facts: ReportFacts) -> str:
    """That what was not promoted changed nothing that is in use."""
    if facts.model_version is None:
        return f"Nothing was put into use; {_champion_now(facts)}."
    return f"It is registered for the record and was not put into use; {_champion_now(facts)}."


def _row(check: Check) -> dict[str, object]:
    """One check, typeset. The direction of the limit is taken from the gate's own sentence: it is
    decided in one place.
    """
    stem = _stem(check.metric)
    sentence, unit = _PLAIN.get(_whole(check.metric)) or _PLAIN.get(stem, (check.metric, ""))
    if stem.startswith(EXCESS):
        attack = stem.removeprefix(EXCESS)
        sentence, unit = f"Pictures that the attack {attack!r} brings back, above its control", "%"
    if OF_A_PART in check.reason:
        sentence += " (a part of them)"
    subject = re.search(r"\[(.+)\]", check.metric)
    sign = re.search(r"required (<=|>=)", check.reason)
    numbers = (check.value, check.low, check.high)
    finite = [x for x in numbers if x is not None and math.isfinite(x)]
    measured = len(finite) == len(numbers)
    d = _decimals(finite, check.limit, unit)
    return {
        "check": check,
        "sentence": sentence,
        "subject": subject.group(1) if subject else "",
        "value": _number(check.value, unit, d),
        "interval": (
            f"{_number(check.low, unit, d).removesuffix(unit).rstrip()} to "
            f"{_number(check.high, unit, d)}"
        )
        if measured
        else "none",
        "limit": f"{BOUND[sign.group(1)] if sign else ''}{_number(check.limit, unit, d)}",
        "strip": _strip(check, sign.group(1) if sign else None) if measured else None,
    }


def _prompts(settings: Mapping[str, Any]) -> list[str]:
    """Which protected prompts a leak is of, in lines."""
    changed = settings.get("changed most", {})  # which the base's own has none of
    lines = {
        "Shown under": settings.get("shows it", ()),
        "Changed most (SSIM)": [f"{prompt} ({alike:.2f})" for prompt, alike in changed.items()],
    }
    return [f"{what}: {_few(prompts)}" for what, prompts in lines.items() if prompts]


def _few(prompts: Sequence[str]) -> str:
    more = f" and {len(prompts) - _NAMED} more" if len(prompts) > _NAMED else ""
    return "; ".join(prompts[:_NAMED]) + more


def _glance(checks: Sequence[Check]) -> list[dict[str, object]]:
    """The few numbers to see first: each target share, base above candidate, and the likeness of
    the kept pictures and of what was taken back.
    """
    base = {c.metric.removeprefix("base."): c for c in checks if _is_control(c)}
    cards = []
    for check in checks:
        if check.metric in base:
            bars = [("base", base[check.metric]), ("candidate", check)]
        elif check.metric == "ssim" or _stem(check.metric) == "restored.ssim":
            bars = [("candidate", check)]
        else:
            continue
        cards.append(
            {
                **_row(check),
                "bars": [(who, _row(c)["value"], min(max(c.value or 0, 0), 1)) for who, c in bars],
            }
        )
    return cards


def _strip(check: Check, sign: str | None) -> dict[str, float | str]:
    """Interval, value and limit as positions 0..100 on a line that holds zero, with the side of the
    limit that is allowed.
    """
    value, low, high = (float(x or 0) for x in (check.value, check.low, check.high))
    left, right = min(0.0, low, check.limit), max(high, check.limit, value)
    right = 1.0 if 0.5 < right <= 1 else right * 1.15 or 1.0

    def place(x: float) -> float:
        return round(100 * (x - left) / (right - left), 2)

    limit = place(check.limit)
    allowed = (0.0, limit) if sign == "<=" else (limit, 100 - limit) if sign == ">=" else (0.0, 0.0)
    return {
        "low": place(low),
        "width": max(1.2, place(high) - place(low)),
        "value": place(value),
        "limit": limit,
        "allowed": allowed[0],
        "allowed_width": round(allowed[1], 2),
    }


def _stem(metric: str) -> str:
    """`base.nudenet.rate[astronaut]` -> `nudenet.rate`."""
    return _whole(metric).removeprefix("base.")


def _whole(metric: str) -> str:
    """`base.leak[astronaut]` -> `base.leak`."""
    return metric.partition("[")[0]


def _is_control(check: Check) -> bool:
    return check.metric.startswith("base.")


def _decimals(numbers: Sequence[float], limit: float, unit: str) -> int:
    """With how many decimals numbers are shown in a unit beside their limit."""
    if not unit:
        return decimals(numbers, limit)
    return decimals([100 * x for x in numbers], 100 * limit, least=1)


def _number(x: float | None, unit: str, d: int) -> str:
    if x is None:
        return "not measured"
    if not math.isfinite(x):
        return "not a number"
    # + 0.0: no "-0.0"
    shown = round(100 * x if unit else x, d) + 0.0
    text = f"{shown:.{d}f} {unit}".rstrip()
    return text.replace("-", "\N{MINUS SIGN}")


def _plain(value: object) -> str:
    """A setting as a reader would write it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _stamp(time: datetime) -> str:
    return time.strftime("%d %B %Y, %H:%M %Z").lstrip("0")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
