"""All-but-One's shared trajectories against its literal algorithm: what they cost, and whether they
change what comes out.

    python benchmarks/all_but_one.py [--preset paper|gallery] [--seeds N]
        [--trajectories N,N] [--updates N] [--size gallery|sd14] [--json]

One process. The literal algorithm makes a new trajectory for each update (`trajectories: fresh`);
with a bank, some whole trajectories are made once and every update draws from their points.
Measured:

    update_over_floor    an update with the bank, over what none can avoid: the student forward and
                         backward on 2 latents, and one batch of the teacher
    bank_over_fresh      a run with the bank, its making included, over a literal run
    sweep6_over_single   six lambdas on one bank, its making included, over one literal run
    quality              per seed of the training, on the same pictures: a bank is inside if the
                         mean over seeds of each metric lies within the least and the greatest that
                         literal runs gave; larger banks are tried until one is, and times are
                         measured with that one

On a CPU time is processor time of one thread, so that other work on the machine does not count; on
an accelerator it is wall time. `sd14` has random weights in Stable Diffusion 1.4's shapes, in bf16
on an accelerator: times without quality. The results join
`benchmarks/results/all_but_one-<device>.json`.
"""

import argparse
import copy
import dataclasses
import itertools
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import PromptRow, kept_rows, read_prompt_set, target_set
from erasure_core.law.requests import read_request
from erasure_core.methods import all_but_one as abo
from erasure_core.network import diffusion, layers, training
from erasure_core.network.images import to_pil
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.params import Params, read_params

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
LAMBDAS = (0.0, 0.1, 0.5, 1.0, 1.5, 5.0)
TARGETS = {"update_over_floor": 1.5, "sweep6_over_single": 2.0}  # at most
TARGET_ROWS, KEPT_ROWS, STEPS = 30, 24, 15  # pictures of each training, and their DDIM steps

Judge = Callable[
    [Teacher], dict[str, float]
]  # metric -> value of the pictures that a teacher makes


