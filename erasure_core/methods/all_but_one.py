"""All-but-One: move the guidance of a concept to a replacement while the unconditional score is
pinned to the teacher's.

Paper      Hong, Lee & Woo, All but One: Surgical Concept Erasing with Model Preservation, AAAI
           2024, arXiv:2312.12807, Algorithm 1 and eq. 12; delta is the explicit (SEGA) or the
           implicit (Prompt-to-Prompt) signal.
Reference  No public code exists; implemented from the paper. SEGA's masking: arXiv:2301.12247;
           reweighting: arXiv:2208.01626.
Departs    Algorithm 1, not eq. 13, whose parenthesis would train away from where x_t was sampled.
           Warm-up and window count elapsed steps from noise. `while`, not `repeat`, so that t = T
           takes no step. No weight decay (not stated). Ours, off in the paper's preset:
           `keep_weight` (squared error on kept prompts, along the teacher's own trajectories of
           those prompts; the paper's penalty sees only the unconditional branch, and damage leaks
           through the conditional one; with `keep_null` the null prompt is held on those
           trajectories too), `trajectories` > 0 (of the frozen teacher, made once, in batches, and
           shared), `robust` (one more term: an adversary inside the loop, `network/adversary.py`,
           whose states are sent to the replacement as well), and `hard` (keys and values change
           only where the null prompt does not look, so that the paper's equality constraint holds
           exactly, without a lambda).
Changes    Weights of `group` in the UNet. The teacher is not modified.
Cost       Literal: about 56 UNet evaluations an update. With shared trajectories: 2 with gradients,
           3 with kept prompts. The trajectories: 3 evaluations a point; kept in the cache folder,
           by content.
Restore    By releasing again without the concept; the change of several is one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import (
    Concept,
    Prompt,
    check_some,
    erased_prompts,
    kept_prompts,
    stand_in,
)
from erasure_core.network import attention, diffusion, training
from erasure_core.network.adversary import Adversary, Robust
from erasure_core.network.guided import GuidedPoints, GuidedTrajectories
from erasure_core.network.models import Teacher
from erasure_core.network.null_space import null_basis
from erasure_core.network.prepared import by_content
from erasure_core.network.shares import Shares
from erasure_core.network.weights import WeightDelta
from erasure_core.network.work import Work


class Instruction(BaseModel):
    """One element of C_I: a direction that delta adds to the guidance."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    prompt: Prompt | None = Field(
        None,
        description=(
            "prompt of the direction; null is the erased prompt with the concept replaced"
        ),
    )
    scale: float | None = Field(
        None,
        allow_inf_nan=False,
        description=(
            "g, weight of the direction; a higher one leads further towards the prompt, "
            "one below 0 away from it, null is gamma2"
        ),
    )
    kappa: float = Field(
        0.9,
        ge=0,
        lt=1,
        description=(
            "share of positions, per sample and channel, that the mask leaves out; a higher one "
            "acts on fewer, the strongest"
        ),
    )
    warmup: int = Field(
        5, ge=0, description="elapsed steps before it acts; more leave more of the layout as it is"
    )
    stop: int | None = Field(
        None,
        ge=1,
        description=(
            "elapsed steps after which it no longer acts; more let it act longer, null to the end"
        ),
    )

    def acts_at(self, elapsed: int) -> bool:
        """Whether it adds to delta after so many steps."""
        return self.warmup <= elapsed and (self.stop is None or elapsed < self.stop)


