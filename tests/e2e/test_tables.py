"""Tables through a whole server: real models that are asked, monitors from files, verdicts, pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from parts import running_server
from tidegauge.client import Client, wait_for
from tidegauge.client.apply import carry_out, export, plan, read_document, write_document
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.monitor import MonitorRun, MonitorState
from tidegauge.domain.status import Status

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WIDTH = timedelta(minutes=5)
CLASSES = ("sick", "well")
NAMES = ("age", "pressure", "smoker")
WEIGHTS = np.array([0.12, 0.08, 1.0])
FILE = """
deployment: {name}
config:
  model_type: {model_type}
  input_data_type: tabular
  drift:
    enabled: true
    algorithm: {algorithm}
    train_data: {{dataset: patients, version: 1}}
  performance: {{enabled: true}}
schema:
  - {{name: age, kind: input_feature, value_type: continuous}}
  - {{name: pressure, kind: input_feature, value_type: continuous}}
  - {{name: smoker, kind: input_feature, value_type: categorical, selected: false}}
  - {{name: prediction, kind: prediction_output, value_type: {answers}}}
thresholds:
  age: {{type: drift, soft: 0.35, hard: 0.6}}
  {metric}: {{type: performance, soft: {soft}, hard: {hard}}}
state: active
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_server(tmp_path_factory.mktemp("home")) as client:
        folder = tmp_path_factory.mktemp("data")
        table = patients(np.random.default_rng(0), 500)
        table.with_columns(pl.Series("label", logits(table) > 0)).write_csv(folder / "train.csv")
        client.datasets.create("patients", folder=folder)
        client.datasets.add_version("patients")
        yield client


def patients(rng: np.random.Generator, n: int, older: float = 0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "age": rng.normal(50 + older, 12, n).round(1),
            "pressure": rng.normal(120, 15, n).round(1),
            "smoker": (rng.random(n) < 0.3).astype(float),
        }
    )


def logits(table: pl.DataFrame) -> np.ndarray:
    return table.to_numpy() @ WEIGHTS - 16.0