def seconds(device: torch.device) -> float:
    """Now, on the clock that suits the device."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def literal(settings: abo.Settings) -> abo.Settings:
    """The same settings without a bank."""
    return settings.model_copy(update={"trajectories": "fresh"})


def floor(
    teacher: Teacher, concepts: Sequence[Concept], settings: abo.Settings, repeats: int
) -> float:
    """Median seconds of the student's forward and backward on 2 latents and one batch of the
    teacher, per point of a batch.
    """
    student = training.student_of(teacher, settings).requires_grad_(False)
    for parameter in layers.select(student, settings.group).values():
        parameter.requires_grad_(True)
    prompt = concepts[0].prompts[0]
    directions = (
        [i.prompt or concepts[0].replaced(prompt) for i in settings.instructions]
        if settings.target == "residual"
        else []
    )
    texts = [
        diffusion.encode_prompts(teacher, [text]).expand(settings.batch)
        for text in ("", prompt, *directions)
    ]
    z, device = diffusion.initial_noise(teacher, range(settings.batch)), teacher.unet.device
    times = []
    for _ in range(repeats):
        began = seconds(device)
        with torch.no_grad():
            diffusion.predict_each(teacher, teacher.unet, z, 500, texts)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            loss = (
                torch.cat(diffusion.predict_each(teacher, student, z, 500, texts[:2]))
                .square()
                .mean()
            )
        torch.autograd.backward(loss)
        student.zero_grad()
        times.append(seconds(device) - began)
    return statistics.median(times)


def speed(
    teacher: Teacher, concepts: Sequence[Concept], settings: abo.Settings, lambdas: Sequence[float]
) -> dict[str, float]:
    """Times and their ratios, for settings with a bank."""
    device = teacher.unet.device
    began = seconds(device)
    abo.erase(teacher, concepts, literal(settings), Work(0))
    single = seconds(device) - began

    began = seconds(device)
    banks = abo.prepare(teacher, concepts, settings, Work(0))
    making, runs, updates = seconds(device) - began, [], []
    for value in lambdas:
        stamps = [seconds(device)]
        chosen = settings.model_copy(update={"lambda_": value})
        abo.erase(
            teacher,
            concepts,
            chosen,
            Work(0, on_step=lambda *_, at=stamps: at.append(seconds(device))),
            prepared=banks,
        )
        runs.append(seconds(device) - stamps[0])
        updates += [
            after - before for before, after in itertools.pairwise(stamps[1:])
        ]  # the first one warms up
    least = floor(teacher, concepts, settings, repeats=max(5, min(50, settings.updates)))
    update = statistics.median(updates)
    return {
        "literal_run_s": single,
        "trajectories_s": making,
        "bank_run_s": making + statistics.mean(runs),
        "sweep_s": making + sum(runs),
        "update_s": update,
        "floor_s": least,
        "update_over_floor": update / least,
        "bank_over_fresh": (making + statistics.mean(runs)) / single,
        f"sweep{len(lambdas)}_over_single": (making + sum(runs)) / single,
    }


Values = dict[str, list[float]]  # metric -> its value for each seed


def over_seeds(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: abo.Settings,
    seeds: Iterable[int],
    judge: Judge,
) -> Values:
    """What `judge` measures after a training of each seed."""
    measurements: Values = {}
    for seed in seeds:
        with abo.erase(teacher, concepts, settings, Work(seed)).applied(teacher.unet):
            for metric, value in judge(teacher).items():
                measurements.setdefault(metric, []).append(value)
        print(
            f"{settings.trajectories} trajectories, seed {seed}: "
            + ", ".join(f"{m} {v[-1]:.3f}" for m, v in measurements.items()),
            file=sys.stderr,
        )
    return measurements


def inside(bank: Values, fresh: Values) -> dict[str, bool]:
    """Per metric, whether the bank's mean over seeds lies within the literal algorithm's least and
    greatest.
    """
    return {
        metric: min(fresh[metric]) <= statistics.mean(values) <= max(fresh[metric])
        for metric, values in bank.items()
    }


def quality(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: abo.Settings,
    sizes: Sequence[int],
    seeds: int,
    judge: Judge,
) -> dict[str, Any]:
    """Literal runs, and runs with banks of growing size until one is inside their spread."""
    fresh = over_seeds(teacher, concepts, literal(settings), range(seeds), judge)
    base, banks = judge(teacher), {}
    for n in sizes:
        shared = settings.model_copy(update={"trajectories": n})
        values = over_seeds(teacher, concepts, shared, range(seeds), judge)
        banks[str(n)] = {"values": values, "inside": inside(values, fresh)}
        if all(banks[str(n)]["inside"].values()):
            break
    enough = [int(n) for n, bank in banks.items() if all(bank["inside"].values())]
    return {
        "base": base,
        "literal": fresh,
        "banks": banks,
        "trajectories_inside": enough[0] if enough else None,
    }


def gallery_judge(teacher: Teacher, concepts: Sequence[Concept], params: Params) -> Judge:
    """Face rate and named rate of target pictures; SSIM and accuracy of kept ones, against the
    untouched teacher's.
    """
    from tasks.evidence.instruments import Instruments
    from tasks.evidence.measure import measure_kept, measure_target

    def draw(rows: Sequence[PromptRow]) -> list[Any]:
        prompts, seeds, w = zip(
            *((r.prompt, r.evaluation_seed, r.evaluation_guidance) for r in rows), strict=True
        )
        return to_pil(
            diffusion.sample(teacher, prompts, seeds, w, STEPS, params.sampling.batch_size)
        )

    def spread(rows: Sequence[PromptRow], n: int) -> list[PromptRow]:
        return [rows[i * len(rows) // n] for i in range(n)]

    instruments = Instruments.of(params)
    (concept,) = concepts
    all_target, all_kept = (
        read_prompt_set(target_set(params.prompts.targets, concept)),
        read_prompt_set(params.prompts.kept),
    )
    target, kept = spread(all_target, TARGET_ROWS), spread(kept_rows(all_kept, concepts), KEPT_ROWS)
    labels = sorted({row.concept for row in (*all_target, *all_kept) if row.concept})
    untouched = draw(kept)

    def judge(_: Teacher) -> dict[str, float]:
        of_target = measure_target(instruments, concept, draw(target), labels)
        values = {
            m.metric: m.value
            for m in (*of_target, *measure_kept(instruments, kept, untouched, draw(kept), labels))
        }
        return {
            m: values[m]
            for m in (
                f"nudenet.rate[{concept.name}]",
                f"clip.concept_rate[{concept.name}]",
                "ssim",
                "clip.accuracy",
            )
        }

    return judge


def sd14(teacher: Teacher, width: int = 320, side: int = 64) -> Teacher:
    """`teacher` with a UNet and a text encoder of random weights in Stable Diffusion 1.4's shapes;
    narrower for a test.
    """
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = copy.deepcopy(teacher.tokenizer)
    tokenizer.model_max_length = 77
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        }
        text = CLIPTextModel(
            CLIPTextConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=77)
        )
        channels = (width, 2 * width, 4 * width, 4 * width)
        unet = UNet2DConditionModel(
            sample_size=side,
            block_out_channels=channels,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
    for part in (text, unet):
        part.to(teacher.unet.device).eval().requires_grad_(False)
    return dataclasses.replace(teacher, tokenizers=(tokenizer,), text_encoders=(text,), unet=unet)


def preset(name: str, params: Params) -> abo.Settings:
    """The paper's settings, or the gallery's own with the first of its lambdas."""
    if name == "paper":
        return abo.Settings()
    assert isinstance(params.method, abo.Settings)
    return params.method.model_copy(update={"lambda_": (params.lambdas or LAMBDAS)[0]})


def device_name(device: torch.device) -> str:
    """What it ran on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, 1 thread of {os.cpu_count()} cores"


