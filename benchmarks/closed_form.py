"""How UCE and RECE grow with the number of concepts: seconds, memory and error against the
published layer-by-layer form.

    python -m benchmarks.closed_form --save benchmarks/results --plot docs/closed-form-growth.png
    python -m benchmarks.closed_form --gallery --save benchmarks/results --plot
    docs/closed-form-kept.png

The first is at Stable Diffusion 1.4's shapes (32 key and value projections, text width 768, 77
positions) with random weights and CLIP-like random text states: time does not depend on their
values. It times the algebra from text states to changed weights; encoding prompts and hashing the
whole network into a delta are not in it. The second erases 1 to 8 of the embedded teacher's objects
by the settings of `params.yaml`, one after another and all at once, and asks its CLIP what pictures
still show.
"""

import copy
import ctypes
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import layer_norm

from benchmarks import literal_closed_form as literal
from erasure_core.files import pretty_json, write_text
from erasure_core.gallery.pictures import STYLES, SUBJECTS
from erasure_core.gallery.prompts import GUIDANCE
from erasure_core.law.concepts import Concept
from erasure_core.methods import rece, uce
from erasure_core.metrics.clip_score import ClipScorer
from erasure_core.network import closed_form
from erasure_core.network.diffusion import sample
from erasure_core.network.images import to_pil
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.families import REPORTED, TRAINED
from erasure_core.planning.params import read_params

Result = TypeVar("Result")
# None: not run
COMPARED = (
    "uce_literal_seconds",
    "literal_seconds",
    "uce_max_rel_error",
    "rece_max_rel_error",
    "max_rel_error",
)
LITERAL = {"uce_literal_seconds": ".1f", "literal_seconds": ".1f", "max_rel_error": ".1e"}
# of the 16 cross-attention modules; each has a key and a value projection
WIDTHS = (320,) * 5 + (640,) * 5 + (1280,) * 6
# of Stable Diffusion 1.4; and how many prompts are preserved beside the empty one
TEXT_WIDTH, POSITIONS, KEPT = (
    768,
    77,
    10,
)
# the published scripts'; RECE with 3 epochs
UCE, RECE = (
    uce.PRESETS["explicit"],
    rece.PRESETS["explicit"],
)
# in this order
GONE = (
    "cat",
    "rocket",
    "cup of coffee",
    "galaxy",
    "brick wall",
    "old coins",
    "astronaut",
    "photographer",
)
STEPS = 15  # of a picture
INSTEAD = "green grass"  # never erased, like the retina


class Clock(Enum):
    """What a second is."""

    wall = "wall"
    cpu = "cpu"

    def read(self) -> float:
        """The time now."""
        return time.perf_counter() if self is Clock.wall else time.process_time()


