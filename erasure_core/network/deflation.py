"""Deflation: take directions out of an edit's matrix P on purpose, so that P has no inverse.

A ridge edit P is invertible and hides a concept at `closed_form.preimage`. Of all matrices that
send the directions U (r columns, of span(t - c)) to zero, the one that moves targets and kept rows
least,

    argmin over Q of  tr((Q - I) M (Q - I)^T)  with  Q U = 0,   M = lamb I + sum_k t_k t_k^T + kept,

is the oblique projection Q = I - U (U^T M^-1 U)^-1 U^T M^-1 of rank d - r. After it, no text state
gives a y with U^T M^-1 y != 0, and c is such a y wherever targets and kept rows do not span it.
"""

import torch
from torch import Tensor

from erasure_core.errors import BadInput
from erasure_core.network.closed_form import Demand, Map, solved


def deflation(demand: Demand, rank: int, lamb: float) -> Map:
    """Q of the module's docstring, in float64; U are the `rank` largest principal directions of the
    differences between erased rows and targets.

    Args:
        demand: The edit's rows, targets and kept sum.
        rank: r, directions taken away, >= 1.
        lamb: Pull of Q to the identity, > 0.

    Raises:
        BadInput: If rows and targets differ in fewer than `rank` directions.
    """
    t, rest = demand.targets, _roots(demand.rest)
    differences = torch.cat([demand.rows - t, *rest])
    _, values, directions = torch.linalg.svd(differences, full_matrices=False)
    differ = int((values > len(t.T) * torch.finfo(t.dtype).eps * values[0]).sum())
    if not 1 <= rank <= differ:
        raise BadInput(
            f"deflate={rank}, but erased prompts and what replaces them differ in {differ} "
            f"directions; use 1 to {differ}, or 0 to take none away"
        )
    u = directions[:rank]  # U^T
    told = torch.cat([t, *rest])
    m = lamb * torch.eye(t.shape[1], dtype=t.dtype, device=t.device) + told.T @ told + demand.kept
    seen = solved(m, u.T).T  # U^T M^-1
    return Map(-torch.linalg.solve((seen @ u.T).T, u).T, seen)


def _roots(rest: Tensor | None) -> list[Tensor]:
    """Rows r whose sum of r r^T is what condensed targets lost, (d, d): t t^T is in M and in the
    differences."""
    if rest is None:
        return []
    e, v = torch.linalg.eigh(rest)
    return [e.clamp(min=0).sqrt()[:, None] * v.T]


def followed(first: Map, then: Map) -> Map:
    """`then` after `first`: its matrix is then.matrix() @ first.matrix()."""
    return then.then(first)
