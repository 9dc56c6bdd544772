"""Pictures for a person to look at."""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from erasure_core.errors import BadInput
from erasure_core.network.diffusion import check_prompts, sample
from erasure_core.network.images import save_png, to_pil
from erasure_core.network.models import Teacher
from erasure_core.planning.params import Sampling
from erasure_core.text import visible
from tasks.progress import progress
from tasks.release.resolve import open_model

SEEDS = 2**63  # what torch's generator takes
PICTURES = 10_000  # that one call draws: it holds them in memory


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
        BadInput: An empty or too long prompt, too many pictures, or a seed out of range; nothing
            is written.
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
    wanted = [(prompt, seed + i) for prompt in prompts for i in range(count)]
    texts, seeds = zip(*wanted, strict=True)
    pictures = pictures_of(model, "generate", texts, seeds, [guidance] * len(wanted), sampling)
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for number, ((prompt, its_seed), picture) in enumerate(zip(wanted, pictures, strict=True), 1):
        slug = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "prompt"
        file = out / f"{number:02}-{slug}-seed{its_seed}.png"
        save_png(picture, file)
        files.append(file)
    return files


def pictures_of(
    model: Teacher,
    title: str,
    prompts: Sequence[str],
    seeds: Sequence[int],
    guidance: Sequence[float],
    sampling: Sampling,
) -> list[Image.Image]:
    """One RGB picture per prompt, in memory, with a progress bar."""
    with progress(title, len(prompts)) as advance:
        return to_pil(
            sample(model, prompts, seeds, guidance, sampling.steps, sampling.batch_size, advance)
        )
