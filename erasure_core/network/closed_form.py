"""Ridge edits of every key and value projection at once: one d x d matrix P, shared by all of them.

What UCE and RECE minimise over V, for each projection W (d_out x d) on its own,

    s sum_k |V c_k - W t_k|^2  +  q sum_j |V c_j - W c_j|^2  +  lamb |V - W|^2

(erase rows c_k, their targets t_k, preserve rows c_j), is solved for all of them by V = W P with

    P = I + s [sum_k (t_k - c_k) c_k^T] A^-1,
    A = lamb I + s sum_k c_k c_k^T + q sum_j c_j c_j^T,

because W factors out of the numerator. So the edit is a linear map of the text states in front of
unchanged projections.

Rows are text states, one to a row of a matrix. Everything is solved in float64 by Cholesky: states
have a large common mean, and A is too ill-conditioned (1e4 to 1e7) for a float32 inverse. No matrix
here is larger than d x d or a batch of rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, kept_prompts, without_others
from erasure_core.law.naming import mentions
from erasure_core.network import layers
from erasure_core.network.diffusion import encode_words
from erasure_core.network.models import Teacher
from erasure_core.network.prepared import by_content
from erasure_core.network.weights import WeightDelta, tensors_sha256

Item = TypeVar("Item")
Target = Annotated[
    Literal["replacement", "nothing"],
    Field(description="what erased prompts become: each concept's replacement, or ''"),
]
Rows = Annotated[
    Literal["all", "tail", "last"],
    Field(
        description=(
            "erased positions of a prompt: all, those from the last subject token on (tail), "
            "or that one (last)"
        )
    ),
]
Pair = tuple[Tensor, Tensor]  # rows c and their targets t, both (n, d); or W and V, (d_out, d)
BATCH = 64  # prompts encoded at a time


class Edit(BaseModel):
    """One ridge edit: the equation's s, q and lamb, and the text states it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    target: Target = "replacement"
    rows: Rows = "tail"
    erase_scale: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="s, weight of erased rows; a higher one brings them closer to their targets",
    )
    preserve_scale: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description=(
            "q, weight of preserved rows; a higher one moves them less, "
            "null is max(0.1, 1 / number of kept prompts)"
        ),
    )
    lamb: float = Field(
        0.5,
        gt=0,
        allow_inf_nan=False,
        description="ridge, weight of the edit's own size; a higher one keeps more of the base",
    )


@dataclass(frozen=True, slots=True)
class Demand:
    """What an edit is asked for, in float64."""

    rows: Tensor  # c, (n, d) with n <= d
    targets: Tensor  # t, (n, d)
    kept: Tensor  # q sum_j c_j c_j^T, (d, d)
    rest: Tensor | None = None  # sum_k t_k t_k^T less that of `targets`, (d, d); None: nothing

    @classmethod
    def of(cls, pairs: Iterable[Pair], kept: Tensor) -> "Demand":
        """What is asked by `pairs`, however many, beside `kept`."""
        rows, targets, rest = condensed(pairs)
        return cls(rows, targets, kept, rest)


# The algebra


@dataclass(frozen=True, slots=True)
class Map:
    """P = I + left @ right, which differs from the identity in no more directions than there are
    erased rows.
    """

    left: Tensor  # (d, n)
    right: Tensor  # (n, d)

    @classmethod
    def of(cls, p: Tensor) -> "Map":
        """A matrix P, (d, d), whatever its rank."""
        one = torch.eye(len(p), dtype=p.dtype, device=p.device)
        return cls(p - one, one)

    @property
    def rank(self) -> int:
        """No lower than the rank of P - I."""
        return len(self.right)

    def then(self, step: "Map") -> "Map":
        """P followed by one more edit: W P becomes W P step."""
        left = torch.cat([self.left, step.left], 1)
        right = torch.cat([step.after(self.right), step.right])
        if len(right) < len(left):
            return Map(left, right)
        return Map(left @ right, torch.eye(len(left), dtype=left.dtype, device=left.device))

    def after(self, x: Tensor) -> Tensor:
        """x P for x of shape (m, d), without making P."""
        return torch.addmm(x, x @ self.left, self.right)

    def moved(self, rows: Tensor) -> Tensor:
        """Where P sends each row: rows P^T, (n, d)."""
        return torch.addmm(rows, rows @ self.right.T, self.left.T)

    def matrix(self) -> Tensor:
        """P, (d, d)."""
        return self.after(torch.eye(len(self.left), dtype=self.left.dtype, device=self.left.device))


