"""Forget-Me-Not: turn the network's attention away from the words of a concept.

Paper      Zhang et al., Forget-Me-Not: Learning to Forget in Text-to-Image Diffusion Models, CVPR Workshops 2024,
           arXiv:2303.17591: attention resteering, without a target.
Reference  SHI-Labs/Forget-Me-Not @ a4a81e8, read, not copied; its defaults are for Stable Diffusion 2.1-base.
Departs    Stage 0, textual inversion, is left out: the concept is found by its name, which every prompt must hold. The
           pictures are the teacher's own of the concept's prompts, kept as latents, where the reference is given real ones.
           `tail: eot` is one column on every base; the reference's `use_pooler` takes every token that equals the end
           token, which on bases that pad with it (1.x) is `tail: padded`. No weight decay (not stated), and none of the
           clipping that the reference asks for and does not do.
           Ours, off by default: `keep_weight` (squared error on kept prompts, along the teacher's own walks of them; the
           paper has no such term, and what shares words with the concept goes with it).
Changes    Weights of `group` in the UNet. The teacher is not modified.
Cost       2 * steps UNet evaluations a picture, once, kept in the cache folder; then one with gradients an update.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core import attention, diffusion, layers, seeding, training
from erasure_core.concepts import Concept, kept_prompts
from erasure_core.errors import BadInput
from erasure_core.lineage import sha256_json
from erasure_core.models import Teacher
from erasure_core.weights import WeightDelta, read_tensors, tensors_sha256, write_tensors

MADE_TOGETHER = 8  # pictures of one batch; bounds the memory of making them


class Settings(training.Training):
    """Defaults are the reference's."""

    method: Literal["forget_me_not"] = "forget_me_not"
    images: int = Field(10, ge=1, description="pictures of each concept, spread over its prompts")
    steps: int = Field(50, ge=2, description="DDIM steps of a picture")
    guidance: float = Field(7.5, gt=0, allow_inf_nan=False, description="of the pictures")
    tail: attention.Tail = Field("eot", description="penalised behind the name: nothing, the end token, or that and all padding")
    updates: int = Field(35, ge=1, description="of each concept: two erased together take twice as many")
    lr: float = Field(2e-6, gt=0, allow_inf_nan=False)
    group: layers.Group = "full"
    keep_weight: float = Field(0.0, ge=0, allow_inf_nan=False, description="ours: weight of the error on kept prompts")


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
    """Frobenius norm of all probabilities at the concept's columns, of all layers, heads and positions.

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
    if not concepts:
        raise BadInput("no concept to erase; a request names one")
    for concept in concepts:
        if unnamed := [prompt for prompt in concept.prompts if not concept.named_in(prompt)]:
            raise BadInput(
                f"forget_me_not turns attention away from the word {concept.name!r}, which prompt {unnamed[0]!r} does not hold;"
                " give only prompts that name it, or use another method"
            )


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.group` may change."""
    return frozenset(layers.select(unet, settings.group))


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def _encoded(teacher: Teacher, concepts: Sequence[Concept]) -> diffusion.Context:
    return diffusion.encode_prompts(teacher, [prompt for concept in concepts for prompt in concept.prompts])


def _content(teacher: Teacher, concepts: Sequence[Concept], settings: Settings, seed: int) -> str:
    """Hash of everything the pictures depend on; the text states stand for the prompts and for what reads them."""
    told, schedule = _encoded(teacher, concepts), teacher.scheduler.config
    read = {"states": told.states} | ({} if told.pooled is None else {"pooled": told.pooled})
    return sha256_json(
        {
            "base": tensors_sha256(teacher.unet.state_dict()),
            "schedule": {key: value for key, value in schedule.items() if not key.startswith("_")},
            "told": tensors_sha256(read),
            "prompts": [len(concept.prompts) for concept in concepts],
            "pictures": [settings.images, settings.steps, settings.guidance, seed],
            "computed": [torch.__version__, teacher.unet.device.type],
        }
    )


