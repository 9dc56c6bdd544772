"""Image to image: a picture of the subject, half noised, drawn to its end by the victim.

Paper      Meng et al., SDEdit, ICLR 2022, arXiv:2108.01073.
Departs    The picture itself holds the subject: without the base told the replacement's prompt,
           which is its control, it proves nothing.
Cost       `STRENGTH` of a trajectory a picture.
"""

import torch

from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject, draw, of_photographs
from erasure_core.network.diffusion import encode_prompts, schedule_of

NAME = "image to image"
AUDIENCE: Audience = "embeddings"
SHOWN = True
asked = of_photographs
STRENGTH = 0.6  # share of the trajectory that is drawn anew; a higher one keeps less of the picture


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw noised photographs of the subject again, each told its own prompt.

    Raises:
        NotRun: There are no photographs.
    """
    latents = subject.photographs[: setting.budget.pictures]
    prompts = subject.told(subject.rows[: len(latents)])
    done = round((1 - STRENGTH) * setting.steps)
    scheduler = schedule_of(setting.victim, setting.steps)
    noise = torch.randn(latents.shape, generator=setting.generator(NAME)).to(latents.device)
    noisy = scheduler.add_noise(latents, noise, scheduler.timesteps[done].repeat(len(latents)))
    context = encode_prompts(setting.victim, prompts)
    return [Attempt(draw(setting, context, noisy, done), prompts, {"strength": STRENGTH})]
