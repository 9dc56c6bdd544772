import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image, ImageFilter

from erasure_core.gallery.pictures import STYLES, draw
from erasure_core.metrics.quality import (
    STATISTICS,
    distinctness,
    diversity,
    fidelity,
    natural_statistics,
    naturalness,
    typical,
)


def drawn(seed: int, n: int = 40) -> list[Image.Image]:
    rng, styles = np.random.default_rng(seed), list(STYLES)
    return [draw("photographer", styles[i % len(styles)], rng) for i in range(n)]


# What is typical


def test_a_share_of_1_less_the_level_is_typical_of_where_it_is_from():
    rng = np.random.default_rng(1)
    shares = [
        typical(rng.normal(size=(40, 3)), rng.normal(size=(40, 3)), level=0.2).mean()
        for _ in range(300)
    ]
    assert np.mean(shares) == pytest.approx(0.8, abs=0.03)


def test_what_lies_apart_is_not_typical():
    rng = np.random.default_rng(2)
    reference = rng.normal(size=(40, 3))
    assert not typical(reference, rng.normal(size=(30, 3)) + 9).any()
    assert typical(reference, reference).mean() > 0.9


def test_the_rule_by_hand():
    # distances to the nearest other: 1 1 1 4; p of a point at distance x: (1 + those as far) / 5
    reference = np.array([[0.0], [1.0], [2.0], [6.0]])
    points = np.array([[0.5], [2.0], [7.0], [9.9], [10.1]])  # nearest at 0.5 0 1 3.9 4.1
    assert typical(reference, points, k=1, level=0.39).tolist() == [True] * 4 + [False]
    assert typical(reference, points, k=1, level=0.41).tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize(("k", "level"), [(0, 0.3), (4, 0.3), (1, 0.19), (1, 1.0)])
def test_what_the_reference_cannot_tell_is_refused(k, level):
    with pytest.raises(
        ValueError, match=r"with 4 pictures of the reference k must be within 1\.\."
    ):
        typical(np.arange(4.0)[:, None], np.ones((2, 1)), k=k, level=level)


def test_fidelity_is_the_typical_share():
    rng = np.random.default_rng(3)
    a, near, far = (rng.normal(size=(30, 4)) + shift for shift in (0, 0, 20))
    m = fidelity(a, np.concatenate([a[:10], far[:10]]), settings={"features": "toy"}, clusters=None)
    assert (m.value, m.n, m.better) == (0.5, 20, "higher")
    assert fidelity(a, near, settings={}, clusters=None).value > 0.8
    with pytest.raises(ValueError, match="at least 20 pictures of it, got 19"):
        fidelity(a[:19], near, settings={}, clusters=None)


# Natural statistics


def test_statistics_of_noise_of_grey_and_of_a_picture():
    rng = np.random.default_rng(4)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    of_noise, of_grey, of_picture = natural_statistics([noise, grey, drawn(5, 1)[0]], "m")
    at = {name: i for i, name in enumerate(STATISTICS)}
    assert of_grey[at["log contrast"]] == pytest.approx(np.log(1 / 255))
    assert of_grey[at["correlation"]] == of_grey[at["colour"]] == 0
    assert abs(of_noise[at["correlation"]]) < 0.05
    assert abs(of_noise[at["spectral slope"]]) < 0.5
    assert of_picture[at["correlation"]] > 0.8
    assert of_picture[at["spectral slope"]] > 1.5


def test_the_slope_is_that_of_a_spectrum_made_with_it():
    rng, f = np.random.default_rng(6), np.fft.fftfreq(128) * 128
    radius = np.hypot(*np.meshgrid(f, f))
    radius[0, 0] = 1
    slopes = []
    for a in (1.0, 2.0, 3.0):
        wave = np.fft.fft2(rng.normal(size=(128, 128))) * radius ** (-a / 2)
        grey = np.fft.ifft2(wave).real
        grey = 128 + 30 * grey / grey.std()
        picture = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert("RGB")
        slopes.append(natural_statistics([picture], "m")[0, STATISTICS.index("spectral slope")])
    assert_allclose(slopes, [1, 2, 3], atol=0.25)


