"""Models of other libraries, exported and asked: small ones, in the forms that people have them in."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from parts import write_model
from tidegauge import export
from tidegauge.errors import InvalidInputError, NotFoundError, UnavailableError
from tidegauge.export.graph import as_shares
from tidegauge.serving.model import load_model

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3)).astype(np.float32)
TWO = np.where(X[:, 0] + X[:, 1] > 0, "well", "sick")
THREE = np.digitize(X[:, 0], [-0.5, 0.5])
NUMBER = X @ np.array([1.0, 2.0, 3.0]) + 100
TABLE = pl.DataFrame(
    {"age": X[:, 0], "pressure": X[:, 1], "ward": RNG.choice(["east", "west"], 200), "smoker": X[:, 2] > 0}
)


def described(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "model.json").read_text()))


def reference(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "reference.parquet")


def scores(folder: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    (answer,) = load_model(folder, None, None).run(inputs).values()
    return answer


@pytest.mark.parametrize(
    ("model", "truth"),
    [
        (LogisticRegression(), TWO),
        (make_pipeline(StandardScaler(), RandomForestClassifier(10, random_state=0)), THREE),
        (GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [3]}, cv=2), TWO == "sick"),
        (make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=5)), THREE),
    ],
)
def test_a_classifier_of_scikit_learn_has_a_score_for_each_class(
    tmp_path: Path, model: Any, truth: Any
) -> None:
    model.fit(X, truth)
    folder = export.from_sklearn(model, tmp_path / "risk", X[:50], truth[:50])
    classes = [str(name) for name in model.classes_.tolist()]
    said = described(folder)
    assert (said["name"], said["classes"]) == ("risk", classes)
    assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
    assert said.get("positive") == (classes[1] if len(classes) == 2 else None)
    np.testing.assert_allclose(scores(folder, {"x": X[:20]}), model.predict_proba(X[:20]), atol=1e-4)
    found = reference(folder)
    assert found["output"].to_list() == [str(value) for value in model.predict(X[:50]).tolist()]
    assert found["label"].to_list() == [str(value) for value in truth[:50].tolist()]
    assert found.columns == ["output", *(f"p_{name}" for name in classes), "label"]


def test_a_table_with_text_has_an_input_for_each_column(tmp_path: Path) -> None:
    steps = ColumnTransformer(
        [("number", StandardScaler(), ["age", "pressure"]), ("text", OneHotEncoder(), ["ward", "smoker"])]
    )
    model = make_pipeline(steps, LogisticRegression()).fit(TABLE, TWO)
    folder = export.from_sklearn(model, tmp_path / "m", TABLE[:40], TWO[:40], positive="sick")
    said = described(folder)
    assert said["features"] == ["age", "pressure", "ward", "smoker"]
    assert said["positive"] == "sick"
    assert {spec["name"]: spec["datatype"] for spec in said["inputs"]}["ward"] == "BYTES"


def test_numbers_are_a_regression(tmp_path: Path) -> None:
    folder = export.from_sklearn(
        LinearRegression().fit(X, NUMBER), tmp_path / "stay", X[:9], NUMBER[:9], features=["a", "b", "c"]
    )
    assert described(folder)["features"] == ["a", "b", "c"]
    assert "classes" not in described(folder)
    assert reference(folder)["output"].to_numpy() == pytest.approx(NUMBER[:9], rel=1e-5)
    assert reference(folder)["label"].to_numpy() == pytest.approx(NUMBER[:9])


def test_a_classifier_without_scores_answers_classes(tmp_path: Path) -> None:
    model = LinearSVC().fit(X, TWO)
    folder = export.from_sklearn(model, tmp_path / "m", X[:30])
    assert reference(folder)["output"].to_list() == model.predict(X[:30]).tolist()


@pytest.mark.parametrize("as_booster", [False, True])
@pytest.mark.parametrize(
    ("classes", "truth"), [(["sick", "well"], TWO == "well"), (["a", "b", "c"], THREE), ([], NUMBER)]
)
def test_xgboost_with_named_features(
    tmp_path: Path, classes: list[str], truth: Any, as_booster: bool
) -> None:
    names = ["age", "pressure", "dose"]
    objective = {2: "binary:logistic", 3: "multi:softprob", 0: "reg:squarederror"}[len(classes)]
    if as_booster:
        data = xgboost.DMatrix(X, label=np.asarray(truth, float), feature_names=names)
        more = {"num_class": 3} if len(classes) == 3 else {}
        model = xgboost.train({"objective": objective, **more}, data, 5)
        wanted = model.predict(data)[:30]
    else:
        kind = xgboost.XGBClassifier if classes else xgboost.XGBRegressor
        model = kind(n_estimators=5).fit(X, truth)
        model.get_booster().feature_names = names
        wanted = model.get_booster().predict(xgboost.DMatrix(X, feature_names=names))[:30]
    folder = export.from_xgboost(
        model, tmp_path / "m", X[:30], truth[:30].astype(int) if classes else truth[:30], classes=classes
    )
    assert described(folder)["features"] == names
    answers = scores(folder, {"x": X[:30]})
    wanted = np.column_stack([1 - wanted, wanted]) if len(classes) == 2 else wanted.reshape(answers.shape)
    np.testing.assert_allclose(answers, wanted, rtol=1e-4, atol=1e-5)
    assert set(reference(folder)["label"].to_list()) <= set(classes or reference(folder)["label"].to_list())
    booster = model if as_booster else model.get_booster()
    assert booster.feature_names == names  # as it was


def test_onnx_is_taken_as_it_is_and_scores_become_shares(tmp_path: Path) -> None:
    made = onnx.load(write_model(tmp_path / "given") / "model.onnx")
    softmax = made.graph.node.pop()
    made.graph.output[0].name = softmax.input[0]
    images = RNG.integers(0, 256, (4, 32, 32, 1)).astype(np.float32)
    with pytest.raises(InvalidInputError, match="logits=True"):
        export.from_onnx(made, tmp_path / "bare", images, classes=["NORMAL", "PNEUMONIA"])
    assert list((tmp_path / "bare").iterdir()) == []
    folder = export.from_onnx(
        made, tmp_path / "m", images, ["NORMAL"] * 4, classes=["NORMAL", "PNEUMONIA"], logits=True
    )
    expected = scores(tmp_path / "given", {"input_1": images})
    np.testing.assert_allclose(scores(folder, {"input_1": images}), expected, rtol=1e-5)
    with pytest.raises(NotFoundError, match="give an ONNX file"):
        export.from_onnx(tmp_path / "none.onnx", tmp_path / "n")


@pytest.mark.parametrize("activated", [False, True])
def test_one_score_becomes_two(activated: bool) -> None:
    helper = onnx.helper
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    model = as_shares(helper.make_model(graph, ir_version=10), 1, activated=activated)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node][-1] == "Concat"


def test_a_model_that_does_not_keep_the_batch_is_refused(tmp_path: Path) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    given, answer = (helper.make_tensor_value_info(name, kind, ["n", 1]) for name in ("x", "y"))
    axes = onnx.numpy_helper.from_array(np.array([0]), "axes")
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x", "axes"], ["y"])], "g", [given], [answer], [axes]
    )
    made = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    with pytest.raises(InvalidInputError, match="answers 1 rows where it is asked about 5"):
        export.from_onnx(made, tmp_path / "m", X[:5, :1])


def spoilt(answer: Callable[..., Any]) -> Callable[..., Any]:
    return lambda rows: answer(rows)[::-1]


def test_an_export_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    model = LogisticRegression().fit(X, TWO)
    model.predict_proba = spoilt(model.predict_proba)
    with pytest.raises(
        InvalidInputError, match=r"answers otherwise than the model in \d+ of 50 rows, first in row 0"
    ):
        export.from_sklearn(model, tmp_path / "m", X[:50])
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"held_out": [["a", "b"]]}, "held_out holds what is no number"),
        ({"held_out": X[:0]}, "give at least one row"),
        ({"labels": ["sick"]}, "labels has 1 values, and held_out 5 rows"),
        ({"labels": ["ill"] * 5}, "'ill', which is none of the classes sick, well"),
        ({"classes": ["a", "b", "c"]}, "classes has 3 names, but the model has 2 classes (sick, well)"),
        ({"classes": ["a", "a"]}, "give at least two, each once"),
        ({"positive": "ill"}, "it must be one of sick, well"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path: Path, given: dict[str, Any], sentence: str) -> None:
    model = LogisticRegression().fit(X, TWO)
    with pytest.raises(InvalidInputError) as caught:
        export.from_sklearn(model, tmp_path / "m", **{"held_out": X[:5], **given})
    assert sentence in caught.value.message


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(InvalidInputError, match=r"holds other files \(thesis.txt\)"):
        export.from_sklearn(LogisticRegression().fit(X, TWO), tmp_path, X[:5])
    assert (tmp_path / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("library", ["skl2onnx", "xgboost", "torch"])
def test_a_library_that_is_absent_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name.partition(".")[0] == library:
            raise ModuleNotFoundError(name, name=name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    call = {"skl2onnx": export.from_sklearn, "xgboost": export.from_xgboost, "torch": export.from_torch}[
        library
    ]
    package = "'tidegauge[export]'" if library == "skl2onnx" else library
    with pytest.raises(UnavailableError) as caught:
        call(object(), tmp_path / "m", X[:5])
    assert caught.value.message.endswith(f"needs the package {library}: pip install {package}")
