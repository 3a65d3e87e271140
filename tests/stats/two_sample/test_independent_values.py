"""Every statistic against scipy, a naive double loop, or a table computed by hand."""

from __future__ import annotations

from itertools import combinations
from math import log, sqrt

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import (
    chi2_contingency,
    cramervonmises_2samp,
    ks_2samp,
    wasserstein_distance,
)
from scipy.stats import (
    energy_distance as scipy_energy,
)

from tidegauge.stats.two_sample import (
    Numbers,
    Vectors,
    chi_squared,
    cramer_von_mises,
    energy_distance,
    hellinger,
    jensen_shannon,
    kolmogorov_smirnov,
    kolmogorov_smirnov_columns,
    mmd,
    psi,
    total_variation,
    wasserstein,
)
from tidegauge.stats.two_sample.chi_squared import _of_counts, _of_values
from tidegauge.stats.two_sample.permutations import random_places, random_windows

RNG = np.random.default_rng(0)
BASELINE, WINDOW = RNG.normal(5, 2, 400), RNG.normal(5.5, 2.5, 300)
TIED, TIED_WINDOW = RNG.integers(0, 8, 400).astype(float), RNG.integers(1, 9, 300).astype(float)


def test_psi_by_hand():
    # (0.6 - 0.5) ln(0.6 / 0.5) + (0.4 - 0.5) ln(0.4 / 0.5)
    expected = 0.1 * log(1.2) - 0.1 * log(0.8)
    assert psi({"a": 50, "b": 50}, {"a": 60, "b": 40}).statistic == pytest.approx(expected)


def test_psi_of_three_bins_by_hand():
    # shares 0.2, 0.3, 0.5 against 0.3, 0.3, 0.4
    expected = 0.1 * log(0.3 / 0.2) + 0 + -0.1 * log(0.4 / 0.5)
    counts = ({"a": 20, "b": 30, "c": 50}, {"a": 30, "b": 30, "c": 40})
    assert psi(*counts).statistic == pytest.approx(expected)


def test_psi_of_an_empty_bin_is_finite_by_its_floor():
    expected = (0.5 - 1e-4) * log(0.5 / 1e-4) + (0.5 - 1) * log(0.5)
    assert psi({"b": 10}, {"a": 5, "b": 5}).statistic == pytest.approx(expected)
    assert psi({"a": 1}, {"b": 1}).score == pytest.approx(1, abs=1e-3)


def test_psi_of_numbers_has_ten_bins_of_equal_share():
    assert Numbers.of(BASELINE).binned.tolist() == [40] * 10
    edges = np.sort(BASELINE)[40::40]
    shares = np.histogram(WINDOW, [-np.inf, *edges, np.inf])[0] / 300
    expected = ((shares - 0.1) * np.log(shares / 0.1)).sum()
    assert psi(Numbers.of(BASELINE), WINDOW).statistic == pytest.approx(expected)
    assert psi(Numbers.of(BASELINE), Numbers.of(WINDOW)).statistic == pytest.approx(expected)


def test_jensen_shannon_agrees_with_scipy_and_with_a_hand_computed_table():
    assert jensen_shannon({"a": 3, "b": 1}, {"a": 1, "c": 1}).score == pytest.approx(
        jensenshannon([0.75, 0.25, 0], [0.5, 0, 0.5], base=2)
    )
    # p = (1/2, 1/2), q = (1, 0): the middle is (3/4, 1/4)
    divergence = 0.5 * (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) + 0.5 * np.log2(1 / 0.75)
    assert jensen_shannon({"a": 1, "b": 1}, {"a": 1}).score == pytest.approx(sqrt(divergence))
    assert jensen_shannon({"a": 1}, {"b": 1}).score == 1.0


def test_hellinger_by_hand():
    expected = sqrt(((sqrt(0.5) - 1) ** 2 + 0.5) / 2)
    assert hellinger({"a": 1, "b": 1}, {"a": 1}).score == pytest.approx(expected)
    assert hellinger({"a": 1}, {"b": 1}).score == 1.0


