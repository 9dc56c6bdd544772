"""The optimisation loop on a network of one layer: what it minimises, where it stops, and that a
kill leaves no trace in the result.
"""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from erasure_core.errors import ErasureError
from erasure_core.network import training

SETTINGS = training.Training(updates=9, lr=0.1)


class Killed(Exception):
    """Stands for the signal."""


def run(
    monkeypatch, folder=None, *, killed_at=None, stop=None, settings=SETTINGS, every=4
) -> tuple[torch.Tensor, dict, dict]:
    """Train a layer towards noisy targets with a moving average beside it; weights, average and
    what was heard.
    """
    monkeypatch.setattr(training, "SAVE_EVERY", every)
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    draws, average, heard = torch.Generator().manual_seed(5), {"average": torch.zeros(2, 3)}, {}

    def loss(student: nn.Module) -> dict[str, torch.Tensor]:
        x = torch.randn(8, 3, generator=draws)
        return {
            "fit": (student(x) - x[:, :2]).square().mean(),
            "size": 0.01 * student.weight.square().sum(),
        }

    def on_step(update: int, terms: dict) -> None:
        if update == killed_at:
            raise Killed
        heard[update] = dict(terms)

    def after() -> None:
        average["average"].mul_(0.9).add_(layer.weight.detach(), alpha=0.1)

    loop = training.Loop(
        [draws], average, after, stop, on_step, folder / "new" / "state" if folder else None
    )
    training.fit(layer, dict(layer.named_parameters()), loss, settings, settings.updates, loop)
    return layer.weight.detach().clone(), average["average"], heard


@pytest.fixture(params=[3, 5, 8, 9])
def resumed(request, monkeypatch, tmp_path):
    """What `run` returns of a training that was killed at an update and started again."""
    with pytest.raises(Killed):
        run(monkeypatch, tmp_path, killed_at=request.param)
    assert (tmp_path / "new/state").exists() == (request.param > 4)
    return run(monkeypatch, tmp_path)


def test_a_killed_training_goes_on_to_the_same_weights(resumed, monkeypatch):
    assert torch.equal(resumed[0], run(monkeypatch)[0])


def test_a_state_of_which_half_is_left_is_none(monkeypatch, tmp_path):
    with pytest.raises(Killed):
        run(monkeypatch, tmp_path, killed_at=5)
    state = tmp_path / "new/state"
    state.write_bytes(state.read_bytes()[:-1])
    assert torch.equal(run(monkeypatch, tmp_path)[0], run(monkeypatch)[0])


def test_a_moving_average_is_a_state_of_its_own(resumed, monkeypatch):
    weights, average, _ = run(monkeypatch)
    assert not torch.equal(weights, average)
    assert torch.equal(resumed[1], average)


def test_a_resumed_training_tells_all_of_its_history(resumed, monkeypatch):
    assert list(resumed[2]) == list(range(1, 10))
    assert resumed[2] == run(monkeypatch)[2]


def test_the_sum_of_the_terms_falls(monkeypatch):
    heard = run(monkeypatch, settings=SETTINGS.model_copy(update={"updates": 60}))[2]
    totals = [sum(terms.values()) for terms in heard.values()]
    assert sum(totals[-5:]) < 0.2 * sum(totals[:5])


def test_stop_hears_the_terms_and_ends_early_at_the_same_update_after_a_kill(monkeypatch, tmp_path):
    def low(terms) -> bool:
        return terms["fit"] < whole[6]["fit"] + 1e-9

    whole = run(monkeypatch)[2]
    heard = run(monkeypatch, stop=low)[2]
    assert 1 < len(heard) < 9
    with pytest.raises(Killed):
        run(monkeypatch, tmp_path, stop=low, killed_at=len(heard), every=1)
    assert run(monkeypatch, tmp_path, stop=low, every=1)[2] == heard


def test_weights_without_a_gradient_stay_unless_they_are_to_decay(monkeypatch):
    layer = nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    for decay, expected in ((0.0, before), (0.5, before * (1 - 0.1 * 0.5) ** 9)):
        settings = SETTINGS.model_copy(update={"weight_decay": decay})
        training.fit(
            layer,
            dict(layer.named_parameters()),
            lambda s: {"none": 0.0 * s.weight.sum() + 0.0 * s.bias.sum()},
            settings,
            9,
            training.Loop(),
        )
        assert_close(layer.weight.detach(), expected)


def test_a_diverged_student_is_never_returned(monkeypatch):
    layer = nn.Linear(2, 1)
    with pytest.raises(ErasureError, match=r"training diverged at update 1 \(loss nan\); lower lr"):
        training.fit(
            layer,
            dict(layer.named_parameters()),
            lambda s: {"bad": s.weight.sum() * torch.nan},
            SETTINGS,
            9,
            training.Loop(),
        )