@dataclass(frozen=True, slots=True)
class Problem:
    """Weights to edit and text states to edit them by."""

    weights: dict[str, Tensor]
    tails: list[closed_form.Pair]  # UCE's rows, a pair a concept: from the subject to the end
    whole: list[closed_form.Pair]  # RECE's: all positions
    kept: list[Tensor]

    @classmethod
    def drawn(cls, concepts: int, width: int, seed: int) -> "Problem":
        """A random problem at text width `width`; the projections shrink with it."""
        draw = torch.Generator().manual_seed(seed)
        sizes = [max(1, size * width // TEXT_WIDTH) for size in WIDTHS for _ in "kv"]
        weights = {
            f"{i}": torch.randn(size, width, generator=draw) / width**0.5
            for i, size in enumerate(sizes)
        }
        states = _states(concepts + KEPT + 1, width, draw)
        erased, kept = states[:concepts], states[concepts:]
        nothing, subject = kept[0], 2  # the name ends at the second token behind the start marker
        tails = [(states[subject:], nothing[: POSITIONS - subject]) for states in erased]
        return cls(weights, tails, [(states, nothing) for states in erased], list(kept))


def _states(prompts: int, width: int, draw: torch.Generator) -> Tensor:
    """Text states (prompts, positions, width): norm sqrt(width), a large common mean, one start
    marker's row for all.
    """

    def part(*shape: int) -> Tensor:
        return torch.randn(*shape, width, generator=draw)

    states = (
        part() + 0.5 * part(POSITIONS) + 0.7 * part(prompts, 1) + 0.5 * part(prompts, POSITIONS)
    )
    states[:, 0] = states[0, 0]
    return layer_norm(states, (width,))


# --- the two implementations
# ---------------------------------------------------------------------------------------------


def uce_map(problem: Problem) -> closed_form.Map:
    """UCE's edit, as `uce.erase` finds it."""
    assert UCE.preserve_scale is not None
    demand = closed_form.Demand.of(
        problem.tails, UCE.preserve_scale * closed_form.outer(problem.kept)
    )
    return closed_form.edit_map(demand, UCE)


def rece_map(problem: Problem, gram: Tensor) -> closed_form.Map:
    """RECE's edit, as `rece.erase` finds it."""
    assert RECE.preserve_scale is not None
    asked = closed_form.Demand.of(
        problem.whole, RECE.preserve_scale * closed_form.outer(problem.kept)
    )
    edited = rece.Edited.nothing(gram).then(uce_map(problem))
    for _ in range(RECE.epochs):
        edited, _ = rece.one_epoch(edited, asked, RECE)
    return edited.edit


def literal_uce(problem: Problem) -> list[Tensor]:
    """UCE's projections, each by its own solve."""
    assert UCE.preserve_scale is not None
    return literal.uce(
        list(problem.weights.values()),
        problem.tails,
        problem.kept,
        s=UCE.erase_scale,
        q=UCE.preserve_scale,
        lamb=UCE.lamb,
    )


def literal_rece(problem: Problem, begun: list[Tensor]) -> list[Tensor]:
    """RECE's projections, layer after layer in every epoch, from UCE's on."""
    assert RECE.preserve_scale is not None
    return literal.rece(
        list(problem.weights.values()),
        begun,
        problem.whole,
        problem.kept,
        s=RECE.erase_scale,
        q=RECE.preserve_scale,
        lamb=RECE.lamb,
        lambda_r=RECE.lambda_r,
        epochs=RECE.epochs,
    )


# --- growth
# ---------------------------------------------------------------------------------------------


def growth(
    concepts: int,
    width: int,
    repeats: int,
    literal_up_to: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """One row of the table. Seconds are the best of `repeats`; of the literal form, of one. Memory
    is RECE's from the start.
    """
    problem = Problem.drawn(concepts, width, seed=concepts)
    seconds: dict[str, float] = {}

    def timed(name: str, run: Callable[[], Result]) -> Result:
        began = clock()
        result = run()
        seconds[name] = min(clock() - began, seconds.get(name, float("inf")))
        return result

    def run_rece() -> dict[str, Tensor]:
        gram = timed("gram", lambda: closed_form.gram(problem.weights))
        p = timed("rece_p", lambda: rece_map(problem, gram))
        return timed("change", lambda: closed_form.change(problem.weights, p))

    def run_uce() -> dict[str, Tensor]:
        p = timed("uce_p", lambda: uce_map(problem))
        return timed("uce_change", lambda: closed_form.change(problem.weights, p))

    peak, by_rece = _peak_mb(run_rece)
    for _ in range(repeats - 1):
        run_rece()
    for _ in range(repeats):
        by_uce = run_uce()
    compared: dict[str, float | None] = dict.fromkeys(COMPARED)
    if concepts <= literal_up_to:
        by_uce_literally = timed("uce_literal", lambda: literal_uce(problem))
        by_rece_literally = timed(
            "rece_epochs_literal", lambda: literal_rece(problem, by_uce_literally)
        )
        errors = (
            _error(problem, by_uce, by_uce_literally),
            _error(problem, by_rece, by_rece_literally),
        )
        took = (seconds["uce_literal"], seconds["uce_literal"] + seconds["rece_epochs_literal"])
        compared = dict(zip(COMPARED, (*took, *errors, max(errors)), strict=True))
    return {
        "concepts": concepts,
        "gram_seconds": seconds["gram"],
        "change_seconds": seconds["change"],
        "uce_p_seconds": seconds["uce_p"],
        "uce_seconds": seconds["uce_p"] + seconds["uce_change"],
        "rece_p_seconds": seconds["rece_p"],
        "cached_seconds": seconds["rece_p"] + seconds["change"],
        "seconds": seconds["gram"] + seconds["rece_p"] + seconds["change"],
        **compared,
        "peak_mb": peak,
    }


def _error(problem: Problem, changes: dict[str, Tensor], literal: Sequence[Tensor]) -> float:
    """Largest difference of an edited weight from the literal one, as a share of the largest of its
    projection.
    """
    edited = [weight + changes[name] for name, weight in problem.weights.items()]
    return max(
        float((ours.double() - w).abs().max() / w.abs().max())
        for ours, w in zip(edited, literal, strict=True)
    )


def _peak_mb(run: Callable[[], Result]) -> tuple[float | None, Result]:
    """Most resident memory that `run` needed beyond what was there before (None where Linux is not
    there to ask), and its result.
    """
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(
            0
        )  # what was freed but not given back would hide what is needed now
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark so far
    except OSError:
        return None, run()
    before = _status_mb("VmRSS")
    result = run()
    return _status_mb("VmHWM") - before, result


def _status_mb(key: str) -> float:
    return int(Path("/proc/self/status").read_text().partition(f"{key}:")[2].split()[0]) / 1024


def growth_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The figures for people, as docs/methods.md shows them."""
    yield (
        "| concepts | UCE, s | layer by layer, s | RECE: P, s | G known, s | RECE, s | "
        "layer by layer, s | largest error | peak MB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for r in rows:
        uce_literal, rece_literal, error = (
            "-" if r[key] is None else f"{r[key]:{how}}" for key, how in LITERAL.items()
        )
        uce_ours, *rece_ours = (
            f"{r[key]:.2f}"
            for key in ("uce_seconds", "rece_p_seconds", "cached_seconds", "seconds")
        )
        peak = "-" if r["peak_mb"] is None else f"{r['peak_mb']:.0f}"
        yield (
            f"| {r['concepts']} | {uce_ours} | {uce_literal} | {' | '.join(rece_ours)} "
            f"| {rece_literal} | {error} | {peak} |"
        )


def growth_plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds against concepts, both axes logarithmic."""
    figure, axes = _axes()
    x = [r["concepts"] for r in rows]
    lines = {
        "literal_seconds": ("RECE, layer by layer (literal)", "#c05621", "s--"),
        "uce_literal_seconds": ("UCE, layer by layer (literal)", "#dd9c5d", "s--"),
        "seconds": ("RECE, 3 epochs", "#2b6cb0", "o-"),
        "cached_seconds": ("RECE, Gram matrix known", "#63a4dd", "o-"),
        "uce_seconds": ("UCE", "#2f855a", "o-"),
    }
    for key, (label, colour, style) in lines.items():
        axes.plot(
            x,
            [float("nan") if r[key] is None else r[key] for r in rows],
            style,
            color=colour,
            label=label,
            linewidth=1.6,
            markersize=5,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="concepts erased together",
        ylabel="seconds, from text states to changed weights",
    )
    axes.legend(fontsize=8.5, frameon=False)
    figure.savefig(path, dpi=150)


# --- what the gallery keeps
# ---------------------------------------------------------------------------------------------


class Gallery:
    """The embedded teacher's ten objects in its five styles, drawn and looked at in the same way
    after every edit.
    """

    def __init__(self, teacher: Teacher, clip: str) -> None:
        """Take a teacher that draws the gallery and the folder of the CLIP that
        names its pictures.
        """
        self.teacher, self.base = teacher, copy.deepcopy(teacher.unet.state_dict())
        self.scorer = ClipScorer(clip, None, [f"a {style} of {{}}" for style in STYLES])
        self.phrases = {
            re.sub("^(a|the) ", "", subject.phrase): subject.phrase for subject in SUBJECTS.values()
        }
        self.drawn = [name for name in self.phrases for _ in STYLES]

    def restore(self) -> None:
        """Undo every edit."""
        self.teacher.unet.load_state_dict(self.base)

    def concept(self, name: str, gone: Sequence[str]) -> Concept:
        """`name` in the wordings that are trained on; every other object is kept but those in
        `gone`.
        """
        prompts = [
            t.format(style=style, subject=self.phrases[name]) for style in STYLES for t in TRAINED
        ]
        others = [phrase for other, phrase in self.phrases.items() if other not in (name, *gone)]
        keep = [
            t.format(style=style, subject=phrase)
            for phrase in others
            for style, t in zip(STYLES, TRAINED, strict=False)
        ]
        return Concept(
            name=name,
            kind="object",
            prompts=(self.phrases[name], name, *prompts),
            replacement=INSTEAD,
            keep=tuple(keep),
        )

    def look(self, gone: Sequence[str]) -> dict[str, Any]:
        """Draw every object in every style, in wordings that are not trained on: how many are still
        what they should be.
        """
        pairs = [(phrase, style) for phrase in self.phrases.values() for style in STYLES]
        prompts = [
            REPORTED[i % len(REPORTED)].format(style=style, subject=phrase)
            for i, (phrase, style) in enumerate(pairs)
        ]
        pictures = sample(
            self.teacher,
            prompts,
            range(len(prompts)),
            [GUIDANCE] * len(prompts),
            STEPS,
            batch_size=25,
        )
        named = self.scorer.name_concepts(to_pil(pictures), list(self.phrases.values()))
        right = {
            name: [
                n == self.phrases[name] for n, d in zip(named, self.drawn, strict=True) if d == name
            ]
            for name in self.phrases
        }
        kept = [r for name in right if name not in gone for r in right[name]]
        erased = [r for name in gone for r in right[name]]
        rate = sum(erased) / len(erased) if erased else None
        return {
            "concepts": len(gone),
            "kept_accuracy": sum(kept) / len(kept),
            "kept_pictures": len(kept),
            "erased_rate": rate,
        }


def gallery(world: Gallery, most: int, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """After 1 to `most` objects: accuracy on those not erased, and how often the erased ones are
    still drawn.

    `settings` are those of the methods uce and rece, by name.
    """
    yield {"method": "base", "how": "", **world.look([])}
    for name, erase in (("uce", uce.erase), ("rece", rece.erase)):
        world.restore()
        for n in range(1, most + 1):  # on top of the edits before
            erase(
                world.teacher, [world.concept(GONE[n - 1], GONE[:n])], settings[name], Work(0)
            ).apply(world.teacher.unet)
            yield {"method": name.upper(), "how": "one after another", **world.look(GONE[:n])}
        for n in range(1, most + 1):
            world.restore()
            erase(
                world.teacher,
                [world.concept(c, GONE[:n]) for c in GONE[:n]],
                settings[name],
                Work(0),
            ).apply(world.teacher.unet)
            yield {"method": name.upper(), "how": "all at once", **world.look(GONE[:n])}
    world.restore()


def gallery_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The figures for people."""
    yield "method  how                concepts  kept pictures  of them right  erased still shown"
    for r in rows:
        still = "" if r["erased_rate"] is None else f"{r['erased_rate']:.3f}"
        counts = f"{r['concepts']:8}{r['kept_pictures']:15}{r['kept_accuracy']:15.3f}"
        yield f"{r['method']:8}{r['how']:19}{counts}{still:>20}"


def gallery_plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy on what is kept against the number of objects erased."""
    figure, axes = _axes()
    base, colours, styles = (
        rows[0],
        {"UCE": "#2f855a", "RECE": "#2b6cb0"},
        {"all at once": "o-", "one after another": "s--"},
    )
    for method, colour in colours.items():
        for how, style in styles.items():
            line = [base, *(r for r in rows if (r["method"], r["how"]) == (method, how))]
            x, y = [r["concepts"] for r in line], [r["kept_accuracy"] for r in line]
            axes.plot(
                x, y, style, color=colour, label=f"{method}, {how}", linewidth=1.6, markersize=5
            )
    axes.set(
        xlabel="objects erased from the gallery",
        ylabel="CLIP accuracy on the objects not erased",
        ylim=(0, 1.03),
    )
    axes.legend(fontsize=8.5, frameon=False)
    figure.savefig(path, dpi=150)


# --- the command
# ---------------------------------------------------------------------------------------------


def _axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def processor() -> str:
    """What this machine calls its processor."""
    try:
        return (
            Path("/proc/cpuinfo")
            .read_text()
            .partition("model name")[2]
            .splitlines()[0]
            .lstrip("\t: ")
        )
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of concepts.")] = "1,10,100,1000",
    width: Annotated[
        int, typer.Option(help="Text width; the projections shrink with it.")
    ] = TEXT_WIDTH,
    repeats: Annotated[
        int, typer.Option(min=1, help="Runs of the fast form; the best counts.")
    ] = 3,
    literal_up_to: Annotated[
        int,
        typer.Option(
            help="Concepts up to which the literal form is run too; at 1000 it takes about an hour."
        ),
    ] = 100,
    clock: Annotated[
        Clock, typer.Option(help="cpu: seconds of one core, for a machine that others are using.")
    ] = Clock.wall,
    of_gallery: Annotated[
        bool, typer.Option("--gallery", help="Measure what the gallery keeps instead.")
    ] = False,
    most: Annotated[
        int, typer.Option(min=1, max=len(GONE), help="Objects to erase from the gallery.")
    ] = len(GONE),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Folder to keep the figures in, under the processor's name.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG to draw.")] = None,
) -> None:
    """Measure, print, and keep the figures and the plot where asked."""
    load = os.getloadavg()[0]
    if clock is Clock.cpu:
        torch.set_num_threads(1)  # threads wait for each other, and waiting counts
    if of_gallery:
        params = read_params(Path("params.yaml"))
        rows = list(
            gallery(Gallery(load_teacher(params.base.path), params.clip.path), most, params.methods)
        )
    else:
        rows = [growth(int(n), width, repeats, literal_up_to, clock.read) for n in sizes.split(",")]
    machine = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "load_at_start": load,
        "torch": torch.__version__,
    }
    results = {
        **machine,
        **({} if of_gallery else {"width": width, "repeats": repeats, "clock": clock.name}),
        "rows": rows,
    }
    lines = gallery_table(rows) if of_gallery else growth_table(rows)
    typer.echo(
        pretty_json(results).rstrip()
        if as_json
        else "\n".join(
            [f"{machine['processor']}, {machine['threads']} threads, {clock.name} seconds", *lines]
        )
    )
    if save:
        name = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
        write_text(
            save / f"closed_form-{'gallery-' if of_gallery else ''}{name}.json",
            pretty_json(results),
        )
    if plot:
        (gallery_plot if of_gallery else growth_plot)(rows, plot)


if __name__ == "__main__":
    typer.run(main)