@pytest.mark.parametrize(
    ("left", "right"), [((60, 40), (40, 60)), ((300, 200, 100), (30, 40, 30)), ((5000, 20), (4000, 60))]
)
def test_chi_squared_agrees_with_scipy(left: tuple[int, ...], right: tuple[int, ...]):
    names = "abc"[: len(left)]
    found = chi_squared(dict(zip(names, left, strict=True)), dict(zip(names, right, strict=True)))
    theirs = chi2_contingency([left, right], correction=False)
    assert found.statistic == pytest.approx(theirs.statistic)
    assert found.p_value == pytest.approx(theirs.pvalue)


def test_chi_squared_of_few_values_is_the_share_of_windows_that_differ_as_much():
    # Hypergeometric by hand: of 4 + 4 values, 4 a's and 4 b's, a window of 4 is all a or all b in 2 of 70.
    found = chi_squared({"a": 4}, {"b": 4})
    assert found.p_value == pytest.approx(2 / 70, abs=0.012)
    even = chi_squared({"a": 2, "b": 2}, {"a": 2, "b": 2})
    assert (even.statistic, even.p_value) == (0.0, 1.0)


def test_wasserstein_agrees_with_scipy_in_the_baselines_deviations():
    expected = wasserstein_distance(BASELINE, WINDOW) / BASELINE.std()
    assert wasserstein(BASELINE, WINDOW).statistic == pytest.approx(expected)
    tied = wasserstein_distance(TIED, TIED_WINDOW) / TIED.std()
    assert wasserstein(TIED, TIED_WINDOW).statistic == pytest.approx(tied)


@pytest.mark.parametrize(
    ("baseline", "window"), [(BASELINE, WINDOW), (TIED, TIED_WINDOW), (BASELINE, WINDOW[:250])]
)
def test_cramer_von_mises_agrees_with_scipy(baseline: np.ndarray, window: np.ndarray):
    theirs = cramervonmises_2samp(baseline, window, method="asymptotic")
    found = cramer_von_mises(baseline, window)
    assert found.statistic == pytest.approx(theirs.statistic)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=1e-3)


def test_cramer_von_mises_of_few_values_agrees_with_the_exact_test():
    baseline, window = RNG.normal(size=9), RNG.normal(1, 1, 8)
    theirs = cramervonmises_2samp(baseline, window, method="exact")
    assert cramer_von_mises(baseline, window).p_value == pytest.approx(theirs.pvalue, abs=0.05)


def test_energy_distance_agrees_with_scipy():
    found = energy_distance(BASELINE, WINDOW)
    assert found.statistic == pytest.approx(scipy_energy(BASELINE, WINDOW), rel=1e-4)


def naive_mmd(x: np.ndarray, y: np.ndarray, bandwidth: float) -> float:
    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return sum(np.exp(-((p - q) ** 2).sum() / bandwidth) for p in a for q in b) / len(a) / len(b)

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def test_mmd_agrees_with_a_double_loop():
    x, y = RNG.normal(size=(40, 3)), RNG.normal(0.5, 1, (15, 3))
    distances = [((p - q) ** 2).sum() for i, p in enumerate(x) for q in x[:i]]
    expected = naive_mmd(x, y, float(np.median(distances)))
    assert mmd(x, y).statistic == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("statistic", [mmd, energy_distance])
@pytest.mark.parametrize(("m", "n"), [(60, 5), (30, 25)])
def test_permutation_p_values_are_uniform_without_drift(statistic, m: int, n: int):
    rng = np.random.default_rng(3)
    found = [
        statistic(rng.normal(size=(m, 2)), rng.normal(size=(n, 2)), permutations=39, rng=rng).p_value
        for _ in range(200)
    ]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("statistic", [mmd, energy_distance])
def test_a_small_and_a_large_window_are_permuted_alike(statistic):
    # 5 of 405 add up the rows of the chosen, 25 of 425 are one matrix product.
    baseline = Vectors.of(np.random.default_rng(1).normal(size=(400, 2)))
    for n in (5, 25):
        calm = statistic(baseline, np.random.default_rng(2).normal(size=(n, 2)))
        moved = statistic(baseline, np.random.default_rng(2).normal(3, 1, (n, 2)))
        assert calm.p_value > 0.02
        assert moved.p_value == pytest.approx(1 / 101)


