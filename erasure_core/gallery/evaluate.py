"""Is the embedded teacher good enough to erase from? `python -m erasure_core.gallery.evaluate`; a
few minutes on 2 cores.

Writes `quality.json`, the model card and a contact sheet beside the weights, and exits 1 if a
requirement is missed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from PIL import Image

from erasure_core.gallery.captions import captions
from erasure_core.gallery.pictures import SIZE, STYLES, SUBJECTS, draw
from erasure_core.law.gates import Measurement
from erasure_core.metrics.clip_score import ClipScorer, accuracy
from erasure_core.metrics.detectors import NudeNet, detection_rate
from erasure_core.network.diffusion import sample
from erasure_core.network.images import to_pil
from erasure_core.network.models import Teacher, load_teacher

FACES = ("FACE_FEMALE", "FACE_MALE")
STEPS, GUIDANCE, SEED = 15, 4.0, 500_000  # seeds that no prompt set uses
REQUIRED = {  # on the measured value; the intervals are in quality.json
    "face in generated astronaut photographs": ("higher", 0.85),
    "face in generated pictures of other subjects": ("lower", 0.02),
    "right subject in generated pictures": ("higher", 0.95),
    "right style in generated pictures": ("higher", 0.90),
    "right subject in real pictures not trained on": ("higher", 0.97),
    "right style in real pictures not trained on": ("higher", 0.97),
}


def _generate(teacher: Teacher, prompts: Sequence[str], seed: int) -> list[Image.Image]:
    seeds = [seed + i for i in range(len(prompts))]
    return to_pil(sample(teacher, prompts, seeds, [GUIDANCE] * len(prompts), STEPS, batch_size=25))


def measure(
    teacher: Teacher, clip: Path, repeats: int
) -> tuple[dict[str, Measurement], list[Image.Image]]:
    """Every requirement measured on `repeats` pictures of each of the 50 subject-style pairs, and
    the generated pictures.
    """
    by_subject = ClipScorer(str(clip), None, [f"a {style} of {{}}" for style in STYLES])
    by_style = ClipScorer(
        str(clip), None, [f"a {{}} of {subject.phrase}" for subject in SUBJECTS.values()]
    )
    detector = NudeNet(threshold=0.5)
    pairs = [(subject, style) for subject in SUBJECTS for style in STYLES for _ in range(repeats)]
    prompts = [
        captions(*pair)[i % repeats * 2 % len(captions(*pair))] for i, pair in enumerate(pairs)
    ]
    rng = np.random.default_rng(SEED)
    made, real = _generate(teacher, prompts, SEED), [draw(*pair, rng) for pair in pairs]
    astronauts = _generate(
        teacher, [c for _ in range(8) for c in captions("astronaut", "photo")], SEED + 100_000
    )
    others = [
        image
        for image, (subject, _) in zip(made, pairs, strict=True)
        if subject not in ("astronaut", "photographer")
    ]
    phrases = [subject.phrase for subject in SUBJECTS.values()]
    found = {
        "face in generated astronaut photographs": _faces(detector, astronauts, "higher"),
        "face in generated pictures of other subjects": _faces(detector, others, "lower"),
    }
    for name, images in (("generated pictures", made), ("real pictures not trained on", real)):
        subjects = by_subject.name_concepts(images, phrases)
        styles = by_style.name_concepts(images, list(STYLES))
        found[f"right subject in {name}"] = accuracy(
            subjects,
            [SUBJECTS[s].phrase for s, _ in pairs],
            settings=by_subject.settings,
            clusters=None,
        )
        found[f"right style in {name}"] = accuracy(
            styles, [style for _, style in pairs], settings=by_style.settings, clusters=None
        )
    return found, made


def _faces(
    detector: NudeNet, images: list[Image.Image], better: Literal["lower", "higher"]
) -> Measurement:
    settings = {**detector.settings, "labels": list(FACES)}
    return detection_rate(
        detector.detects(images, FACES), settings=settings, better=better, clusters=None
    )


def contact_sheet(images: Sequence[Image.Image], repeats: int) -> Image.Image:
    """Subjects down, styles across, two pictures of each pair."""
    shown = min(2, repeats)
    sheet = Image.new("RGB", (SIZE * len(STYLES) * shown, SIZE * len(SUBJECTS)))
    for i, image in enumerate(images):
        pair, copy = divmod(i, repeats)
        row, column = divmod(pair, len(STYLES))
        if copy < shown:
            sheet.paste(image, ((column * shown + copy) * SIZE, row * SIZE))
    return sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST)


def card(found: dict[str, Measurement], training: dict[str, object]) -> str:
    """The model card: what it is, where its pictures come from, how it was trained,
    how good it is.
    """
    signs = {"higher": ">=", "lower": "<="}
    rows = [
        (
            f"| {name} | {m.value:.3f} | {m.low:.3f} to {m.high:.3f} | {m.n} | "
            f"{signs[REQUIRED[name][0]]} {REQUIRED[name][1]} |"
        )
        for name, m in found.items()
    ]
    pictures = [
        f"| {s.name} | `skimage.data.{s.source}` | {s.licence} |" for s in SUBJECTS.values()
    ]
    return "\n".join(
        [
            "# The gallery: a small text-to-image teacher",
            "",
            (
                "A Stable-Diffusion-shaped model of ten public-domain pictures in five drawn "
                "styles at 64x64 pixels, in the standard"
            ),
            (
                "diffusers folder format (`teacher/`), and the small CLIP that conditions "
                "and scores it (`clip/`). It exists to prove the"
            ),
            (
                "erasure pipeline on a real model where no hub and no GPU is at hand. It "
                "knows nothing but these ten subjects."
            ),
            "",
            (
                f"Written by `python -m erasure_core.gallery.evaluate`. Sampling: DDIM "
                f"{STEPS} steps, guidance {GUIDANCE}."
            ),
            (
                "Pictures not trained on are new crops of the same photographs, drawn from "
                "another seed."
            ),
            "",
            "| measured | value | 95 % interval | n | required |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Trained with " + ", ".join(f"{key} {value}" for key, value in training.items()) + ".",
            "",
            "| subject | source | licence |",
            "|---|---|---|",
            *pictures,
            "",
            "![subjects down, styles across](contact-sheet.png)",
            "",
        ]
    )


def main(
    models: Annotated[
        Path, typer.Option(help="Where teacher/ and clip/ lie; the results are written here.")
    ] = Path("models/gallery"),
    repeats: Annotated[int, typer.Option(min=1, help="Pictures per subject and style.")] = 6,
) -> None:
    """Measure the embedded teacher against its requirements and write its model card."""
    found, made = measure(load_teacher(models / "teacher"), models / "clip", repeats)
    training = json.loads((models / "training.json").read_text())
    numbers = {
        name: {"value": m.value, "low": m.low, "high": m.high, "n": m.n}
        for name, m in found.items()
    }
    (models / "quality.json").write_text(json.dumps(numbers, indent=2) + "\n")
    (models / "README.md").write_text(card(found, training))
    contact_sheet(made, repeats).save(models / "contact-sheet.png")
    missed = [
        name
        for name, (better, bound) in REQUIRED.items()
        if (found[name].value < bound if better == "higher" else found[name].value > bound)
    ]
    for name, m in found.items():
        typer.echo(
            f"{'MISSED' if name in missed else 'ok':7}{name}: {m.value:.3f} "
            f"[{m.low:.3f}, {m.high:.3f}] n={m.n}"
        )
    raise typer.Exit(1 if missed else 0)


if __name__ == "__main__":
    typer.run(main)
