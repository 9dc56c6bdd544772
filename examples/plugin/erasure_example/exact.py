"""Exact: the smallest change of keys and values that sends every erased text state to its target.

Paper      None; UCE (arXiv:2308.14761), eq. 7, as its ridge goes to zero and nothing is preserved.
Departs    No ridge and no preserved prompts: what resembles the concept moves with it.
Changes    `attn2.to_k` / `attn2.to_v` weights. Nothing is drawn.
Cost       One singular value decomposition of the erased states.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.network import closed_form
from erasure_core.network.closed_form import Map
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work


class Settings(closed_form.Edit):
    """Which states are erased is `Edit`'s; its ridge is not used."""

    method: Literal["exact"] = "exact"
    cutoff: float = Field(
        1e-3,
        gt=0,
        lt=1,
        description=(
            "directions of the erased states weaker than this share of the strongest are left "
            "alone; a higher one changes less"
        ),
    )


def smallest_map(rows: Tensor, targets: Tensor, cutoff: float) -> Tensor:
    """P (d, d), the nearest to the identity with P rows_i = targets_i; rows, targets (n, d)."""
    moved = torch.linalg.pinv(rows, rtol=cutoff) @ (targets - rows)
    return torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device) + moved.T


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse an erasure of nothing."""
    if not concepts:
        raise BadInput("no concept to erase; a request names one")


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the key and value weights of cross-attention."""
    return frozenset(closed_form.projections(unet))


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """One solve."""
    return 1


def prepare(teacher: Teacher, concepts: Sequence[Concept], settings: Settings, work: Work) -> None:
    """Nothing worth sharing."""


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: None = None,
) -> WeightDelta:
    """Change every projection by one map; the only step reports how large the change is."""
    check(concepts, settings)
    demand = closed_form.demand(teacher, concepts, settings)
    p = smallest_map(demand.rows, demand.targets, settings.cutoff)
    if work.on_step:
        work.on_step(1, {"moved": float((p - torch.eye(len(p), dtype=p.dtype)).norm())})
    return closed_form.delta(teacher.unet, Map.of(p))