@pytest.mark.parametrize("n", [1, 2, 12, 16])
def test_columns_at_once_agree_with_one_by_one(n: int):
    rng = np.random.default_rng(n)
    window = np.column_stack([rng.normal(0.3 * k, 1, n) for k in range(6)] + [rng.integers(0, 3, n)])
    columns = [rng.normal(size=300) for _ in range(6)] + [rng.integers(0, 4, 300)]
    baselines = [Numbers.of(column) for column in columns]
    together = kolmogorov_smirnov_columns(baselines, window)
    for column, baseline, found in zip(window.T, columns, together, strict=True):
        alone = kolmogorov_smirnov(baseline, column)
        assert found.score == alone.score
        assert found.p_value == pytest.approx(alone.p_value, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_window_of_one_column_keeps_its_order(kind):
    window = np.array([[3], [2], [1]], kind)
    kolmogorov_smirnov_columns([Numbers.of(range(9))], window)
    assert window.ravel().tolist() == [3, 2, 1]


def test_columns_of_a_window_that_is_larger_than_the_baseline():
    rng = np.random.default_rng(2)
    baselines, window = [Numbers.of(rng.normal(size=4)) for _ in range(3)], rng.normal(1, 1, (11, 3))
    for baseline, column, found in zip(
        baselines, window.T, kolmogorov_smirnov_columns(baselines, window), strict=True
    ):
        theirs = ks_2samp(baseline.values, column, method="exact")
        assert (found.score, found.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_columns_with_missing_numbers_are_compared_one_by_one():
    window = np.array([[1.0, np.nan], [2.0, 5.0]])
    baselines = [Numbers.of(range(9)), Numbers.of(range(9))]
    assert [found.n for found in kolmogorov_smirnov_columns(baselines, window)] == [2, 1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.integers(0, 50, n).astype(float),
        lambda rng, n: np.round(rng.lognormal(2, 1, n), 1),
        lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n)),
        lambda rng, n: rng.standard_cauchy(n),
        lambda _rng, n: np.zeros(n),
        lambda rng, n: rng.choice([-np.inf, 0.0, 1.0, np.inf], n),
        lambda rng, n: np.where(rng.random(n) < 1e-4, np.inf, rng.normal(size=n)),
        lambda rng, n: np.where(rng.random(n) < 1e-4, np.inf, 0.0),
        lambda rng, n: rng.normal(size=n).astype(np.float32),
        lambda rng, n: rng.normal(size=n) * 1e-300,
        lambda rng, n: (rng.normal(size=n) * 1e38).clip(-3e38, 3e38).astype(np.float32),
        lambda rng, n: np.where(rng.random(n) < 1e-4, 3e38, 1e-20 * rng.random(n)).astype(np.float32),
    ],
)
def test_a_large_window_needs_no_sorting(draw):
    rng = np.random.default_rng(0)
    baseline, window = draw(rng, 30_000), draw(rng, 25_000)
    for sample in (window, np.add(window, 0.01, dtype=np.float64).astype(window.dtype), window[window >= 0]):
        found = kolmogorov_smirnov(Numbers.of(baseline), sample)
        assert found.score == pytest.approx(ks_2samp(baseline, sample, method="asymp").statistic, abs=1e-12)


def test_total_variation_of_numbers_names_the_bins():
    found = total_variation(Numbers.of([0.0, 1.0]), [0.0, 5.0])
    assert found.score == 0.5
    assert sum(found.baseline_shares.values()) == sum(found.window_shares.values()) == 1
    assert found.window_shares["[0.0, 1.0)"] == 0.5


def test_psi_tells_what_lies_above_a_repeated_largest_number():
    baseline = Numbers.of([0.0] * 2 + [1.0] * 8)
    assert baseline.binned.sum() == 10
    expected = 2 * (0.8 - 1e-4) * log(0.8 / 1e-4)
    assert psi(baseline, [0.0] * 2 + [2.0] * 8).statistic == pytest.approx(expected)


