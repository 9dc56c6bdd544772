"""Cross-attention with its probabilities in the open: see where a token is looked at, or turn a
token up or down.

The fused kernels never hold the probabilities. The processors here do, for every `attn2` of a UNet
of Stable Diffusion 1.x or 2.x; otherwise they compute what diffusers' own compute. A `with` puts
the former processors back, whatever happens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.law.naming import mentions
from erasure_core.network import diffusion
from erasure_core.network.models import Teacher

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention
    from transformers import CLIPTokenizer

Edit = Callable[
    [Tensor], Tensor
]  # probabilities (n, heads, positions, tokens) -> those to be used instead
Tail = Literal[
    "none", "eot", "padded"
]  # behind the words: nothing, the first end token, or that and all padding


def token_columns(
    tokenizer: "CLIPTokenizer", prompts: Sequence[str], names: Sequence[str], tail: Tail = "none"
) -> Tensor:
    """Where the sub-tokens of any of `names` stand in each prompt, at every occurrence, one or
    several of it, however it is spelled (`naming.mentions`).

    The text encoder is causal, so what stands behind the name (end token, padding) knows of it too;
    `tail` adds those.

    Args:
        tokenizer: The base's.
        prompts: n texts, none longer than it reads.
        names: What the concept is called.
        tail: Which columns behind the words count as well.

    Returns:
        (n, tokens) of bool.

    Raises:
        BadInput: If a prompt holds none of them.
    """
    read = tokenizer(
        list(prompts), padding="max_length", return_offsets_mapping=True, return_tensors="pt"
    )
    columns = torch.zeros_like(read.input_ids, dtype=torch.bool)
    begins, ends = read.offset_mapping.unbind(2)  # (n, tokens), characters of the prompt
    for row, prompt in enumerate(prompts):
        for mention in mentions(names, prompt):
            columns[row] |= (begins[row] < mention.end) & (ends[row] > mention.begin)
    if not (named := columns.any(1)).all():
        raise BadInput(
            f"prompt {prompts[int(named.int().argmin())]!r} does not hold "
            f"{' or '.join(map(repr, names))}, whose attention is meant; give only prompts that "
            f"name it"
        )
    positions = torch.arange(columns.shape[1])
    # the first; some bases pad with it
    end = (read.input_ids == tokenizer.eos_token_id).int().argmax(1, keepdim=True)
    behind = {
        "none": torch.zeros_like(columns),
        "eot": positions == end,
        "padded": positions >= end,
    }
    return columns | behind[tail]


def concept_columns(teacher: Teacher, concepts: Sequence[Concept], tail: Tail = "none") -> Tensor:
    """`token_columns` of every prompt of every concept, in order, each for its own concept:
    (prompts, tokens), on the device of the network.

    Raises:
        BadInput: If a prompt does not name its concept, or is too long for the base.
    """
    for concept in concepts:
        diffusion.check_prompts(teacher.tokenizer, concept.prompts)
    columns = [
        token_columns(teacher.tokenizer, concept.prompts, concept.names, tail)
        for concept in concepts
    ]
    return torch.cat(columns).to(teacher.device)


def check_named(concepts: Sequence[Concept], use: str, instead: str) -> None:
    """Refuse prompts that do not name their concept: there is nothing that `use` could be done to;
    `instead` is what else can be done.

    Raises:
        BadInput: Naming the concept and its first such prompt.
    """
    for concept in concepts:
        for prompt in concept.prompts:
            if not concept.named_in(prompt):
                raise BadInput(
                    f"{use} {concept.name!r}, which prompt {prompt!r} does not hold; give only "
                    f"prompts that name it, or {instead}"
                )


@dataclass(frozen=True, slots=True)
class ExplicitAttention:
    """An attention processor of diffusers that passes its probabilities through `edit`."""

    edit: Edit

    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """(n, positions, channels) attending to (n, tokens, d_text)."""
        n, tokens, _ = encoder_hidden_states.shape
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, tokens, n)
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key, attention_mask).unflatten(
            0, (n, attn.heads)
        )
        seen = self.edit(probabilities).flatten(0, 1) @ value
        return attn.to_out[1](attn.to_out[0](attn.batch_to_head_dim(seen)))


def _unchanged(probabilities: Tensor) -> Tensor:
    return probabilities


@contextmanager
def explicit(unet: "UNet2DConditionModel", edit: Edit = _unchanged) -> Iterator[None]:
    """Pass the probabilities of every `attn2` of `unet` through `edit` for the length of a `with`.

    Raises:
        BadInput: If the network has no cross-attention.
    """
    former = unet.attn_processors
    ours = {
        name: ExplicitAttention(edit) if name.endswith(".attn2.processor") else old
        for name, old in former.items()
    }
    if ours == former:
        raise BadInput(
            f"none of {len(former)} attention layers is called attn2; is this a "
            f"text-conditioned UNet?"
        )
    try:
        unet.set_attn_processor(ours)
        yield
    finally:
        unet.set_attn_processor(former)


@contextmanager
def recording(unet: "UNet2DConditionModel") -> Iterator[list[Tensor]]:
    """Collect the probabilities of every `attn2`, in the order of computation, each (n, heads,
    positions, tokens); with gradient.

    Under gradient checkpointing the backward pass runs the layers again: keep `explicit` open
    around it, or it finds another processor than the forward pass.
    """
    maps: list[Tensor] = []

    def keep(probabilities: Tensor) -> Tensor:
        maps.append(probabilities)
        return probabilities

    with explicit(unet, keep):
        yield maps


def at_columns(maps: Sequence[Tensor], columns: Tensor) -> Tensor:
    """The probabilities at the token `columns` (n, tokens) of all `maps` (n, heads, positions,
    tokens), in one row.
    """
    return torch.cat([probabilities.movedim(3, 1)[columns].flatten() for probabilities in maps])


@contextmanager
def reweighted(unet: "UNet2DConditionModel", columns: Tensor, scale: float) -> Iterator[None]:
    """Prompt-to-Prompt's reweighting: multiply the attention to the tokens `columns` by `scale`,
    after the softmax.

    Nothing is renormalised: with scale 0 a position receives less, not the same amount from other
    tokens.

    Args:
        unet: The network.
        columns: (n, tokens) of bool for calls on n latents, or (1, tokens) for any.
        scale: s; 0 hides the tokens, a negative one inverts what they add, 1 changes nothing.
    """
    weights = torch.where(columns, scale, 1.0)[:, None, None, :]
    with explicit(unet, lambda probabilities: probabilities * weights.to(probabilities.dtype)):
        yield
