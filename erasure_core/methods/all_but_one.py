"""All-but-One: move the guidance of a concept to a replacement while the unconditional score is pinned to the teacher's.

Paper      Hong, Lee & Woo, All but One: Surgical Concept Erasing with Model Preservation, AAAI 2024, arXiv:2312.12807,
           Algorithm 1 and eq. 12; delta is the explicit (SEGA) signal. The implicit signal is not here.
Reference  No public code exists; implemented from the paper. SEGA's masking: arXiv:2301.12247.
Departs    Algorithm 1, not eq. 13, whose parenthesis would train away from where x_t was sampled. Warm-up and window
           count elapsed steps from noise. `while`, not `repeat`, so that t = T takes no step. No weight decay (not stated).
           Ours, off in the paper's preset: `keep_weight` (squared error on kept prompts, along the teacher's own walks of
           those prompts; the paper's penalty sees only the unconditional branch, and damage leaks through the
           conditional one), and `trajectories` > 0 (walks of the frozen teacher made once, in batches, and shared).
Changes    Weights of `group` in the UNet. The teacher is not modified.
Cost       Literal: about 56 UNet evaluations an update. With shared trajectories: 2 with gradients, 3 with kept prompts.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from erasure_core import diffusion, layers, seeding, training
from erasure_core.concepts import Concept, kept_prompts
from erasure_core.errors import BadInput
from erasure_core.models import Teacher
from erasure_core.weights import WeightDelta


class Instruction(BaseModel):
    """One element of C_I: a direction that delta adds to the guidance."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    prompt: str | None = Field(None, description="None: the concept's own replacement, in the words of the prompt being erased")
    scale: float = Field(7.5, allow_inf_nan=False, description="g: > 0 towards the prompt, < 0 away from it")
    kappa: float = Field(0.9, ge=0, lt=1, description="share of positions, per sample and channel, that the mask leaves out")
    warmup: int = Field(5, ge=0, description="elapsed steps before it acts; the layout forms undisturbed")
    stop: int | None = Field(None, ge=1, description="elapsed steps after which it acts no more; None: never")


class Settings(training.Training):
    """Defaults are the paper's, and where it is silent those of `docs/methods.md`."""

    method: Literal["all_but_one"] = "all_but_one"
    target: Literal["residual", "replace"] = Field("residual", description="Algorithm 1 (c + delta) or eq. 12 (c' outright)")
    lambda_: float = Field(5.0, alias="lambda", ge=0, allow_inf_nan=False, description="weight of the penalty on the null prompt")
    gamma1: float = Field(7.5, gt=0, allow_inf_nan=False, description="guidance of the teacher: of its walks and in the target")
    gamma2: float = Field(7.5, gt=0, allow_inf_nan=False, description="guidance of the student in the loss")
    steps: int = Field(35, ge=2, description="T, DDIM steps of a walk")
    updates: int = Field(200, ge=1, description="of each concept: two erased together take twice as many")
    lr: float = Field(1e-5, gt=0, allow_inf_nan=False)
    group: layers.Group = "full"
    keep_weight: float = Field(0.0, ge=0, allow_inf_nan=False, description="ours: weight of the error on kept prompts")
    instructions: tuple[Instruction, ...] = Field((Instruction(),), description="C_I; used by target residual")
    trajectories: Literal["fresh"] | int = Field("fresh", description="walks to share among all updates, or 'fresh': one per point")


@dataclass(frozen=True, slots=True)
class Points:
    """Samples on the teacher's walks with what the teacher says there. n points; index i counts elapsed steps."""

    z: Tensor  # (n, c, h, w)
    elapsed: Tensor  # (n,) in 0..T-1
    prompt: Tensor  # (n,) index of the prompt walked
    null: Tensor  # eps_*(0), like z
    target: Tensor  # gamma1 * guidance + delta, like z

    def __getitem__(self, rows: Tensor) -> "Points":
        return Points(self.z[rows], self.elapsed[rows], self.prompt[rows], self.null[rows], self.target[rows])