def edit_map(demand: Demand, edit: Edit) -> Map:
    """P of the module's docstring, in float64. The edited projections are W P; as lamb grows, P
    goes to I.
    """
    c, t, s = demand.rows, demand.targets, edit.erase_scale
    a = (
        edit.lamb * torch.eye(c.shape[1], dtype=c.dtype, device=c.device)
        + s * c.T @ c
        + demand.kept
    )
    return Map(s * (t - c).T, solved(a, c.T).T)


def solved(a: Tensor, b: Tensor) -> Tensor:
    """a^-1 b of a positive definite matrix of sums, (d, d), by Cholesky.

    Raises:
        BadInput: It is none to the rounding of float64: its ridge is too small beside its sums.
    """
    lower, failed = torch.linalg.cholesky_ex(a)
    if failed:
        raise BadInput(
            f"an edit's sums, the largest {float(a.diagonal().max()):.2g}, leave nothing of its "
            f"ridge to the rounding of float64; use a larger lamb, of rece a larger lambda_r or "
            f"fewer epochs"
        )
    return torch.cholesky_solve(b, lower)


def remaining(p: Map, demand: Demand) -> float:
    """How far P leaves the rows from their targets, as a share of how far they were: 0 is there,
    also where they were there from the first, 1 is where they began.
    """
    c, t = demand.rows, demand.targets
    rest = 0.0 if demand.rest is None else max(0.0, float(demand.rest.trace()))
    began = float((c - t).square().sum()) + rest
    return ((float((p.moved(c) - t).square().sum()) + rest) / began) ** 0.5 if began else 0.0


def preimage(p: Tensor, c: Tensor) -> Tensor:
    """The text states x that P sends to `c`: x = P^-1 c, row by row.

    This is what a linear edit hides, and how well: an invertible P removes nothing. The edited
    projections answer to x exactly as the original ones answered to c, for W P x = W c, so whoever
    may choose text states (not only words) finds the erased concept at x, with no search. UCE and
    RECE relocate a concept; only a P that loses rank deletes one.

    Args:
        p: The edit's P, (d, d).
        c: States of the concept, (n, d).

    Returns:
        x, (n, d) float64. Where P is all but singular, x is large: the concept is there, but far
        from any prompt's states.
    """
    x: Tensor = torch.linalg.solve(p.double(), c.double().T)
    return x.T


def condensed(pairs: Iterable[Pair]) -> tuple[Tensor, Tensor, Tensor | None]:
    """At most d rows that ask the same as all of `pairs`: with the same sums of c c^T and of c t^T,
    which are all that an edit knows of its rows; and by how much the sum of t t^T is more than
    theirs, (d, d), which is all that is lost. float64; None where nothing is.

    Few rows are given back as they are. Of
    many, S = sum c c^T and B = sum c t^T are made batch after batch: with S = V diag(e) V^T, the
    rows e^1/2 V^T and targets e^-1/2 V^T B have the same sums. No e is below the rounding error of
    the largest: smaller ones are raised to it. They cannot be left out, because B may be larger
    than rounding in their directions, and P would miss that.

    Raises:
        BadInput: If there is no row.
    """
    squares, products, told = torch.zeros(()), torch.zeros(()), torch.zeros(())
    for c, t in _gathered(pairs):
        if not squares.ndim and len(c) <= c.shape[1]:
            return c, t, None  # a first batch as small as this is the only one
        squares, products = squares + _upper_product(c), products + c.T @ t
        told = told + _upper_product(t)
    if not squares.ndim:
        raise BadInput("no prompt to erase; a concept needs at least one")
    e, v = torch.linalg.eigh(squares, UPLO="U")
    root = e.clamp(min=float(len(e) * torch.finfo(e.dtype).eps * e[-1])).sqrt()[:, None]
    targets = v.T @ products / root
    return root * v.T, targets, _whole(told - targets.T @ targets)


