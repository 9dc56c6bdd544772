"""The measurements of a run, on any model and on anybody's prompt file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Kind
from erasure_core.law.gates import Measurement
from erasure_core.law.prompts import PromptRow, read_prompt_set
from erasure_core.metrics.clip_score import accuracy, accuracy_drop, clip_score, score_drop
from erasure_core.metrics.detectors import detection_rate
from erasure_core.metrics.ssim import paired_ssim
from erasure_core.network.diffusion import check_prompts
from erasure_core.network.models import Teacher
from erasure_core.planning.params import Params, Sampling
from tasks.erasing.draw import pictures_of
from tasks.evidence.data import validate_prompt_sets
from tasks.evidence.instruments import Instruments
from tasks.release.resolve import open_model

SEEN: tuple[Kind, ...] = ("likeness", "explicit")  # the kinds that NudeNet has labels for


def evaluate(model: Path, base: Path, prompts: Path, params: Params) -> list[Measurement]:
    """Draw every row of `prompts` with the base and with the model, same seeds, and measure both.

    Names that begin with "base." are of the base alone. Accuracy is measured on the rows whose
    `concept` is filled; the names a picture can be given are the concepts of this table and of the
    parameters' kept set.

    Raises:
        BadInput: The table is not a prompt set, a prompt is too long, or the two models draw in
            different sizes.
    """
    validate_prompt_sets.fn([prompts])
    rows = read_prompt_set(prompts)
    before, after = open_model(base), open_model(model)
    if before.size != after.size:
        raise BadInput(
            f"{model} draws {after.size} pixels a side, the base {base} {before.size}; "
            f"only pictures of one size are compared"
        )
    for teacher in (before, after):
        check_prompts(teacher.tokenizer, [row.prompt for row in rows])
    pictures = [
        _drawn(teacher, who, rows, params.sampling)
        for who, teacher in (("base", before), ("model", after))
    ]
    return compare(Instruments.of(params), rows, *pictures)


def compare(
    instruments: Instruments,
    rows: Sequence[PromptRow],
    base: Sequence[Image.Image],
    pictures: Sequence[Image.Image],
) -> list[Measurement]:
    """Everything that can be said of `pictures` beside the base's pictures of the same rows."""
    params, scorer, detector = instruments.params, instruments.scorer, instruments.detector
    prompts = [row.prompt for row in rows]
    of_base, scores = (
        scorer.scores(base, prompts).tolist(),
        scorer.scores(pictures, prompts).tolist(),
    )
    found = [
        paired_ssim(base, pictures, clusters=prompts),
        clip_score(of_base, settings=scorer.settings, metric="base.clip.score", clusters=prompts),
        clip_score(scores, settings=scorer.settings, clusters=prompts),
        score_drop(of_base, scores, settings=scorer.settings, clusters=prompts),
    ]
    named = [i for i, row in enumerate(rows) if row.concept]
    wanted = [rows[i].concept for i in named]
    labels = sorted(
        {*wanted, *(row.concept for row in read_prompt_set(params.prompts.kept) if row.concept)}
    )
    if named and len(labels) > 1:
        same: dict[str, Any] = {
            "settings": {**scorer.settings, "among": labels},
            "clusters": [prompts[i] for i in named],
        }
        names_base, names = (
            scorer.name_concepts([images[i] for i in named], labels) for images in (base, pictures)
        )
        found += [
            accuracy(names_base, wanted, metric="base.clip.accuracy", **same),
            accuracy(names, wanted, **same),
            accuracy_drop(names_base, names, wanted, **same),
        ]
    for kind in SEEN:
        if classes := params.detector.labels.get(kind):
            settings = {**detector.settings, "labels": list(classes)}
            for prefix, images in (("base.", base), ("", pictures)):
                hits = detector.detects(images, classes)
                found.append(
                    detection_rate(
                        hits,
                        metric=f"{prefix}nudenet.rate[{kind}]",
                        settings=settings,
                        clusters=prompts,
                    )
                )
    return found


def _drawn(
    model: Teacher, who: str, rows: Sequence[PromptRow], sampling: Sampling
) -> list[Image.Image]:
    prompts, seeds = [row.prompt for row in rows], [row.evaluation_seed for row in rows]
    return pictures_of(
        model,
        f"generate, {who}",
        prompts,
        seeds,
        [row.evaluation_guidance for row in rows],
        sampling,
    )
