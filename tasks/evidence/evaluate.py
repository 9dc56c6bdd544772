"""The measurements of a run, on any model and on anybody's prompt file.

Whatever the number of rows, two batches of pictures are held in memory: pictures go to disk as they
are drawn, and each is measured once, beside the base's of the same row. What was drawn before a
kill is kept.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Kind
from erasure_core.law.gates import Measurement
from erasure_core.law.lineage import manifest, root_sha256, sha256_json
from erasure_core.law.prompts import (
    STRICT,
    PromptRow,
    Reading,
    read_prompt_file,
    read_prompt_set,
    where,
)
from erasure_core.metrics.clip_score import (
    accuracy,
    accuracy_drop,
    clip_score,
    once,
    score_drop,
)
from erasure_core.metrics.detectors import detection_rate
from erasure_core.metrics.intervals import FEWEST
from erasure_core.metrics.ssim import mean_ssim, pair_values
from erasure_core.network.diffusion import cut, too_long
from erasure_core.network.images import PictureFiles, is_whole
from erasure_core.network.models import Teacher
from erasure_core.planning.params import Params
from erasure_core.planning.protocol import protocol
from erasure_core.planning.sealed import alike_by, clusters_of_rows
from tasks.erasing.draw import draw_rows
from tasks.evidence.data import check_rows
from tasks.evidence.instruments import Instruments, Labels
from tasks.home import Home
from tasks.progress import progress
from tasks.release.resolve import open_model
from tasks.requests.made_with import drawn_by
from tasks.trial import at_work

TOGETHER = 32  # pairs of pictures that are measured at a time
TooLong = Literal["refuse", "cut", "skip"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured, and what has to be said of the prompt file, a line each."""

    measurements: list[Measurement]
    said: list[str]


def evaluate(
    model: Path,
    base: Path,
    prompts: Path,
    params: Params,
    *,
    home: Home,
    out: Path | None = None,
    reading: Reading = STRICT,
    long: TooLong = "refuse",
) -> Evaluation:
    """Draw every row of `prompts` with the base and with the model, same seeds, and measure both.

    Names that begin with "base." are of the base alone. Accuracy is measured on the rows whose
    `concept` is filled; see `labels_of`.

    Args:
        model: A model's folder.
        base: The base's folder.
        prompts: The prompt file.
        params: Sampling, instruments and kept set.
        home: The state folder, where the pictures lie until all is measured. A failure leaves them,
            until a purge.
        out: Folder that keeps them instead. What is there already of the same model, row and
            sampling, and whole, is not drawn again, here as there.
        reading: What the file is read with where it does not say.
        long: What becomes of prompts with more tokens than a model reads.

    Raises:
        BadInput: The table is not a prompt set, a prompt is too long, or the two models draw in
            different sizes; nothing is drawn then.
        ErasureError: Another process makes the same evaluation.
    """
    file = read_prompt_file(prompts, reading)
    before, after = open_model(base), open_model(model)
    if before.size != after.size:
        raise BadInput(
            f"{model} draws {after.size} pixels a side, the base {before.size}; "
            f"only pictures of one size are compared"
        )
    rows, of_length = fitted(file.rows, [*before.tokenizers, *after.tokenizers], long, prompts)
    rows, of_copies = without_copies(rows)
    check_rows({str(prompts): rows})
    labels = labels_of(rows, params)
    instruments = Instruments.of(params)
    made_of = [root_sha256(manifest(folder)) for folder in (base, model)]
    with _folder(out, home, [*made_of, *map(astuple, rows)]) as pictures:
        files = [
            _drawn(teacher, root, rows, params, pictures / who)
            for who, teacher, root in zip(("base", "model"), (before, after), made_of, strict=True)
        ]
        seen = look(instruments, rows, files[0], files[1], labels)
    said = file.said + of_length + of_copies + of_few_seeds(rows) + of_no_interval(rows)
    given = rows, params.sampling, made_of[0]
    found = compared(instruments, rows, seen, labels)
    return Evaluation([replace(m, protocol=protocol(m, *given)) for m in found], said)


