"""Concept Ablation: on pictures of an anchor, teach the noise of a concept to be the noise of the
anchor.

Paper      Kumari et al., Ablating Concepts in Text-to-Image Diffusion Models, ICCV 2023,
           arXiv:2303.13516, eq. 5 (model-based).
Reference  nupurkmr9/concept-ablation @ c11fb1b, read, not copied.
Departs    The anchor of a prompt is the prompt with the concept replaced, not one of 200 prompts of
           a language model. Anchor pictures stay latents, made by DDIM (reference: DPM-Solver,
           decoded and encoded again). No resizing and zooming of them, which small pictures cannot
           show. Defaults are the learning rate and batch that the reference arrives at for styles
           and objects on two GPUs. No noise-based loss, no embedding group. Ours, off by default:
           `keep_weight` (squared error on kept prompts, along the teacher's own trajectories of
           them).
Changes    Weights of `group` in the UNet. The teacher is not modified.
Cost       2 x steps UNet evaluations for each picture, once (`prepare` caches them); 2 an update, 2
           more with kept prompts.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.law.concepts import Concept, Kind, check_some, stand_in
from erasure_core.network import diffusion, training
from erasure_core.network.models import Teacher
from erasure_core.network.prepared import by_content
from erasure_core.network.shares import Shares
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work


class Settings(training.LoraTraining):
    """Defaults are the paper's for styles and objects."""

    method: Literal["ablating"] = "ablating"
    images: int = Field(
        1000, ge=1, description="anchor pictures of each concept; more vary more, and take longer"
    )
    guidance: diffusion.Guidance = 6.0
    steps: diffusion.Steps = 25
    prior_weight: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description=(
            "weight of the denoising loss on the anchor itself; a higher one holds the anchor "
            "in place"
        ),
    )
    updates: training.Updates = 100
    batch: training.Batch = 8
    lr: training.Lr = 1.6e-5
    weight_decay: training.WeightDecay = 0.01
    clip: training.Clip = 1.0
    group: training.Group = "kv"
    keep_weight: training.KeepWeight = 0.0


# The reference's for nudity: 4e-6 for each of 4 pictures and 2 GPUs, twice for the prior term.
PRESETS: Mapping[Kind, Settings] = {
    "explicit": Settings(group="attn", prior_weight=1.0, lr=6.4e-5, updates=400),
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the teacher makes once."""

    latents: Tensor  # (n, c, h, w), pictures of the anchors, those that `_shown` says
    kept: diffusion.Kept | None


def ablation_loss(concept: Tensor, anchor: Tensor) -> Tensor:
    """Eq. 5: mean of (eps(z_t, c*) - sg(eps(z_t, c)))^2, both the student's, z_t a noised picture
    of the anchor c.
    """
    return (concept - anchor.detach()).square().mean()


def _prompts(concepts: Sequence[Concept]) -> tuple[list[str], list[str]]:
    """The prompts that are to go, and the anchor of each."""
    pairs = [
        (prompt, stand_in(concept, prompt, concepts))
        for concept in concepts
        for prompt in concept.prompts
    ]
    return [prompt for prompt, _ in pairs], [anchor for _, anchor in pairs]


def _shown(concepts: Sequence[Concept], settings: Settings) -> Tensor:
    """The anchor that each picture shows, (images * concepts,): each concept's own in turn."""
    return Shares.of(concepts).in_turn(settings.images)


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse what could not be erased.

    Raises:
        BadInput: No concept.
    """
    check_some(concepts)


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.group` may change."""
    return training.declared(unet, settings.group, settings)


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> Prepared:
    """The anchor pictures, kept by content, and trajectories of the kept prompts if a term of the
    loss holds them.
    """
    anchors = diffusion.encode_prompts(teacher, _prompts(concepts)[1])
    shown = _shown(concepts, settings)

    def make() -> dict[str, Tensor]:
        draws = seeding.generator(work.seed, "anchor pictures")
        return {
            "latents": diffusion.pictures(
                teacher, anchors, shown, settings.guidance, settings.steps, draws
            )
        }

    def content() -> dict[str, object]:
        return {
            **diffusion.content_of(teacher, [anchors]),
            "pictures": [shown.tolist(), settings.guidance, settings.steps, work.seed],
        }

    latents = by_content(work.cache, "anchors", content, make)["latents"].to(teacher.device)
    return Prepared(
        latents,
        diffusion.Kept.held(
            teacher, concepts, settings.keep_weight, settings.guidance, settings.steps, work.seed
        ),
    )


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: Prepared | None = None,
) -> WeightDelta:
    """Train a copy of the UNet to see the anchor where the concept is named, and return what
    changed.

    Each update draws from the prompts of all concepts and reports {concept, prior, keep}, weighted
    as in the loss.

    Raises:
        BadInput: If no concept is named, or a prompt or its anchor is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    targets, anchors = (
        diffusion.encode_prompts(teacher, prompts) for prompts in _prompts(concepts)
    )
    prepared = prepared or prepare(teacher, concepts, settings, work)
    latents, kept = prepared.latents, prepared.kept
    draws, shown = seeding.generator(work.seed, "updates"), _shown(concepts, settings)

    def loss(student: nn.Module) -> dict[str, Tensor]:
        at = diffusion.noised(teacher, latents, settings.batch, draws)
        row = shown[at.picture].to(latents.device)
        with torch.set_grad_enabled(settings.prior_weight > 0):  # all that moves the anchor
            anchor = diffusion.predict_noise(teacher, student, at.z, at.timestep, anchors[row])
        concept = diffusion.predict_noise(teacher, student, at.z, at.timestep, targets[row])
        terms = {"concept": ablation_loss(concept, anchor)}
        if settings.prior_weight:
            terms["prior"] = settings.prior_weight * (anchor - at.noise).square().mean()
        if kept:
            terms["keep"] = settings.keep_weight * kept.drift(student, settings.batch, draws)
        return terms

    student = training.student_of(teacher, settings)
    trainable = training.trainable(student, settings.group, settings, work.seed)
    loop = training.Loop(generators=[draws], on_step=work.on_step, resume=work.resume)
    training.fit(student, trainable, loss, settings, steps(concepts, settings), loop)
    return training.change(teacher.unet, student, trainable, settings)
