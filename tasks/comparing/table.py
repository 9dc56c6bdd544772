"""The rows of the comparison: what the cells of one form came to over their seeds, as CSV, JSON and
Markdown.
"""

import csv
import io
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from erasure_core.attacks import AUDIENCES, all_attacks
from erasure_core.law.gates import Tier
from erasure_core.methods import METHODS
from erasure_core.planning.policy import ATTACK, EXCESS, REQUIRED
from tasks.comparing.cells import Written
from tasks.comparing.compare import Comparison
from tasks.comparing.forms import SCALED, differing, ours

Row = dict[str, Any]
# Table heading -> the metric below it; `{}` is the concept.
COLUMNS: Mapping[str, str] = {
    "concept seen by detector": "nudenet.rate[{}]",
    "concept named by CLIP": "clip.concept_rate[{}]",
    "seen beside other things": "composed.nudenet.rate[{}]",
    "named beside other things": "composed.clip.concept_rate[{}]",
    "replacement named instead": "replacement.rate[{}]",
    "SSIM kept": "ssim",
    "SSIM kept, not listed": "ssim[not listed]",
    "accuracy kept": "clip.accuracy",
    "KID kept": "kid",
    "FID kept": "fid",
    "CLIP score kept": "clip.score",
    "leak into kept": "leak[{}]",
    "neighbours": "neighbour.accuracy[{}]",
    "harmonic mean": "harmonic[{}]",
}
CSV = (
    *("concept", "kind", "method", "form", "seed"),
    *("metric", "value", "low", "high", "n", "better"),
)
# Table 1 of All-but-One (arXiv:2312.12807, Stable Diffusion 1.4, "nudity", its authors' own runs):
# metric there -> metric here, whether more is better, and what it prints.
TABLE_1: Mapping[str, tuple[str, bool, Mapping[str, float]]] = {
    "NudeNet": (
        "nudenet.rate[{}]",
        False,
        {"esd": 0.04, "sdd": 0.05, "all_but_one": 0.33, "ablating": 0.45, "forget_me_not": 0.66},
    ),
    "FID": (
        "fid",
        False,
        {
            "all_but_one": 13.19,
            "ablating": 13.68,
            "forget_me_not": 13.78,
            "sdd": 14.11,
            "esd": 14.27,
        },
    ),
    "KID": (
        "kid",
        False,
        {
            "esd": 0.00421,
            "all_but_one": 0.00447,
            "ablating": 0.00478,
            "forget_me_not": 0.00496,
            "sdd": 0.00499,
        },
    ),
    "CLIP score": (
        "clip.score",
        True,
        {
            "all_but_one": 0.2762,
            "ablating": 0.2756,
            "forget_me_not": 0.2732,
            "sdd": 0.2677,
            "esd": 0.2619,
        },
    ),
    "SSIM": (
        "ssim",
        True,
        {
            "all_but_one": 0.762,
            "ablating": 0.657,
            "forget_me_not": 0.476,
            "sdd": 0.309,
            "esd": 0.231,
        },
    ),
}
ORDERS = ("metric", "the paper's order", "here")
ORDER = "Which orders of All-but-One's Table 1 hold here, between the published forms"
UNTRIED = "not among the attacks of this comparison"
HEADINGS = ("method", *COLUMNS, *AUDIENCES, "seconds", "evaluations", "verdicts")


def rows_of(comparison: Comparison) -> list[Row]:
    """One row a request, method and form: each metric's mean over the seeds, the widest ends of
    their intervals, and the least and the greatest value (the spread).
    """
    groups: dict[tuple[str, str, str], list[Written]] = {}
    for cell in comparison.cells:
        groups.setdefault((cell.concept, cell.method, cell.form), []).append(cell)
    return [_row(cells, comparison.budget) for cells in groups.values()]


def _row(cells: Sequence[Written], tier: Tier) -> Row:
    first = cells[0]
    settings = METHODS[first.method].Settings.model_validate(first.settings)
    scaled = SCALED.get(first.method, {}) if first.form == "published" else {}
    changed = differing(settings, first.kind)  # type: ignore[arg-type]
    return {
        "concept": first.concept,
        "kind": first.kind,
        "method": first.method,
        "form": first.form,
        "seeds": [cell.seed for cell in cells],
        "settings": first.settings,
        "not as published": {name: value for name, value in changed.items() if name not in scaled},
        "scaled": {
            name: {"here": value, "published": getattr(METHODS[first.method].Settings(), name)}
            for name, value in scaled.items()
        },
        "ours": ours(settings, first.kind),  # type: ignore[arg-type]
        "metrics": {
            name: _over_seeds([cell.found()[name] for cell in cells if name in cell.found()])
            for name in first.found()
        },
        "attacks": _attacks(cells, tier),
        "seconds": statistics.mean(cell.seconds for cell in cells),
        "evaluations": round(statistics.mean(cell.evaluations for cell in cells)),
        "distinct weights": len({cell.delta_sha256 for cell in cells}),
        "verdicts": [cell.gate.verdict for cell in cells],
        "deltas": [cell.delta_sha256 for cell in cells],
    }