class Implicit(BaseModel):
    """The implicit signal: the teacher's own prediction with less attention to the concept's name.
    Experimental.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    scale: float = Field(
        0.0,
        ge=-2,
        lt=1,
        description=(
            "s, factor on the teacher's attention to the name; a higher one erases less, "
            "1 would change nothing"
        ),
    )
    include_eot: bool = Field(
        False,
        description=(
            "apply s to the end token and the padding too, into which the text encoder copies "
            "the concept"
        ),
    )
    fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description=(
            "share of the steps, counted from noise, at which it acts; a higher one erases more"
        ),
    )


class Settings(training.LoraTraining):
    """Defaults are the paper's, and where it is silent those of `docs/methods.md`."""

    method: Literal["all_but_one"] = "all_but_one"
    target: Literal["residual", "replace"] = Field(
        "residual",
        description=(
            "where the guidance of c goes: to that of c plus delta (Algorithm 1), "
            "or to that of c' (eq. 12)"
        ),
    )
    lambda_: float = Field(
        5.0,
        alias="lambda",
        ge=0,
        allow_inf_nan=False,
        description=(
            "weight of the penalty on the null prompt; a higher one keeps eps(0) closer to the "
            "teacher's, 0 leaves it free"
        ),
    )
    gamma1: float = Field(
        7.5,
        gt=0,
        allow_inf_nan=False,
        description=(
            "guidance of the teacher, on its trajectories and in the target; a higher one "
            "asks for a stronger replacement"
        ),
    )
    gamma2: float = Field(
        7.5,
        gt=0,
        allow_inf_nan=False,
        description=(
            "guidance of the student in the loss; a higher one asks it for a smaller change"
        ),
    )
    steps: diffusion.Steps = 35
    updates: training.Updates = 200
    lr: training.Lr = 1e-5
    group: training.Group = "full"
    keep_weight: training.KeepWeight = 0.0
    keep_null: bool = Field(
        False,
        description=(
            "ours: hold eps(0) to the teacher's on the trajectories of kept prompts too; at "
            "lambda 0 it is then free on all others"
        ),
        json_schema_extra={"ours": True},
    )
    signal: Literal["explicit", "implicit"] = Field(
        "explicit",
        description=(
            "what delta is made of, in target residual: directions of other prompts (explicit), "
            "or less attention to the name (implicit)"
        ),
    )
    instructions: tuple[Instruction, ...] = Field(
        (Instruction(),), description="C_I, directions of the explicit signal"
    )
    implicit: Implicit = Field(Implicit(), description="settings of the implicit signal")
    hard: bool = Field(
        False,
        description=(
            "ours: change keys and values only where the null prompt does not look, which keeps "
            "eps(0) exactly; lambda then has no effect"
        ),
        json_schema_extra={"ours": True},
    )
    trajectories: Literal["fresh"] | PositiveInt = Field(
        "fresh",
        description=(
            "ours: trajectories of each concept that all updates share; more cover more states, "
            "'fresh' makes one for each point"
        ),
        json_schema_extra={"ours": True},
    )
    robust: Robust | None = Field(
        None,
        description=(
            "ours: settings of an adversary inside the loop, whose states are erased too; "
            "{} are its defaults, null is no adversary"
        ),
        json_schema_extra={"ours": True},
    )

    @property
    def lambda_eff(self) -> float:
        """lambda / gamma2^2: the penalty's weight beside an error of eps(c), which the concept term
        counts gamma2^2 times. Comparable between settings of different gamma2.
        """
        return self.lambda_ / self.gamma2**2

    @property
    def scaled(self) -> tuple[Instruction, ...]:
        """C_I with each scale: gamma2, which moves the optimum by one masked direction, where none
        is told.
        """
        return tuple(
            i if i.scale is not None else i.model_copy(update={"scale": self.gamma2})
            for i in self.instructions
        )


def semantic_delta(
    elapsed: int, null: Tensor, directed: Sequence[Tensor], instructions: Sequence[Instruction]
) -> Tensor:
    """delta(C_I, z_t): the sum over instructions of g * beta * (eps(c'') - eps(0)).

    Args:
        elapsed: Steps from noise; outside [warmup, stop) an instruction adds nothing.
        null: eps(0), (n, c, h, w).
        directed: eps(c'') of each instruction, each like `null`.
        instructions: Their settings, each with a scale.

    Returns:
        The signal, like `null`; beta keeps per sample and channel the positions whose magnitude
        reaches the kappa-quantile.
    """
    total = torch.zeros_like(null)
    for eps, instruction in zip(directed, instructions, strict=True):
        if not instruction.acts_at(elapsed):
            continue
        direction = eps - null
        magnitude = direction.abs().flatten(2).float()
        threshold = torch.quantile(magnitude, instruction.kappa, dim=2, keepdim=True).unsqueeze(-1)
        assert instruction.scale is not None
        total = total + instruction.scale * direction * (direction.abs() >= threshold)
    return total


def implicit_delta(cond: Tensor, edited: Tensor, gamma1: float) -> Tensor:
    """The implicit signal: gamma1 (eps_ptp(c) - eps(c)); added to gamma1 (eps(c) - eps(0)) it puts
    eps_ptp(c) in the place of eps(c).
    """
    return gamma1 * (edited - cond)


