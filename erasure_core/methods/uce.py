"""UCE: re-map concepts in cross-attention by one ridge regression in closed form.

Paper      Gandikota, Orgad, Belinkov, Materzynska & Bau, Unified Concept Editing in Diffusion
           Models, WACV 2024, arXiv:2308.14761, eq. 7. Erasing only; debiasing is not here.
Reference  rohitgandikota/unified-concept-editing @ f7222e6 (2023: all rows from the last subject
           token on) and @ 28c81ed (2025: that row alone), MIT; read, not copied.
Departs    Solved in float64 (reference: float32 inverse), once and not for each projection: W P
           with one P, which is the same (`erasure_core/network/closed_form.py`). The subject's last
           token is the last of the concept's name (reference: of the prompt). The empty prompt is
           always preserved, with the request's kept prompts. The old code's `tensor` technique is
           not here. Ours, off by default: `deflate`, which takes the largest directions of c - t
           out of the edit (`erasure_core/network/deflation.py`; `deflate_lamb` is its ridge): no
           text state reaches them.
Changes    `attn2.to_k` and `attn2.to_v` weights of the UNet. Nothing is random. The teacher is not
           modified. What a network reads of a prompt beside cross-attention (Stable Diffusion XL's
           pooled embedding) is as before.
Cost       No UNet evaluation. Encoding the prompts and one Cholesky factor of text width; below a
           second.
Restore    By releasing again without the concept. The edit is one matrix of text width, and
           invertible unless `deflate` takes rank away: it hides the concept at text states that
           can be computed (`closed_form.preimage`), and does not remove it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field
from torch import nn

from erasure_core.law.concepts import Concept, Kind, check_some
from erasure_core.network import closed_form, deflation
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work


class Settings(closed_form.Edit):
    """Defaults are the 2023 script's."""

    method: Literal["uce"] = "uce"
    deflate: int = Field(
        0,
        ge=0,
        description=(
            "ours: rank that the edit loses, of the directions in which erased prompts differ from "
            "their targets; a higher one leaves an attacker less, and moves other prompts more"
        ),
        json_schema_extra={"ours": True},
    )
    deflate_lamb: float = Field(
        500.0,
        gt=0,
        allow_inf_nan=False,
        description=(
            "ours: ridge of what `deflate` takes away; a higher one leaves an attacker less, a "
            "lower one moves kept prompts less"
        ),
        json_schema_extra={"ours": True},
    )


# The 2023 script's; a style's replacement is "art", and the other artists are its kept prompts.
PRESETS: Mapping[Kind, Settings] = {
    "style": Settings(target="replacement"),
    "object": Settings(target="nothing"),
    "explicit": Settings(target="nothing", preserve_scale=1.0),
}


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse an erasure of nothing.

    Raises:
        BadInput: No concept.
    """
    check_some(concepts)


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the key and value weights of cross-attention."""
    return frozenset(closed_form.projections(unet))


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """One solve for all concepts together."""
    return 1


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> None:
    """Nothing worth sharing."""


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: None = None,
) -> WeightDelta:
    """Solve eq. 7 for every projection, all concepts at once, and return what it changed.

    The only step reports {remaining}: how far the rows still are from their targets, as a share of
    how far they were.

    Raises:
        BadInput: No concept, a prompt that is too long for the base, or `deflate` above the
            directions that there are.
    """
    check(concepts, settings)
    demand = closed_form.demand(teacher, concepts, settings)
    p = closed_form.edit_map(demand, settings)
    if settings.deflate:
        q = deflation.deflation(demand, settings.deflate, settings.deflate_lamb)
        p = deflation.followed(p, q)
    if work.on_step:
        work.on_step(1, {"remaining": closed_form.remaining(p, demand)})
    return closed_form.delta(teacher.unet, p)
