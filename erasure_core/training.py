"""The one optimisation loop. A method supplies the student, its trainable weights and a loss."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from erasure_core.errors import ErasureError

OnStep = Callable[[int, Mapping[str, float]], None]  # (update, named loss terms)


def fit(
    student: nn.Module,
    trainable: Mapping[str, nn.Parameter],
    loss: Callable[[nn.Module], dict[str, Tensor]],
    *,
    updates: int,
    lr: float,
    adam_eps: float,
    precision: str,
    on_step: OnStep | None,
) -> None:
    """Train `trainable` in place for `updates` steps of AdamW on the sum of the loss terms.

    Args:
        student: The network; everything outside `trainable` stays frozen.
        trainable: Parameters by name.
        loss: Draws its own batch and returns named terms, already weighted; called once per update.
        updates: Number of optimiser steps, >= 1.
        lr: Learning rate.
        adam_eps: AdamW's epsilon.
        precision: "fp32", or "bf16" for autocast around fp32 master weights.
        on_step: Hears each update and its terms.

    Raises:
        ErasureError: If a term is not finite; a diverged student is never returned.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # one process may train at several precisions
    mixed = "bf16" if precision == "bf16" else "no"
    accelerator = Accelerator(mixed_precision=mixed, cpu=next(student.parameters()).device.type == "cpu")
    student.requires_grad_(False)
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trainable.values(), lr=lr, eps=adam_eps)
    model, optimizer = accelerator.prepare(student, optimizer)
    for update in range(1, updates + 1):
        terms = loss(model)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            raise ErasureError(f"training diverged at update {update} (loss {total.item()}); lower lr or the guidance scales")
        accelerator.backward(total)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if on_step:
            on_step(update, {name: value.item() for name, value in terms.items()})
    student.requires_grad_(False)