def every_p_value(baseline: np.ndarray, window: np.ndarray, kernel: np.ndarray) -> float:
    """Go through all windows of the pooled values: the share with as large a distance in the kernel."""
    size, n = len(kernel), len(window)
    found = []
    for chosen in combinations(range(size), n):
        inside = np.isin(np.arange(size), chosen)
        across = kernel[np.ix_(inside, ~inside)].mean()
        found.append(
            kernel[np.ix_(inside, inside)].mean() + kernel[np.ix_(~inside, ~inside)].mean() - 2 * across
        )
    return float(np.mean(np.array(found) >= found[-1] - 1e-12))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("statistic", [mmd, energy_distance])
def test_tied_vectors_are_permuted_as_if_every_window_were_drawn(statistic, seed: int):
    rng = np.random.default_rng(seed)
    baseline, window = (rng.integers(0, 2, (n, 3)) * 1.37 + 100 for n in (7, 3))
    pooled = np.concatenate([baseline, window])
    squares = ((pooled[:, None] - pooled) ** 2).sum(axis=2)
    kernel = np.exp(-squares / Vectors.of(baseline).bandwidth) if statistic is mmd else -np.sqrt(squares)
    expected = every_p_value(baseline, window, kernel)
    found = statistic(baseline, window, permutations=4000, rng=rng).p_value
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("draw", [random_places, random_windows])
def test_every_choice_is_as_likely(draw):
    found = draw(5, 2, 20_000, np.random.default_rng(0))
    chosen = found if draw is random_windows else np.eye(5)[found].sum(axis=1)
    assert (chosen.sum(axis=1) == 2).all()
    _, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(counts) == 10
    assert counts / 20_000 == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_values_and_counts_of_categories_are_drawn_alike():
    pooled = np.array([90, 40, 9, 5, 2, 1, 1])
    drawn = [draw(pooled, 128, 20, np.random.default_rng(7)) for draw in (_of_counts, _of_values)]
    assert np.quantile(drawn[1], [0.25, 0.5, 0.75]) == pytest.approx(
        np.quantile(drawn[0], [0.25, 0.5, 0.75]), rel=0.08
    )
    # The mean over all windows with these margins, N (k - 1) / (N - 1) (Haldane, 1940).
    for statistics in drawn:
        assert statistics.mean() == pytest.approx(148 * 6 / 147, rel=0.06)


def test_chi_squared_p_values_of_rare_categories_are_uniform_without_drift():
    rng = np.random.default_rng(6)
    shares = 1 / np.arange(1, 301)
    found = []
    for _ in range(150):
        drawn = rng.choice(300, 960, p=shares / shares.sum())
        found.append(chi_squared(drawn[60:], drawn[:60], rng).p_value)
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.07)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_ids_that_are_all_different_are_no_evidence_of_drift():
    ids = {str(k): 1 for k in range(100_000)}
    assert chi_squared(ids, {str(k): 1 for k in range(100_000, 100_030)}).p_value == 1.0


def test_cramer_von_mises_of_a_small_window_takes_a_large_baseline():
    baseline = Numbers.of(np.random.default_rng(0).normal(size=300_000))
    assert cramer_von_mises(baseline, np.linspace(-1, 1, 12)).p_value > 0.05
    assert cramer_von_mises(baseline, np.linspace(1, 3, 12)).p_value == pytest.approx(1 / 1000)


@pytest.mark.parametrize(("m", "n"), [(6, 9), (9, 6), (2, 11), (11, 1)])
def test_cramer_von_mises_with_ties_agrees_with_scipy_either_way_round(m: int, n: int):
    rng = np.random.default_rng(m)
    baseline, window = rng.integers(0, 4, m).astype(float), rng.integers(1, 5, n).astype(float)
    forward, backward = cramer_von_mises(baseline, window), cramer_von_mises(window, baseline)
    assert forward.statistic == pytest.approx(backward.statistic)
    if min(m, n) > 1:
        theirs = cramervonmises_2samp(baseline, window, method="asymptotic")
        assert forward.statistic == pytest.approx(theirs.statistic)


def test_the_way_to_infinity_is_not_measured():
    assert wasserstein([1.0, 2.0], [np.inf]).statistic is None
    assert wasserstein([1.0, -np.inf], [1.0]).score is None
