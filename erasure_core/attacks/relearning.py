"""Relearning: a few updates of the weights on pictures of the subject.

Paper      Pham et al., Robust Concept Erasure Using Task Vectors, arXiv:2404.03631; every erasure
           is relearnt in the end, so it is told after how many updates.
Departs    Keys and values of cross-attention alone, Adam.
Cost       One evaluation of the UNet and its gradient an update and picture of the batch.
"""

import torch

from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject, draw, told
from erasure_core.attacks.textual_inversion import noise_loss
from erasure_core.network.diffusion import encode_prompts
from erasure_core.network.layers import select
from erasure_core.network.models import Teacher, copied

NAME = "relearning"
AUDIENCE: Audience = "weights"
SHOWN = True
LR = 1e-4
SHARES = (0.05, 0.25)  # of the budget's updates: some tens


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw the subject's prompts after few updates and after more.

    Raises:
        NotRun: There are no photographs.
    """
    attempts = []
    for updates in (max(1, round(share * setting.budget.updates)) for share in SHARES):
        victim = setting.against(tuned(setting, subject, updates))
        prompts = told(subject.prompts, setting.budget.pictures)
        pictures = draw(victim, encode_prompts(setting.victim, prompts))
        attempts.append(Attempt(pictures, prompts, {"updates": updates}))
    return attempts


def tuned(setting: Setting, subject: Subject, updates: int) -> Teacher:
    """The victim after `updates` on the subject's photographs, each told its own prompt.

    Raises:
        NotRun: There are no photographs.
    """
    victim = copied(setting.victim)
    student = victim.unet
    weights = list(select(student, "kv").values())
    for weight in weights:
        weight.requires_grad_()
    known = encode_prompts(setting.victim, subject.prompts)
    optimiser, generator = torch.optim.Adam(weights, lr=LR), setting.generator(NAME)
    for _ in range(updates):
        loss = noise_loss(setting.against(victim), subject, known.__getitem__, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    student.requires_grad_(False)
    return victim
