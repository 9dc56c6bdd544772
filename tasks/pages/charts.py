"""The plots: what each lambda erases and keeps, how its training went, and methods beside one
another. Imports matplotlib late.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erasure_core.planning.params import DEFAULT_PRESET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tasks.pages.comparison import ComparedPoint
    from tasks.pages.report import LambdaPoint

_INK, _MUTED, _GOOD = "#1f2933", "#7b8794", "#2f855a"
_LETTER, _LINE = 4.3, 11.0  # of a name beside a point, in points: width of a letter, height


@dataclass(frozen=True, slots=True)
class _Look:
    """How one preset is drawn, and what it is called."""

    name: str
    colour: str
    marker: str
    line: str


_DEFAULT_LOOK = _Look(DEFAULT_PRESET, "#2b6cb0", "o", "-")
# Of comparisons, in turn; no two lengths share a divisor, so that 60 of them are told apart.
_COLOURS = ("#c05621", "#6b46c1", "#0f766e", "#b83280", "#975a16")
_MARKERS = ("s", "^", "D", "v")
_LINES = ("--", ":", "-.")


def _looks(points: Sequence["LambdaPoint"]) -> dict[str, _Look]:
    """How each preset of the points is drawn, in their order: no two alike."""
    ways = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES), strict=False)
    return {
        preset: _DEFAULT_LOOK
        if preset == DEFAULT_PRESET
        else _Look(f"{preset} (comparison)", *next(ways))
        for preset in dict.fromkeys(point.preset for point in points)
    }


def tradeoff(
    points: Sequence["LambdaPoint"],
    chosen: float | None,
    *,
    target: str,
    target_limit: float | None,
    ssim_limit: float | None,
    path: Path,
) -> None:
    """Write the plot of target rate against SSIM, one point a lambda and preset, to the PNG `path`,
    whole or not at all.

    Points that were not measured (NaN) are left out. Limits, where given, shade the region in which
    both are met.
    """
    from matplotlib.ticker import PercentFormatter

    figure, axes = _axes(6.4, 4.2)
    shown = [
        p for p in points if math.isfinite(p.target_rate.value) and math.isfinite(p.ssim.value)
    ]
    for preset, look in _looks(shown).items():
        line = sorted((p for p in shown if p.preset == preset), key=lambda p: p.lambda_ or 0)
        _points(axes, line, look)
    _chosen(axes, shown, chosen)
    axes.set_xlim(min(0.5, *(p.ssim.low - 0.03 for p in shown)) if shown else 0, 1.005)
    axes.set_ylim(-0.03, max(0.3, *(p.target_rate.high + 0.06 for p in shown)) if shown else 1.03)
    if target_limit is not None and ssim_limit is not None:
        _limits(axes, target_limit, ssim_limit)
    axes.set_xlabel("SSIM of kept pictures with the base's  (right: keeps more)")
    axes.set_ylabel(f"{target}\n(down: erases more)")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", fontsize=8.5, frameon=False)
    _save(figure, path)


def _points(axes: Any, line: Sequence["LambdaPoint"], look: _Look) -> None:
    """Draw the points of one preset, each with its name and its intervals."""
    axes.errorbar(
        [p.ssim.value for p in line],
        [p.target_rate.value for p in line],
        xerr=np.transpose([_arms(p.ssim) for p in line]),
        yerr=np.transpose([_arms(p.target_rate) for p in line]),
        color=look.colour,
        marker=look.marker,
        markersize=6,
        linewidth=0.8,
        linestyle="--",
        elinewidth=1.2,
        capsize=2.5,
        alpha=0.9,
        label=f"{look.name}, 95 % intervals",
    )
    for p in line:
        axes.annotate(
            p.label,
            (p.ssim.value, p.target_rate.value),
            xytext=(7, 7),
            textcoords="offset points",
            fontsize=9,
            color=look.colour,
        )


def _chosen(axes: Any, shown: Sequence["LambdaPoint"], chosen: float | None) -> None:
    """Ring the point that was chosen, where it is shown."""
    best = next((p for p in shown if p.preset == DEFAULT_PRESET and p.lambda_ == chosen), None)
    if best is None:
        return
    axes.plot(
        best.ssim.value,
        best.target_rate.value,
        "o",
        markersize=17,
        markerfacecolor="none",
        markeredgecolor=_GOOD,
        markeredgewidth=2,
        label=f"chosen ({best.label})",
    )


def _limits(axes: Any, target_limit: float, ssim_limit: float) -> None:
    """Shade where both limits are met, within the axes as they are."""
    left, right = axes.get_xlim()
    axes.fill_between(
        [ssim_limit, right],
        axes.get_ylim()[0],
        target_limit,
        color=_GOOD,
        alpha=0.12,
        linewidth=0,
        label="within both limits",
    )
    axes.set_xlim(left, right)


def losses(points: Sequence["LambdaPoint"], path: Path) -> bool:
    """Write the training losses, one curve a lambda and preset, to the PNG `path`; False where
    there are none to draw.
    """
    curves = [(p, np.asarray(p.losses, float)) for p in points if len(p.losses) > 1]
    if not curves:
        return False
    from matplotlib.ticker import LogLocator

    figure, axes = _axes(6.4, 3.0)
    looks = _looks(points)
    shades = {
        preset: iter(np.linspace(1.0, 0.45, max(1, sum(p.preset == preset for p, _ in curves))))
        for preset in looks
    }
    for point, curve in curves:
        look = looks[point.preset]
        strength, width = float(next(shades[point.preset])), min(15, len(curve))
        steps = np.arange(1, len(curve) + 1)
        axes.plot(steps, curve, color=look.colour, alpha=0.15 * strength, linewidth=0.7)
        axes.plot(
            steps[width - 1 :],
            np.convolve(curve, np.ones(width) / width, mode="valid"),
            color=look.colour,
            linewidth=1.6,
            linestyle=look.line,
            alpha=strength,
            label=point.label if look is _DEFAULT_LOOK else f"{point.label}, {look.name}",
        )
    if all((curve > 0).all() for _, curve in curves):
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("update")
    axes.set_ylabel("training loss")
    axes.legend(fontsize=8.5, frameon=False, ncols=2)
    _save(figure, path)
    return True


def pareto(points: Sequence["ComparedPoint"], path: Path) -> None:
    """Write erased against kept, and by colour attacked, to the PNG `path`: one point a method and
    form, ringed where no other is at least as good in all three and better in one.
    """
    figure, axes = _axes(7.2, 4.8)
    front = undominated(points)
    for point in points:
        tuned = point.form == "tuned"
        shade = axes.scatter(
            [point.kept],
            [point.shown],
            c=[point.attacked],
            cmap="RdYlGn_r",
            vmin=0,
            vmax=1,
            s=90,
            marker="o" if tuned else "s",
            edgecolors=_GOOD if point in front else _MUTED,
            linewidths=2.4 if point in front else 0.8,
            zorder=3,
        )
    if points:
        bar = figure.colorbar(shade, ax=axes, pad=0.02)
        bar.set_label(
            "highest share that an attack brings back above its control", color=_INK, fontsize=9
        )
    axes.set_xlabel("SSIM of kept pictures with the base's  (right: keeps more)")
    axes.set_ylabel("pictures that still show it  (down: erases more)")
    axes.set_ylim(-0.05, max([0.5, *(p.shown + 0.08 for p in points)]))
    axes.margins(x=0.18)
    _named(figure, axes, points)
    _save(figure, path)


def _named(figure: "Figure", axes: Any, points: Sequence["ComparedPoint"]) -> None:
    """Write each point's name above it, so high that no two names overlap, with a line to it."""
    figure.draw_without_rendering()  # only then it is known where points lie
    taken: list[tuple[float, float, float]] = []  # left, right, bottom of each name, in points
    for point in sorted(points, key=lambda p: p.kept):
        text = f"{point.method}, {point.form}"
        x, y = axes.transData.transform((point.kept, point.shown)) * 72 / figure.dpi
        half, up = 0.5 * _LETTER * len(text), 10.0
        while any(
            left < x + half and x - half < right and abs(bottom - (y + up)) < _LINE
            for left, right, bottom in taken
        ):
            up += _LINE
        taken.append((x - half, x + half, y + up))
        axes.annotate(
            text,
            (point.kept, point.shown),
            xytext=(0, up),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=_INK,
            arrowprops={"arrowstyle": "-", "color": _MUTED, "linewidth": 0.5},
        )


