"""A weight with factors computes with W + U D, begins at W, and only the factors are trained."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from erasure_core.network import low_rank

RANK = 2


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3, bias=False))


@pytest.fixture
def factors(net):
    return low_rank.attach(net, ["1.weight"], RANK, torch.Generator().manual_seed(1))


def test_factors_are_named_by_the_weight_and_shaped_by_the_rank(factors):
    assert {name: tuple(f.shape) for name, f in factors.items()} == {
        "1.weight/down": (RANK, 4),
        "1.weight/up": (3, RANK),
    }


def test_the_network_begins_as_it_was(net):
    x = torch.randn(6, 5)
    before = net(x)
    low_rank.attach(net, ["1.weight"], RANK, torch.Generator().manual_seed(1))
    assert torch.equal(net(x), before)


def test_the_network_computes_with_the_product(net, factors):
    original = net[1].parametrizations.weight.original.detach().clone()
    with torch.no_grad():
        factors["1.weight/up"].copy_(torch.arange(6.0).reshape(3, RANK))
    x = torch.randn(6, 4)
    expected = x @ (original + factors["1.weight/up"] @ factors["1.weight/down"]).T
    assert_close(net[1](x), expected)


def test_products_are_the_change_by_weight(factors):
    with torch.no_grad():
        factors["1.weight/up"].fill_(2.0)
    (change,) = low_rank.products(factors).values()
    assert_close(change, factors["1.weight/up"].detach() @ factors["1.weight/down"].detach())


def test_factors_get_gradients(net, factors):
    with torch.no_grad():
        factors["1.weight/up"].fill_(1.0)
    net(torch.randn(6, 5)).square().sum().backward()
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in factors.values())


def test_the_same_seed_draws_the_same_factors():
    def drawn() -> torch.Tensor:
        layer = nn.Sequential(nn.Linear(5, 4))
        made = low_rank.attach(layer, ["0.weight"], RANK, torch.Generator().manual_seed(3))
        return made["0.weight/down"]

    assert torch.equal(drawn(), drawn())