def concept_loss(cond: Tensor, null: Tensor, target: Tensor, gamma2: float) -> Tensor:
    """Algorithm 1, line 11: mean of (gamma2 (eps(c) - sg(eps(0))) - target)^2; no gradient reaches
    eps(0).
    """
    return (gamma2 * (cond - null.detach()) - target).square().mean()


def penalty_loss(null: Tensor, teacher_null: Tensor) -> Tensor:
    """Algorithm 1, line 12: mean of (eps(0) - eps_*(0))^2."""
    return (null - teacher_null).square().mean()


class Guide:
    """The frozen teacher as a source of points: its trajectories of some prompts, and where the
    student should go from there.
    """

    def __init__(
        self,
        teacher: Teacher,
        settings: Settings,
        prompts: Sequence[str],
        directions: Sequence[Sequence[str]] = (),
        hidden: Tensor | None = None,
        shares: Shares | None = None,
    ):
        """Trajectories follow `prompts`, by their `shares` or all alike; delta is one of two, or
        nothing.

        `directions[j][k]` is the prompt of instruction j beside prompt k (explicit); `hidden[k]`
        marks the tokens of prompt k whose attention the implicit signal scales, (prompts, tokens).
        """
        self.teacher, self.settings = teacher, settings
        self.device = teacher.device
        self.null = diffusion.encode_prompts(teacher, [""])
        self.prompts = diffusion.encode_prompts(teacher, prompts)
        self.shares = shares or Shares((len(prompts),))
        self.directions = [diffusion.encode_prompts(teacher, directed) for directed in directions]
        self.hidden = hidden
        self.timesteps = torch.tensor(
            diffusion.timesteps(teacher, settings.steps), device=self.device
        )
        self.trajectories = GuidedTrajectories(teacher, settings.steps, self.shares, self.signal)

    def signal(self, z: Tensor, elapsed: int, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """(eps_*(0), gamma1 * guidance + delta) at `z`; 2 + m evaluations, and 3 with the implicit
        signal.
        """
        timestep, told = int(self.timesteps[elapsed]), self.prompts[prompt]
        contexts = [self.null.expand(len(z)), told, *(d[prompt] for d in self.directions)]
        null, cond, *directed = diffusion.predict_each(
            self.teacher, self.teacher.guide, z, timestep, contexts
        )
        target = self.settings.gamma1 * (cond - null)
        if directed:
            target = target + semantic_delta(elapsed, null, directed, self.settings.scaled)
        implicit = self.settings.implicit
        if self.hidden is not None and elapsed < implicit.fraction * self.settings.steps:
            with attention.reweighted(self.teacher.guide, self.hidden[prompt], implicit.scale):
                edited = diffusion.predict_noise(
                    self.teacher, self.teacher.guide, z, timestep, told
                )
            target = target + implicit_delta(cond, edited, self.settings.gamma1)
        return null, target

    def points(self, bank: GuidedPoints | None, n: int, draws: torch.Generator) -> GuidedPoints:
        """n points of a bank, with replacement; without one new ones, as Algorithm 1 makes them."""
        if bank is None:
            return self.trajectories.fresh(n, draws)
        return bank[torch.randint(len(bank.z), (n,), generator=draws)].to(self.device)

    def bank(self, each: int, name: str, work: Work) -> GuidedPoints:
        """`GuidedTrajectories.whole` of `each` trajectories of every concept, kept by content.

        `name` is that of the random stream. A bank larger than `diffusion.RESIDENT` stays on the
        CPU: if it is in a file, only the rows that are drawn are read.
        """

        def make() -> dict[str, Tensor]:
            return self.trajectories.whole(each, seeding.generator(work.seed, name)).tensors()

        points = GuidedPoints(
            **by_content(
                work.cache, "trajectories", lambda: self._content(each, work.seed, name), make
            )
        )
        small = diffusion.resident(points.tensors().values())
        return points.to(self.device) if small else points

    def _content(self, each: int, seed: int, name: str) -> dict[str, object]:
        """Everything that the bank depends on; lambda and the student are not among it."""
        settings = self.settings
        explicit = settings.scaled if self.directions else None
        return {
            **diffusion.content_of(self.teacher, [self.prompts, *self.directions]),
            "delta": explicit if self.hidden is None else settings.implicit,
            "hidden": None if self.hidden is None else self.hidden.tolist(),
            "trajectories": [settings.gamma1, settings.steps, each, seed, name],
            "shares": self.shares.sizes,
        }


@dataclass(frozen=True, slots=True)
class Banks:
    """The teacher's trajectories, shared by every lambda of a sweep: they depend on neither student
    nor lambda.
    """

    erase: GuidedPoints
    keep: GuidedPoints | None


def _guides(
    teacher: Teacher, concepts: Sequence[Concept], settings: Settings
) -> tuple[Guide, Guide | None]:
    """The guide to the erased prompts, and the one to the kept prompts when `keep_weight` asks for
    it.
    """
    pairs = [(concept, prompt) for concept in concepts for prompt in concept.prompts]
    shares = Shares.of(concepts)
    if settings.target == "replace":
        replaced = [stand_in(concept, prompt, concepts) for concept, prompt in pairs]
        erase = Guide(teacher, settings, replaced, shares=shares)
    elif settings.signal == "implicit":
        tail: attention.Tail = "padded" if settings.implicit.include_eot else "none"
        erase = Guide(
            teacher,
            settings,
            [prompt for _, prompt in pairs],
            hidden=attention.concept_columns(teacher, concepts, tail),
            shares=shares,
        )
    else:
        directions = [
            [i.prompt or stand_in(concept, prompt, concepts) for concept, prompt in pairs]
            for i in settings.instructions
        ]
        prompts = [prompt for _, prompt in pairs]
        erase = Guide(teacher, settings, prompts, directions, shares=shares)
    keep = kept_prompts(concepts)
    return erase, Guide(teacher, settings, keep) if keep and settings.keep_weight else None


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together."""
    return training.total_updates(concepts, settings)


def banked(settings: Settings) -> int:
    """How many latents are kept of each concept: of each point of shared trajectories three, and as
    many of the kept prompts'.
    """
    if settings.trajectories == "fresh":
        return 0
    return 3 * settings.trajectories * settings.steps * (2 if settings.keep_weight else 1)


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> Banks | None:
    """The trajectories that all lambdas of a sweep share; None where each update makes its own."""
    if settings.trajectories == "fresh":
        return None
    erase, keep = _guides(teacher, concepts, settings)
    n = settings.trajectories
    kept = keep.bank(n * len(concepts), diffusion.KEPT_STREAM, work) if keep else None
    return Banks(erase.bank(n, diffusion.TRAJECTORIES_STREAM, work), kept)


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse settings under which nothing could be erased.

    Raises:
        BadInput: No concept; target residual without an instruction that acts (the loss would start
            at zero); the implicit signal or `robust` for a prompt that does not name its concept;
            the implicit signal without target residual; `keep_null` without `keep_weight`; `hard`
            outside keys and values; `lora` with `hard` or `robust`.
    """
    check_some(concepts)
    acting = [i for i in settings.scaled if i.scale and any(map(i.acts_at, range(settings.steps)))]
    if settings.signal == "implicit":
        if settings.target != "residual":
            raise BadInput(
                f"signal implicit is a delta, and target {settings.target} has none; use "
                f"target residual"
            )
        attention.check_named(
            concepts, "signal implicit scales attention to", "use signal explicit"
        )
    elif settings.target == "residual" and not acting:
        raise BadInput(
            "target residual needs an instruction with scale != 0 and warmup < stop; "
            "without one delta is 0 and nothing is erased"
        )
    if settings.robust:
        attention.check_named(concepts, "robust puts vectors in the place of", "leave robust out")
    if settings.keep_null and not settings.keep_weight:
        raise BadInput(
            "keep_null holds the null prompt with the kept ones, and keep_weight=0 holds "
            "none; set keep_weight > 0"
        )
    if settings.hard and settings.group != "kv":
        raise BadInput(
            f"hard pins the null prompt by its keys and values, but "
            f"group={settings.group!r} changes more; use group kv"
        )
    if settings.lora and (settings.hard or settings.robust):
        raise BadInput(
            "hard and robust read and write whole keys and values, lora trains factors of their "
            "change; use one without the other"
        )


def projection(
    base: nn.Module, trainable: Mapping[str, nn.Parameter], null: diffusion.Context
) -> Callable[[], None]:
    """A function that takes out of the change of keys and values everything that the null prompt
    sees, for after each update.

    Each row of the change is projected on the null space of the token states of "". Then K and V of
    "" are the teacher's, hence eps(0) at every z and t: to the rounding of float32 weights.

    Raises:
        BadInput: If the states of "" leave no direction free.
    """
    basis = null_basis(null.states.flatten(0, 1))
    if not len(basis):
        raise BadInput(
            f"the states of the null prompt fill all {basis.shape[1]} directions; hard "
            f"leaves nothing to change, use lambda"
        )
    projector, origin = basis.T @ basis, dict(base.named_parameters())

    @torch.no_grad()
    def project() -> None:
        for name, weight in trainable.items():
            start = origin[name].to(weight.device).double()
            weight.copy_(start + (weight.double() - start) @ projector)

    return project


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the weights that `settings.group` may change."""
    return training.declared(unet, settings.group, settings)


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: Banks | None = None,
) -> WeightDelta:
    """Run Algorithm 1 and return what it changed.

    Each update draws from all concepts and reports {concept, penalty, keep, robust}, weighted as in
    the loss; no penalty where `hard` makes it zero. What was prepared fits any lambda.

    Raises:
        BadInput: If the settings cannot erase anything, or a prompt is too long for the base.
        ErasureError: If training diverges.
    """
    check(concepts, settings)
    guide, keep_guide = _guides(teacher, concepts, settings)
    erased = diffusion.encode_prompts(teacher, erased_prompts(concepts))
    banks = prepared or prepare(teacher, concepts, settings, work)
    draws = seeding.generator(work.seed, "updates")
    adversary = _adversary(teacher, concepts, settings, work.seed)

    def loss(student: nn.Module) -> dict[str, Tensor]:
        at = guide.points(banks.erase if banks else None, settings.batch, draws)
        terms = _erased_terms(student, guide, at, erased[at.prompt])
        if keep_guide:
            at = keep_guide.points(banks.keep if banks else None, settings.batch, draws)
            terms["keep"] = settings.keep_weight * _kept_error(student, keep_guide, at)
        if adversary:
            terms["robust"] = adversary.term(student)
        return terms

    student = training.student_of(teacher, settings)
    trainable = training.trainable(student, settings.group, settings, work.seed)
    pin = None
    if settings.hard:
        pin = projection(teacher.unet, trainable, diffusion.encode_words(teacher, [""]))
    loop = training.Loop(
        generators=[draws, adversary.draws] if adversary else [draws],
        extra=adversary.tensors if adversary else {},
        after=pin,
        on_step=work.on_step,
        resume=work.resume,
    )
    training.fit(
        student, trainable, loss, settings, training.total_updates(concepts, settings), loop
    )
    return training.change(teacher.unet, student, trainable, settings)


def _adversary(
    teacher: Teacher, concepts: Sequence[Concept], settings: Settings, seed: int
) -> Adversary | None:
    """The adversary inside the loop, where one is asked for."""
    if settings.robust is None:
        return None
    return Adversary(teacher, concepts, settings.robust, settings.gamma1, settings.steps, seed)


def _erased_terms(
    student: nn.Module, guide: Guide, at: GuidedPoints, erased: diffusion.Context
) -> dict[str, Tensor]:
    """Algorithm 1, lines 11 and 12: the loss of the concept and the weighted penalty, at points of
    the erased prompts; no penalty where `hard` makes it zero.
    """
    settings, nothing = guide.settings, guide.null.expand(len(at.z))
    null, cond = diffusion.predict_each(
        guide.teacher, student, at.z, guide.timesteps[at.elapsed], [nothing, erased]
    )
    terms = {"concept": concept_loss(cond, null, at.target, settings.gamma2)}
    if not settings.hard:
        terms["penalty"] = settings.lambda_ * penalty_loss(null, at.null)
    return terms


def _kept_error(student: nn.Module, guide: Guide, at: GuidedPoints) -> Tensor:
    """Ours: mean square of what the student's noise differs from the teacher's at points of the
    kept prompts, of the null prompt too where `keep_null` asks for it.
    """
    contexts = [guide.prompts[at.prompt]]
    bases = [at.null + at.target / guide.settings.gamma1]  # plain guidance: no delta is in it
    if guide.settings.keep_null:
        contexts, bases = [*contexts, guide.null.expand(len(at.z))], [*bases, at.null]
    held = diffusion.predict_each(
        guide.teacher, student, at.z, guide.timesteps[at.elapsed], contexts
    )
    return (torch.cat(held) - torch.cat(bases)).square().mean()
