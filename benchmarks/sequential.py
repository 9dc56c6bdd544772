"""Twelve requests one after another: is each erased on top of the model before, or all of them from
the base again (the question of CUIG, continual unlearning)?

    python -m benchmarks.sequential --methods uce,rece --drawn 4,8,12

The gallery's eight objects and four of its styles, in `ORDER`, by the settings of `params.yaml`.
After every request, for both ways, of keys and values, exact and without a picture: how far those
of prompts that nobody erased have moved, and how much of each erased concept is back (0: it is
where its erasure leads, 1: it is where it was; along the line between the two). After the requests
in `--drawn` every subject is drawn in every style and named by CLIP.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks.closed_form import GONE, STEPS, Gallery, _axes, processor
from erasure_core.files import pretty_json, write_text
from erasure_core.gallery.pictures import STYLES
from erasure_core.gallery.prompts import GUIDANCE
from erasure_core.law.concepts import Concept
from erasure_core.methods import METHODS, completed
from erasure_core.network import closed_form
from erasure_core.network.diffusion import encode_prompts, sample
from erasure_core.network.images import to_pil
from erasure_core.network.models import load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.families import REPORTED, TRAINED
from erasure_core.planning.params import Params, read_params

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/sequential.json"
PLAIN = "photo"  # the style that stays, and that the others become
ERASED_STYLES = tuple(style for style in STYLES if style != PLAIN)
ORDER = tuple(
    name for i in range(4) for name in (GONE[2 * i], GONE[2 * i + 1], ERASED_STYLES[i])
)  # two objects, then a style
SHOWN = (1, 4, 8, 12)  # requests, in the table
WAYS = ("one after another", "from the base")


class Continual(Gallery):
    """The gallery, whose styles are erased too."""

    def request(self, name: str, gone: Sequence[str]) -> Concept:
        """The request of one of `ORDER`; of all others what is not in `gone` is kept."""
        if name not in STYLES:
            return self.concept(name, gone)
        shown = list(self.phrases.values())
        prompts = [t.format(style=name, subject=s) for s in shown for t in TRAINED]
        keep = [
            TRAINED[0].format(style=style, subject=phrase)
            for style in STYLES
            if style not in (name, *gone)
            for subject, phrase in self.phrases.items()
            if subject not in gone
        ]
        return Concept(
            name=name,
            kind="style",
            prompts=(f"a {name}", *prompts),
            replacement=PLAIN,
            keep=tuple(keep),
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Every subject in every style."""
        return [(subject, style) for subject in self.phrases for style in STYLES]

    def prompt(self, subject: str, style: str, number: int) -> str:
        """A wording that is not trained on."""
        return REPORTED[number % len(REPORTED)].format(style=style, subject=self.phrases[subject])

    def keys_and_values(self, prompts: Sequence[str]) -> Tensor:
        """Of every token of the prompts, by all projections of the network as it now is; (tokens,
        sum of widths), float64.
        """
        weights = torch.cat(list(closed_form.projections(self.teacher.unet).values())).double()
        states = encode_prompts(self.teacher, prompts).states.flatten(0, 1).double()
        return (states @ weights.T).detach()

    def weights_say(self, gone: Sequence[str], replaced: "Replaced") -> dict[str, Any]:
        """How far kept prompts moved, and how much of what was erased is back."""
        kept = [p for p in replaced.kept if not set(p) & set(gone)]
        texts = [replaced.texts[pair] for pair in kept]
        before = torch.cat([replaced.before[pair] for pair in kept])
        moved = (self.keys_and_values(texts) - before).norm() / before.norm()
        back = [
            _share(self.keys_and_values([name]), replaced.target[name], replaced.start[name])
            for name in gone
        ]
        return {
            "kept_moved": float(moved),
            "back": sum(back) / len(back),
            "most_back": max(back),
            "most_back_concept": gone[back.index(max(back))],
        }

    def pictures_say(self, gone: Sequence[str]) -> dict[str, float]:
        """Share of what nobody erased that CLIP still names rightly, subject and style; and of what
        was erased, that still shows what was erased of it.
        """
        pairs = self.pairs()
        prompts = [self.prompt(s, style, i) for i, (s, style) in enumerate(pairs)]
        drawn = to_pil(
            sample(self.teacher, prompts, range(len(pairs)), [GUIDANCE] * len(pairs), STEPS, 25)
        )
        of_style = [f"a {{}} of {phrase}" for phrase in self.phrases.values()]
        named = self.scorer.name_concepts(drawn, list(self.phrases.values()))
        styled = self.scorer.name_concepts(drawn, list(STYLES), of_style)
        kept, erased = [], []
        for (subject, style), name, look in zip(pairs, named, styled, strict=True):
            right = {subject: name == self.phrases[subject], style: look == style}
            if hit := [right[part] for part in (subject, style) if part in gone]:
                erased.append(any(hit))
            else:
                kept.append(all(right.values()))
        return {
            "kept_right": sum(kept) / len(kept),
            "kept_pictures": len(kept),
            "erased_shown": sum(erased) / len(erased) if erased else 0.0,
            "erased_pictures": len(erased),
        }


