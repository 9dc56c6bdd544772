"""Deflation: the chosen directions reach nothing any more, at the least cost to what is kept."""

import pytest
import torch
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.methods import uce
from erasure_core.network import closed_form
from erasure_core.network.closed_form import Demand, Edit
from erasure_core.network.deflation import deflation, followed
from erasure_core.network.work import Work

D, RANK, LAMB = 12, 2, 0.3


def rows(n: int, seed: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=draws, dtype=torch.float64)


@pytest.fixture
def asked() -> Demand:
    kept = rows(4, 3)
    return Demand(rows(3, 1), rows(3, 2), 0.7 * kept.T @ kept)


def directions(asked: Demand) -> torch.Tensor:
    """U, (d, r), by another way than the code's."""
    difference = asked.rows - asked.targets
    return torch.linalg.eigh(difference.T @ difference)[1][:, -RANK:]


def test_it_is_a_projection_of_the_asked_rank_that_sends_the_directions_to_zero(asked):
    q = deflation(asked, RANK, LAMB).matrix()
    assert_close(q @ q, q)
    assert torch.linalg.matrix_rank(q) == D - RANK
    assert_close(q @ directions(asked), torch.zeros(D, RANK, dtype=q.dtype))


def test_no_other_such_matrix_moves_targets_and_kept_rows_less(asked):
    eye, u = torch.eye(D, dtype=torch.float64), directions(asked)
    m = LAMB * eye + asked.targets.T @ asked.targets + asked.kept

    def cost(q: torch.Tensor) -> float:
        return float(((q - eye) @ m @ (q - eye).T).trace())

    q = deflation(asked, RANK, LAMB).matrix()
    for seed in range(20):
        other = q + 0.1 * rows(D, seed) @ (eye - u @ u.T)  # every Q with Q U = 0 is one of these
        assert cost(other) > cost(q)
    assert cost(eye - u @ u.T) > cost(q)  # the orthogonal projection among them


def test_what_the_kept_rows_span_stays_where_it_can(asked):
    strong = Demand(asked.rows, asked.targets, 1e8 * asked.kept)
    moved = deflation(strong, RANK, LAMB).moved(rows(4, 3))
    assert_close(moved, rows(4, 3), atol=1e-5, rtol=0)


def test_no_state_brings_the_concept_back(asked):
    edit = closed_form.edit_map(asked, Edit(lamb=LAMB))
    p = followed(edit, deflation(asked, RANK, LAMB)).matrix()

    def missed(p: torch.Tensor) -> float:
        nearest = torch.linalg.pinv(p) @ asked.rows.T
        return float((p @ nearest - asked.rows.T).norm() / asked.rows.norm())

    assert missed(edit.matrix()) < 1e-9
    assert missed(p) > 0.2


def test_many_rows_are_deflated_as_what_they_are():
    """As condensed rows alone they would say too little of their targets."""
    c, t, kept = rows(5 * D, 1), rows(5 * D, 2), torch.zeros(D, D, dtype=torch.float64)
    asked = Demand.of([(c, t)], kept)
    assert len(asked.rows) == D
    found, plain = (deflation(a, RANK, LAMB).matrix() for a in (asked, Demand(c, t, kept)))
    assert_close(found, plain)


def test_one_map_after_another_is_the_product(asked):
    a, b = closed_form.edit_map(asked, Edit(lamb=LAMB)), deflation(asked, RANK, LAMB)
    assert_close(followed(a, b).matrix(), b.matrix() @ a.matrix())


@pytest.mark.parametrize("rank", [0, 4])
def test_more_directions_than_rows_differ_in_are_refused(asked, rank):
    with pytest.raises(BadInput, match="differ in 3 directions"):
        deflation(asked, rank, LAMB)


def test_uce_loses_the_rank_it_is_told_to_and_none_by_default(tiny_teacher, astronaut):
    weights = closed_form.projections(tiny_teacher.unet)

    def remaining_rank(deflate: int) -> int:
        delta = uce.erase(tiny_teacher, [astronaut], uce.Settings(deflate=deflate), Work(0))
        edited = torch.cat([w.detach() + delta.tensors[name] for name, w in weights.items()])
        values = torch.linalg.svdvals(edited.double())
        return int((values > 1e-6 * values[0]).sum())

    assert remaining_rank(0) == remaining_rank(3) + 3
