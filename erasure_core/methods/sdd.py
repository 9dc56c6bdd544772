"""SDD: teach the noise of a concept to be the student's own unconditional noise; the moving average
of the student is released.

Paper      Kim et al., Towards Safe Self-Distillation of Internet-Scale Text-to-Image Diffusion
           Models, ICML workshop 2023, arXiv:2307.05977.
Reference  nannullna/safe-diffusion @ a2e820c has no licence: read for its defaults and its traps,
           not copied.
Departs    A trajectory follows the prompt that its loss erases; the reference's follow all prompts
           joined to one, which a short text encoder cannot read (the same for one prompt). A state
           keeps the timestep that it belongs to; the reference jitters it within 1/T. Zero steps
           mean noise; in the reference they mean a whole trajectory, and a clean latent labelled as
           noise. Where a batch holds several points, one number of steps is drawn for all of it.
           Ours, off by default: `keep_weight` (squared error on kept prompts, along the teacher's
           own trajectories of them). No `lora`: an average of changes of low rank is none, and the
           average of their factors is not that of the student. A LoRA holds the change of group kv.
Changes    Weights of `group` in the UNet. The teacher is not modified.
Cost       About T + 2 UNet evaluations an update (a guided step takes two), 2 more with kept
           prompts; a third copy of the UNet.
Restore    By releasing again without the concept; the change of several is one.
"""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.law.concepts import Concept, check_some
from erasure_core.network import diffusion, layers, training
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work

NETWORKS = 3  # held at once: the teacher, the student and its average


class Settings(training.Training):
    """Defaults are the reference's."""

    method: Literal["sdd"] = "sdd"
    decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description=(
            "share of the moving average that an update leaves; a higher one follows the "
            "student more slowly, n updates leave decay^n"
        ),
    )
    guidance: diffusion.Guidance = 3.0
    steps: diffusion.Steps = 50
    updates: training.Updates = 1500
    lr: training.Lr = 1e-5
    weight_decay: training.WeightDecay = 1e-4
    clip: training.Clip = 1.0
    group: training.Group = "xattn"
    keep_weight: training.KeepWeight = 0.0


def distillation_loss(cond: Tensor, null: Tensor) -> Tensor:
    """Mean of (eps(c) - sg(eps(0)))^2, both the student's."""
    return (cond - null.detach()).square().mean()


@torch.no_grad()
def move_average(average: Sequence[Tensor], student: Sequence[Tensor], decay: float) -> None:
    """average <- decay average + (1 - decay) student, in place.

    After n updates: decay^n start + (1 - decay) sum over k of decay^(n - k) student_k.
    """
    for kept, new in zip(average, student, strict=True):
        kept.lerp_(new, 1 - decay)


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse what could not be erased.

    Raises:
        BadInput: No concept.
    """
    check_some(concepts)


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.group` may change."""
    return frozenset(layers.select(unet, settings.group))


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> diffusion.Kept | None:
    """Trajectories of the kept prompts; None where no term of the loss holds them."""
    return diffusion.Kept.held(
        teacher, concepts, settings.keep_weight, settings.guidance, settings.steps, work.seed
    )


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: diffusion.Kept | None = None,
) -> WeightDelta:
    """Distil a copy of the UNet into itself and return what its moving average changed.

    Each update draws from the prompts of all concepts and reports {concept, keep}, weighted as in
    the loss.
    A second copy of the UNet, the moving average, makes z_t.

    Raises:
        BadInput: If no concept is named, or a prompt is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    trajectories = diffusion.Trajectories.erased(
        teacher, concepts, settings.guidance, settings.steps
    )
    kept = prepared or prepare(teacher, concepts, settings, work)
    student = training.student_of(teacher, settings)
    average = copy.deepcopy(teacher.unet).to(teacher.device)
    trainable, averaged = (layers.select(network, settings.group) for network in (student, average))
    draws = seeding.generator(work.seed, "updates")

    def loss(student: nn.Module) -> dict[str, Tensor]:
        at = trajectories.fresh(average, settings.batch, draws)
        with torch.no_grad():
            null = diffusion.predict_noise(
                teacher, student, at.z, at.timestep, trajectories.nothing.expand(settings.batch)
            )
        cond = diffusion.predict_noise(
            teacher, student, at.z, at.timestep, trajectories.prompts[at.prompt]
        )
        terms = {"concept": distillation_loss(cond, null)}
        if kept:
            terms["keep"] = settings.keep_weight * kept.drift(student, settings.batch, draws)
        return terms

    loop = training.Loop(
        generators=[draws],
        extra={f"average/{name}": parameter.data for name, parameter in averaged.items()},
        after=lambda: move_average(
            list(averaged.values()), list(trainable.values()), settings.decay
        ),
        on_step=work.on_step,
        resume=work.resume,
    )
    training.fit(student, trainable, loss, settings, steps(concepts, settings), loop)
    return WeightDelta.between(teacher.unet, average, frozenset(averaged))
