from __future__ import annotations

import pytest

from tidegauge.stats.two_sample.total_variation import total_variation


def test_by_hand():
    result = total_variation({"a": 50, "b": 30, "c": 20}, {"a": 2, "b": 2})
    assert result.score == pytest.approx((0 + 0.2 + 0.2) / 2)
    assert result.window_shares == {"a": 0.5, "b": 0.5}
    assert result.baseline_shares == {"a": 0.5, "b": 0.3, "c": 0.2}
    assert result.n == 4


def test_nothing_in_common_is_1():
    assert total_variation({"a": 3}, {"b": 1}).score == 1.0


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match="negative"):
        total_variation({"a": 3}, {"a": 2, "b": -1})
