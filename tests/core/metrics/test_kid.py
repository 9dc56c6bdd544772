import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import t

from erasure_core.metrics import kid
from erasure_core.metrics.kid import kernel, kid_to_base, mmd2, subsets


@pytest.fixture
def pair():
    rng = np.random.default_rng(20261125)
    a = rng.normal(size=(40, 6)) @ np.diag([1, 2, 0.5, 1, 3, 0.1]) + 1
    return a, rng.normal(size=(50, 6)) * 1.3


def pair_by_pair(a: np.ndarray, b: np.ndarray) -> float:
    """The definition, one pair at a time."""

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / len(x) + 1) ** 3

    n, m = len(a), len(b)
    within = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    beside = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within + beside - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


def test_agrees_with_torch_fidelity(pair):
    # torch-fidelity 0.4.0, kid_features_to_metric of these arrays, one subset of 40
    assert_allclose(mmd2(pair[0], pair[1][:40]), 65.1953866291298, rtol=1e-12)


def test_is_its_definition(pair):
    assert_allclose(mmd2(*pair), pair_by_pair(*pair), rtol=1e-10)


def test_blocks_do_not_change_it(pair, monkeypatch):
    whole = kid_to_base(*pair, settings={}, clusters=None, reference_clusters=None)
    monkeypatch.setattr(kid, "_BLOCK", 7)
    parts = kid_to_base(*pair, settings={}, clusters=None, reference_clusters=None)
    assert_allclose(
        (parts.value, parts.low, parts.high), (whole.value, whole.low, whole.high), rtol=1e-9
    )


def test_is_unbiased_where_the_twin_is_not():
    """The wrong twin pairs pictures with themselves: for two samples of one distribution it is
    above 0 on average, here by 5 standard errors; the estimate is not.
    """
    rng = np.random.default_rng(2)
    right, biased = [], []
    for _ in range(400):
        a, b = rng.normal(size=(10, 4)), rng.normal(size=(10, 4))
        right.append(mmd2(a, b))
        biased.append(kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean())
    error = np.std(right) / np.sqrt(len(right))
    assert abs(np.mean(right)) < 3 * error
    assert np.mean(biased) > 5 * error


def prompt_by_prompt(a, b, prompts_a, prompts_b) -> float:
    """The definition where pictures of one prompt are alike: pairs of different prompts only."""
    means = []
    for x, y, of_x, of_y in (
        (a, a, *2 * [prompts_a]),
        (b, b, *2 * [prompts_b]),
        (a, b, None, None),
    ):
        of_x, of_y = (prompts_a, prompts_b) if of_x is None else (of_x, of_y)
        means.append(kernel(x, y)[of_x[:, None] != of_y].mean())
    return means[0] + means[1] - 2 * means[2]


def test_the_interval_is_that_of_leaving_out_each_prompt(pair):
    """Prompts of both sides are left out of both; what is summed by groups is what leaving out and
    measuring again gives.
    """
    a, b = pair
    at_a, at_b = np.arange(40) % 9, np.arange(50) % 9
    left_out = [
        prompt_by_prompt(a[at_a != p], b[at_b != p], at_a[at_a != p], at_b[at_b != p])
        for p in range(9)
    ]
    half = t.ppf(0.975, 8) * np.sqrt(8 / 9 * ((left_out - np.mean(left_out)) ** 2).sum())
    m = kid_to_base(a, b, settings={}, clusters=at_b.tolist(), reference_clusters=at_a.tolist())
    assert_allclose(m.value, prompt_by_prompt(a, b, at_a, at_b), rtol=1e-10)
    assert_allclose((m.low, m.high), (m.value - half, m.value + half), rtol=1e-6)


def test_the_same_pictures_of_the_same_prompts_are_at_no_distance(pair):
    prompts = [i // 2 for i in range(40)]
    m = kid_to_base(pair[0], pair[0], settings={}, clusters=prompts, reference_clusters=prompts)
    assert (m.low, m.value, m.high) == pytest.approx((0, 0, 0), abs=1e-9)
    assert mmd2(pair[0], pair[0]) < -1  # the twin, which pairs each picture with its copy


def test_the_interval_contains_the_truth():
    """20 prompts of 3 pictures, alike to a correlation of 0.5, features of length sqrt(d) as those
    of CLIP; the truth by 3000 pictures of as many prompts. Told no prompts, it is a third too often
    beside the truth.
    """
    rng, d = np.random.default_rng(8), 16

    def drawn(shift: float, prompts: int, each: int) -> np.ndarray:
        x = np.repeat(rng.normal(size=(prompts, d)), each, axis=0) + shift
        x += rng.normal(size=x.shape)
        return x / np.linalg.norm(x, axis=1, keepdims=True) * np.sqrt(d)

    truth = mmd2(drawn(0, 3000, 1), drawn(0.4, 3000, 1))
    prompts = [i // 3 for i in range(60)]
    told, untold = [], []
    for _ in range(200):
        a, b = drawn(0, 20, 3), drawn(0.4, 20, 3)
        alike = {"clusters": prompts, "reference_clusters": [("base", p) for p in prompts]}
        for found, how in ((told, alike), (untold, dict.fromkeys(alike))):
            m = kid_to_base(a, b, settings={}, **how)
            found.append(m.low <= truth <= m.high)
    assert np.mean(told) >= 0.92
    assert np.mean(untold) < 0.85


def test_subsets_scatter_about_the_whole(pair):
    values = subsets(*pair, seed=3, size=20, count=400)
    assert values.shape == (400,)
    assert_allclose(values.mean(), mmd2(*pair), atol=3 * values.std() / 20)
    assert (subsets(*pair, seed=3, size=20, count=400) == values).all()


@pytest.mark.parametrize("size", [2, 41])
def test_subsets_larger_than_the_pictures_are_refused(pair, size):
    with pytest.raises(ValueError, match=f"subsets of {size} need 3 <= size <= pictures"):
        subsets(*pair, seed=3, size=size)


def test_what_cannot_be_compared_is_refused(pair):
    a, b = pair
    with pytest.raises(ValueError, match="got 6 and 5 numbers a picture"):
        kid_to_base(a, b[:, :5], settings={}, clusters=None, reference_clusters=None)
    with pytest.raises(ValueError, match="needs pictures of two prompts even without one prompt"):
        kid_to_base(a, b[:2], settings={}, clusters=None, reference_clusters=None)
    with pytest.raises(ValueError, match="one cluster an image"):
        kid_to_base(a, b, settings={}, clusters=["a"], reference_clusters=None)
    with pytest.raises(ValueError, match="at least two prompts, got 1"):
        kid_to_base(a, b, settings={}, clusters=["a"] * 50, reference_clusters=["a"] * 40)
