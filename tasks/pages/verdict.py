"""A verdict in Markdown, for the pages of MLflow and Prefect. Imports nothing heavy."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from erasure_core.law.gates import OF_A_PART, decimals
from erasure_core.text import markdown

CHECKED = ("metric", "value", "low", "high", "n", "limit", "verdict")  # of a check
TABLE = 3500  # characters; MLflow keeps 5000 of a description
REPORT = "report.html"


def note(verdict: str, promoted: bool, checks: Sequence[Mapping[str, Any]], folder: str) -> str:
    """What a run came to, in Markdown: verdict, each check, and where the report is."""
    outcome = "promoted" if promoted else "refused"
    return (
        f"**{outcome}: gate {verdict}**\n\n{verdict_table(checks)}\n\n"
        f"Report: `{REPORT}` among the run's artifacts; in the state folder "
        f"`runs/{folder}/{REPORT}`."
    )


def verdict_table(checks: Sequence[Mapping[str, Any]], most: int = TABLE) -> str:
    """Checks as a Markdown table, those that did not pass first, as many as `most` characters hold;
    how many more there are is said.
    """
    lines = [f"| {' | '.join(CHECKED)} |", f"|{'---|' * len(CHECKED)}"]
    left = sorted(checks, key=lambda check: check["verdict"] == "pass")
    while left and sum(map(len, lines)) + len(lines) < most:
        lines.append(f"| {' | '.join(_cells(left[0]))}{_part(left[0])} |")
        left = left[1:]
    more = f"\n\nand {len(left)} more, in the report" if left else ""
    return "\n".join(lines) + more


def _part(check: Mapping[str, Any]) -> str:
    return " (of a part)" if OF_A_PART in check["reason"] else ""


def _cells(check: Mapping[str, Any]) -> list[str]:
    known = [check[key] for key in ("value", "low", "high") if check[key] is not None]
    d = decimals(filter(math.isfinite, known), check["limit"])
    return [_cell(check[key], d) for key in CHECKED]


def _cell(value: object, d: int) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.{d}f}"
    stem, bracket, name = str(value).removesuffix("]").partition("[")
    return f"{stem}[{markdown(name)}]" if bracket else stem


def lambda_tag(lambda_: float | None) -> str:
    """A lambda as tags hold it; of a method without one, nothing."""
    return "" if lambda_ is None else f"{lambda_:g}"
