"""Token search: words that nobody would write, found by gradients, put before a prompt.

Paper      UnlearnDiffAtk, Zhang et al., ECCV 2024, arXiv:2310.11868, eq. 3: tokens that let the
           victim denoise a picture of the concept. P4D, Chin et al., ICML 2024, arXiv:2309.06135,
           eq. 1: tokens under which the victim's noise is the base's. Candidates by greedy
           coordinate gradient, Zou et al., arXiv:2307.15043, Algorithm 1.
Departs    The papers relax tokens to vectors and project them back; here each step swaps one token
           for the best of several that the gradient proposes, and keeps it if it is better. One
           prefix for all prompts. Both objectives are tried. The papers search over all tokens, and
           hand them to the network; here a prefix counts only if its text, typed, is read as those
           tokens, which most are not: they hold parts of words that join, or bytes. What is drawn
           is typed, and the text found is told. Prompts without room for a prefix are left out.
Cost       A step: one evaluation with its gradient and `CANDIDATES` without, each of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from erasure_core.attacks.setting import (
    Attempt,
    Audience,
    Budget,
    Noised,
    NotRun,
    Reads,
    Setting,
    Subject,
    noised,
    of_prompts,
    told,
)
from erasure_core.network.diffusion import Context, encode_ids, encode_prompts, predict_noise

NAME = "token search"
AUDIENCE: Audience = "words"
SHOWN = True
TWO_ENCODERS = "a prefix for two text encoders is not written yet"
TOKENS = 3  # of the prefix; more find more
CANDIDATES = 6  # swaps tried a step
TOP = 32  # tokens that the gradient proposes at each place
LOOKED_AT = 8 * TOP  # of the gradient's order, for those that can be typed
STARTS = 1000  # prefixes drawn, of which the first that can be typed is begun with
FILL = "a " * TOKENS  # as long as a prefix: a letter is a token of every base
SHARE = 0.2  # of the budget's updates: a step costs several

Loss = Callable[[Context], Tensor]
Objective = Callable[[Setting, Noised, tuple[str, ...]], Loss]
# What a step is told by: prompts, and the loss of what stands before them.
Drawn = Callable[[torch.Generator], tuple[tuple[str, ...], Loss]]


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw the subject's prompts behind the prefix, one attempt an objective.

    Raises:
        NotRun: There are no photographs, or none of a prompt with room for a prefix; no prefix can
            be typed; or the family reads by two encoders.
    """
    if len(setting.victim.text_encoders) > 1:
        raise NotRun(TWO_ENCODERS)
    prompts = asked(subject, setting.budget, setting.reads)
    subject = _shown_by(subject, with_room(subject.prompts, setting.reads))
    attempts = []
    for i, objective in enumerate((unlearn_diff, p4d)):
        shown = partial(_shown, setting, subject, objective)
        prefix = searched(setting, f"{NAME}, {objective.__name__}", shown)
        attempts.append(replace(behind(setting, prefix, prompts), numbers={"objective": float(i)}))
    return attempts


def asked(subject: Subject, budget: Budget, reads: Reads) -> tuple[str, ...]:
    """The prompt of each picture, without its prefix: of those that leave room for one.

    Raises:
        NotRun: None does.
    """
    return told(with_room(subject.prompts, reads), budget.pictures)


def with_room(prompts: Sequence[str], reads: Reads) -> tuple[str, ...]:
    """Those of `prompts` that are read to their end behind a prefix. `NotRun` if none is."""
    short = tuple(prompt for prompt in prompts if reads(f"{FILL}{prompt}"))
    if not short:
        raise NotRun(f"no prompt leaves room for {TOKENS} tokens before it, of those read")
    return short


def behind(setting: Setting, prefix: Tensor, prompts: Sequence[str]) -> Attempt:
    """What the victim draws of prompts behind what is typed for the prefix."""
    text = _text(setting, prefix)
    return replace(of_prompts(setting, [f"{text} {prompt}" for prompt in prompts]), found=text)


def _shown_by(subject: Subject, prompts: tuple[str, ...]) -> Subject:
    """The subject by `prompts` alone, with the photographs of these. `NotRun` without such."""
    drawn_by = subject.told(subject.rows)
    shown = [i for i, prompt in enumerate(drawn_by) if prompt in prompts]
    if not shown:
        raise NotRun("no photographs of the subject by a prompt that leaves room for a prefix")
    shows = tuple(prompts.index(drawn_by[i]) for i in shown)
    return replace(subject, prompts=prompts, latents=subject.photographs[shown], shows=shows)


