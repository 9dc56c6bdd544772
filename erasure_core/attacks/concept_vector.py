"""Concept vector: the replacement's text states, moved by what the concept adds to a prompt.

Paper      Tsai et al., Ring-A-Bell, ICLR 2024, arXiv:2310.10012, eq. 1 and 2: the mean difference
           between the states of prompts with and without the concept, added with a strength eta.
Departs    States are handed in; the paper then searches for tokens whose states come near
           (`ring_a_bell`). The pairs are the subject's prompts and the same prompts with the
           concept replaced; eta is swept.
Cost       Two passes of the text encoder, and the pictures.
"""

import torch

from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject, draw, told
from erasure_core.network.diffusion import Context, encode_prompts

NAME = "concept vector"
AUDIENCE: Audience = "embeddings"
SHOWN = False
ETAS = (1.0, 2.0, 4.0)


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw under e(without) + eta v, one attempt an eta."""
    prompts = told(subject.prompts, setting.budget.pictures)
    without = encode_prompts(setting.victim, told(subject.instead, len(prompts)))
    v = vector(setting, subject)
    return [
        Attempt(
            draw(setting, Context(without.states + eta * v, without.ids, without.pooled)),
            prompts,
            {"eta": eta},
        )
        for eta in ETAS
    ]


def vector(setting: Setting, subject: Subject) -> torch.Tensor:
    """What the concept adds, position by position: (tokens, d)."""
    present = encode_prompts(setting.victim, subject.prompts).states
    absent = encode_prompts(setting.victim, subject.instead).states
    return (present - absent).mean(dim=0)
