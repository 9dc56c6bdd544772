"""Ring-A-Bell: words under which the text encoder comes near to the concept, before a prompt.

Paper      Tsai et al., Ring-A-Bell, ICLR 2024, arXiv:2310.10012, eq. 3: the tokens whose states are
           nearest to e(without) + eta v, v being `concept_vector`'s; the victim is not asked.
Departs    The paper searches all tokens of a prompt by a genetic algorithm; here a prefix of all
           prompts, by the swaps of `token_search`, and as there one that can be typed: its text is
           told, and prompts without room for it are left out. eta is swept.
Cost       A step: the text encoder with its gradient, and `CANDIDATES` times without, each of a
           batch of prompts. No evaluation of the UNet but the pictures'.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from erasure_core.attacks.concept_vector import ETAS, vector
from erasure_core.attacks.setting import Attempt, Audience, NotRun, Setting, Subject
from erasure_core.attacks.token_search import (
    TWO_ENCODERS,
    Loss,
    asked,
    behind,
    searched,
    with_room,
)
from erasure_core.network.diffusion import Context, encode_prompts

NAME = "ring-a-bell"
AUDIENCE: Audience = "words"
SHOWN = False


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw the subject's prompts behind the prefix, one attempt an eta.

    Raises:
        NotRun: No prompt has room for a prefix, no prefix can be typed, or the family reads by two
            encoders.
    """
    if len(setting.victim.text_encoders) > 1:
        raise NotRun(TWO_ENCODERS)
    prompts = asked(subject, setting.budget, setting.reads)
    subject = replace(subject, prompts=with_room(subject.prompts, setting.reads))
    attempts = []
    for eta in ETAS:
        aim = aimed(setting, subject, eta)
        prefix = searched(setting, f"{NAME}, {eta:g}", partial(_batch, setting, subject, aim))
        attempts.append(replace(behind(setting, prefix, prompts), numbers={"eta": eta}))
    return attempts


def aimed(setting: Setting, subject: Subject, eta: float) -> Tensor:
    """The states to come near to, of each of the subject's prompts: (prompts, tokens, d)."""
    without = encode_prompts(setting.victim, subject.instead).states
    return without + eta * vector(setting, subject)


def distance(aim: Tensor) -> Loss:
    """The mean square of what the states of prompts differ from `aim`, (n, tokens, d)."""

    def loss(context: Context) -> Tensor:
        return (context.states - aim).square().mean()

    return loss


def _batch(
    setting: Setting, subject: Subject, aim: Tensor, generator: torch.Generator
) -> tuple[tuple[str, ...], Loss]:
    rows = torch.randint(len(subject.prompts), (setting.budget.batch,), generator=generator)
    return subject.told(rows), distance(aim[rows.to(aim.device)])
