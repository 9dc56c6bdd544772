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
    tokenizer: "CLIPTokenizer", ids: Tensor, names: Sequence[str], tail: Tail = "none"
) -> Tensor:
    """Where the sub-tokens of any of `names` stand in each prompt, at every occurrence.

    The text encoder is causal, so what stands behind the name (end token, padding) knows of it too;
    `tail` adds those.

    Args:
        tokenizer: The base's.
        ids: Tokens of n prompts, (n, tokens); see `Context.ids`.
        names: What the concept is called.
        tail: Which columns behind the words count as well.

    Returns:
        (n, tokens) of bool, on the device of `ids`.

    Raises:
        BadInput: If a prompt holds none of them.
    """
    columns = torch.zeros_like(ids, dtype=torch.bool)
    for name in names:
        words = torch.tensor(tokenizer(name, add_special_tokens=False).input_ids, device=ids.device)
        for first in range(ids.shape[1] - len(words) + 1):
            here = (ids[:, first : first + len(words)] == words).all(1)
            columns[:, first : first + len(words)] |= here[:, None]
    if not (named := columns.any(1)).all():
        # some leave the mark in
        prompt = (
            tokenizer.decode(ids[~named][0], skip_special_tokens=True).replace("</w>", " ").strip()
        )
        raise BadInput(
            f"prompt {prompt!r} does not hold {' or '.join(map(repr, names))}, whose attention is "
            f"meant; give only prompts that name it"
        )
    positions = torch.arange(ids.shape[1], device=ids.device)
    # the first; some bases pad with it
    end = (ids == tokenizer.eos_token_id).int().argmax(1, keepdim=True)
    return (
        columns
        | {"none": torch.zeros_like(columns), "eot": positions == end, "padded": positions >= end}[
            tail
        ]
    )


def concept_columns(teacher: Teacher, concepts: Sequence[Concept], tail: Tail = "none") -> Tensor:
    """`token_columns` of every prompt of every concept, in order, each for its own concept:
    (prompts, tokens).
    """
    contexts = [diffusion.encode_prompts(teacher, concept.prompts) for concept in concepts]
    named = zip(contexts, concepts, strict=True)
    return torch.cat(
        [
            token_columns(teacher.tokenizer, context.ids, concept.names, tail)
            for context, concept in named
        ]
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
