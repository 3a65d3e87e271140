"""The charts of a monitor, each from a series."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tidegauge import charts
from tidegauge.charts.look import STATUS
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import EvidenceResult, Metric, MonitorRun
from tidegauge.domain.series import Series, series_of
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import Threshold

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
HEALTHY, UNKNOWN = Status.HEALTHY, Status.UNKNOWN
EVIL = "<img src=x onerror=alert(1)>"
CONFUSION = {"classes": ["NORMAL", "PNEUMONIA"], "confusion": [[5, 1], [2, 4]]}
TOLD = {"window": {"NORMAL": 9, EVIL: 3}, "baseline": {"NORMAL": 50, "PNEUMONIA": 50}}


def metric(name: str, value: float | None, kind: MetricType = MetricType.PERFORMANCE, **more: Any) -> Metric:
    return Metric(name, kind, value, 12, HEALTHY, **more)


WATCHED = ("requests", "latency_p50", "cpu_utilization")
PREDICTED = metric("prediction", 0.1, MetricType.DRIFT, detail=TOLD)
ACCURACY = metric("accuracy", 0.7, low=0.5, high=0.8, detail=CONFUSION)


def run(number: int, *metrics: Metric, log_e: float | None = None, drift: Status = HEALTHY) -> MonitorRun:
    start = START + number * STEP
    evidence = None if log_e is None else EvidenceResult(log_e, log_e, False, None, None, "image", 0.1, 12)
    return MonitorRun(
        new_id(), "m", 1, start, start + STEP, 1, start, drift, HEALTHY, drift, UNKNOWN, metrics,
        evidence=evidence,
    )  # fmt: skip


def of_values(values: Sequence[float | None], name: str = "accuracy", most: int = 480) -> Series:
    return series_of([run(place, metric(name, value)) for place, value in enumerate(values)], most)


def rows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return orjson.loads(spec["data"]["values"])


def layers(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    return [layer for layer in spec["layer"] if layer["mark"]["type"] == mark]


@pytest.mark.parametrize(
    ("values", "domain"),
    [([0.2, 0.9], [0, 1]), ([-0.4, 0.2], [-0.448, 0.248]), ([3.0, 12.0], [0, 12.72]), ([], [0, 1])],
)
def test_a_share_is_drawn_from_0_to_1_and_all_else_as_it_needs(
    values: list[float], domain: list[float]
) -> None:
    spec = charts.to_spec(charts.metric(of_values(values, "mcc"), "mcc"))
    scales = [layer["encoding"]["y"]["scale"] for layer in spec["layer"] if "y" in layer["encoding"]]
    assert [scale["domain"] for scale in scales] == [pytest.approx(domain, rel=1e-3)] * len(scales)


def test_extremes_of_many_windows_are_kept_and_points_are_few() -> None:
    values = [0.9] * 9_000
    values[4321] = 0.1
    spec = charts.to_spec(charts.metric(of_values(values), "accuracy"))
    rows = rows_of(spec)
    assert len(rows) <= 480
    assert min(row.get("a0", 1.0) for row in rows) == pytest.approx(0.1, abs=1e-6)
    assert len(orjson.dumps(spec)) < 120_000


@pytest.mark.parametrize(("name", "kind", "end"), [
    ("image", MetricType.DRIFT, 0), ("accuracy", MetricType.PERFORMANCE, "height"),
])  # fmt: skip
def test_bands_lie_on_the_side_that_is_worse(name: str, kind: MetricType, end: object) -> None:
    series = series_of([run(0, metric(name, 0.5, kind))])
    soft, hard = (0.4, 0.6) if kind is MetricType.DRIFT else (0.8, 0.7)
    spec = charts.to_spec(charts.metric(series, name, Threshold(name, kind, soft, hard)))
    bands = [layer for layer in layers(spec, "rect") if layer.get("name") != "window"]
    assert [band["encoding"]["y"]["datum"] for band in bands] == [soft, hard]
    assert bands[1]["encoding"]["y2"] == {"value": end}


def test_what_was_expected_is_drawn_beside_what_came() -> None:
    both = (metric("accuracy", 0.6, low=0.4, high=0.8), metric("expected_accuracy", 0.9))
    spec = charts.to_spec(charts.draw("accuracy", charts.View(series_of([run(0, *both)]))))
    lines = layers(spec, "line")
    assert {line["encoding"]["color"]["datum"] for line in lines} == {"realised", "estimated"}
    assert rows_of(spec)[0]["v0"] == pytest.approx(0.6)
    assert rows_of(spec)[0]["v1"] == pytest.approx(0.9)


def test_evidence_stands_against_its_bound_in_powers_of_ten() -> None:
    series = series_of([run(0, log_e=6.90776), run(1, log_e=-100.0)])
    spec = charts.to_spec(charts.evidence(series, 0.001))
    assert [row["v0"] for row in rows_of(spec)] == pytest.approx([3.0, -3.0], abs=1e-3)
    assert layers(spec, "rule")[0]["encoding"]["y"]["datum"] == pytest.approx(3.0)


def test_the_timeline_joins_what_stays_the_same() -> None:
    series = series_of([run(place, drift=Status.CRITICAL if place > 5 else HEALTHY) for place in range(9)])
    spec = charts.to_spec(charts.timeline(series, "/monitors/m/runs/"))
    own = layers(spec, "rect")[0]
    stretches = orjson.loads(own["data"]["values"])
    found = [(row["part"], row["status"]) for row in stretches]
    assert found == [
        ("drift", "healthy"), ("drift", "critical"), ("performance", "unknown"), ("health", "healthy"),
    ]  # fmt: skip
    assert own["encoding"]["color"]["scale"]["domain"] == list(STATUS)


def test_a_click_leads_to_the_run_of_the_worst_window_of_a_span() -> None:
    runs = [run(place, drift=Status.CRITICAL if place == 1 else HEALTHY) for place in range(4)]
    spec = charts.to_spec(charts.timeline(series_of(runs, 1), "/monitors/m/runs/"))
    assert [row["run"] for row in rows_of(spec)] == [runs[1].id]
    (href,) = [step["calculate"] for step in spec["transform"] if step["as"] == "href"]
    assert href == '"/monitors/m/runs/" + datum.run'


def test_answers_are_added_up_over_windows() -> None:
    runs = [
        run(0, PREDICTED, ACCURACY),
        run(1, PREDICTED, ACCURACY),
        run(2, metric("requests", 0.0, MetricType.HEALTH)),
    ]  # fmt: skip
    answers = charts.Answers.of(runs)
    assert (answers.windows, answers.labelled) == (2, 2)
    assert answers.told == {"NORMAL": 18, EVIL: 6}
    assert answers.confusion["NORMAL", "PNEUMONIA"] == 2
    view = charts.View(series_of(runs), answers=answers)
    shares = {
        (row["c"], row["side"]): row["v"] for row in rows_of(charts.to_spec(charts.draw("predictions", view)))
    }
    assert shares["NORMAL", "now"] == 0.75
    assert shares["NORMAL", "baseline"] == 0.5
    cells = rows_of(charts.to_spec(charts.draw("confusion", view)))
    assert {(cell["t"], cell["p"], cell["n"]) for cell in cells} >= {("PNEUMONIA", "NORMAL", 4)}
    assert "Of 2 windows with labels" in charts.about("confusion", view).note


def test_answers_that_are_numbers_have_their_means_weighted_by_their_counts() -> None:
    def window(number: int, mean: float, n: int) -> MonitorRun:
        detail = {"mean": mean, "baseline_mean": 5.0}
        return run(number, Metric("prediction", MetricType.DRIFT, 0.1, n, HEALTHY, detail=detail))

    answers = charts.Answers.of([window(0, 1.0, 30), window(1, 5.0, 10)])
    assert answers.means == (2.0, 5.0)
    assert charts.numbers("predictions", charts.View(Series(()), answers=answers)).rows == (
        ("now", 2.0), ("baseline", 5.0),
    )  # fmt: skip


@pytest.mark.parametrize("name", [*charts.OWN, "accuracy", "image", "mcc"])
@pytest.mark.parametrize("windows", [0, 1, 700])
def test_every_chart_can_be_drawn_and_told_as_numbers(name: str, windows: int) -> None:
    runs = [
        run(
            place,
            metric("image", 0.2 + place % 3 / 10, MetricType.DRIFT),
            PREDICTED,
            ACCURACY,
            *(metric(name, 1.0, MetricType.HEALTH) for name in WATCHED),
            log_e=1.0,
        )
        for place in range(windows)
    ]  # fmt: skip
    view = charts.View(
        series_of(runs),
        {"image": Threshold("image", MetricType.DRIFT, 0.3, 0.4)},
        answers=charts.Answers.of(runs[:9]),
    )
    chart = charts.draw(name, view)
    assert charts.to_svg(chart).startswith("<svg")
    assert charts.is_empty(name, view) is (not windows or name == "mcc")
    rows = list(csv.reader(io.StringIO(charts.numbers(name, view).to_csv())))
    assert len({len(row) for row in rows}) == 1
    told = charts.about(name, view)
    assert told.title
    assert told.text


def test_a_feature_with_the_name_of_a_chart_has_one_of_its_own() -> None:
    series = series_of([run(0, metric("latency", 0.3, MetricType.DRIFT))])
    assert charts.key("latency") == "score:latency"
    spec = charts.to_spec(charts.draw("score:latency", charts.View(series)))
    assert rows_of(spec)[0]["v0"] == pytest.approx(0.3)
    assert charts.known("score:latency", series.names)
    assert not charts.known("nonsense", series.names)


def test_names_of_any_kind_are_never_fields_of_a_spec() -> None:
    name = "a.b[0]'\\" + EVIL
    series = series_of([run(0, metric(name, 0.3, MetricType.DRIFT))])
    text = charts.to_svg(charts.draw(name, charts.View(series)))
    assert EVIL not in text
    table = charts.numbers(name, charts.View(series))
    assert name in table.columns


def test_no_cell_of_a_csv_is_a_formula() -> None:
    answers = charts.Answers(windows=1, told={"=HYPERLINK(1)": 2}, baseline={"+1": 1})
    text = charts.numbers("predictions", charts.View(Series(()), answers=answers)).to_csv()
    assert "\n'=HYPERLINK(1),2,0" in text
    assert "\n'+1,0,1" in text


def test_paper_has_nothing_that_only_a_pointer_finds() -> None:
    spec = charts.to_spec(charts.metric(of_values([0.5, 0.6]), "accuracy"))
    before = len(spec["layer"])
    charts.without_hits(spec)
    assert len(spec["layer"]) == before - 1
    assert "params" not in spec
