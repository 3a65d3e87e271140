"""Rows and answers of models of tables, in each form in which a log has them."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest

from tidegauge.domain import inference
from tidegauge.domain.events import REQUEST_TYPE, RESPONSE_TYPE, Event
from tidegauge.domain.schema import TableColumn
from tidegauge.domain.tensors import encode_binary
from tidegauge.services.tabular.requests import Reading

COLUMNS = (TableColumn("age", "number"), TableColumn("dose", "number"))
ROWS = [[63.0, 1.5], [20.0, 2.0]]
BY_NAME = {"age": [63.0, 20.0], "dose": [1.5, 2.0]}


def event(type_: str, body: Any) -> Event:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return Event("a", "/test", type_, datetime(2026, 3, 1, tzinfo=UTC), "application/json", data)


def v2(name: str, values: list[float]) -> dict[str, Any]:
    return {"name": name, "shape": [2, 1], "datatype": "FP64", "data": values}


FORMS = [
    {"instances": ROWS},
    {"instances": [dict(zip(BY_NAME, row, strict=True)) for row in ROWS]},
    {"instances": [{"dose": [dose], "age": [age], "ward": "east"} for age, dose in ROWS]},
    {"inputs": ROWS},
    {"inputs": BY_NAME},
    {"inputs": [v2(name, values) for name, values in BY_NAME.items()]},
    {"inputs": [{"name": "input-0", "shape": [2, 2], "datatype": "FP64", "data": ROWS}]},
    encode_binary({name: np.array(values) for name, values in BY_NAME.items()}, "inputs")[0],
    gzip.compress(orjson.dumps({"instances": ROWS})),
]


@pytest.mark.parametrize("body", FORMS)
def test_rows_of_every_form_are_read_and_parsed_once(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    load = inference.load_object
    monkeypatch.setattr(inference, "load_object", lambda data: parsed.append(load(data)) or parsed[-1])
    rows = Reading(COLUMNS, numbers=False, classes=()).rows(event(REQUEST_TYPE, body))
    assert rows is not None
    assert {name: values.tolist() for name, values in rows.items()} == BY_NAME
    assert len(parsed) == 1


@pytest.mark.parametrize(
    ("numbers", "answer", "scores"),
    [
        (False, {"predictions": [[0.25, 0.75], [1.0, 0.0]]}, [[0.25, 0.75], [1, 0]]),
        (False, {"predictions": ["yes", "no"]}, [[0, 1], [1, 0]]),
        (False, {"predictions": [0.75, 0.0]}, [[0.25, 0.75], [1, 0]]),
        (True, {"predictions": [3.5, 4]}, [[3.5], [4]]),
        (True, {"outputs": [v2("days", [3.5, 4])]}, [[3.5], [4]]),
    ],
)
def test_answers_of_every_kind_are_read_and_parsed_once(
    numbers: bool, answer: Any, scores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    load = inference.load_object
    monkeypatch.setattr(inference, "load_object", lambda data: parsed.append(load(data)) or parsed[-1])
    found = Reading(COLUMNS, numbers, ("no", "yes")).scores(event(RESPONSE_TYPE, answer))
    np.testing.assert_allclose(found, scores)
    assert len(parsed) == 1