def test_other_pictures_are_natural_and_noise_grey_and_blur_are_not():
    reference, rng = drawn(7, 60), np.random.default_rng(8)
    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(20)]
    assert naturalness(reference, drawn(9), clusters=None).low > 0.7
    assert naturalness(reference, noise, clusters=None).value == 0
    assert (
        naturalness(
            reference, [Image.new("RGB", (64, 64), (128, 128, 128))] * 20, clusters=None
        ).value
        == 0
    )
    blurred = [p.filter(ImageFilter.GaussianBlur(8)) for p in drawn(9)]
    assert naturalness(reference, blurred, clusters=None).high < 0.5


def test_a_base_that_draws_one_picture_tells_nothing():
    with pytest.raises(ValueError, match="do not differ in log contrast"):
        naturalness([Image.new("RGB", (64, 64), (9, 9, 9))] * 30, drawn(9), clusters=None)


# Diversity


def test_diversity_by_hand():
    # distances of the base's pairs: 1 1 2, mean 4/3; of the candidate's: 0 1 1, mean 2/3
    base = np.array([[1.0, 0], [0, 1], [-1, 0]])
    m = diversity(base, np.array([[1.0, 0], [5, 0], [0, 2]]), settings={}, clusters=None)
    assert m.value == pytest.approx(0.5)
    assert (m.better, m.n) == ("higher", 3)


def test_one_picture_for_everything_has_none_and_the_base_has_all():
    rng = np.random.default_rng(10)
    base = rng.normal(size=(30, 5))
    one = diversity(base, np.repeat(base[:1], 30, axis=0), settings={}, clusters=None)
    assert (one.low, one.value, one.high) == pytest.approx((0, 0, 0), abs=1e-12)
    same = diversity(base, base, settings={}, clusters=None)
    assert (same.low, same.value, same.high) == pytest.approx((1, 1, 1), abs=1e-12)


def test_a_picture_memorised_for_each_style_is_found_within_the_styles():
    rng = np.random.default_rng(11)
    styles = [i % 3 for i in range(30)]
    base = rng.normal(size=(30, 5)) + 4 * np.eye(5)[styles]
    memorised = base[:3][styles]
    assert diversity(base, memorised, settings={}, clusters=None).value > 0.5
    found = diversity(base, memorised, settings={}, within=styles, clusters=None)
    assert found.high < 1e-9
    assert found.settings["pairs"] == "of one label"


def test_its_interval_is_that_of_leaving_out_each_prompt():
    rng = np.random.default_rng(12)
    base, other = rng.normal(size=(24, 3)), rng.normal(size=(24, 3)) + 0.5
    prompts = np.arange(24) % 6

    def ratio(keep: np.ndarray) -> float:
        means = []
        for x in (other[keep], base[keep]):
            unit = x / np.linalg.norm(x, axis=1, keepdims=True)
            means.append(np.mean([1 - u @ v for i, u in enumerate(unit) for v in unit[:i]]))
        return means[0] / means[1]

    left_out = np.log([ratio(prompts != p) for p in range(6)])
    half = 2.570582 * np.sqrt(5 / 6 * ((left_out - left_out.mean()) ** 2).sum())  # t of 5
    m = diversity(base, other, settings={}, clusters=prompts.tolist())
    assert m.value == pytest.approx(ratio(prompts >= 0))
    assert_allclose((m.low, m.high), (m.value * np.exp(-half), m.value * np.exp(half)), rtol=1e-6)