def semantic_delta(elapsed: int, null: Tensor, directed: Sequence[Tensor], instructions: Sequence[Instruction]) -> Tensor:
    """delta(C_I, z_t): the sum over instructions of g * beta * (eps(c'') - eps(0)).

    Args:
        elapsed: Steps walked from noise; outside [warmup, stop) an instruction is silent.
        null: eps(0), (n, c, h, w).
        directed: eps(c'') of each instruction, each like `null`.
        instructions: Their settings.

    Returns:
        The signal, like `null`; beta keeps per sample and channel the positions whose magnitude reaches the kappa-quantile.
    """
    total = torch.zeros_like(null)
    for eps, instruction in zip(directed, instructions, strict=True):
        if elapsed < instruction.warmup or (instruction.stop is not None and elapsed >= instruction.stop):
            continue
        direction = eps - null
        magnitude = direction.abs().flatten(2).float()
        threshold = torch.quantile(magnitude, instruction.kappa, dim=2, keepdim=True).unsqueeze(-1)
        total = total + instruction.scale * direction * (direction.abs() >= threshold)
    return total


def concept_loss(cond: Tensor, null: Tensor, target: Tensor, gamma2: float) -> Tensor:
    """Algorithm 1, line 11: mean of (gamma2 (eps(c) - sg(eps(0))) - target)^2; no gradient reaches eps(0)."""
    return (gamma2 * (cond - null.detach()) - target).square().mean()


def penalty_loss(null: Tensor, teacher_null: Tensor) -> Tensor:
    """Algorithm 1, line 12: mean of (eps(0) - eps_*(0))^2."""
    return (null - teacher_null).square().mean()


