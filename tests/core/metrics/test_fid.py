import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import sqrtm

from erasure_core.errors import BadInput
from erasure_core.metrics.fid import distance, fid_to_base, frechet, too_few_pictures


@pytest.fixture
def pair():
    rng = np.random.default_rng(20261125)
    a = rng.normal(size=(40, 6)) @ np.diag([1, 2, 0.5, 1, 3, 0.1]) + 1
    return a, rng.normal(size=(50, 6)) * 1.3


def by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    """Another way to the same number: the root of the product itself."""
    c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(gap @ gap + np.trace(c + d - 2 * sqrtm(c @ d).real))


def test_agrees_with_torch_fidelity(pair):
    # torch-fidelity 0.4.0, fid_statistics_to_metric of fid_features_to_statistics of these arrays
    assert_allclose(distance(*pair), 20.014693980467904, rtol=1e-12)


def test_agrees_with_the_root_of_the_product(pair):
    assert_allclose(distance(*pair), by_sqrtm(*pair), rtol=1e-10)


def test_of_two_gaussians_by_hand():
    # one dimension: (m1 - m2)^2 + (s1 - s2)^2
    value = frechet(np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[25.0]]))
    assert value == pytest.approx(4 + 9, abs=1e-12)


def test_of_commuting_covariances_by_hand():
    a, b = np.diag([4.0, 9.0]), np.diag([1.0, 16.0])
    zero = np.zeros(2)
    assert frechet(zero, a, zero, b) == pytest.approx((2 - 1) ** 2 + (3 - 4) ** 2, abs=1e-12)


def test_is_symmetric_and_of_itself_nothing(pair):
    a, b = pair
    assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-12)
    assert distance(a, a) == pytest.approx(0, abs=1e-10)


def test_float32_is_refused_because_it_is_wrong():
    """The wrong twin: far from the origin a float32 covariance is off by more than the distance."""
    rng = np.random.default_rng(4)
    a, b = (rng.normal(size=(400, 3)) + 3000 for _ in "ab")
    right = distance(a, b)
    assert_allclose(right, by_sqrtm(a, b), rtol=1e-6)

    def second_moment(x):  # E[xx'] - E[x]E[x]', what is done where memory is short
        mean = x.mean(axis=0)
        return x.T @ x / len(x) - np.outer(mean, mean)

    single = [second_moment(x.astype(np.float32)).astype(np.float64) for x in (a, b)]
    wrong = frechet(a.mean(axis=0), single[0], b.mean(axis=0), single[1])
    assert abs(wrong - right) > right
    mean, covariance = np.zeros(2), np.eye(2)
    with pytest.raises(ValueError, match="must be float64, got float32, float64"):
        frechet(mean, covariance.astype(np.float32), mean, covariance)


def test_a_covariance_of_lower_rank_gives_no_nan():
    rng = np.random.default_rng(5)
    flat = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 5))  # rank 2 of 5
    assert_allclose(distance(flat, flat + 2), 5 * 4, rtol=1e-6)


def test_too_few_pictures_are_not_measured(pair):
    a, b = pair
    assert too_few_pictures(7, 8, 6) is None
    assert "more than 6 pictures on both sides, got 40 of the reference and 6" in too_few_pictures(
        40, 6, 6
    )
    with pytest.raises(BadInput, match="fid not measured: FID with 6 numbers a picture needs"):
        fid_to_base(a, b[:6], settings={}, clusters=None, reference_clusters=None)


def test_the_interval_holds_the_value_and_narrows(pair):
    rng = np.random.default_rng(6)
    m = fid_to_base(*pair, settings={"features": "toy"}, clusters=None, reference_clusters=None)
    assert m.low < m.value < m.high
    assert m.value == distance(*pair)
    assert (m.n, m.better, m.settings["features"]) == (50, "lower", "toy")
    wide, narrow = (
        fid_to_base(
            rng.normal(size=(n, 2)),
            rng.normal(size=(n, 2)) + 1,
            settings={},
            clusters=None,
            reference_clusters=None,
        )
        for n in (40, 4000)
    )
    assert narrow.high - narrow.low < (wide.high - wide.low) / 3


def test_pictures_of_one_prompt_make_it_wider():
    rng = np.random.default_rng(7)
    a = rng.normal(size=(300, 2))
    prompts = np.repeat(np.arange(30), 10)
    b = 1 + rng.normal(size=(30, 2))[prompts] + 0.01 * rng.normal(size=(300, 2))
    apart = fid_to_base(a, b, settings={}, clusters=None, reference_clusters=None)
    alike = fid_to_base(a, b, settings={}, clusters=prompts.tolist(), reference_clusters=None)
    assert alike.value == apart.value
    assert alike.high - alike.low > 2 * (apart.high - apart.low)
