"""Trained changes of low rank: a weight W becomes W + U D with D (r, in) and U (out, r), and only U
and D are trained (LoRA, Hu et al., ICLR 2022, arXiv:2106.09685, with alpha = r).

U begins at zero, so that the network begins as it was. D begins with entries of variance 1 / in.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

DOWN, UP = "/down", "/up"  # end the names of a weight's factors


class Factors(nn.Module):
    """The two factors of one weight's change."""

    def __init__(self, weight: Tensor, rank: int, draws: torch.Generator):
        """Draw D on the CPU and put both where `weight`, (out, in), is."""
        super().__init__()
        rows, columns = weight.shape
        down = torch.randn(rank, columns, generator=draws) / columns**0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """W + U D."""
        return torch.addmm(weight, self.up, self.down)


def attach(
    unet: nn.Module, names: Iterable[str], rank: int, draws: torch.Generator
) -> dict[str, nn.Parameter]:
    """Give each named weight of `unet` factors, in place; the factors by name, `<weight>/down` and
    `<weight>/up`. From then on the network computes with W + U D.
    """
    factors: dict[str, nn.Parameter] = {}
    for name in sorted(names):
        module = unet.get_submodule(name.removesuffix(".weight"))
        pair = Factors(module.get_parameter("weight"), rank, draws)
        parametrize.register_parametrization(module, "weight", pair)
        factors |= {f"{name}{DOWN}": pair.down, f"{name}{UP}": pair.up}
    return factors


@torch.no_grad()
def products(factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """U D of each weight by the weight's name, float32 on the CPU."""
    names = sorted(name.removesuffix(UP) for name in factors if name.endswith(UP))
    return {
        name: (factors[f"{name}{UP}"].float() @ factors[f"{name}{DOWN}"].float()).cpu()
        for name in names
    }
