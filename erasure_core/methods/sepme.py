"""SepME: one separate change of weights a concept, unseen by protected prompts, so that each can be
taken back alone.

Paper      Zhao, Zhang, Zheng, Kong & Yin, Separable Multi-Concept Erasure from Diffusion Models,
           2024, arXiv:2402.05947 (SepME, later SRS-ME): concept-irrelevant representations and
           weight decoupling.
Reference  Dlut-lab-zmn/SepCE4MU @ 960385a: facts only, it has no licence.
Departs    S from singular vectors in float64 (reference: symbolic reduction, neither orthogonal nor
           scaled). Gradients are zeroed at each update (reference: they add up over all of them),
           so lr needs tuning. c0 is the empty prompt, never a pair of phrases; it is protected, so
           the student's eps(c0) is the teacher's and is not computed. Pictures stay latents.
           Concepts are trained one at a time; the joint and the coupled variant are not here. Ours,
           off by default: `target: replace` (squared error to the teacher's noise for the
           replacement, in the same directions), `keep` (the concept's kept prompts are protected
           too), and a `tolerance` well above rounding, which protects many alike prompts nearly
           instead of a few exactly.
Changes    `attn2.to_k` and `attn2.to_v` weights of the UNet. The teacher is not modified.
Cost       2 x steps UNet evaluations a picture, once, kept in the cache folder; 3 an update (2 to
           replace), one with gradients.
Restore    By dropping the concept's increment: the others do not depend on it once its prompts are
           in `protect`, so releasing again without it gives, byte for byte, the model that never
           erased it.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept, Prompt, check_some
from erasure_core.network import diffusion, layers, training
from erasure_core.network.models import Teacher
from erasure_core.network.null_space import ROUNDING, null_basis
from erasure_core.network.prepared import by_content
from erasure_core.network.weights import WeightDelta, tensors_sha256
from erasure_core.network.work import Work

Increment = dict[str, Tensor]  # weight name -> change, float32 on CPU

MOMENTUM = 0.9  # of the running mean that `stop` looks at
LEAST = 10  # updates before `stop` may end the training


class Settings(training.Training):
    """Defaults are the paper's."""

    method: Literal["sepme"] = "sepme"
    target: Literal["correlation", "replace"] = Field(
        "correlation",
        description=(
            "what the loss asks: noise without correlation to the concept's, "
            "or (ours) that of its replacement"
        ),
        json_schema_extra={"ours": ["replace"]},
    )
    protect: tuple[Prompt, ...] = Field(
        (),
        description="prompts to protect besides the empty one and those of other erased concepts",
    )
    keep: bool = Field(
        False,
        description="ours: protect each concept's kept prompts as well",
        json_schema_extra={"ours": True},
    )
    tolerance: float = Field(
        1e-5,
        gt=0,
        lt=1,
        description=(
            "share of the strongest direction of protected prompts below which a direction is "
            "free to change; a higher one erases more and protects less exactly"
        ),
        json_schema_extra={"ours": True},
    )
    updates: int = Field(
        1000, ge=1, description="most optimiser steps of each concept; more erase further"
    )
    stop: float | None = Field(
        1e-4,
        allow_inf_nan=False,
        description=(
            "tau, running mean of the concept term that ends the training; a higher one ends "
            "it earlier, null never"
        ),
    )
    lr: training.Lr = 0.1
    beta: float = Field(
        1e-4,
        gt=0,
        allow_inf_nan=False,
        description="scale of w in the change beta w S; a higher one makes larger steps",
    )
    l1: float = Field(
        1e-6,
        ge=0,
        allow_inf_nan=False,
        description="lambda, weight of the mean L1 norm of the changes; a higher one changes less",
    )
    images: int = Field(
        1000, ge=1, description="pictures of each concept; more vary more, and take longer"
    )
    steps: diffusion.Steps = 50
    guidance: diffusion.Guidance = 7.5


def correlation(cond: Tensor, teacher_null: Tensor, teacher_cond: Tensor) -> Tensor:
    """L_cor: mean of r r*, where r = eps(c) - eps(0) is what the concept adds to the noise and r*
    is the teacher's; 0 is erased.
    """
    return ((cond - teacher_null) * (teacher_cond - teacher_null)).mean()


