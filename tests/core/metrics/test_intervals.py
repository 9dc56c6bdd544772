import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binomtest, norm, t

from erasure_core.law.gates import Measurement
from erasure_core.metrics.clip_score import clip_score, score_drop
from erasure_core.metrics.intervals import (
    bootstrap_mean,
    effective,
    enough,
    excess,
    jackknife,
    joint_groups,
    mean,
    net_loss,
    share,
    wilson,
)
from erasure_core.metrics.ssim import mean_ssim


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
    for n in (2, 7):
        m = mean([0.1] * n, metric="ssim", better="higher", settings={}, clusters=None)
        assert m.low == m.value == m.high == 0.1


def test_bootstrap_of_many_images_draws_in_blocks():
    values = np.random.default_rng(3).normal(size=600_000)
    low, high = bootstrap_mean(values, seed=5, samples=5)
    assert low < values.mean() < high
    assert high - low < 0.01


@pytest.mark.parametrize("values", [[], [0.2, float("nan")], [0.2, float("inf")]])
def test_mean_refuses_nothing_and_what_is_not_a_number(values):
    with pytest.raises(ValueError, match=r"ssim.*(at least one image|not finite)"):
        mean(values, metric="ssim", better="higher", settings={}, clusters=None)


@pytest.mark.parametrize("hits", [[], [True, float("nan")], [0.5, 1.0]])
def test_share_refuses_nothing_and_what_is_not_yes_or_no(hits):
    with pytest.raises(ValueError, match="rate"):
        share(hits, metric="rate", better="lower", settings={}, clusters=None)


def test_a_measurement_says_how_its_interval_was_made():
    assert "wilson" in str(
        share(
            [True, False], metric="rate", better="lower", settings={"threshold": 0.6}, clusters=None
        ).settings
    )
    m = mean([0.5, 0.6] * 3, metric="ssim", better="higher", settings={"window": 25}, clusters=None)
    assert m.settings["window"] == 25
    assert "2000 resamples" in str(m.settings["interval"])
    few = mean([0.5, 0.6] * 3, metric="m", better="lower", settings={}, clusters="ababab")
    assert few.settings["interval"] == "student 95 % of the means of the 2 clusters"


# Pictures of one prompt are alike


def test_pictures_of_one_prompt_count_as_one_trial():
    assert effective("abcdef") == 6
    assert effective("aabbcc") == 3
    assert effective("aaaaaa") == 1
    assert effective("aaab") == 16 / 10  # n^2 / sum of squares


def test_no_hit_in_12_wordings_allows_what_12_pictures_allow():
    wordings = [i // 5 for i in range(60)]
    alike = share([False] * 60, metric="m", better="lower", settings={}, clusters=wordings)
    alone = share([False] * 60, metric="m", better="lower", settings={}, clusters=None)
    assert (alike.low, alike.high) == wilson(0, 12)
    assert alike.high == pytest.approx(0.2425, abs=1e-4)
    assert alone.high == pytest.approx(0.0602, abs=1e-4)
    assert (alike.n, alike.settings["clusters"], alike.settings["effective_n"]) == (60, 12, 12)


def test_pictures_of_prompts_of_their_own_are_what_they_were():
    hits = [True, False, False, True, False]
    apart = share(hits, metric="m", better="lower", settings={}, clusters=range(5))
    plain = share(hits, metric="m", better="lower", settings={}, clusters=None)
    assert (apart.low, apart.high) == pytest.approx((plain.low, plain.high), abs=1e-12)


def test_clusters_that_are_not_one_an_image_are_refused():
    with pytest.raises(ValueError, match="one cluster an image; got 1 for 2 images"):
        share([True, False], metric="m", better="lower", settings={}, clusters=["a"])
    with pytest.raises(ValueError, match="one cluster an image; got 3 for 2 images"):
        mean([0.1, 0.2], metric="m", better="lower", settings={}, clusters="abc")


def test_the_mean_of_clusters_is_resampled_by_cluster():
    """Copies of each value in a cluster of their own add nothing."""
    values = [0.1, 0.4, 0.2, 0.9, 0.3]
    once = bootstrap_mean(values, seed=3, clusters=range(5))
    copied = bootstrap_mean(
        [v for v in values for _ in "abcd"], seed=3, clusters=[i for i in range(5) for _ in "abcd"]
    )
    assert copied == pytest.approx(once, abs=1e-12)


@pytest.mark.parametrize(("prompts", "each"), [(6, 5), (12, 5), (54, 1)])
def test_the_interval_of_a_mean_contains_the_truth_as_often_as_it_claims(prompts, each):
    """Normal pictures, half of whose variance is their prompt's; 95 % are claimed."""
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(prompts), each).tolist()
    inside, before = [], []
    for _ in range(400):
        values = np.repeat(rng.normal(size=prompts), each) + rng.normal(size=prompts * each)
        for found, alike in ((inside, clusters), (before, None)):
            low, high = bootstrap_mean(values, seed=5, clusters=alike)
            found.append(low <= 0 <= high)
    assert np.mean(inside) >= 0.92
    if each > 1:
        assert np.mean(before) < 0.85  # what was claimed where no picture is like another


