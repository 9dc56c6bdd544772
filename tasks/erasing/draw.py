"""Pictures for a person to look at."""

import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from erasure_core.errors import BadInput
from erasure_core.law.prompts import SEEDS, PromptRow
from erasure_core.network.diffusion import check_prompts, sample
from erasure_core.network.images import save_png, to_pil
from erasure_core.network.models import Teacher
from erasure_core.planning.params import Sampling
from erasure_core.text import visible
from tasks.progress import progress
from tasks.release.resolve import open_model

PICTURES = 10_000  # that one call draws; more is a slip of the hand


def draw(
    folder: Path,
    prompts: Sequence[str],
    *,
    seed: int,
    count: int,
    guidance: float,
    sampling: Sampling,
    out: Path,
) -> list[Path]:
    """Draw `count` pictures of each prompt, from the seeds `seed`, `seed + 1`, ..., into `out`;
    return the files.

    The same prompt and seed give the same composition in every model, which is what makes them
    comparable.

    Raises:
        BadInput: An empty, broken or too long prompt, too many pictures, or a seed out of range;
            nothing is written.
        ErasureError: A picture is not finite; those before it are written.
    """
    if len(prompts) * count > PICTURES:
        raise BadInput(
            f"{len(prompts)} prompts with {count} pictures each; one call draws at most "
            f"{PICTURES}; draw them in parts, with other seeds"
        )
    if not 0 <= seed <= SEEDS - count:
        raise BadInput(
            f"seed {seed} with {count} pictures a prompt leaves 0..{SEEDS - 1}; choose a "
            f"smaller one, of 0 or more"
        )
    if not all(map(visible, prompts)):
        raise BadInput("a prompt is empty; write what the picture should show")
    model = open_model(folder)
    check_prompts(model.tokenizer, prompts)
    rows = [
        PromptRow(number, prompt, seed + i, guidance, "")
        for number, (prompt, i) in enumerate(product(prompts, range(count)), 1)
    ]
    out.mkdir(parents=True, exist_ok=True)
    files = {row.case_number: out / _name(row) for row in rows}
    with progress("generate", len(rows)) as advance:
        draw_rows(model, rows, sampling, lambda row: files[row.case_number], advance)
    return list(files.values())


def _name(row: PromptRow) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", row.prompt.lower()).strip("-")[:60] or "prompt"
    return f"{row.case_number:02}-{slug}-seed{row.evaluation_seed}.png"


def draw_rows(
    model: Teacher,
    rows: Sequence[PromptRow],
    sampling: Sampling,
    file_of: Callable[[PromptRow], Path],
    advance: Callable[[int], None] | None = None,
) -> None:
    """Write one PNG a row, each whole or not at all. One batch is held in memory."""
    for first in range(0, len(rows), sampling.batch_size):
        batch = rows[first : first + sampling.batch_size]
        pictures = sample(
            model,
            [row.prompt for row in batch],
            [row.evaluation_seed for row in batch],
            [row.evaluation_guidance for row in batch],
            sampling.steps,
            sampling.batch_size,
            advance,
        )
        for row, picture in zip(batch, to_pil(pictures), strict=True):
            save_png(picture, file_of(row))
