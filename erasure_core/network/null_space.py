"""The directions that a set of text states does not see: what a weight may change while those
states stay where they are.
"""

import torch
from torch import Tensor

from erasure_core.errors import BadInput


def null_basis(rows: Tensor, tolerance: float = 1e-5) -> Tensor:
    """Orthonormal directions on which every row is zero.

    For a change of weights D = A @ basis.T @ basis and any row r, D r = 0. From the singular
    vectors, not from an integer null space (as in SepME's symbolic one): those are orthonormal.

    Args:
        rows: States to be left alone, (n, d), n >= 0; need not be independent.
        tolerance: Singular values up to this share of the largest count as zero. Larger frees
            directions that a row does see.

    Returns:
        (d - r, d), float64, on the device of `rows`; r is the number of singular values above the
        tolerance. May be empty.

    Raises:
        BadInput: If `rows` is not a matrix of finite numbers, or `tolerance` is not between 0 and
            1.
    """
    if rows.ndim != 2 or not torch.isfinite(rows).all():
        raise BadInput(
            f"a null space needs a finite matrix (rows, d); got shape {tuple(rows.shape)}"
        )
    if not 0 < tolerance < 1:
        raise BadInput(f"tolerance={tolerance} must lie between 0 and 1")
    if not len(rows):
        return torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device)
    _, values, directions = torch.linalg.svd(rows.double(), full_matrices=True)
    rank = int((values > tolerance * values[0]).sum())
    return directions[rank:]