@torch.no_grad()
def _make(teacher: Teacher, concepts: Sequence[Concept], settings: Settings, seed: int) -> Pictures:
    """Pictures of each concept by classifier-free guidance; no prompt is shown twice before each of the concept's was once."""
    generator, config = seeding.generator(seed, "pictures"), teacher.unet.config
    chosen, before = [], 0
    for concept in concepts:
        n = len(concept.prompts)
        chosen.append(before + torch.randperm(n, generator=generator)[torch.arange(settings.images) % n])
        before += n
    prompt, told, nothing = torch.cat(chosen), _encoded(teacher, concepts), diffusion.encode_prompts(teacher, [""])
    noise = torch.randn((len(prompt), config.in_channels, config.sample_size, config.sample_size), generator=generator)
    latents = []
    for first in range(0, len(prompt), MADE_TOGETHER):
        z, shown = (tensor[first : first + MADE_TOGETHER].to(teacher.unet.device) for tensor in (noise, prompt))
        guide = diffusion.guided(teacher, teacher.unet, nothing.expand(len(z)), told[shown], settings.guidance)
        latents.append(diffusion.walk(teacher, z, settings.steps, settings.steps, guide))
    return Pictures(torch.cat(latents), prompt)


def _pictures(teacher: Teacher, concepts: Sequence[Concept], settings: Settings, seed: int, cache: Path | None) -> Pictures:
    """The pictures, from the folder `cache` if they are there."""
    if cache is None:
        return _make(teacher, concepts, settings, seed)
    file = cache / f"pictures-{_content(teacher, concepts, settings, seed)}.safetensors"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = _make(teacher, concepts, settings, seed)
        write_tensors(file, {"latents": made.latents, "prompt": made.prompt}, {})
    found, _ = read_tensors(file)
    return Pictures(found["latents"].to(teacher.unet.device), found["prompt"])


def prepare(teacher: Teacher, concepts: Sequence[Concept], settings: Settings, *, seed: int, cache: Path | None = None) -> Prepared:
    """Let the teacher show the concepts, and walk the kept prompts if they are held."""
    kept, keep = None, kept_prompts(concepts)
    if settings.keep_weight and keep:
        walks = diffusion.Walks.of(teacher, keep, settings.guidance, settings.steps)
        kept = diffusion.Kept.of(walks, seeding.generator(seed, "walks of kept prompts"))
    return Prepared(_pictures(teacher, concepts, settings, seed, cache), kept)


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
    """Train a copy of the UNet until it no longer looks at the concepts' names, and return what changed.

    Args:
        teacher: The frozen base; a copy of its UNet is trained.
        concepts: What to erase; each update draws from the pictures of all of them.
        settings: Hyper-parameters.
        seed: Decides every draw.
        on_step: Hears (update, {attention, keep}), weighted as in the loss.
        prepared: What `prepare` returned for the same arguments; made here if absent.
        resume: Where the state of the training is kept, to go on from after a kill.

    Raises:
        BadInput: If a prompt does not name its concept, or is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    columns, told = attention.concept_columns(teacher, concepts, settings.tail), _encoded(teacher, concepts)
    prepared = prepared or prepare(teacher, concepts, settings, seed=seed)
    schedule, shown = diffusion.noise_scheduler(teacher), prepared.pictures
    draws = seeding.generator(seed, "updates")

    def loss(student: nn.Module) -> dict[str, Tensor]:
        row = torch.randint(len(shown.latents), (settings.batch,), generator=draws)
        timestep = torch.randint(schedule.config.num_train_timesteps, (settings.batch,), generator=draws).to(shown.latents.device)
        clean, prompt = shown.latents[row], shown.prompt[row].to(shown.latents.device)
        noise = torch.randn(clean.shape, generator=draws).to(clean.device)
        z = schedule.add_noise(clean, noise, timestep)
        with attention.recording(student) as maps:
            found = diffusion.predict_noise(teacher, student, z, timestep, told[prompt])
        # what lies behind the last cross-attention gets a gradient of zero instead of none, and the optimiser a state of it
        terms = {"attention": attention_loss(maps, columns[prompt]) + 0 * found.mean()}
        if prepared.kept:
            terms["keep"] = settings.keep_weight * prepared.kept.drift(student, settings.batch, draws)
        return terms

    student = training.student_of(teacher, settings)
    trainable = layers.select(student, settings.group)
    loop = training.Loop(generators=[draws], on_step=on_step, resume=resume)
    with attention.explicit(student):  # the backward pass of gradient checkpointing runs the layers again
        training.fit(student, trainable, loss, settings, steps(concepts, settings), loop)
    return WeightDelta.between(teacher.unet, student, frozenset(trainable))
