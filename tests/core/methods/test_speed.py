"""SPEED's solve within the null space, against its solution by Lagrange multipliers, and what its
three parts promise.
"""

import pytest
import torch

from erasure_core import seeding
from erasure_core.errors import BadInput
from erasure_core.law.concepts import Concept
from erasure_core.methods import speed
from erasure_core.network import closed_form
from erasure_core.network.closed_form import Demand, Edit
from erasure_core.network.diffusion import encode_prompts
from erasure_core.network.null_space import null_basis
from erasure_core.network.work import Work

D, ERASED, KEPT, INVARIANT = 40, 7, 11, 5
WORDS = ("photo", "sketch", "poster", "mosaic", "retina", "coin", "galaxy", "rocket")


@pytest.fixture
def rows():
    """Erased rows, their targets, kept and invariant rows, (n, D) float64."""
    draws = torch.Generator().manual_seed(3)
    return [
        torch.randn(n, D, generator=draws, dtype=torch.float64)
        for n in (ERASED, ERASED, KEPT, INVARIANT)
    ]


def edited(rows, lamb=1.0):
    c, t, kept, invariant = rows
    basis = speed.free_directions(kept, invariant, 1e-8)
    return speed.null_space_map(Demand(c, t, torch.zeros(D, D)), basis, lamb).matrix()


def test_lagrange_multipliers_give_the_same(rows):
    """W (C* - C1) C1^T P Q M P, with columns for concepts: P projects onto the null space of what
    is kept, M = (C1 C1^T P + I)^-1, Q = I - M C2 (C2^T P M C2)^-1 C2^T P.
    """
    c1, target, c0, c2 = (x.T for x in rows)
    eye = torch.eye(D, dtype=torch.float64)
    p = eye - c0 @ torch.linalg.pinv(c0)
    m = torch.linalg.inv(c1 @ c1.T @ p + eye)
    q = eye - m @ c2 @ torch.linalg.inv(c2.T @ p @ m @ c2) @ c2.T @ p
    change = (target - c1) @ c1.T @ p @ q @ m @ p

    torch.testing.assert_close(edited(rows) - eye, change, rtol=0, atol=1e-10)


def test_the_rounding_of_the_invariant_rows_costs_no_direction(rows):
    """Nothing else is kept: SPEED holds the empty prompt among the held rows too."""
    invariant = rows[3].float()
    held = invariant.double() + 1e-8 * rows[2][:INVARIANT]
    for tolerance in (1e-8, 0.03):
        free = speed.free_directions(held, invariant.double(), tolerance)
        assert free.shape[1] == D - INVARIANT


def test_without_kept_prompts_all_but_the_empty_ones_directions_are_free(tiny_teacher, cat):
    seen = []
    work = Work(1, on_step=lambda step, losses: seen.append(losses["free"]))
    speed.erase(tiny_teacher, [cat.model_copy(update={"keep": ()})], speed.Settings(copies=0), work)
    assert seen == [len(null_basis(encode_prompts(tiny_teacher, [""]).states[0]))]


def test_what_is_kept_is_not_moved(rows):
    kept = rows[2]
    torch.testing.assert_close(kept @ edited(rows).T, kept, rtol=0, atol=1e-10)


def test_what_is_erased_comes_to_its_target_as_the_ridge_goes(rows):
    c, t, *_ = rows
    torch.testing.assert_close(c @ edited(rows, lamb=1e-9).T, t, rtol=0, atol=1e-6)


def test_of_kept_prompts_those_hold_that_the_edit_alone_would_move():
    """An edit that sends the first axis away moves a prompt on it, and none on the second."""
    axes = torch.eye(4, dtype=torch.float64)
    demand = Demand(axes[:1], -axes[:1], torch.zeros(4, 4))
    alone = closed_form.edit_map(demand, Edit(lamb=0.1))

    kept = speed.influenced([axes[1:2], axes[:1], axes[2:3]], alone, axes)

    assert [k.tolist() for k in kept] == [axes[:1].tolist()]


def test_noise_lies_where_the_projections_see_least():
    seen = torch.diag(torch.tensor([4.0, 9.0, 0.5, 7.0], dtype=torch.float64))
    states = torch.ones(3, 4, dtype=torch.float64)
    settings = speed.Settings(copies=2)

    copies = [*speed.augmented([states], seen, settings, seeding.generator(1, "test"))]

    assert len(copies) == 2
    for copy in copies:
        assert (copy - states).abs().gt(0).tolist() == [[False, False, True, False]] * 3


@pytest.fixture
def cat() -> Concept:
    return Concept(
        name="cat",
        kind="object",
        prompts=("a photo of a cat", "cat"),
        replacement="a rocket",
        keep=("a photo of a retina", "a poster of a coin"),
    )


@pytest.mark.parametrize(("projections", "parts"), [("v", {"to_v"}), ("kv", {"to_k", "to_v"})])
def test_it_changes_the_projections_it_is_told_to(tiny_teacher, cat, projections, parts):
    settings = speed.Settings(projections=projections)
    delta = speed.erase(tiny_teacher, [cat], settings, Work(1))
    assert {name.split(".")[-2] for name in delta.names} == parts


def test_the_empty_prompt_reads_as_before(tiny_teacher, cat):
    delta = speed.erase(tiny_teacher, [cat], speed.Settings(projections="kv"), Work(1))
    empty = encode_prompts(tiny_teacher, [""]).states[0]
    moved = [(empty @ change.T).abs().max() for change in delta.tensors.values()]
    changes = [change.abs().max() for change in delta.tensors.values()]
    assert max(moved) < 1e-4 * max(changes)


def test_nothing_free_is_refused(tiny_teacher, cat):
    with pytest.raises(BadInput, match="leaves no direction free"):
        speed.erase(
            tiny_teacher,
            [cat.model_copy(update={"keep": tuple(f"{a} {b}" for a in WORDS for b in WORDS)})],
            speed.Settings(tolerance=1e-9, influence=False),
            Work(1),
        )
