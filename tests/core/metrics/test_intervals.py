import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binomtest, norm

from erasure_core.metrics.intervals import bootstrap_mean, enough, mean, share, wilson


def test_wilson_by_hand():
    # 1 of 10, z = 2: (0.1 + 4/20 -+ 2 sqrt(0.09/10 + 4/400)) / (1 + 4/10)
    half = 2 * math.sqrt(0.009 + 0.01)
    assert_allclose(wilson(1, 10, z=2), ((0.3 - half) / 1.4, (0.3 + half) / 1.4), rtol=1e-12)


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (0, 40), (1, 40), (20, 40), (39, 40), (40, 40), (137, 4703)]
)
def test_wilson_agrees_with_scipy(successes, n):
    expected = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert_allclose(
        wilson(successes, n, z=norm.ppf(0.975)), (expected.low, expected.high), atol=1e-12
    )


def test_no_hit_in_forty_still_leaves_room_for_doubt():
    low, high = wilson(0, 40)
    assert low == 0
    assert 0.08 < high < 0.09  # a naive p -+ 1.96 sqrt(p(1-p)/n) would say 0


@pytest.mark.parametrize("bound", [1.0, 0.5, 0.1, 0.05, 0.001, 1.96**2 / (40 + 1.96**2)])
def test_enough_is_the_first_number_that_shows_the_bound(bound):
    assert enough(bound) == next(n for n in range(1, 10_000) if wilson(0, n)[1] <= bound)


@pytest.mark.parametrize("bound", [0.0, -0.1, math.nan])
def test_no_number_of_images_shows_nothing(bound):
    with pytest.raises(ValueError, match="no number of images shows a share of at most"):
        enough(bound)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match=r"image|successes"):
        wilson(successes, n)


def test_bootstrap_is_what_resampling_says():
    """Against the central limit theorem, another way to the same interval."""
    values = np.random.default_rng(3).gamma(2.0, size=4000)
    low, high = bootstrap_mean(values, seed=11)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert_allclose((low, high), (values.mean() - half, values.mean() + half), atol=0.1 * half)


def test_bootstrap_repeats_under_one_seed_and_only_then():
    values = np.random.default_rng(3).normal(size=30)
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) != bootstrap_mean(values, seed=6)


def test_bootstrap_of_equal_values_is_that_value_exactly():
    assert bootstrap_mean([0.1] * 7, seed=5) == (0.1, 0.1)
    m = mean([0.1] * 7, metric="ssim", better="higher", settings={})
    assert m.low == m.value == m.high == 0.1


def test_bootstrap_of_many_images_draws_in_blocks():
    values = np.random.default_rng(3).normal(size=600_000)
    low, high = bootstrap_mean(values, seed=5, samples=5)
    assert low < values.mean() < high
    assert high - low < 0.01


@pytest.mark.parametrize("values", [[], [0.2, float("nan")], [0.2, float("inf")]])
def test_mean_refuses_nothing_and_what_is_not_a_number(values):
    with pytest.raises(ValueError, match=r"ssim.*(at least one image|not finite)"):
        mean(values, metric="ssim", better="higher", settings={})


@pytest.mark.parametrize("hits", [[], [True, float("nan")], [0.5, 1.0]])
def test_share_refuses_nothing_and_what_is_not_yes_or_no(hits):
    with pytest.raises(ValueError, match="rate"):
        share(hits, metric="rate", better="lower", settings={})


def test_a_measurement_says_how_its_interval_was_made():
    assert "wilson" in str(
        share([True, False], metric="rate", better="lower", settings={"threshold": 0.6}).settings
    )
    m = mean([0.5, 0.6], metric="ssim", better="higher", settings={"window": 25})
    assert m.settings["window"] == 25
    assert "2000 resamples" in str(m.settings["interval"])
