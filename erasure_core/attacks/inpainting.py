"""Inpainting: the middle of a picture of the subject, drawn anew by the victim within the rest.

Paper      Lugmayr et al., RePaint, CVPR 2022, arXiv:2201.09865, eq. 8, without its resampling: what
           is known is set to the noised picture at each step, the rest is denoised. Pham et al.,
           ICLR 2024, arXiv:2308.01508, inpaint erased concepts.
Departs    The rim of the picture holds some of the subject: without the base told the replacement's
           prompt in the same rim, which is its control, it proves nothing.
Cost       A trajectory a picture.
"""

import torch
from torch import Tensor

from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject, draw, of_photographs
from erasure_core.network.diffusion import (
    PICTURES_TOGETHER,
    Context,
    denoise,
    encode_prompts,
    guided,
    schedule_of,
)

NAME = "inpainting"
AUDIENCE: Audience = "embeddings"
SHOWN = True
asked = of_photographs
HOLE = 0.75  # side of what is drawn anew, as a part of the picture's; a larger one keeps less


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw the middle of each photograph of the subject again, told its own prompt.

    Raises:
        NotRun: There are no photographs.
    """
    latents = subject.photographs[: setting.budget.pictures]
    prompts = subject.told(subject.rows[: len(latents)])
    context = encode_prompts(setting.victim, prompts)
    noise = torch.randn(latents.shape, generator=setting.generator(NAME)).to(latents.device)
    drawn = [
        inpainted(setting, context[some], latents[some], noise[some])
        for first in range(0, len(latents), PICTURES_TOGETHER)
        for some in [slice(first, first + PICTURES_TOGETHER)]
    ]
    pictures = draw(setting, context, torch.cat(drawn), done=setting.steps)
    return [Attempt(pictures, prompts, {"hole": HOLE})]


@torch.no_grad()
def inpainted(setting: Setting, context: Context, latents: Tensor, noise: Tensor) -> Tensor:
    """z_0, which is `latents` outside of the hole: there z_t is sqrt(a_t) latents +
    sqrt(1 - a_t) noise before every step.
    """
    victim, steps, inside = setting.victim, setting.steps, hole(latents)
    scheduler = schedule_of(victim, steps)
    nothing = encode_prompts(victim, [""]).expand(len(context))
    predict = guided(victim, victim.unet, nothing, context, setting.w)
    z = noise
    for step, timestep in enumerate(scheduler.timesteps):
        known = scheduler.add_noise(latents, noise, timestep.repeat(len(latents)))
        z = torch.where(inside, z, known)
        z = denoise(victim, z, steps, step + 1, predict, start=step)
    return torch.where(inside, z, latents)


def hole(latents: Tensor) -> Tensor:
    """What is drawn anew, (h, w) bool: a rectangle in the middle, `HOLE` of each side."""
    inside = torch.zeros(latents.shape[-2:], dtype=torch.bool, device=latents.device)
    rims = [round(side * (1 - HOLE) / 2) for side in inside.shape]
    inside[rims[0] : inside.shape[0] - rims[0], rims[1] : inside.shape[1] - rims[1]] = True
    return inside
