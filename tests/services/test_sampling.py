"""Deployments of which a part of the requests is logged: what counts is scaled, what compares is not bent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from parts_collector import report
from services.test_tables import CLASSES, people, risk, rows, scored, settings, watch
from simulated import START, Clock, Site
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.events import LATENCY_US, REQUEST_TYPE, RESPONSE_TYPE, SAMPLED_RATE, STATUS, Event
from tidegauge.domain.monitor import Metric, MonitorRun
from tidegauge.services import evidence, measuring
from tidegauge.storage.observations import Observations, microseconds

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
DAY = 86_400_000_000


def observed(weights: list[float], **columns: Any) -> Observations:
    """Requests with one answer each, some seconds apart, all of one source, but for what is given."""
    n = len(weights)
    zeros, texts = np.zeros(n, np.int64), np.array(["a"] * n, object)
    plain: dict[str, Any] = {
        "event_id": np.array([f"e{number}" for number in range(n)], object),
        "time": np.arange(n, dtype=np.int64) * 1_000_000 + microseconds(NOW),
        "received": zeros,
        "index": zeros,
        "sequence": zeros,
        "status": np.full(n, 200, np.int64),
        "latency": np.full(n, 1000, np.int64),
        "weight": np.array(weights, np.float64),
        "scores": np.full((n, 2), 0.5, np.float32),
        "seen": np.ones(n, np.bool_),
        "images": None,
    }
    plain |= dict.fromkeys(("event_source", "log_file", "source", "segment"), texts)
    return Observations(**{**plain, **columns})


def health(found: Observations) -> dict[str, Metric]:
    return {metric.name: metric for metric in measuring.health(found, NOW, NOW + STEP)}


def test_counts_are_scaled_and_ratios_and_latencies_weighed() -> None:
    found = health(
        observed(
            [10, 10, 1, 1, 1],
            status=np.array([200, 200, 500, 404, 500]),
            latency=np.array([1000, 1000, 9000, 5000, -1]),
        )
    )
    values = {name: metric.value for name, metric in found.items()}
    assert values["requests"] == 23
    assert values["requests_rate"] == pytest.approx(23 / 300)
    assert (values["4xx_requests"], values["5xx_requests"]) == (1, 2)
    assert values["5xx_requests_rate"] == pytest.approx(2 / 23)
    assert (values["latency_p50"], values["latency_p99"]) == (1.0, 9.0)
    assert values["latency_avg"] == pytest.approx((20 * 1 + 9 + 5) / 22)
    assert found["requests"].n == found["5xx_requests_rate"].n == 5  # what minimum_samples asks of
    assert found["latency_avg"].n == 4


def test_a_sample_tells_of_all_requests_what_they_would_tell_themselves() -> None:
    rng = np.random.default_rng(0)
    n = 40_000
    status = rng.choice([200, 404, 503], n, p=[0.97, 0.02, 0.01])
    latency = (rng.exponential(size=n) * 1000 + 500).astype(np.int64)
    rates = np.where(np.arange(n) % 2, 20, 4)  # of two servers, the first of which is slower
    latency[rates == 4] += 3000
    whole = observed([1] * n, status=status, latency=latency)
    kept = np.flatnonzero((status >= 400) | (rng.random(n) < 1 / rates))
    weight = np.where(status >= 400, 1, rates).astype(float)
    exact, found = health(whole), health(replace(whole, weight=weight).take(kept))
    for name, relative in (
        ("requests", 0.02),
        ("latency_p50", 0.05),
        ("latency_p95", 0.05),
        ("latency_avg", 0.05),
    ):
        assert found[name].value == pytest.approx(exact[name].value, rel=relative)
    for name in ("4xx_requests", "5xx_requests"):
        assert found[name].value == exact[name].value
    assert found["5xx_requests_rate"].value == pytest.approx(exact["5xx_requests_rate"].value, rel=0.02)


def test_a_run_says_what_part_is_logged() -> None:
    said = measuring.sampled
    assert said(observed([10, 10])) == "1 in 10 requests is logged; counts are scaled by 10."
    assert said(observed([10, 1], status=np.array([200, 500]))).startswith("1 in 10 requests is logged")
    assert said(observed([1 / 0.3] * 2)).startswith("1 in 3.333 requests")
    assert said(observed([2, 5])).startswith("From 1 in 5 to 1 in 2 requests are logged")
    assert measuring.SAMPLING not in health(observed([1, 1]))["requests"].detail


def test_what_stands_for_less_is_thinned_evenly_and_everywhere_alike() -> None:
    n = 20_000
    sources = np.array(["north", "south"] * (n // 2), object)
    found = observed([1, 10] * (n // 2), event_source=sources)
    even = found.evenly()
    assert (even.event_source == "south").sum() == n / 2
    north = int((even.event_source == "north").sum())
    assert abs(north - n / 20) < 4 * (n / 20) ** 0.5
    order = np.random.default_rng(0).permutation(n)
    again = found.take(order).evenly()
    assert set(zip(again.event_source, again.event_id)) == set(zip(even.event_source, even.event_id))  # noqa: B905
    assert even.evenly() is not found
    assert observed([10] * 5).evenly().weight.tolist() == [10] * 5


def test_of_a_request_all_answers_stay_or_none_and_what_failed_stays() -> None:
    ids = np.array([f"e{number // 4}" for number in range(400)], object)
    status = np.where(np.arange(400) < 40, 503, 200)
    even = observed([5] * 200 + [10] * 200, event_id=ids, status=status).evenly()
    counts = dict(zip(*np.unique(even.event_id.astype(str), return_counts=True), strict=True))
    assert set(counts.values()) == {4}
    assert 0 < sum(int(id_[1:]) in range(10, 50) for id_ in counts) < 40
    assert {f"e{number}" for number in (*range(10), *range(50, 100))} <= set(counts)


def test_evidence_forgets_a_share_that_is_no_longer_in_use() -> None:
    fold = evidence._Fold(None, "", 0, [], [])  # type: ignore[arg-type]
    assert len(evidence._evenly(fold, observed([100, 100]))) == 2
    later = observed([1] * 1000)
    assert len(evidence._evenly(fold, later)) < 100
    next_day = replace(later, time=later.time + 2 * DAY)
    assert len(evidence._evenly(fold, next_day)) == 1000


NORTH, SOUTH = "http://north:9081/", "http://south:9081/"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Patients of two hospitals, as many of each; those of the south are 30 years older."""
    site = Site.build(tmp_path / "home", CLASSES, Clock())
    rng = np.random.default_rng(1)
    folder = tmp_path / "data"
    folder.mkdir()
    table = pl.concat([pl.DataFrame(people(rng, 400)), pl.DataFrame(people(rng, 400, 30))])
    share = risk(table.to_dict(as_series=False) | {name: table[name].to_numpy() for name in table.columns})
    table.with_columns(label=pl.Series(share > 0.5)).write_csv(folder / "train.csv")
    site.register(RepositoryKind.DATASET, "patients", folder)
    scores = scored(share).astype(np.float32)
    said = [CLASSES[k] for k in scores.argmax(1)]
    site.deploy(tmp_path / "model", said, "sick", "risk", scores, np.array(said))
    yield site
    site.close()


