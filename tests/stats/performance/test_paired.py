from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from tidegauge.stats.performance.paired import compare_paired, mcnemar, paired_difference


@pytest.mark.parametrize(
    ("better", "worse", "n", "low", "high"),
    [
        (
            1,
            7,
            21,
            -0.517,
            -0.026,
        ),  # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014)
        (0, 0, 50, -0.0713, 0.0713),  # z2 / (n + z2)
        (50, 0, 50, 0.857, 1.0),
        (0, 1, 1, -1.0, 0.587),
    ],
)
def test_the_interval_is_tangos(better: int, worse: int, n: int, low: float, high: float) -> None:
    found = paired_difference(better, worse, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.001)
    assert (found.value, found.n) == ((better - worse) / n, n)


@pytest.mark.parametrize("n", [1, 2, 5, 100, 100_000])
def test_the_interval_encloses_the_difference_and_mirrors_with_the_models(n: int) -> None:
    for better in range(min(n, 4) + 1):
        for worse in range(min(n - better, 4) + 1):
            found, mirrored = paired_difference(better, worse, n), paired_difference(worse, better, n)
            assert -1 <= found.low < found.high <= 1
            assert found.low <= found.value <= found.high
            assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-8)


@pytest.mark.parametrize(("share", "other", "n"), [(0.1, 0.1, 30), (0.02, 0.05, 50), (0.3, 0.05, 100)])
def test_the_interval_holds_its_level(share: float, other: float, n: int) -> None:
    drawn = np.random.default_rng(0).multinomial(n, [share, other, 1 - share - other], 800)
    found = [paired_difference(int(row[0]), int(row[1]), n) for row in drawn]
    assert np.mean([one.low <= share - other <= one.high for one in found]) >= 0.93


def test_mcnemar_is_the_binomial_test_of_the_disagreements() -> None:
    assert mcnemar(3, 12) == pytest.approx(binomtest(3, 15).pvalue)
    assert mcnemar(0, 0) == 1.0


def test_recall_and_specificity_speak_of_their_own_samples() -> None:
    truth = ["sick"] * 4 + ["well"] * 6
    first = ["sick", "well", "well", "well", *["well"] * 6]
    second = ["sick", "sick", "sick", "well", "sick", *["well"] * 5]
    recall = compare_paired("recall", truth, first, second, "sick")
    specificity = compare_paired("specificity", truth, first, second, "sick")
    assert (recall.difference.value, recall.difference.n, recall.better, recall.worse) == (0.5, 4, 2, 0)
    assert specificity.difference.value == pytest.approx(-1 / 6)
    assert (specificity.better, specificity.worse, specificity.difference.n) == (0, 1, 6)


def test_balanced_accuracy_weighs_classes_alike() -> None:
    truth = ["a"] * 90 + ["b"] * 10
    first, second = ["a"] * 100, ["a"] * 90 + ["b"] * 10
    found = compare_paired("balanced_accuracy", truth, first, second)
    assert found.difference.value == pytest.approx(0.5)
    assert found.difference.low < 0.5 < found.difference.high
    assert compare_paired("accuracy", truth, first, second).difference.value == pytest.approx(0.1)


def test_of_no_samples_nothing_is_said() -> None:
    for metric in ("accuracy", "balanced_accuracy", "recall"):
        found = compare_paired(metric, [], [], [], "sick")
        assert (found.difference.value, found.difference.n, found.p_value) == (None, 0, 1.0)


@pytest.mark.parametrize(
    ("metric", "second", "positive", "sentence"),
    [
        ("f1_score", ["a"], None, "metric is 'f1_score'"),
        ("recall", ["a"], None, "positive is missing"),
        ("accuracy", ["a", "b"], None, "differ in length"),
    ],
)
def test_what_cannot_be_compared_is_said(
    metric: str, second: list[str], positive: str | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        compare_paired(metric, ["a"], ["a"], second, positive)
