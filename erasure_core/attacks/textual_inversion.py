"""Textual inversion: one learnt token, with which the model draws the subject again.

Paper      Gal et al., arXiv:2208.01618; used against erasures by Pham et al., Circumventing
           Concept Erasure Methods, ICLR 2024, arXiv:2308.01508.
Departs    One token, begun at a word of the replacement; Adam at a rate that suits 60 to 400 steps.
           Success is told against the number of steps.
Cost       One evaluation of the UNet and its gradient a step and picture of the batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from erasure_core.attacks.setting import Attempt, Audience, NotRun, Setting, Subject, draw, told
from erasure_core.network.diffusion import Context, predict_noise
from erasure_core.network.models import Teacher

NAME = "textual inversion"
AUDIENCE: Audience = "embeddings"
SHOWN = True
LR = 0.05
STOPS = 2  # numbers of steps at which pictures are drawn: half of the budget, and all of it


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw with the token after half of the steps and after all.

    Raises:
        NotRun: There are no photographs, or the family reads by two encoders.
    """
    if subject.latents is None:
        raise NotRun("no photographs of the subject")
    if len(setting.victim.text_encoders) > 1:
        raise NotRun("a token for two text encoders is not written yet")
    token = Token(setting.victim, subject)
    optimiser = torch.optim.Adam([token.vector], lr=LR)
    generator, attempts = setting.generator(NAME), []
    stops = {setting.budget.updates * (i + 1) // STOPS for i in range(STOPS)}
    for step in range(1, setting.budget.updates + 1):
        loss = noise_loss(setting, subject.latents, token.context, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in stops:
            prompts = told(token.prompts, setting.budget.pictures)
            with torch.no_grad():
                context = token.context(len(prompts))
            numbers = {"steps": step, "norm": token.norm}
            attempts.append(Attempt(draw(setting, context), prompts, numbers))
    return attempts


class Token:
    """The subject's prompts with one learnt vector in place of its name."""

    def __init__(self, teacher: Teacher, subject: Subject):
        self.teacher = teacher
        self.word = _word(teacher, subject.concept.replacement)
        replaced = subject.concept.model_copy(update={"replacement": self.word})
        self.prompts = tuple(replaced.replaced(prompt) for prompt in subject.prompts)
        self.ids = teacher.tokenizer(
            list(self.prompts), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids.to(teacher.unet.device)
        self.id = teacher.tokenizer(self.word).input_ids[1]
        self.began = _embedding(teacher).weight[self.id].detach().clone()
        self.vector = self.began.clone().requires_grad_()

    @property
    def norm(self) -> float:
        """Length of the vector, as a multiple of the token's that it began as."""
        return float(self.vector.detach().norm() / self.began.norm())

    def context(self, n: int) -> Context:
        """What the network is told by `n` of the prompts, in turn; it depends on `vector`."""
        ids = self.ids[[i % len(self.ids) for i in range(n)]]
        with self._in_place():
            states, pooled = self.teacher.family.encode(self.teacher, ["x"] * n, [ids])
        return Context(states, ids, pooled)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        def put(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            here = (arguments[0] == self.id)[..., None]
            return torch.where(here, self.vector, output)

        handle = _embedding(self.teacher).register_forward_hook(put)
        try:
            yield
        finally:
            handle.remove()


def noise_loss(setting: Setting, latents: Tensor, context, generator: torch.Generator) -> Tensor:  # type: ignore[no-untyped-def]
    """Mean square of what the victim's noise differs from the noise in some of the photographs."""
    victim, n = setting.victim, setting.budget.batch
    z = latents[torch.randint(len(latents), (n,), generator=generator)]
    times = torch.randint(victim.scheduler.config.num_train_timesteps, (n,), generator=generator)
    noise = torch.randn(z.shape, generator=generator).to(z.device)
    noisy = victim.scheduler.add_noise(z, noise, times)
    predicted = predict_noise(victim, victim.unet, noisy, times.to(z.device), context(n))
    return (predicted - noise).square().mean()


def _embedding(teacher: Teacher) -> nn.Embedding:
    found: nn.Embedding = teacher.text_encoder.get_input_embeddings()
    return found


def _word(teacher: Teacher, phrase: str) -> str:
    """The last word of a phrase that is one token, by which a vector can begin."""
    for word in reversed(phrase.split()):
        if len(teacher.tokenizer(word).input_ids) == 3:  # between two markers
            return word
    raise NotRun(f"no word of {phrase!r} is a single token, which the vector could begin at")