def distance(cond: Tensor, teacher_replaced: Tensor) -> Tensor:
    """Ours: mean of (eps(c) - eps*(c'))^2, c' the prompt with the concept replaced."""
    return (cond - teacher_replaced).square().mean()


class Shifted(nn.Module):
    """The weight W + beta w S, of which `w` (d_out, free) is trained and starts at zero."""

    def __init__(self, weight: Tensor, directions: Tensor, beta: float):
        """`directions` is S, (free, d_text), orthonormal."""
        super().__init__()
        self.base, self.beta = weight.detach().clone(), beta
        self.directions = directions.to(weight.dtype)

    def change(self, w: Tensor) -> Tensor:
        """beta w S, (d_out, d_text)."""
        return self.beta * (w @ self.directions)

    def forward(self, w: Tensor) -> Tensor:
        """The weight that the network sees."""
        return self.base + self.change(w)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The w at which the network sees its own weight."""
        return weight.new_zeros(len(weight), len(self.directions))


# What is protected


def protected_prompts(
    concept: Concept, concepts: Sequence[Concept], settings: Settings
) -> list[str]:
    """What the increment of `concept` may not touch: a set, sorted, without what names the concept
    itself.

    A concept erased beside it and one that was erased and restored, whose prompts are in
    `settings.protect`, count alike.
    """
    others = [
        prompt for other in concepts if other.name != concept.name for prompt in other.prompts
    ]
    protected = {*settings.protect, *others, *(concept.keep if settings.keep else ())} - set(
        concept.prompts
    )
    return ["", *sorted(prompt for prompt in protected if not concept.named_in(prompt))]


def _rows(teacher: Teacher, prompts: Sequence[str]) -> Tensor:
    """Every token state of `prompts`, (n * tokens, d_text), float64. Of the empty prompt those of
    its words: zeros, as XL is told an absent one, no change of weights can move.
    """
    return diffusion.encode_words(teacher, prompts).states.flatten(0, 1).double()


def free_directions(teacher: Teacher, prompts: Sequence[str], tolerance: float) -> Tensor:
    """S: orthonormal directions that the empty prompt does not see at all, and `prompts` only up to
    `tolerance`: (free, d_text).

    Of `prompts` counts what is left when the empty prompt's directions are taken out. Where that is
    only the rounding of their states, as for "" itself, it costs no direction.
    """
    unseen = null_basis(_rows(teacher, [""]))
    if not prompts:
        return unseen
    rows = _rows(teacher, prompts)
    rounding = ROUNDING * float(torch.linalg.matrix_norm(rows, 2))
    return null_basis(rows @ unseen.T, tolerance, rounding) @ unseen


def capacity(teacher: Teacher, prompts: Sequence[str], settings: Settings) -> int:
    """How many prompts surely fit besides "" and `prompts`: each takes a direction a token, but for
    the first token, which all share.

    More fit where prompts are alike. Two directions are not counted: one for the concept, and one
    that no state reaches behind a LayerNorm.
    """
    states = diffusion.encode_words(teacher, [""]).states
    free = len(free_directions(teacher, prompts, settings.tolerance))
    return max(0, free - 2) // (states.shape[1] - 1)


def directions_of(
    teacher: Teacher, concepts: Sequence[Concept], settings: Settings
) -> dict[str, Tensor]:
    """The free directions of each concept's increment, by the concept's name.

    Raises:
        BadInput: If the protected prompts leave nothing of a concept to change; says how many fit.
    """
    free = {}
    for concept in concepts:
        prompts = protected_prompts(concept, concepts, settings)
        directions = free_directions(teacher, prompts, settings.tolerance)
        rows = _rows(teacher, concept.prompts)
        seen = (
            (rows @ directions.T).norm(dim=1).max() / rows.norm(dim=1).max()
            if len(directions)
            else torch.tensor(0.0)
        )
        if seen <= settings.tolerance:
            raise BadInput(
                f"{len(prompts)} protected prompts span "
                f"{rows.shape[1] - len(directions)} of the {rows.shape[1]} directions of "
                f"this base's "
                f"text states and leave nothing of {concept.name!r} to erase; beside the "
                f"empty prompt at least "
                f"{capacity(teacher, (), settings)} fit: protect fewer "
                f"(settings.protect, the other concepts' prompts), or raise the "
                f"tolerance of {settings.tolerance:g}, which protects them less exactly"
            )
        free[concept.name] = directions
    return free


# Pictures of the concepts


@dataclass(frozen=True, slots=True)
class Pictures:
    """Latents that the teacher made of one concept."""

    z: Tensor  # (n, c, h, w); picture i shows prompt i % (number of prompts)
    prompts: diffusion.Context  # the concept's


def _pictures(teacher: Teacher, concept: Concept, settings: Settings, work: Work) -> Pictures:
    """The pictures of one concept, its prompts in turn; kept by content."""
    prompts = diffusion.encode_prompts(teacher, concept.prompts)

    def make() -> dict[str, Tensor]:
        shown = torch.arange(settings.images) % len(prompts)
        draws = seeding.generator(work.seed, f"pictures of {concept.name}")
        z = diffusion.pictures(teacher, prompts, shown, settings.guidance, settings.steps, draws)
        return {"z": z}

    def content() -> dict[str, object]:
        drawn = [concept.name, settings.images, settings.steps, settings.guidance, work.seed]
        return {**diffusion.content_of(teacher, [prompts]), "pictures": drawn}

    z = by_content(work.cache, "pictures", content, make)["z"]
    return Pictures(z.to(teacher.device), prompts)


def prepare(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
) -> dict[str, Pictures]:
    """The pictures of each concept, by its name.

    Raises:
        BadInput: If the protected prompts leave nothing of a concept to change; before any picture
            is made.
    """
    directions_of(teacher, concepts, settings)
    return {concept.name: _pictures(teacher, concept, settings, work) for concept in concepts}


# The increments


def check(concepts: Sequence[Concept], settings: Settings) -> None:
    """Refuse what could not be erased. Whether the protected prompts leave room is known to
    `directions_of`, which needs the base.

    Raises:
        BadInput: No concept, or one name twice, whose increments could not be told apart.
    """
    check_some(concepts)
    names = [concept.name for concept in concepts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(
            f"{', '.join(twice)} is to be erased more than once; each concept has one "
            f"increment, join the prompts of the two"
        )


def declared(unet: nn.Module, settings: Settings) -> frozenset[str]:
    """Names of the key and value weights."""
    return frozenset(layers.select(unet, "kv"))


def steps(concepts: Sequence[Concept], settings: Settings) -> int:
    """Updates of all concepts together, at most."""
    return training.total_updates(concepts, settings)


def _shift(
    student: nn.Module, directions: Tensor, beta: float
) -> tuple[dict[str, Shifted], dict[str, nn.Parameter]]:
    """Put beta w S on every key and value weight of `student`; the shifts and their w, both by the
    weight's name.
    """
    shifts, trainable = {}, {}
    for name in layers.select(student, "kv"):
        module = student.get_submodule(name.removesuffix(".weight"))
        shifts[name] = Shifted(module.get_parameter("weight"), directions, beta)
        parametrize.register_parametrization(module, "weight", shifts[name])
        trainable[name] = module.get_parameter("parametrizations.weight.original")
    return shifts, trainable


class RunningMean:
    """The mean of the concept term over its latest updates, by which the training may end."""

    def __init__(self) -> None:
        self.state = torch.zeros(2)  # the mean, and of how many updates; saved with the training

    def take(self, term: Tensor) -> None:
        """Count one more update in; the first one is the mean."""
        mean, updates = self.state
        share = MOMENTUM if updates else 0.0
        new = share * mean + (1 - share) * term.detach().cpu()
        self.state.copy_(torch.stack([new, updates + 1]))

    def is_at_most(self, bound: float | None) -> bool:
        """Whether it is of enough updates and no more than `bound`; never where there is none."""
        mean, updates = self.state
        return bound is not None and bool(updates >= LEAST and mean <= bound)


def _train(
    teacher: Teacher,
    concept: Concept,
    directions: Tensor,
    pictures: Pictures,
    settings: Settings,
    work: Work,
) -> Increment:
    """The increment of one concept, trained alone; `work` is the concept's own."""
    student = training.student_of(teacher, settings)
    shifts, trainable = _shift(student, directions, settings.beta)
    told = pictures.prompts
    instead = diffusion.encode_prompts(teacher, list(map(concept.replaced, concept.prompts)))
    nothing = diffusion.encode_prompts(teacher, [""]).expand(settings.batch)
    draws, mean = seeding.generator(work.seed, f"updates of {concept.name}"), RunningMean()

    def concept_term(student: nn.Module) -> Tensor:
        at = diffusion.noised(teacher, pictures.z, settings.batch, draws)
        row = (at.picture % len(told)).to(at.z.device)
        cond = diffusion.predict_noise(teacher, student, at.z, at.timestep, told[row])
        replaces = settings.target == "replace"
        contexts = [instead[row]] if replaces else [nothing, told[row]]
        with torch.no_grad():
            of_teacher = diffusion.predict_each(teacher, teacher.guide, at.z, at.timestep, contexts)
        return distance(cond, *of_teacher) if replaces else correlation(cond, *of_teacher)

    def loss(student: nn.Module) -> dict[str, Tensor]:
        term = concept_term(student)
        mean.take(term)
        norms = torch.stack([shifts[name].change(w).abs().sum() for name, w in trainable.items()])
        return {"concept": term, "l1": settings.l1 * norms.mean()}

    loop = training.Loop(
        generators=[draws],
        extra={"running": mean.state},
        stop=lambda _terms: mean.is_at_most(settings.stop),
        on_step=work.on_step,
        resume=work.resume,
    )
    training.fit(student, trainable, loss, settings, settings.updates, loop)
    with torch.no_grad():
        return {
            name: (settings.beta * w.double() @ directions).float().cpu()
            for name, w in trainable.items()
        }


