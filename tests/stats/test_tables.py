from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegauge.stats.evidence import Evidence
from tidegauge.stats.tables import TableBaseline, compare, fit_baseline
from tidegauge.stats.two_sample import Categories, Numbers


def patients(n: int, seed: int, **changes: object) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "age": rng.normal(50, 10, n),
        "dose": rng.integers(0, 5, n),
        "ward": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
        **{name: np.asarray(column) for name, column in changes.items()},
    }


BASELINE = fit_baseline(patients(800, 0))


def test_a_column_that_moved_is_first():
    drift = compare(BASELINE, patients(60, 1, age=np.random.default_rng(1).normal(70, 10, 60)))
    assert drift.ranking[0] == "age"
    assert drift.score == drift.columns["age"].score > 0.5
    assert drift.p_value < 1e-6
    assert drift.columns["ward"].p_value > 0.01


def test_new_categories_and_missing_values_are_told():
    ward = np.array(["new"] * 20 + [None] * 20 + ["a"] * 20, object)
    drift = compare(BASELINE, patients(60, 2, ward=ward)).columns["ward"]
    assert drift.missing == pytest.approx(1 / 3)
    assert drift.score == pytest.approx(0.5, abs=0.1)
    age = np.where(np.arange(60) < 30, np.nan, 50.0)
    assert compare(BASELINE, patients(60, 2, age=age)).columns["age"].missing == 0.5


def test_observations_are_numbers_and_indicators():
    assert BASELINE.features == ("age", "dose", "ward=a", "ward=b", "ward=c", "ward=(other)")
    assert BASELINE.weights.sum() == pytest.approx(1)
    assert BASELINE.weights[0] == pytest.approx(4 * BASELINE.weights[2])
    rows = {"age": [50.0, np.nan], "dose": [1, 2], "ward": np.array(["b", None], object)}
    observed = BASELINE.observe(rows)
    assert observed[0].tolist() == [50, 1, 0, 1, 0, 0]
    assert np.isnan(observed[1, 0])
    assert observed[1, 2:].tolist() == [0, 0, 0, 1]


def test_the_two_parts_are_disjoint_and_together_all_rows():
    ages = np.concatenate([BASELINE.fitted_rows["age"], BASELINE.ranked_rows["age"]])
    assert np.array_equal(np.sort(ages), BASELINE.summaries["age"].values)
    assert (len(BASELINE.fitted), len(BASELINE.ranked)) == (400, 400)


@pytest.mark.parametrize(
    ("changes", "leader"),
    [
        ({"age": np.full(40, np.nan)}, "age"),
        ({"ward": ["c"] * 40}, "ward"),
        ({"ward": ["never seen"] * 40}, "ward=(other)"),
        ({"dose": np.full(40, 9)}, "dose"),
    ],
)
def test_evidence_finds_what_changed(changes: dict[str, object], leader: str):
    evidence = Evidence(BASELINE, rng=np.random.default_rng(0))
    assert not evidence.update(BASELINE.observe(patients(300, 5))).alarm
    step = evidence.update(BASELINE.observe(patients(40, 3, **changes)))
    assert step.alarm
    assert step.feature.startswith(leader)


@given(st.integers(2, 30), st.integers(2, 30))
def test_a_merged_baseline_is_that_of_the_union(left: int, right: int):
    a, b = patients(left, 1), patients(right, 2)
    merged = fit_baseline(a).merge(fit_baseline(b))
    union = fit_baseline({name: np.concatenate([a[name], b[name]]) for name in a})
    window = patients(20, 3)
    assert compare(merged, window) == compare(union, window)
    assert len(merged.fitted) + len(merged.ranked) == left + right


def test_a_stored_baseline_gives_the_same():
    stored = TableBaseline.from_arrays(BASELINE.to_arrays())
    window = patients(50, 4)
    assert compare(stored, window) == compare(BASELINE, window)
    assert np.array_equal(stored.ranked, BASELINE.ranked)