def _gathered(items: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """Batches of about as many rows as a few d, in float64: one product for many small items, and
    no large copy of them all.
    """
    batch: list[tuple[Tensor, ...]] = []
    for item in items:
        batch.append(item)
        if sum(len(c) for c, *_ in batch) >= 8 * item[0].shape[1]:
            yield tuple(torch.cat(part).double() for part in zip(*batch, strict=True))
            batch = []
    if batch:
        yield tuple(torch.cat(part).double() for part in zip(*batch, strict=True))


def outer(rows: Iterable[Tensor]) -> Tensor:
    """Sum of c c^T over all rows, (d, d) float64."""
    total = torch.zeros(())
    for (c,) in _gathered((item,) for item in rows):
        total = total + _upper_product(c)
    return _whole(total)


def _whole(upper: Tensor) -> Tensor:
    """The symmetric matrix with this upper half."""
    return upper.triu() + upper.triu(1).T


def _upper_product(c: Tensor) -> Tensor:
    """c^T c where it is not below the diagonal: in four bands, five eighths of the work."""
    d = c.shape[1]
    product, band = c.new_zeros(d, d), -(-d // 4)
    for i in range(0, d, band):
        product[i : i + band, i:] = c[:, i : i + band].T @ c[:, i:]
    return product


# The projections


def projections(unet: nn.Module) -> dict[str, nn.Parameter]:
    """Every key and value weight of cross-attention, by name; each (d_out, d) with the same d."""
    return layers.select(unet, "kv")


def change(weights: Mapping[str, Tensor], p: Map) -> dict[str, Tensor]:
    """What W P differs from each W, by name: W (P - I), in float64 and then rounded once to the
    weights' own precision. Where few rows were erased, as two thin products.

    In float32 throughout it would take half the time and be wrong by 2e-6 of the largest weight
    where many concepts are erased.
    """
    if 2 * p.rank < len(p.left):
        return {n: (w.detach().double() @ p.left @ p.right).to(w.dtype) for n, w in weights.items()}
    moved = p.left @ p.right
    return {name: (w.detach().double() @ moved).to(w.dtype) for name, w in weights.items()}


def delta(unet: nn.Module, p: Map, of: Mapping[str, Tensor] | None = None) -> WeightDelta:
    """The edit P of the projections `of`, or of all, tied to `unet`, which stays as it is."""
    changes = change(projections(unet) if of is None else of, p)
    return WeightDelta(
        tensors_sha256(unet.state_dict()),
        {name: change.float().cpu() for name, change in changes.items()},
    )


def gram(weights: Mapping[str, Tensor], cache: Path | None = None) -> Tensor:
    """G = sum_i W_i^T W_i, (d, d) float64: all that RECE needs to know of the projections.

    In the folder `cache` it is kept by content, under the hash of the weights.
    """
    kept = by_content(
        cache,
        "gram",
        lambda: tensors_sha256(weights),
        lambda: {"gram": outer(w.detach() for w in weights.values())},
    )
    return kept["gram"].to(next(iter(weights.values())).device)


def ridge_map(pairs: Iterable[Pair], lamb: float) -> Tensor:
    """M with M c = (lamb I + sum V^T V)^-1 (sum V^T W) c, (d, d) float64: where edited projections
    V come nearest to the original W at c (RECE, arXiv:2407.12383, eq. 5). Larger `lamb` gives
    smaller states.

    Args:
        pairs: (W, V) of each projection, (d_out, d) float64.
        lamb: > 0.
    """
    squares, products = torch.zeros(()), torch.zeros(())
    for w, v in pairs:
        squares, products = squares + v.T @ v, products + v.T @ w
    ridge = lamb * torch.eye(len(squares), dtype=squares.dtype, device=squares.device)
    m: Tensor = torch.linalg.solve(squares + ridge, products)
    return m


def edited_pairs(base: nn.Module, edited: nn.Module, device: str | None = None) -> list[Pair]:
    """(W, V) of each key and value projection of two UNets, (d_out, d) float64, on `device` or
    where they are.
    """
    old, new = projections(base), projections(edited)
    return [
        (
            w.detach().to(device or w.device).double(),
            new[name].detach().to(device or w.device).double(),
        )
        for name, w in old.items()
    ]


# The text states


def demand(teacher: Teacher, concepts: Sequence[Concept], edit: Edit) -> Demand:
    """The rows of every prompt of `concepts`, and of what is kept: the empty prompt and the
    concepts' kept prompts.
    """
    kept = ["", *kept_prompts(concepts)]
    scale = max(0.1, 1 / len(kept)) if edit.preserve_scale is None else edit.preserve_scale
    return Demand.of(
        erase_rows(teacher, concepts, edit), scale * outer(preserve_rows(teacher, kept, edit.rows))
    )


def erase_rows(teacher: Teacher, concepts: Sequence[Concept], edit: Edit) -> Iterator[Pair]:
    """States of each erased prompt beside those of the prompt that stands in its place, position by
    position.

    Rows after the end of a prompt are no idle padding: the encoder is causal, so they repeat what
    the prompt was about. For `tail` both sequences begin at their last subject token and are cut to
    the length of the shorter.

    Raises:
        BadInput: If a prompt, or what it becomes, is too long for the base.
    """
    erased = [(concept, prompt) for concept in concepts for prompt in concept.prompts]
    for batch in _batches(erased):
        replaced = [
            concept.replaced(prompt) if edit.target == "replacement" else ""
            for concept, prompt in batch
        ]
        stand_ins = [
            without_others(concept, text, concepts)
            for (concept, _), text in zip(batch, replaced, strict=True)
        ]
        old, new = (
            encode_words(teacher, prompts).states
            for prompts in ([prompt for _, prompt in batch], stand_ins)
        )
        for i, ((concept, prompt), text) in enumerate(zip(batch, replaced, strict=True)):
            after = _after_subject(concept, prompt, text)
            until = without_others(concept, text.removesuffix(after), concepts)
            begin = _last_token(teacher, prompt.removesuffix(after)), _last_token(teacher, until)
            yield _aligned(old[i], new[i], begin, edit.rows)


def preserve_rows(teacher: Teacher, prompts: Sequence[str], rows: Rows) -> Iterator[Tensor]:
    """States that must stay: all positions of each prompt or, where only the last subject token is
    erased, its last token.
    """
    for batch in _batches(prompts):
        states = encode_words(teacher, batch).states
        if rows == "last":
            yield torch.stack(
                [s[_last_token(teacher, prompt)] for s, prompt in zip(states, batch, strict=True)]
            )
        else:
            yield states.flatten(0, 1)


def _aligned(old: Tensor, new: Tensor, begin: tuple[int, int], rows: Rows) -> Pair:
    if rows == "all":
        return old, new
    length = 1 if rows == "last" else len(old) - max(begin)
    return old[begin[0] : begin[0] + length], new[begin[1] : begin[1] + length]


def _after_subject(concept: Concept, prompt: str, stand_in: str) -> str:
    """What follows the concept's name and stays when it is replaced: not "cup" after "coffee",
    where "a cup of tea" stands in. Nothing if `prompt` does not name it.
    """
    named = list(mentions(concept.names, prompt))
    after = prompt[named[-1].end :] if named else ""
    if not stand_in:
        return after
    # where a word begins
    ends = (after[i:] for i in range(len(after)) if not (i and after[i - 1 : i + 1].isalnum()))
    return next((end for end in ends if stand_in.endswith(end)), "")


def _last_token(teacher: Teacher, prompt: str) -> int:
    """Position of the last token before the end marker; of the start marker if
    `prompt` is empty.
    """
    return len(teacher.tokenizer(prompt).input_ids) - 2


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), BATCH):
        yield items[first : first + BATCH]
