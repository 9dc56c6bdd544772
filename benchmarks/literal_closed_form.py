"""UCE and RECE as published: every projection on its own, layer after layer, in float64. Slow.

The second implementation that `erasure_core/network/closed_form.py` is tested and timed against. It
shares no code with it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]  # erased rows and the rows that stand in their place, (n, d) each


def uce(
    weights: Sequence[Tensor],
    pairs: Sequence[Pair],
    kept: Sequence[Tensor],
    *,
    s: float,
    q: float,
    lamb: float,
) -> list[Tensor]:
    """For each W: [lamb W + s sum (W t) c^T + q sum (W k) k^T] [lamb I + s sum c c^T + q sum k
    k^T]^-1.
    """
    edited = []
    for weight in weights:
        w = weight.double()
        left, right = lamb * w, lamb * torch.eye(w.shape[1], dtype=w.dtype)
        for c, t in ((c.double(), t.double()) for c, t in pairs):
            left += s * (w @ t.T) @ c
            right += s * c.T @ c
        for k in (k.double() for k in kept):
            left += q * (w @ k.T) @ k
            right += q * k.T @ k
        edited.append(torch.linalg.solve(right, left, left=False))
    return edited


def derived(
    original: Sequence[Tensor], edited: Sequence[Tensor], pairs: Sequence[Pair], *, lambda_r: float
) -> list[Pair]:
    """RECE's c' = (lambda_r I + sum V^T V)^-1 (sum V^T W) c in place of each row c; V edited, W
    original.
    """
    left = lambda_r * torch.eye(original[0].shape[1], dtype=torch.float64)
    right = torch.zeros_like(left)
    for w, v in zip(original, edited, strict=True):
        left += v.double().T @ v.double()
        right += v.double().T @ w.double()
    return [(torch.linalg.solve(left, right @ c.double().T).T, t) for c, t in pairs]


def rece(
    original: Sequence[Tensor],
    begun: Sequence[Tensor],
    pairs: Sequence[Pair],
    kept: Sequence[Tensor],
    *,
    s: float,
    q: float,
    lamb: float,
    lambda_r: float,
    epochs: int,
) -> list[Tensor]:
    """From the projections `begun` (UCE's, or the original ones) on: derive and erase, `epochs`
    times.
    """
    edited = list(begun)
    for _ in range(epochs):
        edited = uce(
            edited, derived(original, edited, pairs, lambda_r=lambda_r), kept, s=s, q=q, lamb=lamb
        )
    return edited
