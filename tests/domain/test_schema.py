"""What the training data tell of a schema, and what a person has given counts."""

from __future__ import annotations

import pytest

from tidegauge.domain.monitor import Feature, FeatureKind, ValueType
from tidegauge.domain.schema import ColumnSketch, Content, complete, infer_prediction, infer_table

AGE = Feature("age", FeatureKind.INPUT, ValueType.CONTINUOUS)
WARD = Feature("ward", FeatureKind.INPUT, ValueType.CATEGORICAL)
PREDICTION = infer_prediction("classification")


def infer(name: str, content: Content, distinct: int, rows: int = 100) -> str:
    found = infer_table([ColumnSketch(name, content, distinct, rows)])
    return " ".join(f"{f.kind.value} {f.value_type.value} {f.selected}" for f in found)


@pytest.mark.parametrize(
    ("name", "content", "distinct", "wanted"),
    [
        ("age", Content.NUMBERS, 3, "input_feature continuous True"),
        ("visits", Content.WHOLE_NUMBERS, 6, "input_feature continuous True"),
        ("grade", Content.WHOLE_NUMBERS, 5, "input_feature categorical True"),
        ("ward", Content.TEXT, 50, "input_feature categorical True"),
        ("note", Content.TEXT, 51, "input_feature categorical False"),
        ("smoker", Content.BOOLEANS, 2, "input_feature categorical True"),
        ("empty", Content.NOTHING, 0, "input_feature categorical False"),
        ("patient_id", Content.WHOLE_NUMBERS, 100, "row_id categorical True"),
        ("patient_id", Content.TEXT, 40, "input_feature categorical True"),
        ("admitted", Content.TIMES, 90, "timestamp continuous True"),
        ("Timestamp", Content.TEXT, 100, "timestamp continuous True"),
        ("label", Content.TEXT, 2, ""),
        ("prediction", Content.TEXT, 2, ""),
        ("pixels", Content.OTHER, 0, ""),
    ],
)
def test_a_column_is_taken_for_what_it_holds(name: str, content: Content, distinct: int, wanted: str) -> None:
    assert infer(name, content, distinct) == wanted


def test_few_rows_do_not_tell_codes_from_amounts() -> None:
    assert infer("grade", Content.WHOLE_NUMBERS, 5, rows=49) == "input_feature continuous True"


def test_what_the_model_says_that_it_takes_is_what_is_an_input() -> None:
    columns = [ColumnSketch(name, Content.NUMBERS, 90, 100) for name in ("age", "label", "weight")]
    assert [feature.name for feature in infer_table(columns, takes=("label", "age"))] == ["age", "label"]


def test_columns_with_the_truth_are_no_features() -> None:
    columns = [ColumnSketch(name, Content.NUMBERS, 90, 100) for name in ("age", "days")]
    assert [feature.name for feature in infer_table(columns, targets={"days"})] == ["age"]


def test_what_a_person_has_given_counts() -> None:
    by_hand = Feature("age", FeatureKind.INPUT, ValueType.CATEGORICAL, selected=False)
    answer = Feature("answer", FeatureKind.PREDICTION, ValueType.CATEGORICAL)
    found = complete((by_hand, answer), (PREDICTION, AGE, WARD), first=True)
    assert found == (by_hand, answer, WARD)


def test_later_baselines_add_only_what_is_lacking_altogether() -> None:
    assert complete((AGE,), (PREDICTION, AGE, WARD), first=False) == (AGE, PREDICTION)
    assert complete((PREDICTION,), (PREDICTION, AGE, WARD), first=False) == (PREDICTION, AGE, WARD)


def test_a_regression_answers_with_numbers() -> None:
    assert infer_prediction("regression").value_type is ValueType.CONTINUOUS
