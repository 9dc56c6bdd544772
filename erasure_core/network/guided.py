"""A teacher's trajectories as a source of points for a student: where they pass, with what the
teacher predicts there and where the student should go. z: (n, c, h, w).

A method says in its `Signal` where the student should go; each step follows that itself, so that
what is trained on is what is sampled.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from erasure_core.network import diffusion
from erasure_core.network.models import Teacher
from erasure_core.network.shares import Shares

GUIDED_TOGETHER = 8  # of one batch; bounds the memory of making a bank
# (z, steps elapsed, prompts (n,)) -> eps_*(0) and what the guidance should be, each like z
Signal = Callable[[Tensor, int, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class GuidedPoints:
    """Samples on the teacher's trajectories with what the teacher predicts there. n points; index i
    counts elapsed steps.
    """

    z: Tensor  # (n, c, h, w)
    elapsed: Tensor  # (n,) in 0..T-1
    prompt: Tensor  # (n,) index of the prompt denoised under
    null: Tensor  # eps_*(0), like z
    target: Tensor  # of the student's guidance, like z

    def tensors(self) -> dict[str, Tensor]:
        """The five by name."""
        return {name: getattr(self, name) for name in GuidedPoints.__slots__}

    def __getitem__(self, rows: Tensor) -> "GuidedPoints":
        return GuidedPoints(**{name: tensor[rows] for name, tensor in self.tensors().items()})

    def to(self, device: torch.device) -> "GuidedPoints":
        """The same points on `device`."""
        return GuidedPoints(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    @classmethod
    def cat(cls, parts: Sequence["GuidedPoints"]) -> "GuidedPoints":
        """One after another."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__slots__))


@dataclass(frozen=True, slots=True)
class GuidedTrajectories:
    """Trajectories from new noise, in `steps` DDIM steps, that follow eps_*(0) + target."""

    teacher: Teacher
    steps: int
    shares: Shares  # of the prompts
    signal: Signal

    @torch.no_grad()
    def fresh(self, n: int, generator: torch.Generator) -> GuidedPoints:
        """n points, each at a uniform step of a trajectory of its own."""
        return GuidedPoints.cat([self._one(generator) for _ in range(n)])

    def _one(self, generator: torch.Generator) -> GuidedPoints:
        z = diffusion.drawn_noise(self.teacher, 1, generator)
        prompt = self.shares.drawn(1, generator).to(self.teacher.device)
        elapsed = int(torch.randint(self.steps, (), generator=generator))
        passed = itertools.count()

        def follow(z: Tensor, _timestep: int) -> Tensor:
            return torch.stack(self.signal(z, next(passed), prompt)).sum(0)

        z = diffusion.denoise(self.teacher, z, self.steps, elapsed, follow)
        at = torch.tensor([elapsed], device=z.device)
        return GuidedPoints(z, at, prompt, *self.signal(z, elapsed, prompt))

    @torch.no_grad()
    def whole(self, each: int, generator: torch.Generator) -> GuidedPoints:
        """Every point of `each` whole trajectories of every concept, n * T points for n of them,
        noisiest first; made `GUIDED_TOGETHER` at a time, on the CPU. No prompt of a concept has two
        before each has one.
        """
        n = each * len(self.shares.sizes)
        z = diffusion.drawn_noise(self.teacher, n, generator)
        prompt = self.shares.in_turn(each, generator).to(self.teacher.device)
        whole: dict[str, Tensor] = {}  # filled in place: a bank may be most of the memory
        for first in range(0, n, GUIDED_TOGETHER):
            together = slice(first, first + GUIDED_TOGETHER)
            steps = self._step_by_step(z[together], prompt[together])
            for elapsed, points in enumerate(steps):
                for name, tensor in points.tensors().items():
                    if name not in whole:
                        whole[name] = tensor.new_empty(len(steps), n, *tensor.shape[1:])
                    whole[name][elapsed, together] = tensor
        return GuidedPoints(**{name: tensor.flatten(0, 1) for name, tensor in whole.items()})

    def _step_by_step(self, z: Tensor, prompt: Tensor) -> list[GuidedPoints]:
        """The points of trajectories from `z`, those of one step together; on the CPU."""
        steps: list[GuidedPoints] = []

        def follow(z: Tensor, _timestep: int) -> Tensor:
            elapsed = len(steps)
            null, target = self.signal(z, elapsed, prompt)
            points = GuidedPoints(z, torch.full_like(prompt, elapsed), prompt, null, target)
            steps.append(points.to(torch.device("cpu")))
            return null + target

        diffusion.denoise(self.teacher, z, self.steps, self.steps, follow)
        return steps
