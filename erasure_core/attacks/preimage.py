"""Preimage: the text states at which an edit of keys and values shows what it showed before.

Paper      An observation on UCE (arXiv:2308.14761) and RECE (arXiv:2407.12383): their edited
           projections are V = W P with one matrix P for all, so V x = W c has the answer
           x = P^-1 c, exactly and without a search.
Departs    P is not taken from the method, which an attacker does not have, but by least squares
           from the two weight files: P = (sum W^T W)^-1 sum W^T V.
Cost       One solve of d equations, and the pictures.
"""

import torch
from torch import Tensor

from erasure_core.attacks.projections import pairs, residual
from erasure_core.attacks.setting import Attempt, Audience, NotRun, Setting, Subject, draw, told
from erasure_core.network.diffusion import Context, encode_prompts
from erasure_core.network.models import Teacher

NAME = "preimage"
AUDIENCE: Audience = "embeddings"
SHOWN = False
ONE_MATRIX = 0.01  # share of the edit that one matrix may leave unexplained
MISSED = 0.05  # |V x - W c| / |W c| from which x is no preimage: P is singular to rounding


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw under the preimages of the subject's prompts.

    Raises:
        NotRun: Keys and values were not edited by one matrix, or it has no inverse in the
            precision of the weights and states.
    """
    p, unexplained = fitted(setting.base, setting.victim)
    if unexplained > ONE_MATRIX:
        raise NotRun(
            f"keys and values were not changed by one matrix ({unexplained:.0%} of the change is "
            f"left over), so there is no preimage"
        )
    prompts = told(subject.prompts, setting.budget.pictures)
    context = encode_prompts(setting.victim, prompts)
    c = context.states.cpu().double()
    x = preimages(p, c).to(context.states)  # what the network will read, rounding and all
    missed = residual(pairs(setting.base, setting.victim), x, c)
    if not missed <= MISSED:  # nan too, where x overflows
        raise NotRun(
            f"the edit lost rank to rounding: the nearest to a preimage misses the old keys and "
            f"values by {missed:.0%}, more than {MISSED:.0%}; `ridge` finds smaller states"
        )
    numbers = {
        "unexplained": unexplained,
        "residual": missed,
        "norm": float(x.cpu().double().norm() / c.norm()),
    }
    return [Attempt(draw(setting, Context(x, context.ids, context.pooled)), prompts, numbers)]


def fitted(base: Teacher, victim: Teacher) -> tuple[Tensor, float]:
    """P by least squares over all key and value projections, (d, d) float64, and the share of the
    change |V - W|^2 that W P leaves unexplained.
    """
    edited = pairs(base, victim)
    squares = sum((w.T @ w for w, _ in edited), torch.zeros(()))
    products = sum((w.T @ v for w, v in edited), torch.zeros(()))
    p = torch.linalg.lstsq(squares, products, driver="gelsd").solution
    changed = sum(float((v - w).square().sum()) for w, v in edited)
    left = sum(float((w @ p - v).square().sum()) for w, v in edited)
    return p, left / changed if changed else 0.0


def preimages(p: Tensor, c: Tensor) -> Tensor:
    """x with P x = c for each row of `c`, (..., d).

    Raises:
        NotRun: P lost rank: no x reaches what it took away.
    """
    values = torch.linalg.svdvals(p)
    if float(values[-1]) <= len(p) * torch.finfo(p.dtype).eps * float(values[0]):
        raise NotRun("the edit lost rank, so there is no preimage; `ridge` finds the nearest")
    flat: Tensor = torch.linalg.solve(p, c.reshape(-1, c.shape[-1]).T)
    return flat.T.reshape(c.shape)