SCATTER = {  # of prompts around their mean, 0; of skewed ones Student's interval is known to miss
    "normal": (lambda rng, size: rng.normal(size=size), 0.93),
    "like similarities": (lambda rng, size: 0.8 - rng.beta(8, 2, size=size), 0.92),
    "exponential": (lambda rng, size: rng.exponential(size=size) - 1, 0.87),
}


@pytest.mark.parametrize("scatter", SCATTER)
@pytest.mark.parametrize("each", [1, 5])
@pytest.mark.parametrize("prompts", [2, 3, 4, 5])
def test_the_interval_of_a_mean_of_few_prompts_contains_the_truth(prompts, each, scatter):
    """95 % are claimed; resampling had 50 % at 2 prompts, 75 % at 3 and 86 % at 4."""
    drawn, expected = SCATTER[scatter]
    rng, clusters = np.random.default_rng(4), np.repeat(np.arange(prompts), each).tolist()
    inside, before = [], []
    for _ in range(500):
        of_prompts, of_pictures = drawn(rng, prompts), drawn(rng, prompts * each)
        values = np.repeat(of_prompts, each) + 0.5 * of_pictures * (each > 1)
        m = mean(values, metric="m", better="lower", settings={}, clusters=clusters)
        inside.append(m.low <= 0 <= m.high)
        low, high = bootstrap_mean(values, seed=5, clusters=clusters, samples=100)
        before.append(low <= 0 <= high)
    assert np.mean(inside) >= expected
    assert np.mean(before) < np.mean(inside)


def test_no_interval_of_a_mean_ends_where_no_image_can_be():
    few: dict = {"metric": "m", "better": "higher", "settings": {}, "clusters": "ab"}
    wide, cut = mean([0.1, 0.9], **few), mean([0.1, 0.9], within=(-1, 1), **few)
    assert wide.low < -1 < 1 < wide.high
    assert (cut.low, cut.value, cut.high) == (-1, 0.5, 1)
    for m in (clip_score([0.1, 0.9], settings={}, clusters="ab"), mean_ssim([0, 1], clusters="ab")):
        assert (m.low, m.high) == (-1, 1)
    lost = score_drop([0.9, 0.1], [0.1, 0.9], settings={}, clusters="ab")
    assert (lost.low, lost.high) == (-2, 2)


def test_of_six_prompts_the_mean_is_resampled_and_of_five_it_is_students():
    values = np.random.default_rng(9).normal(size=6)
    for n, low_and_high in (
        (5, t.interval(0.95, 4, values[:5].mean(), values[:5].std(ddof=1) / math.sqrt(5))),
        (6, bootstrap_mean(values, seed=20240229, clusters=range(6))),
    ):
        m = mean(values[:n], metric="m", better="lower", settings={}, clusters=range(n))
        assert_allclose((m.low, m.high), low_and_high, rtol=1e-10)


