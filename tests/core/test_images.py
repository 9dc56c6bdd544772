"""Pictures between tensors and PIL."""

import pytest
import torch

from erasure_core.errors import ErasureError
from erasure_core.network.images import to_pil


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_picture_that_is_not_finite_is_no_black_one(value):
    pictures = torch.full((3, 3, 2, 2), 0.5)
    assert [image.getpixel((0, 0)) for image in to_pil(pictures)] == [(128,) * 3] * 3
    pictures[1, 2, 0, 1] = value
    with pytest.raises(ErasureError, match=r"1 of 3 pictures are not finite.* lower the guidance"):
        to_pil(pictures)