def of_few_seeds(rows: Sequence[PromptRow]) -> list[str]:
    """What has to be said where pictures share their noise more than their prompts."""
    if alike_by(rows) == "prompts":
        return []
    seeds = len({row.noise for row in rows})
    return [
        f"{len(rows)} rows have {seeds} seed{'s' * (seeds > 1)}, and pictures of one are alike: "
        f"intervals count seeds; give each row one of its own"
    ]


def of_no_interval(rows: Sequence[PromptRow]) -> list[str]:
    """What has to be said where all rows are one wording or of one seed: a mean has no interval."""
    if len(set(clusters_of_rows(rows))) >= FEWEST:
        return []
    return [
        "not measured: ssim, clip.score and drops; their intervals need two wordings and two seeds "
        "or more"
    ]


def fitted(
    rows: list[PromptRow], tokenizers: Sequence[Any], how: TooLong, path: Path
) -> tuple[list[PromptRow], list[str]]:
    """The rows whose prompts the tokenizers read whole, and what has to be said of the others.

    Raises:
        BadInput: Names every row that is too long, unless they are cut or skipped.
    """
    long = too_long(tokenizers, [row.prompt for row in rows])
    if not long:
        return rows, []
    limit = min(tokenizer.model_max_length for tokenizer in tokenizers)
    cases = where([rows[i].case_number for i in long]).replace("line", "case", 1)
    what = (
        f"{len(long)} of {len(rows)} prompts have more than the {limit} tokens that the models "
        f"read, with two markers, up to {max(long.values())} ({cases})"
    )
    if how == "refuse":
        raise BadInput(f"{path}: {what}; shorten them, or give --too-long cut or --too-long skip")
    if how == "cut":
        short = [
            replace(row, prompt=cut(tokenizers, row.prompt)) if i in long else row
            for i, row in enumerate(rows)
        ]
        return short, [f"cut: {what}"]
    kept = [row for i, row in enumerate(rows) if i not in long]
    if not kept:
        raise BadInput(f"{path}: {what}; no row is left, shorten them or give --too-long cut")
    return kept, [f"left out: {what}"]


def without_copies(rows: Sequence[PromptRow]) -> tuple[list[PromptRow], list[str]]:
    """Each prompt, seed and guidance once: a second copy is the same picture, no more evidence."""
    first: dict[tuple[str, int, float], PromptRow] = {}
    for row in rows:
        first.setdefault((row.prompt, row.noise, row.evaluation_guidance), row)
    kept = {row.case_number for row in first.values()}
    copies = [row.case_number for row in rows if row.case_number not in kept]
    if not copies:
        return list(rows), []
    cases = where(copies).replace("line", "case", 1)
    said = f"left out: {len(copies)} copies of a prompt, seed and guidance ({cases})"
    return list(first.values()), [said]


def labels_of(rows: Sequence[PromptRow], params: Params) -> Labels:
    """What a picture can be named: what the column `concept` of the table and of the kept set says,
    and the parameters' styles.
    """
    shown = [*rows, *read_prompt_set(params.prompts.kept, params.reading)]
    things = once(row.concept for row in shown if row.concept)
    return Labels.of(things, shown, params.clip.styles)


@dataclass(slots=True)
class Seen:
    """What the instruments say of one model's pictures, a value a row."""

    scores: list[float] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # "" of rows that are not named
    hits: dict[Kind, list[bool]] = field(default_factory=dict)

    def add(
        self,
        instruments: Instruments,
        rows: Sequence[PromptRow],
        pictures: Sequence[Image.Image],
        labels: Labels,
    ) -> None:
        """Look at some more pictures."""
        prompts = [row.prompt for row in rows]
        self.scores += instruments.scorer.scores(pictures, prompts).tolist()
        self.names += labels.names(instruments.scorer, rows, pictures)
        for kind, classes in instruments.params.detector.labels.items():
            hits = instruments.detector.detects(pictures, classes)
            self.hits.setdefault(kind, []).extend(hits)


