"""The one optimisation loop. A method supplies its settings, the trainable weights and a loss; a
training that was killed goes on.

State is written every `SAVE_EVERY` updates (weights, optimiser moments, random generators, loss
history), so a run that is started again arrives at the same weights, bit for bit, as one that was
never stopped.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from erasure_core import seeding
from erasure_core.errors import ErasureError
from erasure_core.law.concepts import Concept
from erasure_core.network import layers, low_rank
from erasure_core.network.models import Teacher
from erasure_core.network.weights import (
    WeightDelta,
    is_readable,
    read_tensors,
    tensors_sha256,
    write_tensors,
)
from erasure_core.network.work import OnStep

if TYPE_CHECKING:
    from accelerate import Accelerator
    from diffusers import UNet2DConditionModel

SAVE_EVERY = 50  # updates between two writes of the state

# Settings of several methods: what each is and may be, once. A method adds its own default.
Updates = Annotated[
    int,
    Field(
        ge=1,
        description=(
            "optimiser steps for each concept; more erase further, and drift further from the base"
        ),
    ),
]
Batch = Annotated[
    int, Field(ge=1, description="points of an update; more smooth the gradient and take longer")
]
Lr = Annotated[
    float,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="AdamW's learning rate; a higher one erases in fewer updates, or diverges",
    ),
]
WeightDecay = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="AdamW's decay; a higher one pulls trained weights to zero, 0 is Adam",
    ),
]
Clip = Annotated[
    float | None,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="greatest norm of the gradient; a higher one clips less, null nothing",
    ),
]
Group = Annotated[layers.Group, Field(description="the UNet weights that may change")]
KeepWeight = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description=(
            "ours: weight of the squared error on kept prompts; a higher one holds them "
            "closer to the base, 0 leaves the term out"
        ),
        json_schema_extra={"ours": True},
    ),
]


class Training(BaseModel):
    """What every method that trains can be told. A method's defaults are its paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
    updates: Updates
    batch: Batch = 1
    lr: Lr
    adam_eps: float = Field(
        1e-8,
        gt=0,
        allow_inf_nan=False,
        description="term in AdamW's denominator; a higher one damps updates of small gradients",
    )
    weight_decay: WeightDecay = 0.0
    clip: Clip = None
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="number format of the network's passes; bf16 is autocast around fp32 weights",
    )
    teacher: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32",
        description=(
            "number format of what the frozen teacher predicts; in bf16 and fp16 it takes half the "
            "memory of a GPU and less time, and its errors are part of what is learned"
        ),
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, more time"
    )


class LoraTraining(Training):
    """What a method can be told whose change may be kept to what a LoRA holds."""

    lora: bool = Field(
        False,
        description=(
            "change linear weights alone, without biases, and each by a low rank, so that "
            "`erasure export --format lora` can hold the change"
        ),
    )
    lora_rank: int = Field(
        16,
        ge=1,
        description=(
            "rank of each weight's change where `lora` is set; a higher one can change more and "
            "makes a larger LoRA"
        ),
    )


@dataclass(frozen=True, slots=True)
class Loop:
    """What a method's state is besides weights and optimiser, and what is called on the way.

    `generators` are those the loss draws from. `extra` tensors are saved and restored in place (a
    moving average). `after` runs after each update; `stop` is given its terms and may end the
    training early. `on_step` and `resume` are the work's.
    """

    generators: Sequence[torch.Generator] = ()
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    after: Callable[[], None] | None = None
    stop: Callable[[Mapping[str, float]], bool] | None = None
    on_step: OnStep | None = None
    resume: Path | None = None


def total_updates(concepts: Sequence[Concept], settings: Training) -> int:
    """Optimiser steps of a whole erasure."""
    return settings.updates * len(concepts)


def student_of(teacher: Teacher, settings: Training) -> "UNet2DConditionModel":
    """A copy of the teacher's network to be trained; the teacher stays as it is."""
    student = copy.deepcopy(teacher.unet).to(teacher.device)
    if settings.gradient_checkpointing:
        student.enable_gradient_checkpointing()
    return student


def declared(unet: nn.Module, group: str, settings: LoraTraining) -> frozenset[str]:
    """Names of the weights of `group` that `settings` let change.

    Raises:
        BadInput: There is none.
    """
    names = frozenset(layers.select(unet, group))
    return names & layers.linear(unet) if settings.lora else names


def trainable(
    student: nn.Module, group: str, settings: LoraTraining, seed: int
) -> dict[str, nn.Parameter]:
    """What is trained of `student` by name: weights of `group`, or the factors of their change."""
    if not settings.lora:
        return layers.select(student, group)
    draws = seeding.generator(seed, "lora")
    return low_rank.attach(student, declared(student, group, settings), settings.lora_rank, draws)