@pytest.mark.parametrize("measure", [diversity, distinctness])
def test_a_base_without_diversity_is_no_measure(measure):
    with pytest.raises(ValueError, match="no two of the base's pictures are left that differ"):
        measure(np.ones((5, 2)), np.eye(5)[:, :2] + 1, settings={}, clusters=None)
    with pytest.raises(ValueError, match="no two of the base's pictures are left that differ"):
        measure(np.eye(5), np.eye(5), settings={}, within=range(5), clusters=None)
    with pytest.raises(ValueError, match="cases come in pairs; got 5 of the base and 4"):
        measure(np.ones((5, 2)), np.ones((4, 2)), settings={}, clusters=None)


# Distinctness


def test_distinctness_by_hand():
    # distances to the nearest other of the base: 1 1 1; of the candidate: 0 0 1
    base = np.array([[1.0, 0], [0, 1], [-1, 0]])
    m = distinctness(base, np.array([[1.0, 0], [5, 0], [0, 2]]), settings={}, clusters=None)
    assert m.value == pytest.approx(1 / 3)
    assert (m.better, m.n, m.settings["nearest"]) == ("higher", 3, "of all")


def test_a_picture_that_lies_far_makes_up_for_no_copy():
    """Of the base's nearest others, at 1 - cos 60 = 0.5, none counts for more; one of the
    candidate's lies at 1.
    """
    degrees = np.radians([[0, 60, 120, 180], [0, 0, 0, 90]])
    base, other = np.stack([np.cos(degrees), np.sin(degrees)], axis=-1)
    assert distinctness(base, other, settings={}, clusters=None).value == pytest.approx(1 / 4)


@pytest.mark.parametrize("kept", [1, 2, 10])
def test_few_memorised_pictures_have_none_however_far_they_lie_apart(kept):
    rng = np.random.default_rng(13)
    styles = [i % 2 for i in range(40)]
    base = rng.normal(size=(40, 5))
    apart = np.stack([np.eye(5), -np.eye(5)], axis=1).reshape(10, 5)
    memorised = apart[np.arange(40) // 2 % kept]
    for within in (None, styles):
        m = distinctness(base, memorised, settings={}, within=within, clusters=None)
        assert (m.low, m.value) == (0, 0)
        assert m.high < 0.01  # without one of two copies the other is none
    if kept > 1:
        assert diversity(base, memorised, settings={}, clusters=None).low > 0.5


@pytest.mark.parametrize("labels", [1, 2])
def test_the_interval_of_distinctness_is_that_of_leaving_out_each_prompt(labels):
    """Prompts of two pictures, whose nearest may be of their own prompt, or of one that is left
    out; the last with a label of their own have nothing to be compared with.
    """
    rng = np.random.default_rng(14)
    base, other = rng.normal(size=(26, 3)), rng.normal(size=(26, 3)) + 0.5
    prompts, within = np.arange(26) // 2 % 12, np.arange(26) // 12 % labels
    prompts[24:], within[24:] = 12, 9

    def nearest(x: np.ndarray, keep: np.ndarray) -> np.ndarray:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        far = 1 - unit @ unit.T
        far[:, ~keep] = far[within[:, None] != within] = np.inf
        np.fill_diagonal(far, np.inf)
        return far.min(axis=1)[keep & (within < 9)]

    most = np.median(nearest(base, prompts >= 0))

    def ratio(keep: np.ndarray) -> float:
        mine, theirs = (np.minimum(nearest(x, keep), most).sum() for x in (other, base))
        return mine / theirs

    left_out = np.log([ratio(prompts != p) for p in range(13)])
    half = 2.178813 * np.sqrt(12 / 13 * ((left_out - left_out.mean()) ** 2).sum())  # t of 12
    m = distinctness(base, other, settings={}, clusters=prompts.tolist(), within=within.tolist())
    assert m.value == pytest.approx(ratio(prompts >= 0))
    assert_allclose((m.low, m.high), (m.value * np.exp(-half), m.value * np.exp(half)), rtol=1e-6)
