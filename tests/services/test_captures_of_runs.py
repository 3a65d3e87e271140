"""A gap between what was served and what the log has, in the runs of a monitor."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from parts import CLASSES
from parts_collector import report as post
from parts_ward import STEP, Ward, build
from simulated import OWNER, START, Site
from tidegauge.domain.capture import report
from tidegauge.domain.events import RESPONSE_TYPE, SERVED_TYPE, Event
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Metric, MonitorRun
from tidegauge.domain.status import Status
from tidegauge.domain.thresholds import parse_thresholds
from tidegauge.services.labels import PostedLabel

MINUTE = timedelta(minutes=1)
LOST = "3 of 11 served requests are not in the log: 2 overflowed the model server's queue, 1 never arrived."


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("template"))


@pytest.fixture
def ward(tmp_path: Path, template: Path) -> Iterator[Ward]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    yield Ward(site)
    site.close()


def number(ward: Ward, window: int, count: int, first: int = 1) -> None:
    """Number what was sent in a window: captures only look at responses."""
    at = START + window * STEP
    _take(ward, *(numbered(at, first + n) for n in range(count)))


def numbered(at: datetime, sequence: int) -> Event:
    extensions = {"sender": "s", "sequence": sequence}
    return Event(new_id(), "/s", RESPONSE_TYPE, at, "application/json", b"{}", extensions)


def tell(ward: Ward, window: int, served: int, overflow: int = 0) -> None:
    at = START + window * STEP
    minutes = [{"minute": at, "served": served, "overflow": overflow, "refused": 0}]
    _take(ward, Event(new_id(), "/s", SERVED_TYPE, at, "application/json", report("s", minutes)))


def _take(ward: Ward, *events: Event) -> None:
    post(ward.services.collector, ward.site.deployment.id, events, START)


def captured(run: MonitorRun) -> Metric:
    metric = run.metric("captured")
    assert metric is not None
    return metric


def test_a_run_says_what_was_lost_and_stays_healthy_without_a_threshold(ward: Ward) -> None:
    ward.send(0)
    number(ward, 0, 8)
    tell(ward, 0, 11, 2)
    run = ward.look(0)
    assert captured(run).value == pytest.approx(8 / 11)
    assert LOST in run.problems
    assert run.health is Status.HEALTHY
    assert captured(run).status is not Status.CRITICAL


def test_a_threshold_on_it_is_judged_downwards(ward: Ward) -> None:
    thresholds = {"captured": {"type": "health", "soft": 0.99, "hard": 0.9}}
    ward.services.database.monitors.update(ward.monitor_id, thresholds=parse_thresholds(thresholds))
    for window, (served, status) in enumerate(((8, "healthy"), (9, "critical"))):
        ward.send(window)
        number(ward, window, 8, first=1 + window * 8)
        tell(ward, window, served)
        assert captured(ward.look(window)).status.value == status


def test_the_sentence_outlives_late_labels(ward: Ward) -> None:
    ids = ward.send(0)
    number(ward, 0, 8)
    tell(ward, 0, 11, 2)
    first = ward.look(0)
    ward.services.runs.post_labels(ward.monitor, [PostedLabel(id_, "NORMAL") for id_ in ids], OWNER)
    ward.site.work()
    run = ward.look(0)
    assert run.revision > first.revision
    assert run.problems.count(LOST) == 1


def test_a_window_that_nobody_numbered_has_no_value_and_no_problem(ward: Ward) -> None:
    ward.send(0)
    run = ward.look(0)
    assert captured(run) == replace(captured(run), value=None, n=0)
    assert not [problem for problem in run.problems if "in the log" in problem]


def test_reports_are_no_inferences_and_no_dead_letters(ward: Ward) -> None:
    ward.send(0)
    tell(ward, 0, 8)
    run = ward.look(0)
    requests = run.metric("requests")
    assert requests is not None
    assert requests.value == 8
    assert ward.services.database.dead_letters.where() == ()
