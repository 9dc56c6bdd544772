"""What an attack is given, and what it comes back with."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import ErasureError
from erasure_core.law.concepts import Concept
from erasure_core.law.gates import Tier
from erasure_core.network import diffusion
from erasure_core.network.diffusion import (
    PICTURES_TOGETHER,
    Context,
    decoded,
    denoise,
    drawn_noise,
    encode_prompts,
    guided,
)
from erasure_core.network.images import not_finite
from erasure_core.network.models import Teacher

Audience = Literal["words", "embeddings", "weights"]
AUDIENCES: tuple[Audience, ...] = ("words", "embeddings", "weights")  # each can do more


Reads = Callable[[str], bool]  # whether a prompt is read to its end


class NotRun(ErasureError):
    """An attack that says nothing here, and why. What was not run is never a pass."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much an attacker may spend; a larger one finds more."""

    pictures: int  # drawn, and judged
    photographs: int  # of the subject, which the attacker has
    updates: int  # gradient steps on a token or on weights; others take their share of it
    batch: int = 4


BUDGETS: dict[Tier, Budget] = {
    "smoke": Budget(pictures=20, photographs=8, updates=60),
    "standard": Budget(pictures=20, photographs=20, updates=200),
    "full": Budget(pictures=40, photographs=40, updates=400),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What an attack is to bring back."""

    concept: Concept
    prompts: tuple[str, ...]  # the attacker's own, each naming the concept
    latents: Tensor | None = None  # of the attacker's photographs, (n, c, h, w)
    shows: tuple[int, ...] = ()  # which of `prompts` each photograph is of; none: taken in turn
    # whether nobody trained on a wording: what was trained on only shows what was learnt by heart
    fresh: Callable[[str], bool] = lambda _: True

    @property
    def photographs(self) -> Tensor:
        """The latents. `NotRun` if there are none."""
        if self.latents is None:
            raise NotRun("no photographs of the subject")
        return self.latents

    @property
    def rows(self) -> Tensor:
        """The row in `prompts` of what each photograph is told by, (n,). `NotRun` if there are
        none.
        """
        n = len(self.photographs)
        return torch.tensor(self.shows or range(n)) % len(self.prompts)

    def told(self, rows: Tensor) -> tuple[str, ...]:
        """The prompts in `rows`."""
        return tuple(self.prompts[row] for row in rows.tolist())

    @property
    def instead(self) -> tuple[str, ...]:
        """The prompts with the concept replaced."""
        return tuple(self.concept.replaced(prompt) for prompt in self.prompts)


@dataclass(frozen=True, slots=True)
class Setting:
    """A model, the base that it was erased from, and an attacker who may have both."""

    base: Teacher
    victim: Teacher
    budget: Budget
    seed: int
    w: float  # guidance of what is drawn
    steps: int  # DDIM steps of what is drawn

    def against(self, victim: Teacher) -> "Setting":
        """The same against another model."""
        return replace(self, victim=victim)

    def reads(self, prompt: str) -> bool:
        """Whether the victim's text encoder reads `prompt` to its end."""
        tokenizer = self.victim.tokenizer
        return len(tokenizer(prompt).input_ids) <= tokenizer.model_max_length

    def generator(self, name: str) -> torch.Generator:
        """Draws of one purpose."""
        return seeding.generator(self.seed, f"attack: {name}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attack drew, told from which prompts."""

    pictures: Tensor  # (n, 3, h, w) in [0, 1]
    prompts: tuple[str, ...]  # one a picture; pictures of one prompt are alike
    numbers: Mapping[str, float] = field(default_factory=dict)  # what the attack itself measures
    found: str = ""  # the text that a search found, where one searches: it begins each prompt


class Attack(Protocol):
    """A module of this package."""

    NAME: str
    AUDIENCE: Audience
    SHOWN: bool  # whether it shows the model pictures of the subject: then it may teach

    def attack(self, setting: Setting, subject: Subject) -> list[Attempt]:
        """Try to make `setting.victim` draw the subject; one attempt for each strength of the
        attack, the weakest first.

        Raises:
            NotRun: It has no meaning for this model or subject.
        """


@contextmanager
def counted(unet: nn.Module) -> Iterator[list[int]]:
    """A list to which every evaluation of `unet` adds its number of pictures."""
    seen: list[int] = []

    def count(_module: nn.Module, arguments: tuple[Tensor, ...], _output: object) -> None:
        seen.append(len(arguments[0]))

    handle = unet.register_forward_hook(count)
    try:
        yield seen
    finally:
        handle.remove()


@dataclass(frozen=True, slots=True)
class Noised:
    """A batch of photographs with noise."""

    z: Tensor  # z_t
    times: Tensor
    noise: Tensor
    rows: Tensor  # of the prompts that the photographs are of, (n,)


def noised(setting: Setting, subject: Subject, generator: torch.Generator) -> Noised:
    """A batch of photographs, each at a timestep of its own. `NotRun` if there are none."""
    latents, n = subject.photographs, setting.budget.batch
    at = diffusion.noised(setting.victim, latents, n, generator)
    return Noised(at.z, at.timestep, at.noise, subject.rows[at.picture])


def fitting(prompts: Sequence[str], reads: Reads) -> tuple[str, ...]:
    """Those of `prompts` that the text encoder reads to their end. `NotRun` if none is."""
    short = tuple(prompt for prompt in prompts if reads(prompt))
    if not short:
        raise NotRun("each prompt is longer than the tokens that the model reads")
    return short


def untrained(subject: Subject, prompts: Iterable[str]) -> list[str]:
    """Those of `prompts` that nobody trained on, each once: copies are no further evidence.

    Raises:
        NotRun: There are none.
    """
    asked = list(dict.fromkeys(prompts))
    fresh = [prompt for prompt in asked if subject.fresh(prompt)]
    if not fresh:
        raise NotRun(f"each of {len(asked)} wordings was trained on, which tells nothing of others")
    return fresh


def told(prompts: Sequence[str], n: int) -> tuple[str, ...]:
    """`n` prompts, taken in turn."""
    return tuple(prompts[i % len(prompts)] for i in range(n))


def of_photographs(subject: Subject, budget: Budget, _reads: Reads) -> tuple[str, ...]:
    """The prompt of each picture of an attack that draws photographs anew: as many at most, where
    there are as many photographs as the budget has.
    """
    return told(subject.prompts, min(budget.pictures, budget.photographs))


def of_prompts(setting: Setting, prompts: Sequence[str]) -> Attempt:
    """What the victim draws of prompts."""
    return Attempt(draw(setting, encode_prompts(setting.victim, prompts)), tuple(prompts))


@torch.no_grad()
def draw(setting: Setting, context: Context, z: Tensor | None = None, done: int = 0) -> Tensor:
    """Pictures of the victim under `context`, (n, 3, h, w) in [0, 1].

    Args:
        setting: Whose model, guidance and steps.
        context: What each picture is told.
        z: Latents to begin with; None: noise.
        done: How many of the steps are already behind `z`.

    Raises:
        NotRun: A picture is not finite: saved it would be black, and pass for one without the
            concept.
    """
    victim, pictures = setting.victim, []
    if z is None:
        z = drawn_noise(victim, len(context), setting.generator("noise"))
    nothing = encode_prompts(victim, [""])
    for first in range(0, len(context), PICTURES_TOGETHER):
        some = slice(first, first + PICTURES_TOGETHER)
        now = context[some]
        predict = guided(victim, victim.unet, nothing.expand(len(now)), now, setting.w)
        drawn = denoise(victim, z[some], setting.steps, setting.steps, predict, start=done)
        pictures.append(decoded(victim, drawn))
    made = torch.cat(pictures)
    if broken := not_finite(made):
        raise NotRun(
            f"{broken} of {len(made)} pictures are not finite: the model overflows on what it is "
            f"told; they would count as pictures without the concept"
        )
    return made
