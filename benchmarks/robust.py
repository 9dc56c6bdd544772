"""What an adversary inside the loop withstands, and what it costs, over seeds: the table of
docs/methods.md.

    python -m benchmarks.robust [--forms plain,robust,...] [--seeds 3] [--set choose|report]

Each cell is one training on the astronaut's request, judged on one sealed set (words, composed
prompts, what is kept) and by the attacks on embeddings that need no more than a gradient: preimage,
ridge, textual inversion against the number of steps. The attacks' controls, the base told the
replacement and the base attacked alike, are made once, as they know nothing of the student. A cell
that was measured before is not made again. Writes `benchmarks/results/robust-<set>.json`.

Seconds are processor time of one thread, so that other work on the machine does not count.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image

from erasure_core import attacks
from erasure_core.attacks import preimage, ridge, textual_inversion
from erasure_core.attacks.setting import Attempt, Budget, NotRun, Setting, Subject
from erasure_core.files import pretty_json, write_text
from erasure_core.law.concepts import Concept
from erasure_core.law.prompts import PromptRow, kept_rows, read_prompt_set, target_set
from erasure_core.law.requests import read_request
from erasure_core.methods import METHODS
from erasure_core.network import diffusion
from erasure_core.network.images import to_pil
from erasure_core.network.models import Teacher, load_teacher
from erasure_core.network.work import Work
from erasure_core.planning.params import Params, read_params
from erasure_core.planning.policy import COMPOSED
from tasks.evidence.attack import judge_of, prompts_of, with_photographs
from tasks.evidence.instruments import Instruments
from tasks.evidence.measure import labels_of, measure_kept, measure_target

ROOT = Path(__file__).parents[1]
BUDGET = Budget(pictures=20, photographs=20, updates=400)  # pictures at 200 steps and at 400
LAMBDA = 5
Values = dict[str, Any]

# What is changed of the default method's settings in params.yaml.
FORMS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "robust": {"updates": 500, "keep_weight": 80, "robust": {}},
    "robust, 300 updates, keep 30": {"updates": 300, "robust": {}},
}


def sealed(params: Params, concept: Concept, which: str) -> tuple[list[PromptRow], list[PromptRow]]:
    """The target and kept rows of a sealed set, "choose" or "report"."""
    prompts = params.prompts
    at = prompts if which == "report" else prompts.choose
    if at is None:
        raise typer.BadParameter("params.yaml names no set to choose by")
    target = read_prompt_set(target_set(at.targets, concept))
    return target, kept_rows(read_prompt_set(at.kept), [concept])


def on_words(
    params: Params, teacher: Teacher, concept: Concept, which: str
) -> Callable[[], Values]:
    """Measures whatever the teacher's UNet now is, against what it was, on a sealed set."""
    target, kept = sealed(params, concept, which)
    instruments = Instruments.of(params)
    labels = labels_of([*target, *kept], [concept])

    def draw(rows: Sequence[PromptRow]) -> list[Image.Image]:
        sampling = params.sampling
        return to_pil(
            diffusion.sample(
                teacher,
                [row.prompt for row in rows],
                [row.evaluation_seed for row in rows],
                [row.evaluation_guidance for row in rows],
                sampling.steps,
                sampling.batch_size,
            )
        )

    untouched = draw(kept)

    def measured() -> Values:
        found = measure_kept(instruments, kept, untouched, draw(kept), labels, concept.keep)
        for composed in (False, True):
            rows = [row for row in target if bool(row.also) == composed]
            if not rows:  # the set that chooses has no composed prompts
                continue
            prompts = [row.prompt for row in rows]
            seen = measure_target(instruments, concept, draw(rows), labels, prompts)
            found += [replace(m, metric=COMPOSED * composed + m.metric) for m in seen]
        return {m.metric: [m.value, m.low, m.high, m.n] for m in found}

    return measured


def attacked(setting: Setting, subject: Subject, judge: attacks.Judge) -> Values:
    """Successes of each attempt of each attack, by its numbers."""
    found: Values = {}
    for module in (preimage, ridge, textual_inversion):
        try:
            attempts = module.attack(setting, subject)
        except NotRun as why:
            found[module.NAME] = str(why)
            continue
        found[module.NAME] = [_judged(attempt, judge) for attempt in attempts]
    return found


def _judged(attempt: Attempt, judge: attacks.Judge) -> Values:
    hits = judge(attempt.pictures)
    return {**attempt.numbers, "shown": sum(hits), "of": len(hits)}


def main(
    forms: Annotated[str, typer.Option(help="Forms, by commas.")] = ",".join(list(FORMS)[:2]),
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each form.")] = 3,
    which: Annotated[str, typer.Option("--set", help="Sealed set: choose or report.")] = "report",
    params_file: Annotated[Path, typer.Option("--params", help="Settings.")] = ROOT / "params.yaml",
) -> None:
    """Measure each cell that was not measured yet, keep and print all."""
    out = ROOT / f"benchmarks/results/robust-{which}.json"
    results = json.loads(out.read_bytes()) if out.exists() else {}
    params = read_params(params_file)
    concept = read_request(ROOT / "examples/requests/astronaut.yaml").concept
    base, victim = load_teacher(params.base.path), load_teacher(params.base.path)
    kept = sealed(params, concept, which)[1]
    judge = judge_of(Instruments.of(params), concept, labels_of(kept, [concept]))
    setting = Setting(base, victim, BUDGET, params.seed, 4.0, params.sampling.steps)
    subject = Subject(concept, prompts_of(concept, params, kept))
    subject = with_photographs(setting, subject, judge)
    words = on_words(params, victim, concept, which)
    if "controls" not in results:
        results["controls"] = {
            "replacement": _judged(attacks.told_instead(setting, subject), judge),
            "base": attacked(setting, subject, judge),
        }
        write_text(out, pretty_json(results))
    for seed in range(seeds):
        for form in forms.split(","):
            if (name := f"{form}, seed {seed}") in results:
                continue
            settings = type(params.method).model_validate(
                {**params.method.model_dump(by_alias=True), **FORMS[form], "lambda": LAMBDA}
            )
            began = time.process_time()
            delta = METHODS[settings.method].erase(base, [concept], settings, Work(seed))
            spent = time.process_time() - began
            with delta.applied(victim.unet):
                results[name] = {
                    "seconds": spent,
                    "words": words(),
                    "attacks": attacked(setting, subject, judge),
                }
            write_text(out, pretty_json(results))
            print(name, json.dumps(results[name]["attacks"]), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(main)
