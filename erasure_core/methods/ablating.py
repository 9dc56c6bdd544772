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
           `keep_weight` (squared error on kept prompts, along the teacher's own walks of them).
Changes    Weights of `group` in the UNet. The teacher is not modified.
Cost       2 x steps UNet evaluations for each picture, once (`prepare` caches them); 2 an update, 2
           more with kept prompts.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.network import diffusion, layers, training
from erasure_core.network.models import Teacher
from erasure_core.network.prepared import by_content
from erasure_core.network.weights import WeightDelta


class Settings(training.Training):
    """Defaults are the paper's for styles and objects; for nudity: group attn, prior_weight 1, lr
    6.4e-5, 400 updates.
    """

    method: Literal["ablating"] = "ablating"
    images: int = Field(1000, ge=1, description="anchor pictures of each concept")
    guidance: float = Field(6.0, gt=0, allow_inf_nan=False, description="of the anchor pictures")
    steps: int = Field(25, ge=2, description="DDIM steps of an anchor picture")
    prior_weight: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of the denoising loss on the anchor itself",
    )
    updates: int = Field(
        100, ge=1, description="of each concept: two erased together take twice as many"
    )
    batch: int = Field(8, ge=1, description="pictures per update")
    lr: float = Field(1.6e-5, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False, description="AdamW's")
    clip: float | None = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="largest norm of the gradient; None: not clipped",
    )
    group: layers.Group = "kv"
    keep_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="ours: weight of the error on kept prompts"
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the teacher makes once."""

    # (n, c, h, w), pictures of the anchors; picture i shows anchor i % (number of anchors)
    latents: Tensor
    kept: diffusion.Kept | None


def ablation_loss(concept: Tensor, anchor: Tensor) -> Tensor:
    """Eq. 5: mean of (eps(z_t, c*) - sg(eps(z_t, c)))^2, both the student's, z_t a noised picture
    of the anchor c.
    """
    return (concept - anchor.detach()).square().mean()


def _prompts(concepts: Sequence[Concept]) -> tuple[list[str], list[str]]:
    """The prompts that are to go, and the anchor of each."""
    pairs = [
        (prompt, concept.replaced(prompt)) for concept in concepts for prompt in concept.prompts
    ]
    return [prompt for prompt, _ in pairs], [anchor for _, anchor in pairs]


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse what could not be erased.

    Raises:
        BadInput: No concept.
    """
    if not concepts:
        raise BadInput("no concept to erase; a request names one")


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
    *,
    seed: int,
    cache: Path | None = None,
) -> Prepared:
    """Make the anchor pictures, or find them in `cache`, and let the teacher walk the kept prompts
    if they are held.
    """
    anchors, n = (
        diffusion.encode_prompts(teacher, _prompts(concepts)[1]),
        settings.images * len(concepts),
    )

    def make() -> dict[str, Tensor]:
        shown, draws = torch.arange(n) % len(anchors), seeding.generator(seed, "anchor pictures")
        return {
            "latents": diffusion.pictures(
                teacher, anchors, shown, settings.guidance, settings.steps, draws
            )
        }

    def content() -> dict[str, object]:
        return {
            **diffusion.content_of(teacher, [anchors]),
            "pictures": [n, settings.guidance, settings.steps, seed],
        }

    latents = by_content(cache, "anchors", content, make)["latents"].to(teacher.unet.device)
    return Prepared(
        latents,
        diffusion.Kept.held(
            teacher, concepts, settings.keep_weight, settings.guidance, settings.steps, seed
        ),
    )


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
    """Train a copy of the UNet to see the anchor where the concept is named, and return what
    changed.

    Args:
        teacher: The frozen base; a copy of its UNet is trained.
        concepts: What to erase, each with its replacement; each update draws from the prompts of
            all of them.
        settings: Hyper-parameters.
        seed: Decides every draw.
        on_step: Hears (update, {concept, prior, keep}), weighted as in the loss.
        prepared: What `prepare` returned for the same arguments; made here if absent.
        resume: Where the state of the training is kept, to go on from after a kill.

    Raises:
        BadInput: If no concept is named, or a prompt or its anchor is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    targets, anchors = (
        diffusion.encode_prompts(teacher, prompts) for prompts in _prompts(concepts)
    )
    prepared = prepared or prepare(teacher, concepts, settings, seed=seed)
    latents, kept, scheduler = prepared.latents, prepared.kept, diffusion.noise_scheduler(teacher)
    draws = seeding.generator(seed, "updates")

    def loss(student: nn.Module) -> dict[str, Tensor]:
        picture = torch.randint(len(latents), (settings.batch,), generator=draws)
        timestep = torch.randint(
            scheduler.config.num_train_timesteps, (settings.batch,), generator=draws
        ).to(latents.device)
        noise = torch.randn((settings.batch, *latents.shape[1:]), generator=draws).to(
            latents.device
        )
        z = scheduler.add_noise(latents[picture.to(latents.device)], noise, timestep)
        row = (picture % len(anchors)).to(latents.device)
        with torch.set_grad_enabled(
            settings.prior_weight > 0
        ):  # the prior is all that moves the anchor
            anchor = diffusion.predict_noise(teacher, student, z, timestep, anchors[row])
        terms = {
            "concept": ablation_loss(
                diffusion.predict_noise(teacher, student, z, timestep, targets[row]), anchor
            )
        }
        if settings.prior_weight:
            terms["prior"] = settings.prior_weight * (anchor - noise).square().mean()
        if kept:
            terms["keep"] = settings.keep_weight * kept.drift(student, settings.batch, draws)
        return terms

    student = training.student_of(teacher, settings)
    trainable = layers.select(student, settings.group)
    loop = training.Loop(generators=[draws], on_step=on_step, resume=resume)
    training.fit(student, trainable, loss, settings, steps(concepts, settings), loop)
    return WeightDelta.between(teacher.unet, student, frozenset(trainable))
