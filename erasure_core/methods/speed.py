"""SPEED: re-map concepts in cross-attention by one ridge regression within the null space of what
is kept, so that what is kept is not moved at all.

Paper      Li, Wang, Hu, Jiang, Liang, Hao, Ma & Feng, SPEED: Scalable, Precise, and Efficient
           Concept Erasure for Diffusion Models, ICLR 2026, arXiv:2503.07392. For erased rows c with
           targets t, kept rows c_0 and invariant rows c_2,
               min sum_k |(W + D) c_k - W t_k|^2 + lamb |D|^2   so that   D c_0 = 0,  D c_2 = 0.
           Influence-based prior filtering (IPF): of the kept prompts only those that the edit alone
           would move by more than the mean hold it. Directed prior augmentation (DPA): kept rows
           are joined by copies with noise in the directions that the projections see least.
           Invariant equality constraints (IEC): the start marker and the empty prompt stay exactly.
Reference  Ouxiang-Li/SPEED, Apache-2.0; its README and scripts were read for the settings (values
           alone, 10 copies), not its code.
Departs    Solved once for all projections, W P with one P, as UCE is
           (`erasure_core/network/closed_form.py`): so DPA's directions are those that all of them
           together see least, by sum_i W_i^T W_i. With N an orthonormal basis of what both
           constraints leave free, D = W (T - C)^T R (R^T R + lamb I)^-1 N^T with R = C N: what
           Lagrange multipliers give, by another way (a test compares them). `tolerance` is a
           share of the largest singular value (the scripts' `threshold` is absolute); the size of
           DPA's noise and the number of its directions are ours, as the text that was read does
           not say them. Rows are those of UCE: every position from the subject's last token on.
Changes    `attn2.to_v` weights of the UNet, or `attn2.to_k` too. The noise of DPA is drawn from the
           seed. The teacher is not modified.
Cost       No UNet evaluation. Encoding the prompts, a singular value decomposition and a Cholesky
           factor of text width; seconds at most.
Restore    By releasing again without the concept. Like UCE's, the edit is one matrix of text width
           and mostly invertible: it hides the concept, and does not remove it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, check_some, kept_prompts
from erasure_core.network import closed_form
from erasure_core.network.closed_form import Demand, Edit, Map, Rows, Target
from erasure_core.network.models import Teacher
from erasure_core.network.null_space import ROUNDING, null_basis, triangle
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work


class Settings(BaseModel):
    """Defaults are the scripts' for few concepts, where they can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    method: Literal["speed"] = "speed"
    projections: Literal["v", "kv"] = Field(
        "v", description="which projections change: values (v), or keys and values (kv)"
    )
    target: Target = "replacement"
    rows: Rows = "tail"
    lamb: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="ridge, weight of the edit's own size; a higher one keeps more of the base",
    )
    tolerance: float = Field(
        0.1,
        gt=0,
        lt=1,
        description=(
            "share of the largest singular value of kept rows up to which a direction counts as "
            "free; a higher one erases more, and moves what is kept more"
        ),
    )
    influence: bool = Field(
        True,
        description=(
            "IPF: hold only the kept prompts that the edit alone moves more than the mean; more "
            "directions are free then"
        ),
    )
    copies: int = Field(
        10, ge=0, description="DPA: noisy copies of each kept row; more hold more around it"
    )
    directions: int = Field(
        1, ge=1, description="DPA: how many directions its noise has; more leave fewer free"
    )


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse an erasure of nothing.

    Raises:
        BadInput: No concept.
    """
    check_some(concepts)


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the value weights of cross-attention, and of the key weights where they change."""
    return frozenset(_changed(unet, settings))


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """One solve for all concepts together."""
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
    """Solve within the null space, all concepts at once, and return what it changed.

    The only step reports {remaining, free}: how far the rows still are from their targets, as a
    share of how far they were, and how many directions the edit had.

    Raises:
        BadInput: No concept, a prompt that is too long for the base, or nothing is free.
    """
    check(concepts, settings)
    edit = Edit(target=settings.target, rows=settings.rows, lamb=settings.lamb)
    weights = _changed(teacher.unet, settings)
    seen = closed_form.outer(weight.detach() for weight in weights.values())
    rows = closed_form.erase_rows(teacher, concepts, edit)
    demand = Demand.of(rows, torch.zeros_like(seen))
    invariant, *kept = _states(teacher, ["", *kept_prompts(concepts)])
    if settings.influence:
        kept = influenced(kept, closed_form.edit_map(demand, edit), seen)
    generator = seeding.generator(work.seed, "directed prior augmentation")
    held = triangle(chain([invariant], kept, augmented(kept, seen, settings, generator)))
    basis = free_directions(held, invariant, settings.tolerance)
    if not basis.shape[1]:
        raise BadInput(
            f"speed: with tolerance={settings.tolerance} what is kept leaves no direction free; "
            "raise it, or keep fewer prompts"
        )
    p = null_space_map(demand, basis, settings.lamb)
    if work.on_step:
        work.on_step(
            1, {"remaining": closed_form.remaining(p, demand), "free": float(basis.shape[1])}
        )
    return closed_form.delta(teacher.unet, p, weights)