SHAPES = {"12 x 5": [5] * 12, "40 x 1 and 8 x 3": [1] * 40 + [3] * 8, "60 x 1": [1] * 60}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("truth", [0.02, 0.05, 0.1, 0.3])
def test_the_upper_end_contains_the_truth_as_often_as_it_claims(shape, correlation, truth):
    """Beta-binomial pictures: each prompt has a rate of its own. 97.5 % are claimed, by what is
    known of Wilson's upper end at these rates 94 % or more are had.
    """
    rng, sizes = np.random.default_rng(1), np.array(SHAPES[shape])
    clusters = np.repeat(np.arange(len(sizes)), sizes).tolist()
    trials = effective(clusters)
    a = truth * (1 - correlation) / correlation if correlation else None
    b = (1 - truth) * (1 - correlation) / correlation if correlation else None
    n, draws = sizes.sum(), 4000
    rates = (
        rng.beta(a, b, (draws, len(sizes))) if correlation else np.full((draws, len(sizes)), truth)
    )
    shares = rng.binomial(sizes, rates).sum(axis=1) / n
    ends = {s: wilson(s * trials, trials)[1] for s in set(shares.tolist())}
    contained = np.mean([ends[s] >= truth for s in shares.tolist()])
    assert contained >= 0.94
    if shape == "12 x 5" and correlation == 0.6 and truth == 0.1:  # what was claimed before
        before = {s: wilson(round(s * n), int(n))[1] for s in set(shares.tolist())}
        assert np.mean([before[s] >= truth for s in shares.tolist()]) < 0.9


# More of one prompt is no more evidence; statistics of pairs


