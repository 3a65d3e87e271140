from __future__ import annotations

import pytest

from tidegauge.domain.metrics import ERRORS, QUALITIES, MetricType, larger_is_worse, names
from tidegauge.stats.performance import classify, classify_multilabel, regress, score_probabilities
from tidegauge.stats.usage import summarise

RESULTS = [
    classify(["a", "b"], ["a", "b"], "a"),
    classify(["a", "b", "c"], ["a", "b", "c"]),
    score_probabilities(["a", "b"], [0.9, 0.2], ("a", "b"), "a"),
    classify_multilabel([[1, 0]], [[1, 0]], ("a", "b")),
    regress([1.0, 2.0], [1.0, 3.0]),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_every_metric_that_is_measured_can_have_a_threshold(result: object):
    assert set(result.metrics) <= names(MetricType.PERFORMANCE)


def test_no_metric_gets_worse_both_ways():
    assert not ERRORS & QUALITIES


def test_of_health_only_shares_of_what_is_well_get_worse_as_they_fall():
    falling = {name for name in names(MetricType.HEALTH) if not larger_is_worse(name, MetricType.HEALTH)}
    assert falling == {"captured", "ready"}


def test_every_metric_of_a_served_process_can_have_a_threshold():
    usage = summarise([0.0], [True], [1.0], [2.0], [0.0], start=0.0, memory_limit=4)
    assert set(usage.metrics) <= names(MetricType.HEALTH)


def test_perfect_predictions_are_the_best_end_of_every_metric():
    labels = ["a"] * 6 + ["b"] * 6
    sure = [1.0] * 6 + [0.0] * 6
    results = [
        (classify(labels, labels[::-1], "a"), classify(labels, labels, "a")),
        (
            score_probabilities(labels, sure[::-1], ("a", "b"), "a"),
            score_probabilities(labels, sure, ("a", "b"), "a"),
        ),
        (
            classify_multilabel([[1, 0], [0, 1]], [[0, 1], [1, 0]], ("a", "b")),
            classify_multilabel([[1, 0], [0, 1]], [[1, 0], [0, 1]], ("a", "b")),
        ),
        (regress([1.0, 2.0, 3.0], [3.0, 5.0, 4.0]), regress([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])),
    ]
    for bad, good in results:
        for name, found in bad.metrics.items():
            upwards = larger_is_worse(name, MetricType.PERFORMANCE)
            assert (found.value > good.metrics[name].value) == upwards, name
