"""RECE: find the text states at which an edited model still shows the concept, erase those too, and
repeat; in closed form.

Paper      Gong, Chen, Wei, Chen & Jiang, Reliable and Efficient Concept Erasure of Text-to-Image
           Diffusion Models, ECCV 2024, arXiv:2407.12383: derived embeddings, erased by the edit of
           eq. 3 on top of UCE.
Reference  CharlesGong12/RECE @ 403a67f, Apache-2.0; read, not copied. Its embeddings are derived as
           by `close_regzero`.
Departs    Exact, but not literal: 32 edited projections are W_i P with one P, and of the W_i only G
           = sum_i W_i^T W_i is needed (reference: every layer in every epoch, in float32). Rows
           beyond the text width are condensed, without loss. No best epoch is picked on a
           validation set: `epochs` is what is run, and the gate judges it. The request's kept
           prompts are preserved beside the empty one (reference: for unsafe concepts the empty one
           alone). Ours, off by default: `hold`. An epoch erases derived rows c' and says nothing of
           c itself, which it may so carry back: on the gallery one epoch after UCE restores the
           astronaut in half of the pictures. `hold` preserves what the edit so far makes of c.
Changes    `attn2.to_k` and `attn2.to_v` weights of the UNet. Nothing is random. The teacher is not
           modified. What a network reads of a prompt beside cross-attention (Stable Diffusion XL's
           pooled embedding) is as before.
Cost       No UNet evaluation. A few products of d x d matrices an epoch, however many concepts; G
           once a base. Seconds at most.
Restore    By releasing again without the concept. Like UCE's, the edit is one matrix with a
           `closed_form.preimage` of the concept, but every epoch makes that longer: on the gallery
           a hundred times a prompt's states after UCE, millions of times after three epochs, where
           float32 weights no longer hold it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from erasure_core.law.concepts import Concept, Kind, check_some
from erasure_core.network import closed_form
from erasure_core.network.closed_form import Demand, Edit, Map, Rows, Target
from erasure_core.network.models import Teacher
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work


class Settings(Edit):
    """The edit that each epoch makes, and the UCE edit that comes first. Defaults are the paper's
    for nudity.
    """

    method: Literal["rece"] = "rece"
    target: Target = "nothing"
    rows: Rows = "all"
    preserve_scale: float | None = Field(
        0.1,
        ge=0,
        allow_inf_nan=False,
        description="lambda_1 of eq. 3, weight of preserved rows; a higher one moves them less",
    )
    lamb: float = Field(
        0.1,
        gt=0,
        allow_inf_nan=False,
        description="lambda_2 of eq. 3, weight of an edit's size; a higher one keeps more",
    )
    lambda_r: float = Field(
        0.1,
        gt=0,
        allow_inf_nan=False,
        description="pull of derived rows to zero; a higher one spares other text, and finds less",
    )
    epochs: int = Field(
        3, ge=1, description="rounds of deriving rows and erasing them; more change more"
    )
    hold: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description=(
            "ours: weight, in each epoch, of what the edit so far makes of the erased prompts; "
            "a higher one keeps an epoch from bringing the concept back"
        ),
        json_schema_extra={"ours": True},
    )
    first: Edit | None = Field(
        Edit(target="nothing", preserve_scale=1.0),
        description="UCE edit made before the first epoch; null starts at the base",
    )


_OBJECT = Settings(epochs=1, first=Edit(target="nothing", preserve_scale=0.1))
# The paper's; it erases no likeness, which is named in a prompt as an object is. lambda_r 1e-3 is
# also for objects that resist, and what UCE alone erases needs no epoch.
PRESETS: Mapping[Kind, Settings] = {
    "likeness": _OBJECT,
    "object": _OBJECT,
    "style": Settings(
        target="replacement", lambda_r=1e-3, epochs=1, first=Edit(preserve_scale=0.1)
    ),
    "explicit": Settings(),
}


@dataclass(frozen=True, slots=True)
class Edited:
    """The edit so far, and the two sums over the projections W_i and W_i P that a derivation needs,
    each (d, d).
    """

    edit: Map  # P
    gram: Tensor  # G = sum_i W_i^T W_i
    pgp: Tensor  # P^T G P = sum_i (W_i P)^T W_i P

    @classmethod
    def nothing(cls, gram: Tensor) -> "Edited":
        """The base, P = I."""
        d = len(gram)
        return cls(Map(gram.new_empty(d, 0), gram.new_empty(0, d)), gram, gram)

    @property
    def p(self) -> Tensor:
        """P, (d, d)."""
        return self.edit.matrix()

    def then(self, step: Map) -> "Edited":
        """Followed by one more edit S = I + L R, W_i P becoming W_i P S.

        With M = P^T G P, S^T M S = M + Y + Y^T for Y = (M L + R^T (L^T M L) / 2) R.
        """
        seen = self.pgp @ step.left
        half = torch.addmm(seen, step.right.T, step.left.T @ seen, alpha=0.5) @ step.right
        return Edited(self.edit.then(step), self.gram, self.pgp + half + half.T)


def derive(edited: Edited, c: Tensor, lambda_r: float) -> Tensor:
    """The rows c' at which the edited projections W_i P come nearest to what the original ones made
    of `c`.

    argmin over c' of sum_i |W_i P c' - W_i c|^2 + lambda_r |c'|^2 = (lambda_r I + P^T G P)^-1 P^T G
    c. As lambda_r goes to 0 this is the preimage P^-1 c.

    Args:
        edited: P, G = sum_i W_i^T W_i, and what P makes of it.
        c: Rows of the concept, (n, d).
        lambda_r: > 0.
    """
    a = edited.pgp + lambda_r * torch.eye(c.shape[1], dtype=c.dtype, device=c.device)
    wanted = edited.edit.after(c @ edited.gram)  # c^T G P, row by row
    return closed_form.solved(a, wanted.T).T


def one_epoch(edited: Edited, asked: Demand, settings: Settings) -> tuple[Edited, float]:
    """Derive rows under the edit so far and erase them too; and how far they then are from their
    targets (see `remaining`).
    """
    kept = asked.kept + settings.hold * asked.rows.T @ asked.rows
    derived = replace(asked, rows=derive(edited, asked.rows, settings.lambda_r), kept=kept)
    step = closed_form.edit_map(derived, settings)
    return edited.then(step), closed_form.remaining(step, derived)


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
    """Epochs, for all concepts together."""
    return settings.epochs


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> Tensor:
    """G, which depends on the base alone."""
    return closed_form.gram(closed_form.projections(teacher.unet), work.cache)


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: Tensor | None = None,
) -> WeightDelta:
    """Run the epochs, each with one edit for all concepts, and return what they changed.

    A step is an epoch and reports {remaining}: how far the derived rows are from their targets
    after it, as a share of before.

    Raises:
        BadInput: No concept, or a prompt that is too long for the base.
    """
    check(concepts, settings)
    asked = closed_form.demand(teacher, concepts, settings)
    gram = prepare(teacher, concepts, settings, work) if prepared is None else prepared
    edited = Edited.nothing(gram)
    if settings.first:
        edited = edited.then(
            closed_form.edit_map(
                closed_form.demand(teacher, concepts, settings.first), settings.first
            )
        )
    for epoch in range(1, settings.epochs + 1):
        edited, remaining = one_epoch(edited, asked, settings)
        if work.on_step:
            work.on_step(epoch, {"remaining": remaining})
    return closed_form.delta(teacher.unet, edited.edit)