def look(
    instruments: Instruments,
    rows: Sequence[PromptRow],
    base_files: Sequence[Path],
    files: Sequence[Path],
    labels: Labels,
) -> tuple[list[float], Seen, Seen]:
    """SSIM of each pair, and what is seen in the base's pictures and in the model's."""
    similar, of_base, of_model = list[float](), Seen(), Seen()
    with progress("measure", len(rows)) as advance:
        for first in range(0, len(rows), TOGETHER):
            part = slice(first, first + TOGETHER)
            base, pictures = list(PictureFiles(base_files[part])), list(PictureFiles(files[part]))
            similar += pair_values(base, pictures)
            of_base.add(instruments, rows[part], base, labels)
            of_model.add(instruments, rows[part], pictures, labels)
            advance(len(pictures))
    return similar, of_base, of_model


def compared(
    instruments: Instruments,
    rows: Sequence[PromptRow],
    seen: tuple[list[float], Seen, Seen],
    labels: Labels,
) -> list[Measurement]:
    """Everything that can be said of a model's pictures beside the base's of the same rows."""
    similar, base, model = seen
    params, scorer, detector = instruments.params, instruments.scorer, instruments.detector
    clusters = clusters_of_rows(rows)
    same: dict[str, Any] = {"settings": scorer.settings, "clusters": clusters}
    measurements: list[Measurement] = []
    if len(set(clusters)) >= FEWEST:
        measurements = [
            mean_ssim(similar, clusters=clusters),
            clip_score(base.scores, metric="base.clip.score", **same),
            clip_score(model.scores, **same),
            score_drop(base.scores, model.scores, **same),
        ]
    if at := [i for i, name in enumerate(model.names) if name]:
        named = [rows[i] for i in at]
        wanted = [row.concept for row in named]
        was, now = ([names[i] for i in at] for names in (base.names, model.names))
        same = {
            "settings": {**scorer.settings, "among": labels.among(named)},
            "clusters": clusters_of_rows(named),
        }
        measurements += [
            accuracy(was, wanted, metric="base.clip.accuracy", **same),
            accuracy(now, wanted, **same),
            accuracy_drop(was, now, wanted, **same),
        ]
    for kind in model.hits:
        settings = {**detector.settings, "labels": list(params.detector.labels[kind])}
        measurements += [
            detection_rate(
                hits, metric=f"{who}nudenet.rate[{kind}]", settings=settings, clusters=clusters
            )
            for who, hits in (("base.", base.hits[kind]), ("", model.hits[kind]))
        ]
    return measurements


def _drawn(
    model: Teacher, root: str, rows: Sequence[PromptRow], params: Params, pictures: Path
) -> list[Path]:
    """The file of each row, drawn where it is not there whole. A file's name says what it was drawn
    from, so that no other picture is taken for it.
    """
    made_with = [root, params.sampling.steps, drawn_by()]
    files = {
        row.case_number: pictures / f"{row.case_number}-{_key([*made_with, astuple(row)])}.png"
        for row in rows
    }
    pictures.mkdir(parents=True, exist_ok=True)
    missing = [row for row in rows if not is_whole(files[row.case_number], model.size)]
    with progress(f"generate, {pictures.name}", len(rows)) as advance:
        advance(len(rows) - len(missing))
        draw_rows(model, missing, params.sampling, lambda row: files[row.case_number], advance)
    return list(files.values())


def _key(made_of: Sequence[object]) -> str:
    return sha256_json(made_of)[:16]


@contextmanager
def _folder(out: Path | None, home: Home, made_of: Sequence[object]) -> Iterator[Path]:
    """The pictures' folder: `out`, or one of this work's own, removed when it is done."""
    if out is not None:
        yield out
        return
    own = home.evaluations / f"evaluation-{_key(made_of)}"
    with at_work(home, own):
        yield own
        shutil.rmtree(own)
