"""Forget-Me-Not: turn the network's attention away from the words of a concept.

Paper      Zhang et al., Forget-Me-Not: Learning to Forget in Text-to-Image Diffusion Models, CVPR
           Workshops 2024, arXiv:2303.17591: attention resteering, without a target.
Reference  SHI-Labs/Forget-Me-Not @ a4a81e8, read, not copied; its defaults are for Stable Diffusion
           2.1-base.
Departs    Stage 0, textual inversion, is left out: the concept is known by its name, which every
           prompt must hold. The pictures are the teacher's own of the concept's prompts, kept as
           latents, where the reference is given real ones. `tail: eot` is one column on every base;
           the reference's `use_pooler` takes every token that equals the end token, which on bases
           that pad with it (1.x) is `tail: padded`. No weight decay (not stated), and none of the
           clipping that the reference asks for and does not do. Ours, off by default: `keep_weight`
           (squared error on kept prompts, along the teacher's own trajectories of them; the paper
           has no such term, and what shares words with the concept goes with it).
Changes    Weights of `group` in the UNet. The teacher is not modified.
Cost       2 * steps UNet evaluations a picture, once, kept in the cache folder; then one with
           gradients an update.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.law.concepts import Concept, check_some, erased_prompts
from erasure_core.network import attention, diffusion, training
from erasure_core.network.models import Teacher
from erasure_core.network.prepared import by_content
from erasure_core.network.shares import Shares
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work


class Settings(training.LoraTraining):
    """Defaults are the reference's."""

    method: Literal["forget_me_not"] = "forget_me_not"
    images: int = Field(
        10,
        ge=1,
        description=(
            "pictures of each concept, spread over its prompts; more vary more, and take longer"
        ),
    )
    steps: diffusion.Steps = 50
    guidance: diffusion.Guidance = 7.5
    tail: attention.Tail = Field(
        "eot",
        description=(
            "penalised tokens behind the name: none, the end token (eot), "
            "or that and all padding (padded)"
        ),
    )
    updates: training.Updates = 35
    lr: training.Lr = 2e-6
    group: training.Group = "full"
    keep_weight: training.KeepWeight = 0.0


@dataclass(frozen=True, slots=True)
class Pictures:
    """Latents of the concepts' pictures, n of them."""

    latents: Tensor  # (n, c, h, w)
    prompt: Tensor  # (n,), index of the prompt shown, among those of all concepts


@dataclass(frozen=True, slots=True)
class Prepared:
    """What depends on the teacher alone."""

    pictures: Pictures
    kept: diffusion.Kept | None


def attention_loss(maps: Sequence[Tensor], columns: Tensor) -> Tensor:
    """Frobenius norm of all probabilities at the concept's columns, of all layers, heads and
    positions.

    Args:
        maps: Probabilities of each cross-attention, (n, heads, positions, tokens).
        columns: Tokens of the concept, (n, tokens) of bool.
    """
    return torch.linalg.vector_norm(attention.at_columns(maps, columns))


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse what has no attention to turn away.

    Raises:
        BadInput: No concept; or a prompt that does not name its concept.
    """
    check_some(concepts)
    attention.check_named(
        concepts, "forget_me_not turns attention away from the word", "use another method"
    )


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.group` may change."""
    return training.declared(unet, settings.group, settings)


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def _pictures(
    teacher: Teacher, concepts: Sequence[Concept], settings: Settings, work: Work
) -> Pictures:
    """Pictures of each concept, kept by content; no prompt is shown twice before each of the
    concept's was once.
    """
    told = diffusion.encode_prompts(teacher, erased_prompts(concepts))

    def make() -> dict[str, Tensor]:
        generator = seeding.generator(work.seed, "pictures")
        prompt = Shares.of(concepts).in_turn(settings.images, generator)
        latents = diffusion.pictures(
            teacher, told, prompt, settings.guidance, settings.steps, generator
        )
        return {"latents": latents, "prompt": prompt}

    def content() -> dict[str, object]:
        shown = [
            [len(concept.prompts) for concept in concepts],
            settings.images,
            settings.steps,
            settings.guidance,
            work.seed,
        ]
        return {**diffusion.content_of(teacher, [told]), "pictures": shown}

    tensors = by_content(work.cache, "pictures", content, make)
    return Pictures(tensors["latents"].to(teacher.device), tensors["prompt"])


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> Prepared:
    """Pictures of the concepts, and trajectories of the kept prompts if a term holds them."""
    kept = diffusion.Kept.held(
        teacher, concepts, settings.keep_weight, settings.guidance, settings.steps, work.seed
    )
    return Prepared(_pictures(teacher, concepts, settings, work), kept)


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: Prepared | None = None,
) -> WeightDelta:
    """Train a copy of the UNet until it no longer looks at the concepts' names, and return what
    changed.

    Each update draws from the pictures of all concepts and reports {attention, keep}, weighted as
    in the loss.

    Raises:
        BadInput: If a prompt does not name its concept, or is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    columns = attention.concept_columns(teacher, concepts, settings.tail)
    told = diffusion.encode_prompts(teacher, erased_prompts(concepts))
    prepared = prepared or prepare(teacher, concepts, settings, work)
    shown, draws = prepared.pictures, seeding.generator(work.seed, "updates")

    def loss(student: nn.Module) -> dict[str, Tensor]:
        at = diffusion.noised(teacher, shown.latents, settings.batch, draws)
        prompt = shown.prompt[at.picture].to(shown.latents.device)
        with attention.recording(student) as maps:
            predicted = diffusion.predict_noise(teacher, student, at.z, at.timestep, told[prompt])
        # what lies behind the last cross-attention gets a gradient of zero instead of none, and the
        # optimiser a state of it
        terms = {"attention": attention_loss(maps, columns[prompt]) + 0 * predicted.mean()}
        if prepared.kept:
            terms["keep"] = settings.keep_weight * prepared.kept.drift(
                student, settings.batch, draws
            )
        return terms

    student = training.student_of(teacher, settings)
    trainable = training.trainable(student, settings.group, settings, work.seed)
    loop = training.Loop(generators=[draws], on_step=work.on_step, resume=work.resume)
    with attention.explicit(student):  # checkpointing's backward pass runs the layers again
        training.fit(student, trainable, loss, settings, steps(concepts, settings), loop)
    return training.change(teacher.unet, student, trainable, settings)
