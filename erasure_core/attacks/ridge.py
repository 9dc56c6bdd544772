"""Ridge embedding: the text states whose edited keys and values come nearest to the old ones.

Paper      RECE (Gong et al., ECCV 2024, arXiv:2407.12383), eq. 5, which derives them in order to
           erase them too:
               c' = (lamb I + sum V^T V)^-1 (sum V^T W) c.
Departs    Used from outside, on every position of a prompt, and on any edit: it needs only the two
           weight files. Smaller lamb comes nearer, with larger states.
Cost       One solve of d equations a lamb, and the pictures.
"""

import torch
from torch import Tensor

from erasure_core.attacks.projections import pairs, residual
from erasure_core.attacks.setting import Attempt, Audience, Setting, Subject, draw, told
from erasure_core.network.diffusion import Context, encode_prompts
from erasure_core.network.models import Teacher

NAME = "ridge"
AUDIENCE: Audience = "embeddings"
SHOWN = False
LAMBDAS = (0.1, 0.001)


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw under the ridge embeddings of the subject's prompts, one attempt a lamb."""
    prompts = told(subject.prompts, setting.budget.pictures)
    context = encode_prompts(setting.victim, prompts)
    c, attempts = context.states.cpu().double(), []
    for lamb in LAMBDAS:
        x = (c @ embedding(setting.base, setting.victim, lamb).T).to(context.states)
        numbers = {
            "lamb": lamb,
            "residual": residual(pairs(setting.base, setting.victim), x, c),
            "norm": float(x.cpu().double().norm() / c.norm()),
        }
        told_so = Context(x, context.ids, context.pooled)
        attempts.append(Attempt(draw(setting, told_so), prompts, numbers))
    return attempts


def embedding(base: Teacher, victim: Teacher, lamb: float) -> Tensor:
    """The matrix that takes c to c', (d, d) float64."""
    edited = pairs(base, victim)
    squares = sum((v.T @ v for _, v in edited), torch.zeros(()))
    products = sum((v.T @ w for w, v in edited), torch.zeros(()))
    ridge = lamb * torch.eye(len(squares), dtype=squares.dtype)
    solved: Tensor = torch.linalg.solve(squares + ridge, products)
    return solved