def test_a_polars_frame_is_a_table():
    window = patients(50, 4)
    assert compare(BASELINE, pl.DataFrame(window)).score == compare(BASELINE, window).score


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": ["old"] * 9}, "age has text"),
        ({"age": ["51"] * 9}, "age has text"),
        ({"dose": [True] * 9}, "dose has text or booleans"),
        ({"ward": np.ones(9)}, "ward has numbers"),
        ({"age": np.full(9, "2026-11-23", "datetime64[D]")}, "datetime64"),
        ({"dose": [1, 2]}, "number of rows"),
        ({"age": np.ones((9, 2))}, "age has the shape"),
    ],
)
def test_bad_columns_are_named(changes: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        compare(BASELINE, patients(9, 1, **changes))


def test_a_missing_column_is_named_and_a_further_one_left_out():
    window = patients(9, 1)
    assert "extra" not in compare(BASELINE, {**window, "extra": np.ones(9)}).columns
    del window["dose"]
    with pytest.raises(ValueError, match="dose is missing"):
        compare(BASELINE, window)


def test_an_empty_window_has_no_score():
    drift = compare(BASELINE, patients(0, 1))
    assert (drift.score, drift.p_value, drift.n) == (None, None, 0)


def test_baselines_of_other_columns_do_not_merge():
    with pytest.raises(ValueError, match="columns"):
        BASELINE.merge(fit_baseline({"age": [1.0]}))


@pytest.mark.parametrize("gone", [np.full(40, np.nan), [None] * 40])
@pytest.mark.parametrize("name", ["age", "ward"])
def test_a_column_that_goes_missing_has_moved(name: str, gone: object):
    drift = compare(BASELINE, patients(40, 3, **{name: gone}))
    assert (drift.score, drift.ranking[0]) == (1.0, name)
    column = drift.columns[name]
    assert (column.distance, column.p_value, column.n, column.missing) == (None, None, 0, 1.0)


def test_half_of_the_numbers_missing_is_a_score_of_a_half():
    rows = patients(800, 0)
    age = np.where(np.arange(800) % 2, rows["age"], np.nan)
    column = compare(BASELINE, {**rows, "age": age}).columns["age"]
    assert column.score == column.missing == 0.5
    assert column.distance < 0.1


def test_missing_and_empty_categories_of_the_training_data_are_told_apart():
    ward = np.array(["a", None, ""] * 20, object)
    baseline = fit_baseline({"ward": ward})
    assert set(baseline.features) == {"ward=", "ward=a", "ward=(other)"}
    assert baseline.features[-1] == "ward=(other)"
    observed = baseline.observe({"ward": ["", None, "a"]})
    assert observed[:, -1].tolist() == [0, 1, 0]
    assert observed[0, baseline.features.index("ward=")] == 1
    stored = TableBaseline.from_arrays(baseline.to_arrays())
    assert stored.features == baseline.features
    assert np.array_equal(stored.fitted, baseline.fitted)
    assert observed.sum(axis=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "dose", [[1, None, 2.5], np.array([1, None, 2.5], object), np.array([1, np.nan, 2.5], np.float32)]
)
def test_numbers_among_objects_are_numbers(dose: object):
    summary = fit_baseline({"dose": dose}).summaries["dose"]
    assert isinstance(summary, Numbers)
    assert (summary.values.tolist(), summary.missing) == ([1, 2.5], 1)


@pytest.mark.parametrize("ward", [["a", None, "b"], ["a", float("nan"), "b"]])
def test_text_with_gaps_has_no_category_for_them(ward: object):
    assert fit_baseline({"ward": ward}).summaries["ward"] == Categories({"a": 1, "b": 1}, 1)


def test_booleans_are_categories():
    assert fit_baseline({"smoker": np.array([True, False, True] * 9)}).features == (
        "smoker=True",
        "smoker=False",
        "smoker=(other)",
    )


def test_only_the_8_commonest_categories_are_features():
    ward = [f"ward {k}" for k in range(12) for _ in range(40 * (13 - k))]
    baseline = fit_baseline({"ward": ward})
    assert set(baseline.features) == {f"ward=ward {k}" for k in range(8)} | {"ward=(other)"}
    assert baseline.observe({"ward": ["ward 11"]}).tolist() == [[0] * 8 + [1]]


def test_a_merged_baseline_keeps_as_large_a_share_of_each_side_as_it_has_rows():
    many, few = np.zeros(90_000), np.ones(10_000)
    merged = fit_baseline({"x": many}).merge(fit_baseline({"x": few}, np.random.default_rng(1)))
    for part in (merged.fitted, merged.ranked):
        assert len(part) == 4096
        assert part.mean() == pytest.approx(0.1, abs=0.02)
    again = merged.merge(fit_baseline({"x": few}, np.random.default_rng(2)))
    assert again.ranked.mean() == pytest.approx(20 / 110, abs=0.03)


def test_a_table_without_columns_is_refused():
    with pytest.raises(ValueError, match="no columns"):
        fit_baseline({})


def test_the_order_of_the_columns_of_a_window_does_not_matter():
    window = patients(30, 4)
    turned = dict(reversed(window.items()))
    assert compare(BASELINE, turned) == compare(BASELINE, window)
    assert np.array_equal(BASELINE.observe(turned), BASELINE.observe(window))