class Replaced:
    """What the base makes of prompts: where an erasure begins, and where it should lead."""

    def __init__(self, world: Continual) -> None:
        requests = {name: world.request(name, ()) for name in ORDER}
        self.start = {name: world.keys_and_values([name]) for name in ORDER}
        self.target = {
            name: world.keys_and_values([c.replaced(name)]) for name, c in requests.items()
        }
        self.kept = world.pairs()
        self.texts = {pair: world.prompt(*pair, number) for number, pair in enumerate(self.kept)}
        self.before = {pair: world.keys_and_values([t]) for pair, t in self.texts.items()}


def _share(now: Tensor, target: Tensor, start: Tensor) -> float:
    """How far `now` is on the line from `target` (0) to `start` (1)."""
    line = start - target
    return float(((now - target) * line).sum() / line.square().sum())


def curve(
    world: Continual, method: str, params: Params, drawn: Sequence[int], steps: int = len(ORDER)
) -> Iterator[dict[str, Any]]:
    """Both ways of one method, a row a step."""
    have = {**params.methods, params.method.method: params.method}
    settings = completed(have[method], ["object", "style"])
    erase = METHODS[method].erase
    world.restore()
    replaced = Replaced(world)
    for way in WAYS:
        world.restore()
        for n in range(1, steps + 1):
            gone = ORDER[:n]
            if way == WAYS[1]:
                world.restore()
                asked = [world.request(name, gone) for name in gone]
            else:
                asked = [world.request(gone[-1], gone)]
            erase(world.teacher, asked, settings, Work(0)).apply(world.teacher.unet)
            row = {"method": method, "way": way, "requests": n, "newest": gone[-1]}
            row |= world.weights_say(gone, replaced)
            yield row | (world.pictures_say(gone) if n in drawn else {})
    world.restore()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Some of the rows, as docs/compare.md has them."""
    lines = [
        "| method | way | requests | kept prompts moved | erased back, mean | most | kept pictures "
        "right | erased still shown |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        if r["requests"] in SHOWN:
            drawn = "not drawn | not drawn"
            if "kept_right" in r:
                drawn = (
                    f"{r['kept_right']:.3f} of {r['kept_pictures']} | "
                    f"{r['erased_shown']:.3f} of {r['erased_pictures']}"
                )
            most = f"{r['most_back']:.2f} ({r['most_back_concept']})"
            lines.append(
                f"| `{r['method']}` | {r['way']} | {r['requests']} | {r['kept_moved']:.2f} | "
                f"{r['back']:.2f} | {most} | {drawn} |"
            )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The two figures that weights give, against the number of requests."""
    figure, axes = _axes()
    colours = dict(zip(dict.fromkeys(r["method"] for r in rows), ("#2f855a", "#2b6cb0", "#c05621")))  # noqa: B905
    for method, colour in colours.items():
        for way, style in zip(WAYS, ("s--", "o-"), strict=True):
            line = [r for r in rows if (r["method"], r["way"]) == (method, way)]
            axes.plot(
                [r["requests"] for r in line],
                [r["back"] for r in line],
                style,
                color=colour,
                label=f"{method}, {way}: erased back",
                markersize=4,
            )
            axes.plot(
                [r["requests"] for r in line],
                [r["kept_moved"] for r in line],
                style,
                color=colour,
                alpha=0.35,
                label=f"{method}, {way}: kept prompts moved",
                markersize=4,
            )
    axes.set(xlabel="requests", ylabel="share, of keys and values", ylim=(0, None))
    axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=150)


def main(
    methods: Annotated[str, typer.Option(help="Methods, with commas between them.")] = "uce,rece",
    drawn: Annotated[
        str, typer.Option(help="After which requests pictures are drawn; more take minutes each.")
    ] = "4,8,12",
    save: Annotated[Path, typer.Option(help="File for the figures.")] = RESULTS,
    draw: Annotated[Path, typer.Option("--plot", help="PNG.")] = ROOT / "docs/sequential.png",
) -> None:
    """Measure each method, keep and print all; a method that is in the file is not done again."""
    results = json.loads(save.read_bytes()) if save.exists() else {"rows": []}
    done = {row["method"] for row in results["rows"]}
    params = read_params(ROOT / "params.yaml")
    world = Continual(load_teacher(params.base.path), params.clip.path)
    for method in [m for m in methods.split(",") if m not in done]:
        found = list(curve(world, method, params, [int(n) for n in drawn.split(",") if n]))
        results |= {"processor": processor(), "threads": torch.get_num_threads()}
        results["rows"] += found
        write_text(save, pretty_json(results))
    plot(results["rows"], draw)
    typer.echo(table(results["rows"]))


if __name__ == "__main__":
    typer.run(main)