def test_more_pictures_of_a_prompt_take_more_pictures():
    assert enough(0.1) == 35
    assert enough(0.1, per_prompt=5) == 175
    hits, wordings = [False] * 175, [i // 5 for i in range(175)]
    m = share(hits, metric="m", better="lower", settings={}, clusters=wordings)
    assert m.high <= 0.1
    fewer = share(hits[5:], metric="m", better="lower", settings={}, clusters=wordings[5:])
    assert fewer.high > 0.1
    with pytest.raises(ValueError, match="per_prompt=0"):
        enough(0.1, per_prompt=0)


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(9).normal(size=12)
    left_out = [np.delete(values, i).mean() for i in range(12)]
    expected = t.interval(0.95, 11, values.mean(), values.std(ddof=1) / math.sqrt(12))
    assert_allclose(jackknife(values.mean(), left_out), expected, rtol=1e-10)


def test_the_jackknife_needs_two_groups_and_numbers():
    with pytest.raises(ValueError, match="at least two prompts, got 1"):
        jackknife(0.5, [0.4])
    with pytest.raises(ValueError, match="not finite"):
        jackknife(0.5, [0.4, float("nan")])


def test_a_prompt_of_both_sides_is_one_group():
    at_reference, at, groups = joint_groups(3, 2, ["a", "b", "a"], ["b", "c"], "m")
    assert (at_reference.tolist(), at.tolist(), groups) == ([0, 1, 0], [1, 2], 3)
    assert joint_groups(3, 2, None, None, "m")[2] == 5


# The excess over a control


def over(hits: list[bool], control: list[bool], **changed: object) -> Measurement:
    given = {
        "clusters": list(range(len(hits))),
        "control_clusters": list(range(len(control))),
        **changed,
    }
    return excess(hits, control, metric="m", better="lower", settings={}, **given)


def of(successes: int, n: int) -> list[bool]:
    return [i < successes for i in range(n)]


def test_newcombes_own_example():
    """Table II (a) of Statistics in Medicine 17:873: 56/70 - 48/80, method 10: 0.0524 to 0.3339."""
    m = over(of(56, 70), of(48, 80))
    assert m.value == pytest.approx(0.2)
    assert (m.low, m.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_what_the_control_shows_too_is_no_excess():
    """Latent inversion: 7 of 20, and 7 of 20 by the base that is told the replacement."""
    m = over(of(7, 20), of(7, 20))
    assert m.value == 0
    assert m.low < 0 < m.high < 0.3
    assert share(of(7, 20), metric="m", better="lower", settings={}, clusters=None).high > 0.5


def test_pictures_of_one_prompt_widen_the_excess():
    alone, alike = over(of(5, 20), of(0, 20)), [i // 4 for i in range(20)]
    wide = over(of(5, 20), of(0, 20), clusters=alike, control_clusters=alike)
    assert wide.low < alone.low
    assert wide.high > alone.high


@pytest.mark.parametrize("together", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("p", "q"), [(0.05, 0.0), (0.2, 0.1), (0.35, 0.35), (0.6, 0.4)])
@pytest.mark.parametrize("n", [20, 40])
def test_the_upper_end_of_an_excess_contains_the_truth(n, p, q, together):
    """A part `together` of the pictures hit where their controls do; 97.5 % are claimed."""
    rng, draws = np.random.default_rng(3), 2000
    first, second = rng.random((2, draws, n))
    second = np.where(rng.random((draws, n)) < together, first, second)
    pairs = list(zip((first < p).sum(axis=1), (second < q).sum(axis=1), strict=True))
    ends = {pair: over(of(pair[0], n), of(pair[1], n)).high for pair in set(pairs)}
    assert np.mean([ends[pair] >= p - q - 1e-12 for pair in pairs]) >= 0.94


def test_a_mean_of_one_cluster_has_no_interval():
    values = np.linspace(0.2, 0.9, 30).tolist()
    with pytest.raises(ValueError, match="m: an interval needs the images of at least two prompts"):
        mean(values, metric="m", better="higher", settings={}, clusters=["a"] * 30)
    two = mean(values, metric="m", better="higher", settings={}, clusters=["a", "b"] * 15)
    assert two.low < two.value < two.high


# Losses less gains


def pair(losses: int, gains: int, n: int, clusters: object = None) -> Measurement:
    """Of n cases the first are lost, the next gained, the others as they were."""
    before = [not losses <= i < losses + gains for i in range(n)]
    after = [i >= losses for i in range(n)]
    return net_loss(before, after, metric="m", settings={}, clusters=clusters)


def test_without_a_gain_the_upper_end_is_wilsons_of_the_losses():
    ends = [pair(k, 0, 54).high for k in range(55)]
    assert ends == pytest.approx([wilson(k, 54)[1] for k in range(55)])
    assert ends[:3] == pytest.approx([0.0664, 0.0977, 0.1254], abs=1e-4)


def test_the_upper_end_rises_with_each_loss_and_never_with_a_gain():
    ends = np.array([[pair(k, g, 54).high for g in range(8)] for k in range(30)])
    assert (np.diff(ends, axis=0) > 0).all()
    assert (np.diff(ends[:10], axis=1) < 0).all()
    assert ends[0, 1] > 0  # one gain proves nothing


def test_the_interval_of_the_opposite_is_the_opposite():
    there, back = pair(7, 3, 40), pair(3, 7, 40)
    assert (there.value, there.low, there.high) == pytest.approx(
        (-back.value, -back.high, -back.low)
    )


def test_cases_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match="cases come in pairs; got 2 before and 1 after"):
        net_loss([True, False], [True], metric="m", settings={}, clusters=None)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("correlation", [0.0, 0.3])
@pytest.mark.parametrize("gain", [0.0, 0.02, 0.08])
@pytest.mark.parametrize("loss", [0.02, 0.06, 0.08, 0.11, 0.3])
def test_a_rare_loss_is_contained_as_often_as_claimed(shape, correlation, gain, loss):
    """Each prompt has a rate of its own at which its cases are lost, and gained of what is left;
    97.5 % are claimed, 94 % or more are had, as of Wilson's upper end.
    """
    rng, sizes, draws = np.random.default_rng(2), np.array(SHAPES[shape]), 3000
    clusters = np.repeat(np.arange(len(sizes)), sizes).tolist()

    def drawn(rate: float, of: np.ndarray) -> np.ndarray:
        if not correlation or not rate:
            return rng.binomial(of, rate)
        a, b = (x * (1 - correlation) / correlation for x in (rate, 1 - rate))
        return rng.binomial(of, rng.beta(a, b, (draws, len(sizes))))

    losses = drawn(loss, np.broadcast_to(sizes, (draws, len(sizes))))
    gains = drawn(gain / (1 - loss), sizes - losses)
    pairs = list(zip(losses.sum(axis=1).tolist(), gains.sum(axis=1).tolist(), strict=True))
    ends = {(k, g): pair(k, g, len(clusters), clusters).high for k, g in set(pairs)}
    assert np.mean([ends[each] >= loss - gain - 1e-12 for each in pairs]) >= 0.94
