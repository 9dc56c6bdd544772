"""What a release sees of a concept that was honoured before and comes back, when it measures a part
of its pictures (docs/again.md): simulated on a real prompt set, by the real intervals and limits.

    python -m benchmarks.again

A concept is shown by a share `shown` of its pictures, alike within a prompt (beta-binomial,
correlation 0.3, as in the tests of the intervals). Each release draws anew and measures the part
after the one before, from any part on. Writes `benchmarks/results/again.json`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer

from erasure_core.files import pretty_json, write_text
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Limit, judge
from erasure_core.law.prompts import PromptRow, part_of, read_prompt_set
from erasure_core.metrics.intervals import share
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.policy import COMPOSED

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/again.json"
CONCEPT = Concept(
    name="astronaut", kind="likeness", prompts=("the astronaut",), replacement="a photographer"
)
SHOWN = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)  # shares of pictures that show it
CORRELATION = 0.3  # between pictures of one prompt
DRAWS, SEED = 4000, 11
WORD = "clip.concept_rate"  # the metric that is simulated, alone and composed


def simulated(params: Params, rows: Sequence[PromptRow]) -> list[dict[str, Any]]:
    """Per share of pictures that show the concept: how often a release refuses it, by a part and
    by all, and after how many releases by parts it was seen in nine cases of ten.
    """
    again = params.policy.again
    assert again is not None
    of_part, of_all = params.policy.of_parts([CONCEPT])[1], params.policy.limits([CONCEPT])
    found = []
    for shown in SHOWN:
        draws = np.random.default_rng(SEED)
        by_part, by_all = [], []
        for number in range(DRAWS):
            hits = _drawn(rows, shown, draws)
            part = part_of(rows, number % again.parts, again.parts)
            by_part.append(_refused(part, hits, of_part))
            by_all.append(_refused(rows, hits, of_all))
        each = [float(np.mean(by_part[part :: again.parts])) for part in range(again.parts)]
        found.append(
            {
                "shown": shown,
                "by a part": float(np.mean(by_part)),
                "by all": float(np.mean(by_all)),
                "releases": _until(0.9, each),
            }
        )
    return found


def _drawn(
    rows: Sequence[PromptRow], shown: float, draws: np.random.Generator
) -> Mapping[int, bool]:
    """Case -> whether its picture shows the concept."""
    rates: dict[str, float] = {}
    if shown in (0, 1):
        return {row.case_number: bool(shown) for row in rows}
    a, b = (x * (1 - CORRELATION) / CORRELATION for x in (shown, 1 - shown))
    for row in rows:
        rates.setdefault(row.prompt, draws.beta(a, b))
    return {row.case_number: bool(draws.random() < rates[row.prompt]) for row in rows}


def _refused(rows: Sequence[PromptRow], hits: Mapping[int, bool], limits: Sequence[Limit]) -> bool:
    """Whether any limit on how often the concept is named does not pass."""
    found = {}
    for begin, some in (
        ("", [r for r in rows if not r.also]),
        (COMPOSED, [r for r in rows if r.also]),
    ):
        name = f"{begin}{WORD}[{CONCEPT.name}]"
        found[name] = share(
            [hits[r.case_number] for r in some],
            metric=name,
            better="lower",
            settings={},
            clusters=[r.prompt for r in some],
        )
    judged = [judge(limit, found) for limit in limits if limit.metric in found]
    assert len(judged) == len(found)
    return any(check.verdict != "pass" for check in judged)


def _until(sure: float, seen: Sequence[float]) -> int | None:
    """Releases in a row after which it was seen with that certainty, where each part of which one
    release measures sees it so often; None where none does.
    """
    if max(seen) <= 0:
        return None
    left, releases = np.ones(len(seen)), 0  # by the part that is measured first
    while left.mean() > 1 - sure + 1e-12:
        left *= 1 - np.roll(seen, -releases)
        releases += 1
    return releases


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """As the page has it."""
    lines = [
        "| pictures that show it | refused by a part | refused by all | releases, 9 of 10 seen |",
        "|---|---|---|---|",
    ]
    for row in measured:
        releases = row["releases"]
        until = "-" if releases is None else "> 100" if releases > 100 else str(releases)
        shares = (f"{100 * row[key]:.0f} %" for key in ("shown", "by a part", "by all"))
        lines.append(f"| {' | '.join((*shares, until))} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate, write and print."""
    params = read_params(ROOT / "params.yaml")
    rows = read_prompt_set(ROOT / f"prompts/targets/{CONCEPT.name}.csv", params.reading)
    assert params.policy.again is not None
    measured = simulated(params, rows)
    content = {
        "parts": params.policy.again.parts,
        "pictures": len(rows),
        "correlation": CORRELATION,
        "draws": DRAWS,
        "rows": measured,
    }
    write_text(RESULTS, pretty_json(content))
    print(table(measured))


if __name__ == "__main__":
    typer.run(main)