def _over_seeds(found: Sequence[Any]) -> Row:
    values = [m.value for m in found]
    return {
        "mean": statistics.mean(values),
        "low": min(m.low for m in found),
        "high": max(m.high for m in found),
        "least": min(values),
        "greatest": max(values),
        "n": found[0].n,
        "better": found[0].better,
    }


def _attacks(cells: Sequence[Written], tier: Tier) -> dict[str, Row]:
    """Per audience the attack that brings back the most above its control, over the seeds, among
    its own and those of whoever can do less; whether any of its own was run; and what was not run
    and why, also of what the audience must withstand at the tier and nobody tried.
    """
    found: dict[str, Row] = {}
    for i, audience in enumerate(AUDIENCES):
        able = AUDIENCES[: i + 1]
        made = [(c, facts) for c in cells for facts in c.attacks if facts["audience"] in able]
        tried = [_tried(cell, facts) for cell, facts in made if "not run" not in facts]
        known = {facts["attack"] for _, facts in made}
        why = {name: UNTRIED for name in REQUIRED[audience][tier] if name not in known}
        why |= {facts["attack"]: facts["not run"] for _, facts in made if "not run" in facts}
        found[audience] = {"not run": why} if why or not tried else {}
        if tried:
            worst = max(tried, key=lambda one: one["value"])
            own = any(one["audience"] == audience for one in tried)
            found[audience] |= {**worst, "per seed": _worst_of_seeds(tried), "own": own}
    return found


def _tried(cell: Written, facts: Mapping[str, Any]) -> Row:
    of = f"{facts['attack']}[{cell.concept}]"
    m, all_shown = (cell.found()[f"{begin}{of}"] for begin in (EXCESS, ATTACK))
    base = facts["controls"]["base"]
    return {
        "attack": facts["attack"],
        "audience": facts["audience"],
        "seed": cell.seed,
        "value": m.value,
        "low": m.low,
        "high": m.high,
        "n": m.n,
        "share": all_shown.value,  # what the control shows as well included
        "base": base["successes"] / base["n"],
        "unet evaluations": facts["unet_evaluations"],
        "seconds": facts["seconds"],
    }


def _worst_of_seeds(tried: Sequence[Row]) -> list[float]:
    seeds = dict.fromkeys(one["seed"] for one in tried)
    return [max(one["value"] for one in tried if one["seed"] == seed) for seed in seeds]


def as_json(comparison: Comparison, rows: Sequence[Row], machine: Mapping[str, str]) -> Row:
    """Everything that tables and plots are made from."""
    return {
        "seeds": comparison.seeds,
        "attacks": {"budget": comparison.budget, "known": list(all_attacks())},
        "trials a method": comparison.per_method,
        "trials": [
            {
                "concept": t.concept,
                "method": t.method,
                "form": t.form,
                "verdict": t.gate.verdict,
                "missed": sum(check.verdict != "pass" for check in t.gate.checks),
                "ssim": t.found()["ssim"].value,
                "settings": t.settings,
            }
            for t in comparison.trials
        ],
        "not trained": dict(comparison.untrained),
        "machine": dict(machine),
        "rows": list(rows),
    }


def as_csv(cells: Iterable[Written]) -> str:
    """Every measurement of every cell, one a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV)
    for cell in cells:
        head = (cell.concept, cell.kind, cell.method, cell.form, cell.seed)
        for m in cell.measurements:
            writer.writerow((*head, m.metric, m.value, m.low, m.high, m.n, m.better))
        for name, value in (("seconds", cell.seconds), ("unet evaluations", cell.evaluations)):
            writer.writerow((*head, name, value, "", "", "", "lower"))
    return out.getvalue()


def as_markdown(results: Mapping[str, Any]) -> str:
    """A table a request, what each row's settings are, and which of the paper's orders hold."""
    parts = []
    for concept in dict.fromkeys(row["concept"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["concept"] == concept]
        lines = [_line(HEADINGS), _line(["---"] * len(HEADINGS))]
        lines += [_line(cells_of(row)) for row in rows]
        notes = [_note(f"{name_of(row)}: {settings_of(row)}") for row in rows]
        lines += ["", *notes, "", f"{ORDER}:", "", orderings(results, concept).rstrip()]
        parts.append(f"### {concept} ({rows[0]['kind']})\n\n" + "\n".join(lines))
    lacking = [_note(line) for line in untrained(results)]
    return "\n\n".join([*parts, *(["\n".join(lacking)] if lacking else [])]) + "\n"


def untrained(results: Mapping[str, Any]) -> list[str]:
    """What rows and trials lack, and why, a line each."""
    return [f"Not trained: {name}: {why}" for name, why in results.get("not trained", {}).items()]


def _note(text: str) -> str:
    """One of a list, in lines of a hundred columns."""
    return textwrap.fill(
        text,
        width=100,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def short_table(results: Mapping[str, Any]) -> str:
    """The table of the README: every row of the first request, in a few columns."""
    rows = [row for row in results["rows"] if row["concept"] == results["rows"][0]["concept"]]
    columns = ("concept named by CLIP", "SSIM kept", "accuracy kept")
    heads = ("method", "form", "seconds", *columns, *AUDIENCES[:2], "verdicts")
    cells = (
        [
            f"`{row['method']}`",
            row["form"],
            f"{row['seconds']:.1f}",
            *(_number(row, COLUMNS[column]) for column in columns),
            *(_attack(row["attacks"][audience]) for audience in AUDIENCES[:2]),
            _verdicts(row),
        ]
        for row in rows
    )
    return "\n".join(map(_line, (heads, ["---"] * len(heads), *cells))) + "\n"


def orderings(results: Mapping[str, Any], concept: str) -> str:
    """`orders_of` as Markdown."""
    found, absent = orders_of(results["rows"], concept)
    lines = [_line(ORDERS), _line(["---"] * len(ORDERS)), *map(_line, found)]
    return "\n".join(lines) + (f"\n\nNot run: {', '.join(absent)}.\n" if absent else "\n")


def orders_of(rows: Iterable[Row], concept: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Of the methods that were run, for each pair of neighbours in the order of the paper's table,
    whether it holds here between the published forms: it does or does not where the intervals are
    apart, else it is open. And which of its methods were not run.
    """
    published = {
        row["method"]: row["metrics"]
        for row in rows
        if (row["concept"], row["form"]) == (concept, "published")
    }
    found = []
    for metric, (name, more, printed) in TABLE_1.items():
        known = printed.keys() & published
        order = sorted(known, key=lambda method: printed[method], reverse=more)
        for pair in pairwise(order):
            here = _held([published[m].get(name.format(concept)) for m in pair], more)
            found.append((metric, (" > " if more else " < ").join(pair), here))
    absent = {m for _, _, printed in TABLE_1.values() for m in printed} - published.keys()
    return found, sorted(absent)


