import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image, ImageFilter
from skimage.metrics import structural_similarity

from erasure_core.gallery.pictures import draw
from erasure_core.metrics.ssim import paired_ssim, ssim


@pytest.fixture
def pictures():
    rng = np.random.default_rng(7)
    return [draw(subject, "photo", rng) for subject in ("cat", "coffee", "wall", "retina")]


def tensor(images: list[Image.Image]) -> torch.Tensor:
    return (
        torch.from_numpy(np.stack([np.asarray(i) for i in images])).permute(0, 3, 1, 2).float()
        / 255
    )


@pytest.mark.parametrize("window", [25, 11, 7])
def test_agrees_with_scikit_image(pictures, window):
    rng = np.random.default_rng(8)
    a = np.stack([np.asarray(p) for p in pictures]) / 255
    b = np.clip(
        a + rng.normal(0, [[[[0.05, 0.1, 0.3]]]], a.shape), 0, 1
    )  # channels harmed unequally
    expected = [
        structural_similarity(
            x,
            y,
            win_size=window,
            channel_axis=-1,
            data_range=1,
            gaussian_weights=False,
            use_sample_covariance=True,
        )
        for x, y in zip(a, b, strict=True)
    ]
    values = ssim(*(torch.from_numpy(x).permute(0, 3, 1, 2).float() for x in (a, b)), window=window)
    assert values.shape == (4,)
    assert_allclose(values, expected, atol=1e-5, rtol=0)


def test_equal_pictures_are_exactly_one_and_damage_lowers_it_in_order(pictures):
    clean = tensor(pictures)
    slight, heavy = (
        tensor([p.filter(ImageFilter.GaussianBlur(r)) for p in pictures]) for r in (1, 4)
    )
    assert (ssim(clean, clean) == 1).all()
    assert (ssim(clean, slight) < 1).all()
    assert (ssim(clean, heavy) < ssim(clean, slight)).all()


def test_batch_size_does_not_matter(pictures):
    a, b = tensor(pictures), tensor(pictures[::-1])
    assert_allclose(
        ssim(a, b),
        torch.cat([ssim(x[None], y[None]) for x, y in zip(a, b, strict=True)]),
        atol=1e-12,
        rtol=0,
    )


def test_pairs_are_compared_case_by_case(pictures):
    """Shuffled candidates are the same set of pictures, and still a different answer."""
    assert paired_ssim(pictures, pictures, clusters=None).value == 1
    shuffled = paired_ssim(pictures, pictures[::-1], clusters=None)
    assert shuffled.value < 0.6
    assert_allclose(
        shuffled.value,
        ssim(tensor(pictures).double(), tensor(pictures[::-1]).double()).mean(),
        atol=1e-6,
    )
    assert (shuffled.n, shuffled.better, shuffled.settings["window"]) == (4, "higher", 25)


def broken(x: torch.Tensor, value: float) -> torch.Tensor:
    x = x.clone()
    x[0, 1, 2, 3] = value
    return x


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda x: broken(x, float("nan")), "finite"),
        (lambda x: x * 255, r"\[0, 1\]"),
        (lambda x: (x * 255).byte(), r"\[0, 1\]"),
        (lambda x: x[:, :1], "same shape"),
        (lambda x: x[:2], "same shape"),
    ],
)
def test_refuses_what_is_not_a_picture_in_unit_range(pictures, spoil, says):
    good = tensor(pictures)
    with pytest.raises(ValueError, match=says):
        ssim(good, spoil(good))
    with pytest.raises(ValueError, match=says):
        ssim(spoil(good), good)


@pytest.mark.parametrize("window", [24, 1, 65])
def test_refuses_a_window_that_does_not_fit(pictures, window):
    with pytest.raises(ValueError, match="window must be odd"):
        ssim(tensor(pictures), tensor(pictures), window=window)


def test_refuses_pairs_that_are_none(pictures):
    with pytest.raises(ValueError, match="4 of the base and 3"):
        paired_ssim(pictures, pictures[:3], clusters=None)
    with pytest.raises(ValueError, match="pair 1"):
        paired_ssim(
            pictures, [pictures[0], pictures[1].resize((32, 32)), *pictures[2:]], clusters=None
        )
    with pytest.raises(ValueError, match="pair 0"):
        paired_ssim(pictures[:1], [pictures[0].convert("L")], clusters=None)
    with pytest.raises(ValueError, match="at least one image"):
        paired_ssim([], [], clusters=None)