def summary(name: str, results: Mapping[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{name}, on {results['device']}"]
    for ratio, value in results["speed"].items():
        if "_over_" in ratio:
            limit = (
                f" (target <= {TARGETS[ratio]}: {'met' if value <= TARGETS[ratio] else 'missed'})"
                if ratio in TARGETS
                else ""
            )
            lines.append(f"  {ratio}: {value:.2f}{limit}")
    if measured := results.get("quality"):
        n = results["n"]
        lines.append(
            f"  quality over {n['seeds']} seeds of {n['target']} target and {n['kept']} "
            f"kept pictures, against the literal algorithm"
        )
        for size, bank in measured["banks"].items():
            for metric, values in bank["values"].items():
                fresh, said = (
                    measured["literal"][metric],
                    "inside" if bank["inside"][metric] else "outside",
                )
                spread = f"literal {min(fresh):.3f} to {max(fresh):.3f}"
                lines.append(
                    f"    {size} trajectories, {metric}: mean {statistics.mean(values):.3f}, "
                    f"{spread}: {said}"
                )
        enough = measured["trajectories_inside"] or "none of those tried"
        lines.append(f"    bank inside the spread: {enough}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--preset",
        choices=("paper", "gallery"),
        default="paper",
        help="the paper's settings, or those of params.yaml",
    )
    parser.add_argument("--size", choices=("gallery", "sd14"), default="gallery")
    parser.add_argument(
        "--seeds", type=int, default=5, help="trainings of each kind; 0 leaves quality out"
    )
    parser.add_argument(
        "--trajectories",
        default="12,48,200",
        help="sizes of the bank, smallest first; times are of the one that is inside",
    )
    parser.add_argument("--updates", type=int, help="in place of the preset's")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)

    os.chdir(ROOT)
    params, sizes = (
        read_params(Path("params.yaml")).with_method("all_but_one"),
        [int(size) for size in chosen.trajectories.split(",")],
    )
    concepts = [read_request(Path("examples/requests/astronaut.yaml")).concept]
    teacher = load_teacher(params.base.path, device=str(device))
    settings = preset(chosen.preset, params)
    changes = {"trajectories": sizes[0], "updates": chosen.updates or settings.updates}
    if chosen.size == "sd14":
        teacher, changes = (
            sd14(teacher),
            changes | {"precision": "bf16" if device.type == "cuda" else "fp32"},
        )
    settings = settings.model_copy(update=changes)

    results: dict[str, Any] = {"device": device_name(device), "torch": torch.__version__}
    if chosen.size == "gallery" and chosen.seeds:
        results["n"] = {
            "seeds": chosen.seeds,
            "target": TARGET_ROWS,
            "kept": KEPT_ROWS,
            "steps": STEPS,
        }
        results["quality"] = quality(
            teacher,
            concepts,
            settings,
            sizes,
            chosen.seeds,
            gallery_judge(teacher, concepts, params),
        )
        settings = settings.model_copy(
            update={"trajectories": results["quality"]["trajectories_inside"] or sizes[-1]}
        )
    results["settings"] = settings.model_dump(mode="json")
    results["speed"] = speed(teacher, concepts, settings, LAMBDAS)

    name = f"{chosen.size}, {chosen.preset} settings"
    slug = (
        "cpu"
        if device.type == "cpu"
        else re.sub(r"[^a-z0-9]+", "-", results["device"].lower()).strip("-")
    )
    file = chosen.out / f"all_but_one-{slug}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() else {}
    # times alone, measured again, leave the quality that was measured before
    results = before.get(name, {}) | results
    file.write_text(json.dumps({**before, name: results}, indent=2, sort_keys=True) + "\n")
    print(json.dumps({name: results}, indent=2) if chosen.json else summary(name, results))


if __name__ == "__main__":
    main()
