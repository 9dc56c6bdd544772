"""Purification: take a concept out of a picture, by unmaking it with the teacher and making it
again with a student.

Paper      All-but-One (arXiv:2312.12807), "Concept Purification": DDIM inversion of a picture, then
           denoising with the student of lambda = 0, under the null prompt or the concept's. DDIM:
           Song, Meng & Ermon, arXiv:2010.02502, eq. 12.
Reference  None. diffusers' DDIMInverseScheduler is the same step without refinement, and is
           compared in the tests.
Departs    The paper does not say which network inverts; here the teacher does, under the null
           prompt and without guidance: the student both ways would lead back to the picture it came
           from. Ours: each step of the inversion is refined towards the fixed point of the step
           that it undoes (as in Pan et al., arXiv:2309.04907); without, the way back leads
           elsewhere even with one network.
Cost       A picture takes (1 + refinements) evaluations of the teacher and 1 of the student (2 when
           guided) for each step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from erasure_core.errors import BadInput
from erasure_core.network import diffusion
from erasure_core.network.images import to_pil
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta

DEEP = 2**16 - 1  # white in a picture of 16 bits


@dataclass(frozen=True, slots=True)
class Purified:
    """What became of some pictures, in their order."""

    pictures: list[Image.Image]  # RGB, of the model's size
    fitted: list[bool]  # whether a picture had to be cropped or resized first


def as_seen(picture: Image.Image) -> Image.Image:
    """A picture as viewers show it, as RGB: upright by what its camera says, 16 bits as 8, and
    white where it is transparent. Pillow would leave it on its side, clip and show what is hidden.
    """
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        values = np.asarray(upright, np.float64) / DEEP
        return Image.fromarray((values * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    told = upright.convert("RGBA")
    white = Image.new("RGB", told.size, "white")
    white.paste(told, mask=told.getchannel("A"))
    return white


def fit(picture: Image.Image, size: int) -> tuple[Image.Image, bool]:
    """The central square of a picture as RGB of `size` pixels a side, see `as_seen`; and whether it
    had to be cropped or resized.
    """
    picture = as_seen(picture)
    if picture.size == (size, size):
        return picture, False
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    # first: a filter would see past the edge
    square = picture.crop((left, top, left + side, top + side))
    return square.resize((size, size), Image.Resampling.LANCZOS), True


@torch.no_grad()
def invert(
    teacher: Teacher, z: Tensor, steps: int, predict: diffusion.Predict, refinements: int
) -> Tensor:
    """The noise from which `diffusion.denoise` in `steps` steps with `predict` leads to `z`; shape
    of `z`.

    A step of DDIM is z_before = sqrt(a_before) x_0 + sqrt(1 - a_before) eps, with x_0 and eps of
    the noisier state. Undone with the noise predicted at z_before it is wrong by how much that
    differs; each refinement predicts again, where the last one led.
    """
    scheduler = diffusion.schedule_of(teacher, steps)
    kept = scheduler.alphas_cumprod.to(z.device)
    stride = scheduler.config.num_train_timesteps // steps
    for timestep in reversed([int(t) for t in scheduler.timesteps]):
        before = (
            kept[timestep - stride]
            if timestep >= stride
            else scheduler.final_alpha_cumprod.to(z.device)
        )
        noisier = z
        for _ in range(1 + refinements):
            eps = predict(noisier, timestep)
            x_0 = (z - (1 - before).sqrt() * eps) / before.sqrt()
            noisier = kept[timestep].sqrt() * x_0 + (1 - kept[timestep]).sqrt() * eps
        z = noisier
    return z


@torch.no_grad()
def purify(
    teacher: Teacher,
    student: WeightDelta,
    pictures: Sequence[Image.Image],
    *,
    prompt: str = "",
    guidance: float = 1.0,
    steps: int = 35,
    refinements: int = 3,
    batch_size: int = 16,
    on_batch: Callable[[int], None] | None = None,
) -> Purified:
    """Each picture as the student would have made it from the noise that the teacher makes it from.

    Args:
        teacher: The frozen base, which inverts. It is left as it was.
        student: The change of its UNet that denoises; made with lambda = 0 it has moved where no
            prompt is given, too.
        pictures: Of any size and mode; see `fit`.
        prompt: What the student is told: nothing, or a prompt that evokes the concept.
        guidance: w of the student, eps(0) + w (eps(prompt) - eps(0)); 1 is the prompt alone.
        steps: DDIM steps each way.
        refinements: Repetitions of each step of the inversion; see `invert`.
        batch_size: Pictures per evaluation.
        on_batch: Called with the number of pictures of each finished batch.

    Raises:
        BadInput: No picture, a prompt that is too long, more steps than the base has.
        ContentChanged: If `student` was made from another base.
    """
    if not pictures:
        raise BadInput("no picture to purify; name at least one")
    fitted = [fit(picture, teacher.size) for picture in pictures]
    nothing, told = (diffusion.encode_prompts(teacher, [text]) for text in ("", prompt))
    made: list[Image.Image] = []
    for first in range(0, len(fitted), batch_size):
        batch = fitted[first : first + batch_size]
        array = np.stack([np.asarray(picture, np.float32) for picture, _ in batch])
        z = _encoded(teacher, torch.from_numpy(array).permute(0, 3, 1, 2) / 255)
        unguided = _under(teacher, nothing.expand(len(batch)))
        noise = invert(teacher, z, steps, unguided, refinements)
        with student.applied(teacher.unet):
            denoise = _under(teacher, told.expand(len(batch)))
            if guidance != 1:
                denoise = diffusion.guided(
                    teacher,
                    teacher.unet,
                    nothing.expand(len(batch)),
                    told.expand(len(batch)),
                    guidance,
                )
            made += to_pil(
                diffusion.decoded(teacher, diffusion.denoise(teacher, noise, steps, steps, denoise))
            )
        if on_batch:
            on_batch(len(batch))
    return Purified(made, [changed for _, changed in fitted])


def _under(teacher: Teacher, context: diffusion.Context) -> diffusion.Predict:
    """The noise that the teacher's network, with whatever is applied to it, predicts under one
    context.
    """
    return lambda z, timestep: diffusion.predict_noise(teacher, teacher.unet, z, timestep, context)


def _encoded(teacher: Teacher, pictures: Tensor) -> Tensor:
    """(n, 3, size, size) in [0, 1] to latents: the middle of what the autoencoder
    holds possible.
    """
    scaled = (pictures * 2 - 1).to(teacher.device)
    latents: Tensor = (
        teacher.vae.encode(scaled).latent_dist.mode() * teacher.vae.config.scaling_factor
    )
    return latents