def searched(setting: Setting, purpose: str, drawn: Drawn) -> Tensor:
    """The best prefix that the budget finds and people can type: (TOKENS,) token ids.

    Args:
        setting: Whose text encoder, and the budget.
        purpose: Of the random draws.
        drawn: The prompts and the loss of a step; each prompt has room for a prefix.

    Raises:
        NotRun: No prefix can be typed, or `drawn` raises it.
    """
    victim, generator = setting.victim, setting.generator(purpose)
    special = set(victim.tokenizer.all_special_ids)
    usable = torch.tensor([i for i in range(len(victim.tokenizer)) if i not in special])
    starts = usable[torch.randint(len(usable), (STARTS, TOKENS), generator=generator)]
    typed = _typed(setting, starts)
    if not typed.any():
        raise NotRun(f"none of {STARTS} prefixes is read as it was drawn, once it is typed")
    prefix = starts[typed][0]
    for _ in range(round(SHARE * setting.budget.updates)):
        prompts, loss = drawn(generator)
        gradient, now = _gradient(setting, ids_behind(setting, prompts, prefix), loss)
        gains = -(gradient @ _table(setting).T).cpu()[:, usable]
        order = usable[gains.topk(min(LOOKED_AT, len(usable)), dim=1).indices]
        proposed = [_swaps(setting, prefix, place, order[place]) for place in range(TOKENS)]
        best, least = prefix, now
        for _ in range(CANDIDATES):
            swaps = proposed[int(torch.randint(TOKENS, (), generator=generator))]
            swapped = swaps[int(torch.randint(len(swaps), (), generator=generator))]
            with torch.no_grad():
                ids = ids_behind(setting, prompts, swapped)
                value = float(loss(encode_ids(victim, ids)))
            if value < least:
                best, least = swapped, value
        prefix = best
    return prefix


def _shown(
    setting: Setting, subject: Subject, objective: Objective, generator: torch.Generator
) -> tuple[tuple[str, ...], Loss]:
    """Some photographs' own prompts, and the objective of them. `NotRun` without photographs."""
    shown = noised(setting, subject, generator)
    prompts = subject.told(shown.rows)
    return prompts, objective(setting, shown, prompts)


def _swaps(setting: Setting, prefix: Tensor, place: int, tokens: Tensor) -> Tensor:
    """The prefixes with another token at `place`, the first `TOP` of `tokens` that can be typed
    there, (n, TOKENS); the prefix itself where none can.
    """
    swapped = prefix.repeat(len(tokens), 1)
    swapped[:, place] = tokens
    typed = swapped[_typed(setting, swapped)][:TOP]
    return typed if len(typed) else prefix[None]


def _typed(setting: Setting, prefixes: Tensor) -> Tensor:
    """Whether each prefix (n, TOKENS) is read as those tokens where its text is typed, (n,)."""
    texts = [_text(setting, prefix) for prefix in prefixes]
    read = setting.victim.tokenizer(texts).input_ids  # between two markers
    same = [
        text.isprintable() and ids[1:-1] == prefix
        for text, ids, prefix in zip(texts, read, prefixes.tolist(), strict=True)
    ]
    return torch.tensor(same)


def _text(setting: Setting, prefix: Tensor) -> str:
    """What is typed for a prefix."""
    text: str = setting.victim.tokenizer.decode(prefix.tolist())
    return text.replace("</w>", " ").strip()  # a copied tokenizer leaves the ends of words in


def unlearn_diff(setting: Setting, shown: Noised, _prompts: tuple[str, ...]) -> Loss:
    """The victim's noise loss on pictures of the subject."""
    return _loss(setting, shown, shown.noise)


def p4d(setting: Setting, shown: Noised, prompts: tuple[str, ...]) -> Loss:
    """What the victim's noise differs from the base's under the subject's prompts."""
    with torch.no_grad():
        plain = encode_prompts(setting.base, prompts)
        wanted = predict_noise(setting.base, setting.base.unet, shown.z, shown.times, plain)
    return _loss(setting, shown, wanted)


def _loss(setting: Setting, shown: Noised, wanted: Tensor) -> Loss:
    victim = setting.victim

    def loss(context: Context) -> Tensor:
        predicted = predict_noise(victim, victim.unet, shown.z, shown.times, context)
        return (predicted - wanted).square().mean()

    return loss


def ids_behind(setting: Setting, prompts: tuple[str, ...], prefix: Tensor) -> Tensor:
    """Token ids of the prompts behind the prefix, as they are read when typed: (n, tokens)."""
    text = _text(setting, prefix)
    read = setting.victim.tokenizer(
        [f"{text} {prompt}" for prompt in prompts], padding="max_length", return_tensors="pt"
    )
    ids: Tensor = read.input_ids
    return ids.to(setting.victim.unet.device)


def _gradient(setting: Setting, ids: Tensor, loss: Loss) -> tuple[Tensor, float]:
    """The gradient by the embeddings of the prefix, summed over prompts, (TOKENS, d); the loss."""
    embedding: nn.Module = setting.victim.text_encoder.get_input_embeddings()
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        kept.append(leaf)
        return leaf

    handle = embedding.register_forward_hook(keep)
    try:
        value = loss(encode_ids(setting.victim, ids))
    finally:
        handle.remove()
    (by_embedding,) = torch.autograd.grad(value, kept)
    return by_embedding[:, 1 : 1 + TOKENS].sum(dim=0), float(value.detach())


def _table(setting: Setting) -> Tensor:
    weight: Tensor = setting.victim.text_encoder.get_input_embeddings().weight.detach()
    return weight