def increments(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: Mapping[str, Pictures] | None = None,
) -> dict[str, Increment]:
    """The change that erases each concept, by its name. Each depends on the base, its concept, what
    is protected, and the seed alone.

    Arguments and errors are those of `erase`.
    """
    check(concepts, settings)
    directions = directions_of(teacher, concepts, settings)
    pictures = prepared or prepare(teacher, concepts, settings, work)
    works = _one_each(work, concepts)
    trained = {
        concept.name: _train(
            teacher,
            concept,
            directions[concept.name],
            pictures[concept.name],
            settings,
            works[concept.name],
        )
        for concept in sorted(concepts, key=lambda concept: concept.name)
    }
    for one in works.values():
        if one.resume:
            one.resume.unlink(missing_ok=True)
    return trained


def _one_each(work: Work, concepts: Sequence[Concept]) -> dict[str, Work]:
    """The work of each concept, by its name: its own file to go on from, and steps counted on over
    all.
    """
    count = itertools.count(1)

    def tell(_update: int, terms: Mapping[str, float]) -> None:
        if work.on_step:
            work.on_step(next(count), terms)

    return {
        concept.name: replace(
            work,
            on_step=tell,
            resume=work.resume and work.resume.with_name(f"{work.resume.name}.{concept.slug}"),
        )
        for concept in concepts
    }


def compose(base: nn.Module, increments: Mapping[str, Increment]) -> WeightDelta:
    """The sum of the active increments, by name in alphabetical order, so that the same ones give
    the same bytes.
    """
    active = [increments[name] for name in sorted(increments)]
    total = {
        weight: torch.stack([increment[weight].double() for increment in active]).sum(0).float()
        for weight in active[0]
    }
    return WeightDelta(tensors_sha256(base.state_dict()), total)


def erase(
    teacher: Teacher,
    concepts: Sequence[Concept],
    settings: Settings,
    work: Work,
    prepared: Mapping[str, Pictures] | None = None,
) -> WeightDelta:
    """Train the increment of each concept and return their sum; the order of `concepts` does not
    matter.

    Concepts are trained one after another; each update reports {concept, l1}, weighted as in the
    loss. Beside `work.resume` each concept has a file of its own.

    Raises:
        BadInput: If no concept is named or one twice, a prompt is too long, or the protected
            prompts leave nothing to erase.
        ErasureError: If training diverges.
    """
    return compose(
        teacher.unet,
        increments(teacher, concepts, settings, work, prepared),
    )
