"""A change of weights as a LoRA in kohya's names, which ComfyUI, AUTOMATIC1111 and diffusers read.

For a weight W, `lora_down` D (r, in) and `lora_up` U (out, r) with `alpha` say W + alpha / r U D.
Here alpha is r. The layers of Stable Diffusion 1 and 2 have diffusers' names, those of XL the
original's, as in kohya-ss/sd-scripts, which trains them under these.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from erasure_core.errors import BadInput
from erasure_core.export.single_file import unet_name
from erasure_core.network import layers
from erasure_core.network.models import XL, Teacher
from erasure_core.network.weights import WeightDelta

ERROR = 1e-3  # greatest error where none is asked for


@dataclass(frozen=True, slots=True)
class Split:
    """A change U diag(values) V of rank `len(values)`, values descending, float64."""

    u: Tensor  # (out, k)
    values: Tensor  # (k,)
    v: Tensor  # (k, in)

    @classmethod
    def of(cls, change: Tensor) -> "Split":
        """The singular value decomposition of a change, (out, in)."""
        return cls(*torch.linalg.svd(change, full_matrices=False))

    def error(self, rank: int) -> float:
        """What rank `rank` leaves out, in the Frobenius norm, as a share of the whole."""
        return float(self.values[rank:].norm() / self.values.norm())

    def rank(self, error: float) -> int:
        """The least rank that leaves out no more than `error`."""
        # left[r]: norm of what rank r leaves out
        left = self.values.square().flip(0).cumsum(0).flip(0).sqrt()
        return int((left > error * left[0]).sum())

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """`lora_down` (rank, in) and `lora_up` (out, rank), float32; rows beyond a weight's own
        rank are zeros.
        """
        root = self.values[:rank].sqrt()
        down, up = root[:, None] * self.v[:rank], self.u[:, :rank] * root
        pad = rank - len(root)
        padded = nn.functional.pad(down, (0, 0, 0, pad)), nn.functional.pad(up, (0, pad))
        return padded[0].float(), padded[1].float()


def lora(
    unet: nn.Module, delta: WeightDelta, *, rank: int | None = None, error: float | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """The change of each linear weight as two factors, by the weight's name: (down, up).

    All weights get one rank, so that a reader which takes the first for all of them is right.

    Args:
        unet: The network that `delta` changes.
        delta: The change.
        rank: The rank of all weights; None takes the least with which the worst of them is within
            `error`.
        error: Greatest Frobenius error of each weight's change, as a share of the change; None is
            0.001 where no rank is asked for, and without one whatever `rank` leaves out is taken.

    Raises:
        BadInput: Something else than linear weights changed, `rank` leaves out more than `error`,
            or the factors would be no smaller than the change itself.
    """
    changed = _linear_changes(unet, delta)
    split = {name: Split.of(change) for name, change in changed.items()}
    chosen = _rank(split, rank, error)
    whole = sum(change.numel() for change in changed.values())
    a_rank = sum(sum(change.shape) for change in changed.values())  # numbers that one rank takes
    if chosen * a_rank >= whole:
        raise BadInput(_too_large(split, chosen, a_rank, whole))
    return {name: of.factors(chosen) for name, of in split.items()}


def left_out(delta: WeightDelta, factors: Mapping[str, tuple[Tensor, Tensor]]) -> float:
    """What `factors` lack of the weight that they lack most of, in the Frobenius norm, as a share
    of its change.
    """
    shares = []
    for name, (down, up) in factors.items():
        change = delta.tensors[name].double()
        shares.append(float((change - up.double() @ down.double()).norm() / change.norm()))
    return max(shares)


def _linear_changes(unet: nn.Module, delta: WeightDelta) -> dict[str, Tensor]:
    changed = {name: tensor.double() for name, tensor in delta.tensors.items() if tensor.any()}
    if other := sorted(changed.keys() - layers.linear(unet)):
        raise BadInput(
            f"a LoRA holds linear weights only; {len(other)} others changed, such as {other[0]}; "
            f"export diffusers or delta, or erase with `lora: true` (sdd: `group: kv`) in the "
            f"method's settings"
        )
    if not changed:
        raise BadInput("the delta changes nothing; there is no LoRA of it")
    return changed


def _rank(split: Mapping[str, Split], rank: int | None, error: float | None) -> int:
    if error is not None and not 0 < error < 1:
        raise BadInput(f"error {error} must be above 0 and below 1; it is relative to the change")
    if rank is None:
        return max(of.rank(ERROR if error is None else error) for of in split.values())
    if rank < 1:
        raise BadInput(f"rank {rank} must be at least 1")
    worst = max(split, key=lambda name: split[name].error(rank))
    if error is not None and (left := split[worst].error(rank)) > error:
        raise BadInput(
            f"rank {rank} leaves out {left:.2g} of the change of {worst}, more than {error:g}; "
            f"rank {split[worst].rank(error)} is needed for that"
        )
    return rank


def _too_large(split: Mapping[str, Split], rank: int, a_rank: int, whole: int) -> str:
    worst = max(split, key=lambda name: split[name].error(rank - 1))
    largest = (whole - 1) // a_rank  # rank that still pays
    left = max(of.error(largest) for of in split.values())
    way = f", or --rank {largest}, which leaves out {left:.2g} of the change" if largest else ""
    return (
        f"a LoRA of rank {rank}, of {len(split[worst].values)} that {worst} has, is "
        f"{rank * a_rank} numbers, the delta {whole}; export diffusers or delta{way}"
    )


def kohya(factors: Mapping[str, tuple[Tensor, Tensor]], teacher: Teacher) -> dict[str, Tensor]:
    """Factors under kohya's names: `lora_unet_<layer>.lora_down.weight`, `.lora_up.weight` and
    `.alpha`.
    """
    named = {}
    for name, (down, up) in factors.items():
        if isinstance(teacher.family, XL):
            name = unet_name(name, teacher.unet)
        layer = f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}"
        named[f"{layer}.lora_down.weight"], named[f"{layer}.lora_up.weight"] = down, up
        named[f"{layer}.alpha"] = torch.tensor(float(len(down)))
    return named
