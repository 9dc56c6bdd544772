"""ESD: teach the noise of a concept to be what the teacher would predict when guided away from it.

Paper      Gandikota et al., Erasing Concepts from Diffusion Models, ICCV 2023, arXiv:2303.07345,
           eq. 7.
Reference  rohitgandikota/erasing @ a2189e9 (the paper's code) and @ 25613d2 (the rewrite of 2025),
           read, not copied. The rewrite's preset: walker teacher, lr 5e-5, 200 updates; its
           negative_guidance 2 is eta 1 here, see `target`.
Departs    A state keeps the timestep that it belongs to, as in the rewrite; the paper's code
           jitters it within 1/T. Trajectories by DDIM. No erase_from. Where a batch holds several
           points, one number of steps is drawn for all of it. Ours, off by default: `trajectories`
           > 0 (trajectories of the frozen teacher made once, in batches, and shared) and
           `keep_weight` (squared error on kept prompts, along the teacher's own trajectories of
           them; the paper has no such term).
Changes    Weights of `variant`: x cross-attention, u all others but the ends of the network, strict
           keys and values of x. The teacher is not modified.
Cost       Literal: about T + 3 UNet evaluations an update (a guided step takes two). With shared
           trajectories: 3, with kept prompts 5.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, Kind, check_some
from erasure_core.network import diffusion, layers, training
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work

Variant = Literal["x", "u", "strict"]
GROUPS: dict[Variant, layers.Group] = {"x": "xattn", "u": "noxattn", "strict": "kv"}


class Settings(training.LoraTraining):
    """Defaults are the paper's code's."""

    method: Literal["esd"] = "esd"
    variant: Variant = Field(
        "x",
        description=(
            "the UNet weights that may change: x for what a prompt names, u for what appears "
            "unnamed, strict for keys and values only"
        ),
    )
    eta: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="distance of the target past eps(0); a higher one pushes further from c",
    )
    walker: Literal["student", "teacher"] = Field(
        "student",
        description="network that makes z_t: the student (paper) or the frozen base (rewrite)",
    )
    guidance: diffusion.Guidance = 3.0
    steps: diffusion.Steps = 50
    trajectories: Literal["fresh"] | PositiveInt = Field(
        "fresh",
        description=(
            "ours: trajectories of the teacher for each concept that all updates share; more cover "
            "more states, 'fresh' makes new ones for each update"
        ),
        json_schema_extra={"ours": True},
    )
    updates: training.Updates = 1000
    lr: training.Lr = 1e-5
    keep_weight: training.KeepWeight = 0.0


# The paper's: what appears unnamed is erased in the layers that read no text.
PRESETS: Mapping[Kind, Settings] = {"explicit": Settings(variant="u")}


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
    check_some(concepts)
    if settings.walker == "student" and settings.trajectories != "fresh":
        raise BadInput(
            f"trajectories={settings.trajectories} shares the teacher's trajectories, but "
            f"walker=student; set walker=teacher or trajectories=fresh"
        )


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.variant` may change."""
    return training.declared(unet, GROUPS[settings.variant], settings)


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def banked(settings: Settings) -> int:
    """How many latents are kept of each concept: the points of shared trajectories."""
    return 0 if settings.trajectories == "fresh" else settings.trajectories * settings.steps


def _erased(
    teacher: Teacher, concepts: Sequence[Concept], settings: Settings
) -> diffusion.Trajectories:
    return diffusion.Trajectories.erased(teacher, concepts, settings.guidance, settings.steps)


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> Prepared:
    """Make the trajectories that are made once: shared ones, and those of the kept prompts."""
    points = None
    if settings.trajectories != "fresh":
        draws = seeding.generator(work.seed, diffusion.TRAJECTORIES_STREAM)
        erased = _erased(teacher, concepts, settings)
        points = erased.bank(teacher.guide, settings.trajectories, draws)
    kept = diffusion.Kept.held(
        teacher, concepts, settings.keep_weight, settings.guidance, settings.steps, work.seed
    )
    return Prepared(points, kept)


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: Prepared | None = None,
) -> WeightDelta:
    """Train a copy of the UNet towards `target` and return what changed.

    Each update draws from the prompts of all concepts and reports {concept, keep}, weighted as in
    the loss.

    Raises:
        BadInput: If the settings contradict each other, or a prompt is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    trajectories = _erased(teacher, concepts, settings)
    prepared = prepared or prepare(teacher, concepts, settings, work)
    draws = seeding.generator(work.seed, "updates")

    def draw(student: nn.Module) -> diffusion.Points:
        if prepared.points:
            return prepared.points.draw(settings.batch, draws).to(teacher.device)
        unet = student if settings.walker == "student" else teacher.guide
        return trajectories.fresh(unet, settings.batch, draws)

    def loss(student: nn.Module) -> dict[str, Tensor]:
        at = draw(student)
        erased = trajectories.prompts[at.prompt]
        with torch.no_grad():
            contexts = [trajectories.nothing.expand(settings.batch), erased]
            null, cond = diffusion.predict_each(teacher, teacher.guide, at.z, at.timestep, contexts)
        predicted = diffusion.predict_noise(teacher, student, at.z, at.timestep, erased)
        terms = {"concept": (predicted - target(null, cond, settings.eta)).square().mean()}
        if prepared.kept:
            terms["keep"] = settings.keep_weight * prepared.kept.drift(
                student, settings.batch, draws
            )
        return terms

    student = training.student_of(teacher, settings)
    trainable = training.trainable(student, GROUPS[settings.variant], settings, work.seed)
    loop = training.Loop(generators=[draws], on_step=work.on_step, resume=work.resume)
    training.fit(student, trainable, loss, settings, steps(concepts, settings), loop)
    return training.change(teacher.unet, student, trainable, settings)
