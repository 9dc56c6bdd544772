"""Latent inversion: the noise that a picture of the subject would have come from.

Paper      M-ErasureBench (2025), which brings back more than 90 % of erased concepts by it; DDIM
           inversion from Song et al., ICLR 2021, arXiv:2010.02502, eq. 14 reversed.
Departs    Inverted and drawn by the victim, told nothing on the way up and each photograph's own
           prompt on the way down. A picture of anything comes back so: the controls tell what the
           noise alone brings.
Cost       Two trajectories a picture.
"""

import torch
from torch import Tensor

from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject, draw, of_photographs
from erasure_core.network.diffusion import (
    PICTURES_TOGETHER,
    encode_prompts,
    predict_noise,
    schedule_of,
)

NAME = "latent inversion"
AUDIENCE: Audience = "embeddings"
SHOWN = True
asked = of_photographs


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw each photograph's own prompt from its inverted noise.

    Raises:
        NotRun: There are no photographs.
    """
    latents = subject.photographs[: setting.budget.pictures]
    prompts = subject.told(subject.rows[: len(latents)])
    z = torch.cat([inverted(setting, some) for some in torch.split(latents, PICTURES_TOGETHER)])
    return [Attempt(draw(setting, encode_prompts(setting.victim, prompts), z), prompts)]


@torch.no_grad()
def inverted(setting: Setting, latents: Tensor) -> Tensor:
    """z_T of each picture: DDIM steps from the least noise to the most, under the empty prompt."""
    victim = setting.victim
    scheduler = schedule_of(victim, setting.steps)
    nothing = encode_prompts(victim, [""]).expand(len(latents))
    kept = scheduler.alphas_cumprod.to(latents.device)
    z, before = latents, scheduler.final_alpha_cumprod.to(latents.device)
    for timestep in reversed(scheduler.timesteps):
        noise = predict_noise(victim, victim.unet, z, int(timestep), nothing)
        after = kept[timestep]
        clean = (z - (1 - before).sqrt() * noise) / before.sqrt()
        z, before = after.sqrt() * clean + (1 - after).sqrt() * noise, after
    return z