def change(
    base: nn.Module,
    student: nn.Module,
    trained: Mapping[str, nn.Parameter],
    settings: LoraTraining,
) -> WeightDelta:
    """What training `trained`, made by `trainable`, changed of `base`."""
    if settings.lora:
        return WeightDelta(tensors_sha256(base.state_dict()), low_rank.products(trained))
    return WeightDelta.between(base, student, frozenset(trained))


def fit(
    student: nn.Module,
    trainable: Mapping[str, nn.Parameter],
    loss: Callable[[nn.Module], dict[str, Tensor]],
    settings: Training,
    updates: int,
    loop: Loop,
) -> None:
    """Train `trainable` in place for `updates` steps of AdamW on the sum of the loss terms.

    Args:
        student: The network; everything outside `trainable` stays frozen.
        trainable: Parameters by name.
        loss: Draws its own batch and returns named terms, already weighted; called once per update.
        settings: Learning rate and the like.
        updates: Number of optimiser steps, >= 1.
        loop: The method's own state, and what is called after each update; after a resume it is
            called again for the earlier updates.

    Raises:
        ErasureError: If a term is not finite; a diverged student is never returned.
    """
    accelerator = _accelerator(settings, next(iter(trainable.values())).device)
    student.requires_grad_(False)
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        trainable.values(),
        lr=settings.lr,
        eps=settings.adam_eps,
        weight_decay=settings.weight_decay,
    )
    model, prepared = accelerator.prepare(student, optimizer)
    history = _restore(loop, trainable, optimizer)
    for number, terms in enumerate(history, 1):
        _tell(loop, number, terms)
    for update in range(len(history) + 1, updates + 1):
        if history and loop.stop and loop.stop(history[-1]):
            break
        named = loss(model)
        accelerator.backward(_total(named, update))
        if settings.clip is not None:
            accelerator.clip_grad_norm_(list(trainable.values()), settings.clip)
        prepared.step()
        prepared.zero_grad(set_to_none=True)
        if loop.after:
            loop.after()
        history.append({name: value.item() for name, value in named.items()})
        _tell(loop, update, history[-1])
        if loop.resume and update % SAVE_EVERY == 0 and update < updates:
            _save(loop, trainable, optimizer, history)
    student.requires_grad_(False)


def _accelerator(settings: Training, device: torch.device) -> "Accelerator":
    """What runs the passes in the precision that is asked for."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # one process may train at several precisions
    AcceleratorState._reset_state(reset_partial_state=True)
    mixed = "bf16" if settings.precision == "bf16" else "no"
    return Accelerator(mixed_precision=mixed, cpu=device.type == "cpu")


def _total(terms: Mapping[str, Tensor], update: int) -> Tensor:
    """The sum of the terms of a loss. `ErasureError` if it is not finite."""
    total = torch.stack(list(terms.values())).sum()
    if not torch.isfinite(total):
        raise ErasureError(
            f"training diverged at update {update} (loss {total.item()}); lower lr "
            f"or the guidance scales"
        )
    return total


def _tell(loop: Loop, update: int, terms: Mapping[str, float]) -> None:
    if loop.on_step:
        loop.on_step(update, terms)


def _state(
    loop: Loop, trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Everything the next update depends on, by name; the tensors are those in use, not copies."""
    state = {f"extra/{name}": tensor for name, tensor in loop.extra.items()}
    for name, parameter in trainable.items():
        moments = optimizer.state[parameter]
        state |= {f"weight/{name}": parameter.data, f"step/{name}": moments["step"]}
        state |= {f"{key}/{name}": moments[key] for key in ("exp_avg", "exp_avg_sq")}
    return state


def _save(
    loop: Loop,
    trainable: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    history: Sequence[Mapping[str, float]],
) -> None:
    assert loop.resume
    loop.resume.parent.mkdir(parents=True, exist_ok=True)
    generators = {
        f"generator/{i}": generator.get_state() for i, generator in enumerate(loop.generators)
    }
    write_tensors(
        loop.resume,
        {**_state(loop, trainable, optimizer), **generators},
        {"history": json.dumps(list(history))},
    )


def _restore(
    loop: Loop, trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> list[dict[str, float]]:
    """Bring back what a killed run left, if it left anything; the loss terms of its updates."""
    if not (loop.resume and is_readable(loop.resume)):
        return []
    saved, metadata = read_tensors(loop.resume)
    for parameter in trainable.values():
        zeros = {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
        optimizer.state[parameter] = {"step": torch.tensor(0.0), **zeros}
    with torch.no_grad():
        for name, tensor in _state(loop, trainable, optimizer).items():
            tensor.copy_(saved[name])
    for i, generator in enumerate(loop.generators):
        generator.set_state(saved[f"generator/{i}"])
    history: list[dict[str, float]] = json.loads(metadata["history"])
    return history
