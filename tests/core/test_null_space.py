"""The null space: nothing a row sees is left in it, everything else is."""

import pytest
import torch
from torch.testing import assert_close

from erasure_core.errors import BadInput
from erasure_core.network.null_space import ROUNDING, null_basis, triangle


def matrix(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("n", "d", "left"), [(0, 6, 6), (1, 6, 5), (4, 6, 2), (6, 6, 0), (9, 6, 0)]
)
def test_basis_is_orthonormal_and_no_row_sees_it(n, d, left):
    rows = matrix(n, d)
    basis = null_basis(rows)
    assert (basis.shape, basis.dtype) == ((left, d), torch.float64)
    assert_close(basis @ basis.T, torch.eye(left, dtype=torch.float64))
    assert_close(
        rows.double() @ basis.T, torch.zeros(n, left, dtype=torch.float64), atol=1e-12, rtol=0
    )


def test_rows_and_basis_together_span_everything():
    rows = matrix(3, 7).double()
    inside = torch.linalg.pinv(rows) @ rows  # the projection on the rows, by another way
    basis = null_basis(rows)
    assert_close(inside + basis.T @ basis, torch.eye(7, dtype=torch.float64))


def test_a_repeated_row_costs_no_direction_and_float_noise_counts_as_repetition():
    row = matrix(1, 5)
    again = torch.cat([row, 4 * row, row + 1e-7 * matrix(3, 5)[2:]])
    assert len(null_basis(again)) == 4
    assert len(null_basis(again, tolerance=1e-12)) == 3


def test_a_row_of_zeros_forbids_nothing():
    assert len(null_basis(torch.zeros(2, 4))) == 4


def test_the_tolerance_is_relative_to_the_largest_singular_value():
    rows = torch.diag(torch.tensor([1e3, 1e-1, 1e-3]))
    assert len(null_basis(rows)) == 1
    assert_close(null_basis(rows), null_basis(rows * 1e-6))


@pytest.mark.parametrize("rows", [torch.zeros(3), torch.tensor([[float("nan"), 1.0]])])
def test_what_is_no_finite_matrix_is_refused(rows):
    with pytest.raises(BadInput, match="finite matrix"):
        null_basis(rows)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -1e-5])
def test_a_tolerance_outside_0_and_1_is_refused(tolerance):
    with pytest.raises(BadInput, match="tolerance"):
        null_basis(matrix(1, 2), tolerance)


@pytest.mark.parametrize(("n", "d"), [(16, 192), (77, 768)])
def test_the_rest_of_rows_that_are_protected_already_costs_no_direction(n, d):
    rows = matrix(n, d)
    unseen = null_basis(rows)
    assert len(unseen) == d - n
    rest = rows.double() @ unseen.T  # zero in algebra, rounding here
    assert len(null_basis(rest)) == d - 2 * n  # told nothing of their size, it is a state's
    rounding = ROUNDING * float(torch.linalg.matrix_norm(rows, 2))
    assert len(null_basis(rest, 1e-5, rounding)) == d - n


def test_the_floor_leaves_alone_what_is_above_it():
    rows = torch.diag(torch.tensor([3.0, 2.0, 1e-3]))
    assert len(null_basis(rows, 1e-5)) == 0
    assert len(null_basis(rows, 1e-5, 1e-2)) == 1
    assert len(null_basis(rows, 1e-5, 2.5)) == 2


def test_a_floor_below_zero_is_refused():
    with pytest.raises(BadInput, match="floor"):
        null_basis(matrix(1, 2), floor=-1.0)


@pytest.mark.parametrize("sizes", [(3,), (2, 2), (30, 5, 40, 1), (100,)], ids=str)
def test_rows_that_are_gathered_have_the_directions_of_all(sizes):
    rows = matrix(sum(sizes), 6) @ torch.diag(torch.tensor([1, 1, 1, 1, 0.5, 0]))
    found = triangle(rows.split(list(sizes)))
    assert len(found) <= min(len(rows), 9 * 6)
    assert_close(found.T @ found, rows.double().T @ rows.double(), atol=1e-10, rtol=1e-10)
    assert len(null_basis(found)) == len(null_basis(rows))