def undominated(points: Sequence["ComparedPoint"]) -> list["ComparedPoint"]:
    """Those that no other equals or beats in erased, kept and attacked, and beats in one. What was
    not attacked withstood nothing.
    """

    def goods(p: "ComparedPoint") -> tuple[float, float, float]:
        return p.kept, -p.shown, -p.attacked

    def beaten(p: "ComparedPoint") -> bool:
        return any(
            goods(q) != goods(p) and all(a >= b for a, b in zip(goods(q), goods(p), strict=True))
            for q in points
        )

    return [p for p in points if math.isfinite(p.attacked) and not beaten(p)]


def _arms(estimate: Any) -> tuple[float, float]:
    """Lengths of the two error bars; an interval's end may equal the value but for rounding."""
    return max(0.0, estimate.value - estimate.low), max(0.0, estimate.high - estimate.value)


def _axes(width: float, height: float) -> tuple["Figure", Any]:
    """One pair of axes on white, readable in a dark page too. No pyplot: its global state is not
    safe in threads.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_MUTED)
    axes.tick_params(which="both", colors=_INK, labelsize=9)
    axes.xaxis.label.set(color=_INK, fontsize=9.5)
    axes.yaxis.label.set(color=_INK, fontsize=9.5)
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(temporary, format="png", dpi=150)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
