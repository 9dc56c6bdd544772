"""Keys and values before and after an edit: all that a closed-form attack needs of two models."""

import torch
from torch import Tensor

from erasure_core.network.layers import select
from erasure_core.network.models import Teacher


def pairs(base: Teacher, victim: Teacher) -> list[tuple[Tensor, Tensor]]:
    """(W, V) of each key and value projection, (d_out, d_text) float64 on the CPU: d_text is at
    most a few thousand, and not every accelerator has float64 or least squares.
    """
    old, new = select(base.unet, "kv"), select(victim.unet, "kv")
    return [(old[name].detach().cpu().double(), new[name].detach().cpu().double()) for name in old]


def residual(edited: list[tuple[Tensor, Tensor]], x: Tensor, c: Tensor) -> float:
    """|V x - W c| / |W c| over all projections: 0 where the victim reads in x all that the base
    reads in c, 1 where nothing.

    Args:
        edited: (W, V) of each projection.
        x: The attacker's text states, (..., d_text).
        c: Those of the concept; the same shape.
    """
    x, c = x.detach().cpu().double(), c.detach().cpu().double()
    missed = torch.stack([(x @ v.T - c @ w.T).square().sum() for w, v in edited]).sum()
    whole = torch.stack([(c @ w.T).square().sum() for w, _ in edited]).sum()
    return float((missed / whole).sqrt())
