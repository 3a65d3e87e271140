from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegauge.stats.two_sample import Categories, Numbers, psi

floats = st.lists(st.floats(allow_infinity=False, width=32) | st.just(float("nan")), max_size=30)
names = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30)


@given(floats, floats)
def test_merged_numbers_are_those_of_the_union(left: list[float], right: list[float]):
    merged, union = Numbers.of(left).merge(Numbers.of(right)), Numbers.of(left + right)
    assert np.array_equal(merged.values, union.values)
    assert merged.missing == union.missing
    assert np.array_equal(merged.binned, union.binned)


@given(names, names)
def test_merged_categories_are_those_of_the_union(left: list[str | None], right: list[str | None]):
    assert Categories.of(left).merge(Categories.of(right)) == Categories.of(left + right)


@given(floats)
def test_stored_numbers_come_back(values: list[float]):
    numbers = Numbers.of(values)
    stored = Numbers.from_arrays(numbers.to_arrays())
    assert np.array_equal(stored.values, numbers.values)
    assert stored.missing == numbers.missing


@given(names)
def test_stored_categories_come_back(values: list[str | None]):
    categories = Categories.of(values)
    assert Categories.from_arrays(categories.to_arrays()) == categories


def test_float32_stays_float32():
    assert Numbers.of(np.ones(3, np.float32)).values.dtype == np.float32


def test_text_is_no_number():
    with pytest.raises(ValueError, match="no numbers"):
        Numbers.of(["a"])


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="negative"):
        Categories.of({"a": -1})


@pytest.mark.parametrize("kind", ["U1", "U2", "U9", "S2", object])
def test_text_of_any_width_is_counted_alike(kind):
    values = np.array(["a", "b", "b", "cc"] * 600)
    chosen = np.where(values == "cc", "c", values) if kind == "U1" else values
    assert Categories.of(chosen.astype(kind)) == Categories.of(chosen.tolist())


def test_categories_that_the_first_values_lack_are_counted_as_well():
    values = np.array(["a"] * 2000 + ["late"])
    assert Categories.of(values).counts == {"a": 2000, "late": 1}


def test_many_categories_and_whole_numbers_are_counted():
    values = np.arange(500).repeat(3)
    assert Categories.of(values).counts["7"] == 3
    assert len(Categories.of(values.astype(str)).counts) == 500


def test_booleans_and_nan_among_objects():
    assert Categories.of([True, None, float("nan"), "x"]) == Categories({"True": 1, "x": 1}, 2)


def test_numbers_are_no_window_of_categories():
    with pytest.raises(ValueError, match="both of one kind"):
        psi(Categories.of(["a"]), Numbers.of([1.0]))
