"""The directions that a set of text states does not see: what a weight may change while those
states stay where they are.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from erasure_core.errors import BadInput

# Share of the largest singular value of text states below which a singular value is rounding: the
# states are float32 (eps 1.2e-7), after some dozen layers and in batches of any size.
ROUNDING = 1e-5


def null_basis(rows: Tensor, tolerance: float = ROUNDING, floor: float = 0.0) -> Tensor:
    """Orthonormal directions on which every row is zero.

    For a change of weights D = A @ basis.T @ basis and any row r, D r = 0. From the singular
    vectors, not from an integer null space (as in SepME's symbolic one): those are orthonormal.

    Args:
        rows: States to be left alone, (n, d), n >= 0; need not be independent.
        tolerance: Singular values up to this share of the largest count as zero. Larger frees
            directions that a row does see.
        floor: Singular values up to this count as zero whatever the largest is; for rows that are
            the rest of larger ones, and may be nothing but their rounding.

    Returns:
        (d - r, d), float64, on the device of `rows`; r is the number of singular values above
        both. May be empty.

    Raises:
        BadInput: If `rows` is not a matrix of finite numbers, or `tolerance` is not between 0 and
            1, or `floor` is below 0.
    """
    if rows.ndim != 2 or not torch.isfinite(rows).all():
        raise BadInput(
            f"a null space needs a finite matrix (rows, d); got shape {tuple(rows.shape)}"
        )
    if not 0 < tolerance < 1:
        raise BadInput(f"tolerance={tolerance} must lie between 0 and 1")
    if not floor >= 0:
        raise BadInput(f"floor={floor} must be 0 or more")
    if not len(rows):
        return torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device)
    tall = rows.double()
    if len(tall) > tall.shape[1]:  # its triangle has the same singular values and directions
        tall = torch.linalg.qr(tall, mode="r")[1]
    _, values, directions = torch.linalg.svd(tall, full_matrices=True)
    rank = int((values > max(tolerance * float(values[0]), floor)).sum())
    if not rank:  # every direction is free: the plain axes, not singular vectors of rounding
        return torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device)
    return directions[rank:]


def triangle(rows: Iterable[Tensor]) -> Tensor:
    """Rows with the singular values and directions of all of `rows`, each (n, d) and together not
    fewer than one: as many as there are, or d. No more than a few d are held at once.
    """
    held: list[Tensor] = []
    for some in rows:
        held.append(some.double())
        if sum(map(len, held)) >= 8 * some.shape[1]:
            held = [torch.linalg.qr(torch.cat(held), mode="r")[1]]
    return torch.cat(held)