def write_model(folder: Path, *, regression: bool) -> Path:
    """Write a logistic model of three named columns, or a linear model of one tensor of three."""
    folder.mkdir(parents=True)
    held_out = patients(np.random.default_rng(1), 300)
    weight = np.column_stack([WEIGHTS]) if regression else np.column_stack([WEIGHTS, -WEIGHTS])
    bias = np.array([-16.0]) if regression else np.array([-16.0, 16.0])
    constants = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    wide = ["n", 3] if regression else ["n", 1]
    names = ["x"] if regression else list(NAMES)
    gemm = helper.make_node("Gemm", ["x", "weight", "bias"], ["answer" if regression else "logits"])
    nodes = [gemm]
    if not regression:
        join = helper.make_node("Concat", names, ["x"], axis=1)
        nodes = [join, gemm, helper.make_node("Softmax", ["logits"], ["answer"], axis=1)]
    graph = helper.make_graph(
        nodes,
        "risk",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, wide) for name in names],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["n", 1 if regression else 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    described = {"features": NAMES} if regression else {"classes": CLASSES, "positive": "sick"}
    (folder / "model.json").write_bytes(orjson.dumps({"name": "risk", **described}))
    outputs: Sequence[Any] = logits(held_out)
    if not regression:
        outputs = [CLASSES[int(value < 0)] for value in outputs]
    pl.DataFrame({"output": outputs}).write_parquet(folder / "reference.parquet")
    return folder


def deploy(client: Client, name: str, folder: Path, *, regression: bool) -> Deployment:
    client.models.create(name)
    model = client.models.add_version(name, write_model(folder / name, regression=regression))
    client.deployments.create(name, name, model.number)
    return client.deployments.wait(name)


def ask(client: Client, deployment: Deployment, number: int, table: pl.DataFrame) -> MonitorRun:
    """Ask about each row, hand the truth in, and look at the window."""
    start = START + number * WIDTH
    is_wide = deployment.name == "stay"
    labels = []
    for place, row in enumerate(table.iter_rows()):
        moment = start + place * timedelta(seconds=5)
        asked: Any = list(row) if is_wide else dict(zip(NAMES, ([value] for value in row), strict=True))
        (answer,) = client.deployments.predict(deployment, {"instances": [asked]}, time=moment)["predictions"]
        output = answer[0] if is_wide else CLASSES[int(np.argmax(answer))]
        truth = answer[0] + (-1) ** place if is_wide else output
        labels.append({"timestamp": moment, "output": output, "label": truth})
    client.deployments.put_labels(deployment.id, f"{number}.csv", labels)
    wait_for(
        lambda: client.request("GET", f"/serve/{deployment.id}/healthz").json()["queued"],
        lambda queued: queued == 0,
        "the log",
        10,
    )
    return client.monitors.run(deployment.id, start, start + WIDTH)


def apply(client: Client, text: str) -> None:
    """Apply a file, and check that what is written back changes nothing."""
    document = read_document(text.encode(), "monitor.yaml")
    carry_out(client, plan(client, document), lambda monitor: client.monitors.wait(monitor.id))
    assert plan(client, document).changes == ()
    written = write_document(export(client, document.wanted.deployment))
    assert plan(client, read_document(written.encode(), "exported.yaml")).changes == ()


@pytest.mark.parametrize("algorithm", ["auto", "wasserstein"])
def test_a_served_classifier_of_columns_from_a_file_to_verdicts(
    client: Client, tmp_path: Path, algorithm: str
) -> None:
    name = f"risk-{algorithm}"
    deployment = deploy(client, name, tmp_path, regression=False)
    terms = {"metric": "accuracy", "soft": 0.8, "hard": 0.6, "answers": "categorical"}
    apply(client, FILE.format(name=name, model_type="classification", algorithm=algorithm, **terms))
    rng = np.random.default_rng(2)
    quiet = ask(client, deployment, 0, patients(rng, 40))
    assert (quiet.drift, quiet.performance, quiet.problems) == (Status.HEALTHY, Status.HEALTHY, ())
    assert {m.name for m in quiet.metrics if m.type.value == "drift"} == {"age", "pressure", "prediction"}
    assert quiet.evidence
    assert quiet.evidence.n == 40
    moved = ask(client, deployment, 1, patients(rng, 40, older=30))
    age = moved.metric("age")
    assert age
    assert age.value
    assert age.value > 0.6
    assert moved.drift is Status.CRITICAL
    assert moved.evidence
    assert moved.evidence.feature == "age"


def test_a_served_regression_of_one_tensor_from_a_file_to_verdicts(client: Client, tmp_path: Path) -> None:
    deployment = deploy(client, "stay", tmp_path, regression=True)
    terms = {"metric": "mae", "soft": 1.5, "hard": 2.0, "answers": "continuous"}
    apply(client, FILE.format(name="stay", model_type="regression", algorithm="auto", **terms))
    rng = np.random.default_rng(3)
    quiet = ask(client, deployment, 0, patients(rng, 40))
    mae, prediction = quiet.metric("mae"), quiet.metric("prediction")
    assert mae
    assert prediction
    assert mae.value == pytest.approx(1.0, abs=1e-5)
    assert (quiet.performance, quiet.drift, quiet.problems) == (Status.HEALTHY, Status.HEALTHY, ())
    assert not quiet.metric("accuracy")
    page = client.request("GET", f"/api/v1/monitors/{deployment.id}/runs/{quiet.id}").json()
    assert page["metrics"]
    moved = ask(client, deployment, 1, patients(rng, 40, older=30))
    further = moved.metric("prediction")
    assert further
    assert further.value
    assert further.value > 0.6
    assert moved.drift is Status.CRITICAL


def test_an_active_table_is_stopped_and_started_where_a_file_selects_another_feature(
    client: Client, tmp_path: Path
) -> None:
    deploy(client, "chosen", tmp_path, regression=False)
    terms = {"metric": "accuracy", "soft": 0.8, "hard": 0.6, "answers": "categorical"}
    text = FILE.format(name="chosen", model_type="classification", algorithm="auto", **terms)
    apply(client, text)
    before = client.monitors.get("chosen")
    todo = plan(client, read_document(text.replace("selected: false", "selected: true").encode(), "m.yaml"))
    assert [change.field for change in todo.changes] == ["schema.smoker.selected"]
    assert todo.losses == ("makes a new baseline, with which evidence begins again",)
    apply(client, text.replace("selected: false", "selected: true"))
    after = client.monitors.get("chosen")
    assert after.state is MonitorState.ACTIVE
    assert after.baseline != before.baseline
