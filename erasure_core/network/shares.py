"""Which prompt is shown or trained next where concepts are erased together: each concept gets the
same share, however many prompts it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure_core.law.concepts import Concept

MANY = 2**62  # far more than a concept has prompts: what it leaves over favours none


@dataclass(frozen=True, slots=True)
class Shares:
    """Prompts of several concepts, those of one after those of another. Where there is only one
    concept, its prompts are all drawn alike.
    """

    sizes: tuple[int, ...]  # number of each concept's prompts

    @classmethod
    def of(cls, concepts: Sequence[Concept]) -> "Shares":
        """Those of all prompts of `concepts`."""
        return cls(tuple(len(concept.prompts) for concept in concepts))

    @property
    def firsts(self) -> list[int]:
        """Index of each concept's first prompt."""
        return [sum(self.sizes[:i]) for i in range(len(self.sizes))]

    def drawn(self, n: int, generator: torch.Generator) -> Tensor:
        """Indices of n prompts, (n,): a concept is drawn first, then one of its prompts."""
        if len(self.sizes) == 1:
            return torch.randint(self.sizes[0], (n,), generator=generator)
        concept = torch.randint(len(self.sizes), (n,), generator=generator)
        place = torch.randint(MANY, (n,), generator=generator) % torch.tensor(self.sizes)[concept]
        return torch.tensor(self.firsts)[concept] + place

    def in_turn(self, each: int, generator: torch.Generator | None = None) -> Tensor:
        """Indices of `each` prompts of every concept, (each * concepts,), none of them twice before
        each of the concept's once: in their order, or in one that is drawn.
        """
        orders = [
            torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
            for n in self.sizes
        ]
        turns = [order[torch.arange(each) % len(order)] for order in orders]
        return torch.cat([first + turn for first, turn in zip(self.firsts, turns, strict=True)])
