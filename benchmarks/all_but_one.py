"""All-but-One's shared walks against its literal algorithm: what they cost, and whether they change
what comes out.

    python benchmarks/all_but_one.py [--preset paper|gallery] [--seeds N] [--walks N,N] [--updates
    N] [--size gallery|sd14] [--json]

One process. The literal algorithm walks anew for each update (`trajectories: fresh`); with a bank,
some whole walks are made once and every update draws from their points. Measured:

    update_over_floor    an update with the bank, over what none can avoid: the student forward and
                         backward on 2 latents, and one batch of the teacher
    bank_over_fresh      a run with the bank, its walks included, over a literal run
    sweep6_over_single   six lambdas on one bank, its walks included, over one literal run
    quality              per seed of the training, on the same pictures: a bank is inside if the
                         mean over seeds of each metric lies within the least and the greatest that
                         literal runs gave; larger banks are tried until one is, and times are
                         measured with that one

On a CPU time is processor time of one thread, so that other work on the machine does not count; on
an accelerator it is wall time. `sd14` has random weights in Stable Diffusion 1.4's shapes, in bf16
on an accelerator: times without quality. What is found joins
`benchmarks/results/all_but_one-<device>.json`.
"""

import argparse
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
    z, device, found = (
        diffusion.initial_noise(teacher, range(settings.batch)),
        teacher.unet.device,
        [],
    )
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
        found.append(seconds(device) - began)
    return statistics.median(found)


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
    walking, runs, updates = seconds(device) - began, [], []
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
        "walks_s": walking,
        "bank_run_s": walking + statistics.mean(runs),
        "sweep_s": walking + sum(runs),
        "update_s": update,
        "floor_s": least,
        "update_over_floor": update / least,
        "bank_over_fresh": (walking + statistics.mean(runs)) / single,
        f"sweep{len(lambdas)}_over_single": (walking + sum(runs)) / single,
    }


Values = dict[str, list[float]]  # metric -> its value for each seed


def over_seeds(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: abo.Settings,
    seeds: Iterable[int],
    judge: Judge,
) -> Values:
    """What `judge` finds after a training of each seed."""
    found: Values = {}
    for seed in seeds:
        with abo.erase(teacher, concepts, settings, Work(seed)).applied(teacher.unet):
            for metric, value in judge(teacher).items():
                found.setdefault(metric, []).append(value)
        print(
            f"{settings.trajectories} walks, seed {seed}: "
            + ", ".join(f"{m} {v[-1]:.3f}" for m, v in found.items()),
            file=sys.stderr,
        )
    return found


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
    found: dict[str, Any] = {
        "base": judge(teacher),
        "literal": fresh,
        "banks": {},
        "walks_inside": None,
    }
    for walks in sizes:
        bank = over_seeds(
            teacher,
            concepts,
            settings.model_copy(update={"trajectories": walks}),
            range(seeds),
            judge,
        )
        found["banks"][str(walks)] = {"values": bank, "inside": inside(bank, fresh)}
        if all(found["banks"][str(walks)]["inside"].values()):
            found["walks_inside"] = walks
            break
    return found


def gallery_judge(teacher: Teacher, concepts: Sequence[Concept], params: Params) -> Judge:
    """Face rate and named rate of target pictures; SSIM and accuracy of kept ones, against the
    untouched teacher's.
    """
    from tasks.evidence.measure import Instruments, measure_kept, measure_target

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
        found = {
            m.metric: m.value
            for m in (*of_target, *measure_kept(instruments, kept, untouched, draw(kept), labels))
        }
        return {
            m: found[m]
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
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(teacher.tokenizer.name_or_path, model_max_length=77)
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


def summary(name: str, found: Mapping[str, Any]) -> str:
    """A few lines for people."""
    lines = [f"{name}, on {found['device']}"]
    for ratio, value in found["speed"].items():
        if "_over_" in ratio:
            limit = (
                f" (target <= {TARGETS[ratio]}: {'met' if value <= TARGETS[ratio] else 'missed'})"
                if ratio in TARGETS
                else ""
            )
            lines.append(f"  {ratio}: {value:.2f}{limit}")
    if measured := found.get("quality"):
        n = found["n"]
        lines.append(
            f"  quality over {n['seeds']} seeds of {n['target']} target and {n['kept']} "
            f"kept pictures, against the literal algorithm"
        )
        for walks, bank in measured["banks"].items():
            for metric, values in bank["values"].items():
                fresh, said = (
                    measured["literal"][metric],
                    "inside" if bank["inside"][metric] else "outside",
                )
                spread = f"literal {min(fresh):.3f} to {max(fresh):.3f}"
                lines.append(
                    f"    {walks} walks, {metric}: mean {statistics.mean(values):.3f}, "
                    f"{spread}: {said}"
                )
        lines.append(
            f"    bank inside the spread: {measured['walks_inside'] or 'none of those tried'}"
        )
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
        "--walks",
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
        [int(walks) for walks in chosen.walks.split(",")],
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

    found: dict[str, Any] = {"device": device_name(device), "torch": torch.__version__}
    if chosen.size == "gallery" and chosen.seeds:
        found["n"] = {
            "seeds": chosen.seeds,
            "target": TARGET_ROWS,
            "kept": KEPT_ROWS,
            "steps": STEPS,
        }
        found["quality"] = quality(
            teacher,
            concepts,
            settings,
            sizes,
            chosen.seeds,
            gallery_judge(teacher, concepts, params),
        )
        settings = settings.model_copy(
            update={"trajectories": found["quality"]["walks_inside"] or sizes[-1]}
        )
    found["settings"] = settings.model_dump(mode="json")
    found["speed"] = speed(teacher, concepts, settings, LAMBDAS)

    name = f"{chosen.size}, {chosen.preset} settings"
    slug = (
        "cpu"
        if device.type == "cpu"
        else re.sub(r"[^a-z0-9]+", "-", found["device"].lower()).strip("-")
    )
    file = chosen.out / f"all_but_one-{slug}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(file.read_text()) if file.exists() else {}
    # times alone, measured again, leave the quality that was measured before
    found = before.get(name, {}) | found
    file.write_text(json.dumps({**before, name: found}, indent=2, sort_keys=True) + "\n")
    print(json.dumps({name: found}, indent=2) if chosen.json else summary(name, found))


if __name__ == "__main__":
    main()
