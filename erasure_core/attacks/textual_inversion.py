"""Textual inversion: one learnt token, with which the model draws the subject again.

Paper      Gal et al., arXiv:2208.01618; used against erasures by Pham et al., Circumventing
           Concept Erasure Methods, ICLR 2024, arXiv:2308.01508.
Departs    The vector stands at each token of the replacement's noun, put in the name's place, and
           begins at the mean of their embeddings; at the name's own tokens where a prompt says that
           noun besides. Adam at a rate that suits 60 to 400 steps; success is told against their
           number.
Cost       One evaluation of the UNet and its gradient a step and picture of the batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from erasure_core.attacks.setting import (
    Attempt,
    Audience,
    NotRun,
    Setting,
    Subject,
    draw,
    noised,
    told,
)
from erasure_core.law.concepts import Concept
from erasure_core.law.english import headed
from erasure_core.law.naming import mentions
from erasure_core.network.attention import token_columns
from erasure_core.network.diffusion import (
    Context,
    encode_ids,
    predict_noise,
    too_long,
    with_vector,
)
from erasure_core.network.models import Teacher

NAME = "textual inversion"
AUDIENCE: Audience = "embeddings"
SHOWN = True
TWO_ENCODERS = "a token for two text encoders is not written yet"
LR = 0.05
STOPS = 2  # numbers of steps at which pictures are drawn: half of the budget, and all of it


def attack(setting: Setting, subject: Subject) -> list[Attempt]:
    """Draw with the token after half of the steps and after all.

    Raises:
        NotRun: There are no photographs, or the family reads by two encoders.
    """
    if len(setting.victim.text_encoders) > 1:
        raise NotRun(TWO_ENCODERS)
    token = Token(setting.victim, subject)
    optimiser = torch.optim.Adam([token.vector], lr=LR)
    generator, attempts = setting.generator(NAME), []
    stops = {setting.budget.updates * (i + 1) // STOPS for i in range(STOPS)}
    for step in range(1, setting.budget.updates + 1):
        loss = noise_loss(setting, subject, token.context, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step in stops:
            prompts = told(token.prompts, setting.budget.pictures)
            with torch.no_grad():
                context = token.context(torch.arange(len(prompts)) % len(token.prompts))
            numbers = {"steps": step, "norm": token.norm}
            attempts.append(Attempt(draw(setting, context), prompts, numbers))
    return attempts


class Token:
    """The subject's prompts with one learnt vector in place of its name."""

    def __init__(self, teacher: Teacher, subject: Subject):
        self.teacher = teacher
        noun = headed(subject.concept.replacement)[1]
        said = [_said(teacher, subject.concept, noun, prompt) for prompt in subject.prompts]
        self.prompts = tuple(prompt for prompt, _ in said)
        read = teacher.tokenizer(
            list(self.prompts), padding="max_length", truncation=True, return_tensors="pt"
        )
        self.ids = read.input_ids.to(teacher.unet.device)
        columns = [token_columns(teacher.tokenizer, [prompt], names) for prompt, names in said]
        self.columns = torch.cat(columns).to(self.ids.device)
        table = teacher.text_encoder.get_input_embeddings()
        begins = teacher.tokenizer(noun).input_ids[1:-1]  # between two markers
        self.began = table.weight[begins].detach().mean(dim=0)
        self.vector = self.began.clone().requires_grad_()

    @property
    def norm(self) -> float:
        """Length of the vector, as a multiple of that it began with."""
        return float(self.vector.detach().norm() / self.began.norm())

    def context(self, rows: Tensor) -> Context:
        """What the network is told by the prompts in `rows`; it depends on `vector`."""
        rows = rows.to(self.ids.device)
        with with_vector(self.teacher, self.columns[rows], self.vector):
            return encode_ids(self.teacher, self.ids[rows])


def noise_loss(
    setting: Setting,
    subject: Subject,
    context: Callable[[Tensor], Context],
    generator: torch.Generator,
) -> Tensor:
    """Mean square of what the victim's noise differs from the noise in some of the photographs;
    `context` gives what the network is told by the prompts in rows, those of the photographs.

    Raises:
        NotRun: There are no photographs.
    """
    shown, victim = noised(setting, subject, generator), setting.victim
    predicted = predict_noise(victim, victim.unet, shown.z, shown.times, context(shown.rows))
    return (predicted - shown.noise).square().mean()


def _said(
    teacher: Teacher, concept: Concept, noun: str, prompt: str
) -> tuple[str, tuple[str, ...]]:
    """A prompt, and what in it the vector stands for: `noun`, put in the concept's place, or the
    concept's names, where the prompt says that noun besides or has no room for it.
    """
    put = concept.model_copy(update={"replacement": noun}).replaced(prompt)
    besides = any(mentions([noun], prompt)) or not any(mentions([noun], put))
    if concept.named_in(prompt) and (besides or too_long([teacher.tokenizer], [put])):
        return prompt, concept.names
    return put, (noun,)
