from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import binom
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from tidegauge.stats.performance.calibration_map import fit_isotonic, fit_platt
from tidegauge.stats.performance.expected import METRICS, Expectation, _Window, expect, fit_expectation

NAMES = ["well", "sick"]


@dataclass(frozen=True)
class Comparison:
    score: float | None
    p_value: float | None


def two_classes(n: int, rng: np.random.Generator, sick: float = 0.65) -> tuple[np.ndarray, np.ndarray]:
    """An overconfident model: probabilities [n, 2] and labels; ``sick`` moves the mix of cases only."""
    said = np.where(rng.random(n) < sick, rng.normal(3, 2, n), rng.normal(-3, 2, n))
    labels = (rng.random(n) < expit(0.6 * said + 0.2)).astype(int)
    return np.column_stack([expit(-said), expit(said)]), np.array(NAMES)[labels]


def three_classes(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    said = rng.normal(0, 3, (n, 3))
    truth = softmax(0.7 * said, axis=1)
    labels = (rng.random(n)[:, np.newaxis] > np.cumsum(truth, axis=1)).sum(axis=1)
    return softmax(said, axis=1), np.array(["a", "b", "c"])[labels]


def fitted(n: int = 500, seed: int = 0, **options) -> Expectation:
    rng = np.random.default_rng(seed)
    probabilities, labels = two_classes(n, rng)
    return fit_expectation(probabilities, labels, NAMES, "sick", rng=rng, **options)


def realised(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    predicted = np.array(NAMES)[probabilities.argmax(axis=1)]
    return {
        "accuracy": accuracy_score(labels, predicted),
        "precision": precision_score(labels, predicted, pos_label="sick"),
        "recall": recall_score(labels, predicted, pos_label="sick"),
        "f1_score": f1_score(labels, predicted, pos_label="sick"),
        "roc_auc": roc_auc_score(labels == "sick", probabilities[:, 1]),
    }


@pytest.mark.parametrize("fit_map", [fit_isotonic, fit_platt])
def test_agrees_with_scikit_learn_on_the_labels_of_a_large_window(fit_map):
    expectation = fitted(10_000, fit_map=fit_map)
    probabilities, labels = two_classes(20_000, np.random.default_rng(1))
    found = expect(expectation, probabilities).metrics
    truth = realised(probabilities, labels)
    assert {name: found[name].value for name in METRICS} == pytest.approx(truth, abs=0.015)


def test_raw_confidences_would_have_promised_more():
    probabilities, labels = two_classes(5000, np.random.default_rng(1))
    promised = probabilities.max(axis=1).mean()
    truth = realised(probabilities, labels)["accuracy"]
    assert promised > truth + 0.03
    assert expect(fitted(5000), probabilities).metrics["accuracy"].value == pytest.approx(truth, abs=0.015)


def test_follows_a_window_of_harder_cases():
    expectation = fitted(10_000)
    probabilities, labels = two_classes(20_000, np.random.default_rng(1))
    hard = np.abs(probabilities[:, 1] - 0.5) < 0.4
    found = expect(expectation, probabilities[hard]).metrics["accuracy"].value
    truth = realised(probabilities[hard], labels[hard])["accuracy"]
    assert truth < 0.75
    assert found == pytest.approx(truth, abs=0.03)


def test_the_chance_in_labels_is_binomial_where_calibration_is_sure():
    expectation = fitted(20_000, fit_map=fit_platt)
    found = expect(expectation, np.tile([0.2, 0.8], (100, 1))).metrics["accuracy"]
    law = binom(100, expectation.law[1].apply([0.8])[0])
    assert found.low * 100 == pytest.approx(law.ppf(0.025), abs=2)
    assert found.high * 100 == pytest.approx(law.ppf(0.975), abs=2)


def test_the_interval_keeps_the_error_of_calibration_in_the_largest_window():
    probabilities, _ = two_classes(20_000, np.random.default_rng(1))
    few, many = (expect(fitted(n), probabilities).metrics["accuracy"] for n in (50, 5000))
    assert few.high - few.low > 0.1
    assert many.high - many.low < 0.03


@pytest.mark.parametrize(("held_out", "window"), [(50, 12), (50, 400), (300, 100)])
def test_intervals_cover_what_labels_would_give(held_out: int, window: int):
    runs, covered = 60, dict.fromkeys(METRICS, 0)
    counted = dict.fromkeys(METRICS, 0)
    for seed in range(runs):
        expectation = fitted(held_out, seed)
        probabilities, labels = two_classes(window, np.random.default_rng(10_000 + seed))
        if len(set(labels)) < 2 or not (probabilities[:, 1] > 0.5).any():
            continue
        found = expect(expectation, probabilities).metrics
        for name, value in realised(probabilities, labels).items():
            if found[name].value is not None:
                counted[name] += 1
                covered[name] += found[name].low - 1e-9 <= value <= found[name].high + 1e-9
    # With 50 held-out predictions 89% are covered in the long run; chance takes up to a tenth of 60 runs.
    assert all(covered[name] / counted[name] > 0.8 for name in METRICS), covered


def test_metrics_of_drawn_labels_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, labels = three_classes(60, rng)
    probabilities = probabilities.round(1)  # with ties
    place = np.searchsorted(["a", "b", "c"], labels)
    found = _Window(probabilities, None)._metrics(place[np.newaxis])[0]
    predicted = probabilities.argmax(axis=1)
    macro = {"average": "macro", "labels": [0, 1, 2], "zero_division": np.nan}
    auc = [roc_auc_score(place == k, probabilities[:, k]) for k in range(3)]
    assert found == pytest.approx(
        [
            accuracy_score(place, predicted),
            precision_score(place, predicted, **macro),
            recall_score(place, predicted, **macro),
            f1_score(place, predicted, **macro),
            np.mean(auc),
        ]
    )


def test_several_classes_are_calibrated_against_the_rest():
    rng = np.random.default_rng(0)
    probabilities, labels = three_classes(6000, rng)
    expectation = fit_expectation(probabilities, labels, ["a", "b", "c"], rng=rng)
    probabilities, labels = three_classes(6000, rng)
    found = expect(expectation, probabilities).metrics
    predicted = np.array(["a", "b", "c"])[probabilities.argmax(axis=1)]
    assert found["accuracy"].value == pytest.approx(accuracy_score(labels, predicted), abs=0.02)
    assert found["f1_score"].value == pytest.approx(f1_score(labels, predicted, average="macro"), abs=0.02)


def test_clean_windows_are_safe():
    expectation = fitted(1000)
    unsafe = [
        expect(expectation, two_classes(100, np.random.default_rng(seed))[0]).unsafe for seed in range(40)
    ]
    assert not any(unsafe)


def test_confidences_that_leave_the_held_out_ones_are_unsafe():
    found = expect(fitted(1000), two_classes(100, np.random.default_rng(1), sick=0.1)[0])
    assert found.unsafe
    assert found.reason.startswith("The confidences are not distributed as the held-out ones")


def test_drift_of_inputs_is_unsafe_even_where_confidences_look_the_same():
    expectation = fitted(1000)
    probabilities = two_classes(100, np.random.default_rng(1))[0]
    found = expect(expectation, probabilities, Comparison(score=0.8, p_value=1e-9))
    assert found.unsafe
    assert found.reason.startswith("The inputs have drifted (score 0.80, p = 1e-09)")
    assert found.metrics == expect(expectation, probabilities).metrics


@pytest.mark.parametrize(
    "drift", [None, Comparison(0.8, 0.01), Comparison(0.05, 1e-9), Comparison(None, None)]
)
def test_drift_that_is_unsure_small_or_unknown_is_not_unsafe(drift: Comparison | None):
    found = expect(fitted(1000), two_classes(100, np.random.default_rng(1))[0], drift)
    assert (found.unsafe, found.reason) == (False, None)


def test_a_level_of_0_switches_a_rule_off():
    found = expect(
        fitted(1000),
        two_classes(100, np.random.default_rng(1), sick=0.1)[0],
        Comparison(0.8, 1e-9),
        drift_level=0.0,
        confidence_level=0.0,
    )
    assert not found.unsafe


def test_an_empty_window_has_no_value_and_is_no_error():
    found = expect(fitted(), np.empty((0, 2)))
    assert found.n == 0
    assert not found.unsafe
    assert {estimate.value for estimate in found.metrics.values()} == {None}


def test_a_metric_that_most_labels_would_not_give_has_no_value():
    found = expect(fitted(), [[0.999, 0.001]]).metrics
    assert found["accuracy"].value > 0.8
    assert found["precision"].value is None  # nobody is called sick
    assert found["roc_auc"].value is None


def test_rows_with_nan_are_left_out():
    rows = two_classes(30, np.random.default_rng(1))[0]
    with_nan = np.vstack([rows, [np.nan, 0.5]])
    assert expect(fitted(), with_nan) == expect(fitted(), rows)


def test_the_order_does_not_matter_and_the_same_window_gives_the_same():
    rows = two_classes(30, np.random.default_rng(1))[0]
    assert expect(fitted(), rows[::-1]) == expect(fitted(), rows)


def test_float32_is_taken():
    rows = two_classes(100, np.random.default_rng(1))[0]
    exact, rough = (expect(fitted(), each).metrics["accuracy"].value for each in (rows, rows.astype("f4")))
    assert rough == pytest.approx(exact, abs=1e-3)


def test_constant_confidences_are_measured():
    found = expect(fitted(), np.tile([0.1, 0.9], (20, 1))).metrics
    assert found["roc_auc"].value == pytest.approx(0.5)
    assert 0 < found["accuracy"].low <= found["accuracy"].value <= found["accuracy"].high <= 1


def test_held_out_predictions_without_an_error_do_not_promise_perfection():
    rng = np.random.default_rng(0)
    rows = np.tile([[0.01, 0.99], [0.99, 0.01]], (20, 1))
    expectation = fit_expectation(rows, ["sick", "well"] * 20, NAMES, "sick", rng=rng)
    found = expect(expectation, np.tile(rows, (10, 1))).metrics["accuracy"]
    assert 0.85 < found.low < 0.96


@pytest.mark.parametrize("fit_map", [fit_isotonic, fit_platt])
def test_survives_storage(fit_map):
    expectation = fitted(100, fit_map=fit_map)
    again = Expectation.from_arrays(expectation.to_arrays())
    rows = two_classes(30, np.random.default_rng(1))[0]
    assert expect(again, rows) == expect(expectation, rows)
    assert (again.classes, again.positive, again.n) == (("well", "sick"), 1, 100)


def test_results_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        expect(fitted(), np.empty((0, 2))).n = 1


@pytest.mark.parametrize(
    ("probabilities", "labels", "classes", "positive", "message"),
    [
        (np.ones((1, 2)) / 2, ["sick"], ["sick"], None, "at least two different classes"),
        (np.ones((1, 2)) / 2, ["sick"], NAMES, "ill", "positive is 'ill'; use one of well, sick"),
        (np.ones((1, 3)) / 3, ["sick"], NAMES, None, r"shape \(1, 3\); give \[n, 2\]"),
        (np.ones((1, 2)) * 2, ["sick"], NAMES, None, r"outside \[0, 1\]"),
        (np.ones((1, 2)) / 2, ["sick", "well"], NAMES, None, "1 probabilities and 2 labels"),
        (np.ones((1, 2)) / 2, ["ill"], NAMES, None, "labels has 'ill'"),
        (np.ones((0, 2)), [], NAMES, None, "probabilities is empty"),
        (np.full((1, 2), np.nan), ["sick"], NAMES, None, "probabilities is empty"),
    ],
)
def test_bad_input_is_named(probabilities, labels, classes, positive, message: str):
    with pytest.raises(ValueError, match=message):
        fit_expectation(probabilities, labels, classes, positive, rng=np.random.default_rng(0))
