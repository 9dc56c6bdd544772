"""Seconds of a picture: drawn here, and by a plain diffusers pipeline of the same teacher, in one
process, the same prompts, seeds, steps and guidance.

    python -m benchmarks.pictures

diffusers is asked as people ask it, one prompt a call, and in batches of the same size. Its
pictures must be ours to one step of 255. The ways take turns, and each figure is the best of its
turns, so that what else the machine does counts least. Writes `benchmarks/results/pictures.json`.
"""

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from diffusers import DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

from erasure_core.errors import ErasureError
from erasure_core.files import pretty_json, write_text
from erasure_core.law.prompts import PromptRow, read_prompt_set
from erasure_core.network.diffusion import initial_noise, sample
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.planning.params import Params, read_params

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/pictures.json"
ONE, MANY, OURS = "diffusers, one a call", "diffusers, in batches", "here, in batches"
STEP = 1 / 255  # of a colour
Draw = Callable[[], Tensor]


def ways(teacher: Teacher, rows: list[PromptRow], params: Params) -> dict[str, Draw]:
    """The three ways to draw `rows`: each (n, 3, size, size) in [0, 1]."""
    prompts, seeds = [row.prompt for row in rows], [row.evaluation_seed for row in rows]
    (scale,) = {row.evaluation_guidance for row in rows}
    steps, batch = params.sampling.steps, params.sampling.batch_size
    plain = StableDiffusionPipeline.from_pretrained(ROOT / params.base.path, local_files_only=True)
    plain.scheduler = DDIMScheduler.from_config(plain.scheduler.config)
    plain.set_progress_bar_config(disable=True)

    def diffusers(size: int) -> Tensor:
        drawn = []
        for first in range(0, len(rows), size):
            some = slice(first, first + size)
            drawn.append(
                plain(
                    prompts[some],
                    num_inference_steps=steps,
                    guidance_scale=scale,
                    latents=initial_noise(teacher, seeds[some]),
                    output_type="pt",
                ).images
            )
        return torch.cat(drawn)

    return {
        ONE: lambda: diffusers(1),
        MANY: lambda: diffusers(batch),
        OURS: lambda: sample(teacher, prompts, seeds, [scale] * len(rows), steps, batch),
    }


def measured(draws: Mapping[str, Draw], turns: int, pictures: int) -> dict[str, float]:
    """Way -> seconds a picture.

    Raises:
        ErasureError: Two ways do not draw the same.
    """
    best: dict[str, float] = {}
    for _ in range(turns):
        drawn = {}
        for name, draw in draws.items():
            begun = time.perf_counter()
            drawn[name] = draw()
            spent = (time.perf_counter() - begun) / pictures
            best[name] = min(spent, best.get(name, spent))
        apart = max(float((drawn[name] - drawn[OURS]).abs().max()) for name in drawn)
        if apart > STEP:
            raise ErasureError(f"pictures differ by {apart:.3f}: not the same work")
    return best


def table(content: Mapping[str, Any]) -> str:
    """As the docs have it."""
    seconds = content["seconds"]
    lines = ["| drawn by | seconds a picture | times as long as here |", "|---|---|---|"]
    lines += [
        f"| {name} | {spent:.3f} | {spent / seconds[OURS]:.2f} |" for name, spent in seconds.items()
    ]
    return "\n".join(lines)


def main(
    pictures: Annotated[int, typer.Option(help="Drawn by each way and turn.")] = 40,
    turns: Annotated[int, typer.Option(help="More leave out more of what else runs.")] = 3,
) -> None:
    """Measure, write and print."""
    params = read_params(ROOT / "params.yaml")
    rows = read_prompt_set(ROOT / params.prompts.kept, params.reading)[:pictures]
    teacher = load_teacher(ROOT / params.base.path)
    content = {
        "pictures": len(rows),
        "turns": turns,
        "steps": params.sampling.steps,
        "batch": params.sampling.batch_size,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "seconds": measured(ways(teacher, rows, params), turns, len(rows)),
    }
    write_text(RESULTS, pretty_json(content))
    print(table(content))


if __name__ == "__main__":
    typer.run(main)