def play(site: Site, window: int, asked: dict[str, tuple[dict[str, Any], int]]) -> None:
    """Log what the hospitals ask, one request in so many, with ids that each counts from 1."""
    start = START + window * STEP
    for source, (table, rate) in asked.items():
        events = []
        for number, (row, share) in enumerate(zip(rows(table), scored(risk(table)).tolist(), strict=True)):
            moment = start + timedelta(seconds=200) * ((number + 0.5) / len(table["age"]))
            shared = (f"{window}-{number}", source)
            body, answer = orjson.dumps({"instances": [row]}), orjson.dumps({"predictions": [share]})
            noted = {SAMPLED_RATE: rate}
            told = {**noted, STATUS: 200, LATENCY_US: 900}
            events.append(Event(*shared, REQUEST_TYPE, moment, "application/json", body, noted))
            events.append(Event(*shared, RESPONSE_TYPE, moment, "application/json", answer, told))
        site.clock.now = start + timedelta(minutes=4)
        report(site.services.collector, site.deployment.id, events, site.clock())
    site.clock.now = start + STEP + timedelta(seconds=10)
    site.work()


def last(site: Site) -> MonitorRun:
    monitor = site.services.monitors.get("operator", site.monitor_id)
    return site.services.monitors.runs(monitor, None, None)[-1]


def of_drift(run: MonitorRun) -> dict[str, Metric]:
    return {metric.name: metric for metric in run.metrics}


def test_hospitals_of_which_different_shares_are_logged_count_by_their_traffic(site: Site) -> None:
    watch(site, settings("classification"))
    rng = np.random.default_rng(3)
    for window in range(8):
        play(site, window, {NORTH: (people(rng, 400), 1), SOUTH: (people(rng, 40, 30), 10)})
    run = last(site)
    found = of_drift(run)
    assert (found["requests"].value, found["requests"].n) == (800, 440)
    assert found["age"].value < 0.2  # 0.29 if each observation counted as one
    assert 60 < found["age"].n < 110
    assert run.evidence is not None
    assert not run.evidence.alarm
    assert any("From 1 in 10 to 1 in 1 requests are logged" in text for text in run.problems)


def test_evidence_still_sees_what_changes_in_a_sample(site: Site) -> None:
    watch(site, settings("classification"))
    rng = np.random.default_rng(4)
    for window in range(8):
        older = 30 if window >= 4 else 0
        play(site, window, {NORTH: (people(rng, 100, older), 10), SOUTH: (people(rng, 100, 30), 10)})
        if window == 3:
            assert last(site).evidence.alarm is False  # type: ignore[union-attr]
    run = last(site)
    assert run.evidence is not None
    assert run.evidence.alarm
    assert of_drift(run)["age"].n == 200  # all of them: they stand for equally many
    assert "1 in 10 requests is logged; counts are scaled by 10." in run.problems