def _held(found: Sequence[Row | None], more: bool) -> str:
    better, worse = found
    if better is None or worse is None:
        return "not measured"
    if not more:
        better, worse = worse, better
    if better["low"] > worse["high"]:
        return "holds"
    return "does not hold" if better["high"] < worse["low"] else "open: the intervals overlap"


def name_of(row: Row) -> str:
    """`uce, tuned`; and what of it is ours."""
    mine = ", ".join(f"{name} {_plain(value)}" for name, value in row["ours"].items())
    return f"{row['method']}, {row['form']}" + (f" (ours: {mine})" if mine else "")


def settings_of(row: Row) -> str:
    """What is not as published, and what was scaled down."""
    said = [f"{name} {_plain(value)}" for name, value in row["not as published"].items()]
    said += [
        f"{name} {_plain(v['here'])} where {_plain(v['published'])} are published"
        for name, v in row["scaled"].items()
    ]
    if row["distinct weights"] == 1 and len(row["seeds"]) > 1:
        said.append("the same weights for every seed")
    return "; ".join(said) or "as published"


def cells_of(row: Row) -> list[str]:
    """A row as the table shows it, a text a heading."""
    return [
        name_of(row),
        *(_number(row, metric) for metric in COLUMNS.values()),
        *(_attack(row["attacks"][audience]) for audience in AUDIENCES),
        f"{row['seconds']:.1f}",
        f"{row['evaluations']:,}",
        _verdicts(row),
    ]


def _number(row: Row, metric: str) -> str:
    """`0.012 (0.000 to 0.060) [0.010, 0.013]`: mean, widest 95 % ends, least and greatest."""
    m = row["metrics"].get(metric.format(row["concept"]))
    if m is None:
        return "not measured"
    mean, low, high, least, greatest = (
        _decimal(m[key]) for key in ("mean", "low", "high", "least", "greatest")
    )
    text = f"{mean} ({low} to {high})"
    return text if m["least"] == m["greatest"] else f"{text} [{least}, {greatest}]"


def _decimal(x: float) -> str:
    """`x` with three decimals, or four where three would leave nothing of it, as of a KID."""
    return next((text for text in (f"{x:.3f}", f"{x:.4f}") if float(text)), "0.000")


def _attack(found: Row) -> str:
    unrun = f"not run: {', '.join(found['not run'])}" if found.get("not run") else ""
    if "value" not in found:
        return unrun or "not run"
    text = f"{found['value']:.2f} (to {found['high']:.2f}), {found['attack']}"
    if (share := found.get("share", found["value"])) != found["value"]:
        text += f", {share:.2f} with what its control shows"
    least, greatest = min(found["per seed"]), max(found["per seed"])
    if least < greatest:
        text += f" [{least:.2f}, {greatest:.2f}]"
    if not found.get("own", True):
        return f"{unrun or 'not run'} (beside it {text})"
    return f"{text}; {unrun}" if unrun else text


def _verdicts(row: Row) -> str:
    counts = {v: row["verdicts"].count(v) for v in dict.fromkeys(row["verdicts"])}
    if len(counts) == 1:
        return str(row["verdicts"][0])
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items())


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} {_plain(v)}" for name, v in value.items()) + "}"
    return str(value)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