def null_space_map(demand: Demand, basis: Tensor, lamb: float) -> Map:
    """P of the edit whose change lies in the span of `basis`: P - I = (T - C)^T R (R^T R + lamb
    I)^-1 N^T, R = C N.

    Args:
        demand: Erased rows C and targets T.
        basis: N, orthonormal columns, (d, m).
        lamb: > 0.
    """
    c, t = demand.rows, demand.targets
    r = c @ basis
    a = r.T @ r + lamb * torch.eye(r.shape[1], dtype=r.dtype, device=r.device)
    return Map((t - c).T, closed_form.solved(a, r.T).T @ basis.T)


def free_directions(held: Tensor, invariant: Tensor, tolerance: float) -> Tensor:
    """Orthonormal directions (d, m) on which every invariant row is zero, and every held row small:
    singular values up to `tolerance` of the largest. Where all that is left of the held rows is
    their rounding, as where nothing but the invariant ones is held, it costs no direction.
    """
    exact = null_basis(invariant).T
    rounding = ROUNDING * float(torch.linalg.matrix_norm(held, 2))
    return exact @ null_basis(held @ exact, tolerance, rounding).T


def influenced(kept: Sequence[Tensor], edit: Map, seen: Tensor) -> list[Tensor]:
    """IPF: of the kept prompts, each (positions, d), those whose keys and values an edit moves by
    more than the mean: |W (P - I) c|^2 summed over projections and positions, with `seen` = sum
    W^T W.
    """
    if not kept:
        return []
    moved = [edit.moved(states) - states for states in kept]
    shifts = torch.stack([((m @ seen) * m).sum() for m in moved])
    return [states for states, shift in zip(kept, shifts, strict=True) if shift >= shifts.mean()]


def augmented(
    kept: Iterable[Tensor], seen: Tensor, settings: Settings, generator: torch.Generator
) -> Iterator[Tensor]:
    """DPA: copies of kept rows with noise, as large as a row's own entries, in the directions that
    the projections see least.
    """
    least = torch.linalg.eigh(seen)[1][:, : settings.directions]
    for states in kept:
        size = states.square().mean().sqrt()
        for _ in range(settings.copies):
            noise = torch.randn(states.shape, generator=generator, dtype=states.dtype)
            yield states + size * noise.to(states.device) @ least @ least.T


def _states(teacher: Teacher, prompts: Sequence[str]) -> list[Tensor]:
    """The states of each prompt at all its positions, float64 (positions, d)."""
    rows = torch.cat(list(closed_form.preserve_rows(teacher, prompts, "all"))).double()
    return list(rows.chunk(len(prompts)))


def _changed(unet: nn.Module, settings: Settings) -> dict[str, nn.Parameter]:
    names = closed_form.projections(unet)
    return {
        name: weight
        for name, weight in names.items()
        if settings.projections == "kv" or ".to_v." in name
    }
