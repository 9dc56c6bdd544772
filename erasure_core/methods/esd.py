"""ESD: teach the noise of a concept to be what the teacher would predict when guided away from it.

Paper      Gandikota et al., Erasing Concepts from Diffusion Models, ICCV 2023, arXiv:2303.07345,
           eq. 7.
Reference  rohitgandikota/erasing @ a2189e9 (the paper's code) and @ 25613d2 (the rewrite of 2025),
           read, not copied. The rewrite's preset: walker teacher, lr 5e-5, 200 updates; its
           negative_guidance 2 is eta 1 here, see `target`.
Departs    A state keeps the timestep that it belongs to, as in the rewrite; the paper's code
           jitters it within 1/T. Walks by DDIM. No erase_from. Where a batch holds several points,
           one number of steps is drawn for all of it. Ours, off by default: `trajectories` > 0
           (walks of the frozen teacher made once, in batches, and shared) and `keep_weight`
           (squared error on kept prompts, along the teacher's own walks of them; the paper has no
           such term).
Changes    Weights of `variant`: x cross-attention, u all others but the ends of the network, strict
           keys and values of x. The teacher is not modified.
Cost       Literal: about T + 3 UNet evaluations an update (a guided step takes two). With shared
           trajectories: 3, with kept prompts 5.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.network import diffusion, layers, training
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta

Variant = Literal["x", "u", "strict"]
GROUPS: dict[Variant, layers.Group] = {"x": "xattn", "u": "noxattn", "strict": "kv"}


class Settings(training.Training):
    """Defaults are the paper's code's."""

    method: Literal["esd"] = "esd"
    variant: Variant = Field(
        "x",
        description=(
            "x for what a prompt names, u for what appears unnamed, strict for keys and values only"
        ),
    )
    eta: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="how far past the unconditional prediction the target lies",
    )
    walker: Literal["student", "teacher"] = Field(
        "student", description="who makes z_t: the student (paper) or the frozen base (rewrite)"
    )
    guidance: float = Field(3.0, gt=0, allow_inf_nan=False, description="of the walks")
    steps: int = Field(50, ge=2, description="T, DDIM steps of a whole walk")
    trajectories: Literal["fresh"] | PositiveInt = Field(
        "fresh", description="teacher's walks to share, or 'fresh': new ones each update"
    )
    updates: int = Field(
        1000, ge=1, description="of each concept: two erased together take twice as many"
    )
    lr: float = Field(1e-5, gt=0, allow_inf_nan=False)
    keep_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="ours: weight of the error on kept prompts"
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What depends on the teacher alone."""

    points: diffusion.Points | None
    kept: diffusion.Kept | None


def target(null: Tensor, cond: Tensor, eta: float) -> Tensor:
    """Eq. 7: eps(0) - eta (eps(c) - eps(0)).

    The rewrite starts at eps(c) instead: eps(c) - (eta + 1) (eps(c) - eps(0)), which is the same.
    """
    return null - eta * (cond - null)


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse what could not be erased.

    Raises:
        BadInput: No concept; or shared trajectories of a student, which changes with every update.
    """
    if not concepts:
        raise BadInput("no concept to erase; a request names one")
    if settings.walker == "student" and settings.trajectories != "fresh":
        raise BadInput(
            f"trajectories={settings.trajectories} shares the teacher's walks, but "
            f"walker=student; set walker=teacher or trajectories=fresh"
        )


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.variant` may change."""
    return frozenset(layers.select(unet, GROUPS[settings.variant]))


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def _erased(teacher: Teacher, concepts: Sequence[Concept], settings: Settings) -> diffusion.Walks:
    prompts = [prompt for concept in concepts for prompt in concept.prompts]
    return diffusion.Walks.of(teacher, prompts, settings.guidance, settings.steps)


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    *,
    seed: int,
    cache: Path | None = None,
) -> Prepared:
    """Let the teacher walk what is walked once: shared trajectories, and the kept prompts."""
    points = None
    if settings.trajectories != "fresh":
        walks = _erased(teacher, concepts, settings)
        points = walks.bank(teacher.unet, settings.trajectories, seeding.generator(seed, "walks"))
    kept = diffusion.Kept.held(
        teacher, concepts, settings.keep_weight, settings.guidance, settings.steps, seed
    )
    return Prepared(points, kept)


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    *,
    seed: int,
    on_step: training.OnStep | None = None,
    prepared: Prepared | None = None,
    resume: Path | None = None,
) -> WeightDelta:
    """Train a copy of the UNet towards `target` and return what changed.

    Args:
        teacher: The frozen base; a copy of its UNet is trained.
        concepts: What to erase; each update draws from the prompts of all of them.
        settings: Hyper-parameters.
        seed: Decides every draw.
        on_step: Hears (update, {concept, keep}), weighted as in the loss.
        prepared: What `prepare` returned for the same arguments; made here if absent.
        resume: Where the state of the training is kept, to go on from after a kill.

    Raises:
        BadInput: If the settings contradict each other, or a prompt is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    walks = _erased(teacher, concepts, settings)
    prepared = prepared or prepare(teacher, concepts, settings, seed=seed)
    draws = seeding.generator(seed, "updates")

    def draw(student: nn.Module) -> diffusion.Points:
        if prepared.points:
            return prepared.points.draw(settings.batch, draws)
        return walks.fresh(
            student if settings.walker == "student" else teacher.unet, settings.batch, draws
        )

    def loss(student: nn.Module) -> dict[str, Tensor]:
        at = draw(student)
        erased = walks.prompts[at.prompt]
        with torch.no_grad():
            contexts = [walks.nothing.expand(settings.batch), erased]
            null, cond = diffusion.predict_each(teacher, teacher.unet, at.z, at.timestep, contexts)
        found = diffusion.predict_noise(teacher, student, at.z, at.timestep, erased)
        terms = {"concept": (found - target(null, cond, settings.eta)).square().mean()}
        if prepared.kept:
            terms["keep"] = settings.keep_weight * prepared.kept.drift(
                student, settings.batch, draws
            )
        return terms

    student = training.student_of(teacher, settings)
    trainable = layers.select(student, GROUPS[settings.variant])
    loop = training.Loop(generators=[draws], on_step=on_step, resume=resume)
    training.fit(student, trainable, loss, settings, steps(concepts, settings), loop)
    return WeightDelta.between(teacher.unet, student, frozenset(trainable))