class Guide:
    """The frozen teacher as a source of points: walks a list of prompts and says where the student should go."""

    def __init__(self, teacher: Teacher, settings: Settings, walked: Sequence[str], directions: Sequence[Sequence[str]] = ()):
        """`walked[p]` is the prompt of walk p; `directions[j][p]` the prompt of instruction j beside it."""
        self.teacher, self.settings = teacher, settings
        self.device = teacher.unet.device
        self.null = diffusion.encode_prompts(teacher, [""])
        self.walked = diffusion.encode_prompts(teacher, walked)
        self.directions = [diffusion.encode_prompts(teacher, prompts) for prompts in directions]
        self.timesteps = torch.tensor(diffusion.timesteps(teacher, settings.steps), device=self.device)

    def signal(self, z: Tensor, elapsed: int, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """(eps_*(0), gamma1 * guidance + delta) at `z`; one batch of 2 + m evaluations."""
        contexts = [self.null.expand(len(z)), self.walked[prompt], *(d[prompt] for d in self.directions)]
        null, cond, *directed = diffusion.predict_each(self.teacher, self.teacher.unet, z, int(self.timesteps[elapsed]), contexts)
        instructions = self.settings.instructions if directed else ()
        return null, self.settings.gamma1 * (cond - null) + semantic_delta(elapsed, null, directed, instructions)

    def _start(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        config = self.teacher.unet.config
        z = torch.randn((n, config.in_channels, config.sample_size, config.sample_size), generator=generator)
        prompt = torch.randint(len(self.walked), (n,), generator=generator)
        return z.to(self.device), prompt.to(self.device)

    @torch.no_grad()
    def fresh(self, n: int, generator: torch.Generator) -> Points:
        """n points as Algorithm 1 prints it: for each, a walk from new noise to a uniform step."""
        found = []
        for _ in range(n):
            z, prompt = self._start(1, generator)
            elapsed = int(torch.randint(self.settings.steps, (), generator=generator))

            def guided(z: Tensor, timestep: int, prompt: Tensor = prompt) -> Tensor:
                return torch.stack(self.signal(z, int((self.timesteps == timestep).nonzero()), prompt)).sum(0)

            z = diffusion.walk(self.teacher, z, self.settings.steps, elapsed, guided)
            found.append(Points(z, torch.tensor([elapsed], device=z.device), prompt, *self.signal(z, elapsed, prompt)))
        return Points(*(torch.cat([getattr(p, name) for p in found]) for name in Points.__slots__))

    @torch.no_grad()
    def bank(self, walks: int, generator: torch.Generator) -> Points:
        """Every point of `walks` whole walks, made in one batch: walks * T points."""
        z, prompt = self._start(walks, generator)
        found: list[Points] = []

        def guided(z: Tensor, _timestep: int) -> Tensor:
            elapsed = len(found)
            null, target = self.signal(z, elapsed, prompt)
            found.append(Points(z, torch.full_like(prompt, elapsed), prompt, null, target))
            return null + target

        diffusion.walk(self.teacher, z, self.settings.steps, self.settings.steps, guided)
        return Points(*(torch.cat([getattr(p, name) for p in found]) for name in Points.__slots__))


@dataclass(frozen=True, slots=True)
class Banks:
    """The teacher's walks, shared by every lambda of a sweep: they depend on neither student nor lambda."""

    erase: Points
    keep: Points | None


def _guides(teacher: Teacher, concepts: Sequence[Concept], settings: Settings) -> tuple[Guide, Guide | None]:
    """The guide to the erased prompts, and the one to the kept prompts when `keep_weight` asks for it."""
    pairs = [(concept, prompt) for concept in concepts for prompt in concept.prompts]
    if settings.target == "replace":
        erase = Guide(teacher, settings, [concept.replaced(prompt) for concept, prompt in pairs])
    else:
        directions = [[i.prompt or concept.replaced(prompt) for concept, prompt in pairs] for i in settings.instructions]
        erase = Guide(teacher, settings, [prompt for _, prompt in pairs], directions)
    keep = kept_prompts(concepts)
    return erase, Guide(teacher, settings, keep) if keep and settings.keep_weight else None


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def prepare(teacher: Teacher, concepts: Sequence[Concept], settings: Settings, *, seed: int, cache: Path | None = None) -> Banks | None:
    """Make the walks that every lambda of a sweep shares; None where each update walks afresh."""
    if settings.trajectories == "fresh":
        return None
    erase, keep = _guides(teacher, concepts, settings)
    walks = settings.trajectories
    kept = keep.bank(walks, seeding.generator(seed, "walks of kept prompts")) if keep else None
    return Banks(erase.bank(walks, seeding.generator(seed, "walks")), kept)


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse settings under which nothing could be erased.

    Raises:
        BadInput: No concept; or target residual without an instruction that acts (the loss would start at zero).
    """
    if not concepts:
        raise BadInput("no concept to erase; a request names one")
    acting = [i for i in settings.instructions if i.scale and i.warmup < min(i.stop or settings.steps, settings.steps)]
    if settings.target == "residual" and not acting:
        raise BadInput(
            "target residual needs an instruction with scale != 0 and warmup < stop; without one delta is 0 and nothing is erased"
        )
    if settings.trajectories != "fresh" and settings.trajectories < 1:
        raise BadInput(f"trajectories={settings.trajectories} must be 'fresh' or at least 1")


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.group` may change."""
    return frozenset(layers.select(unet, settings.group))


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    *,
    seed: int,
    on_step: training.OnStep | None = None,
    prepared: Banks | None = None,
    resume: Path | None = None,
) -> WeightDelta:
    """Run Algorithm 1 and return what it changed.

    Args:
        teacher: The frozen base; a copy of its UNet is trained.
        concepts: C with each concept's replacement and kept prompts; each update draws from all of them.
        settings: Hyper-parameters.
        seed: Decides every draw.
        on_step: Hears (update, {concept, penalty, keep}), weighted as in the loss.
        prepared: What `prepare` returned for the same arguments, lambda aside; made here if absent.
        resume: Where the state of the training is kept, to go on from after a kill.

    Raises:
        BadInput: If the settings cannot erase anything, or a prompt is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    guide, keep_guide = _guides(teacher, concepts, settings)
    erased = diffusion.encode_prompts(teacher, [prompt for concept in concepts for prompt in concept.prompts])
    banks = prepared or prepare(teacher, concepts, settings, seed=seed)
    draws = seeding.generator(seed, "updates")

    def points(source: Guide, bank: Points | None) -> Points:
        if bank is None:
            return source.fresh(settings.batch, draws)
        return bank[torch.randint(len(bank.z), (settings.batch,), generator=draws)]

    def loss(student: nn.Module) -> dict[str, Tensor]:
        at = points(guide, banks.erase if banks else None)
        nothing = guide.null.expand(settings.batch)
        null, cond = diffusion.predict_each(teacher, student, at.z, guide.timesteps[at.elapsed], [nothing, erased[at.prompt]])
        terms = {
            "concept": concept_loss(cond, null, at.target, settings.gamma2),
            "penalty": settings.lambda_ * penalty_loss(null, at.null),
        }
        if keep_guide:
            at = points(keep_guide, banks.keep if banks else None)
            held = diffusion.predict_noise(teacher, student, at.z, keep_guide.timesteps[at.elapsed], keep_guide.walked[at.prompt])
            terms["keep"] = settings.keep_weight * (held - (at.null + at.target / settings.gamma1)).square().mean()
        return terms

    student = training.student_of(teacher, settings)
    trainable = layers.select(student, settings.group)
    loop = training.Loop(generators=[draws], on_step=on_step, resume=resume)
    training.fit(student, trainable, loss, settings, training.total_updates(concepts, settings), loop)
    return WeightDelta.between(teacher.unet, student, frozenset(trainable))
