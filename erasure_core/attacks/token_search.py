"""Token search: words that nobody would write, found by gradients, put before a prompt.

Paper      UnlearnDiffAtk, Zhang et al., ECCV 2024, arXiv:2310.11868, eq. 3: tokens that let the
           victim denoise a picture of the concept. P4D, Chin et al., ICML 2024, arXiv:2309.06135,
           eq. 1: tokens under which the victim's noise is the base's. Candidates by greedy
           coordinate gradient, Zou et al., arXiv:2307.15043, Algorithm 1.
Departs    The papers relax tokens to vectors and project them back; here each step swaps one token
           for the best of several that the gradient proposes, and keeps it if it is better. One
           prefix for all prompts. Both objectives are tried.
Cost       A step: one evaluation with its gradient and `CANDIDATES` without, each of a batch.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from erasure_core.attacks.setting import (
    Attempt,
    Audience,
    Noised,
    NotRun,
    Setting,
    Subject,
    draw,
    noised,
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
SHARE = 0.2  # of the budget's updates: a step costs several

Loss = Callable[[Context], Tensor]
Objective = Callable[[Setting, Noised, tuple[str, ...]], Loss]
# What a step is told by: prompts, and the loss of what stands before them.
Drawn = Callable[[torch.Generator], tuple[tuple[str, ...], Loss]]


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw the subject's prompts behind the prefix, one attempt an objective.

    Raises:
        NotRun: There are no photographs, or the family reads by two encoders.
    """
    if len(setting.victim.text_encoders) > 1:
        raise NotRun(TWO_ENCODERS)
    prompts = told(subject.prompts, setting.budget.pictures)
    attempts = []
    for i, objective in enumerate((unlearn_diff, p4d)):
        shown = partial(_shown, setting, subject, objective)
        prefix = searched(setting, f"{NAME}, {objective.__name__}", shown)
        ids = ids_behind(setting, prompts, prefix)
        attempts.append(
            Attempt(
                draw(setting, encode_ids(setting.victim, ids)), prompts, {"objective": float(i)}
            )
        )
    return attempts


def searched(setting: Setting, purpose: str, drawn: Drawn) -> Tensor:
    """The best prefix that the budget finds: (TOKENS,) token ids.

    Args:
        setting: Whose text encoder, and the budget.
        purpose: Of the random draws.
        drawn: The prompts and the loss of a step.
    """
    victim, generator = setting.victim, setting.generator(purpose)
    special = set(victim.tokenizer.all_special_ids)
    usable = torch.tensor([i for i in range(len(victim.tokenizer)) if i not in special])
    prefix = usable[torch.randint(len(usable), (TOKENS,), generator=generator)]
    for _ in range(round(SHARE * setting.budget.updates)):
        prompts, loss = drawn(generator)
        gradient, now = _gradient(setting, ids_behind(setting, prompts, prefix), loss)
        gains = -(gradient @ _table(setting).T).cpu()[:, usable]
        proposed = usable[gains.topk(min(TOP, len(usable)), dim=1).indices]
        best, least = prefix, now
        for _ in range(CANDIDATES):
            place = int(torch.randint(TOKENS, (), generator=generator))
            swapped = prefix.clone()
            rank = torch.randint(proposed.shape[1], (), generator=generator)
            swapped[place] = proposed[place, rank]
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
    """Token ids of the prompts behind the prefix, (n, tokens); what does not fit is cut."""
    tokenizer = setting.victim.tokenizer
    read = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
    ids: Tensor = read.input_ids
    behind = ids[:, 1 : ids.shape[1] - len(prefix)]
    joined = torch.cat([ids[:, :1], prefix.expand(len(ids), -1), behind], dim=1)
    joined[:, -1] = tokenizer.eos_token_id
    return joined.to(setting.victim.unet.device)


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
