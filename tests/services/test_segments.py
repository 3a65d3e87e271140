"""A monitor that looks at hospitals apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from parts import CLASSES, SIDE, image
from simulated import OWNER, START, Site
from tidegauge.domain.alert import AlertRule, Condition, Operator, Subject
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Monitor, MonitorRun, SegmentResult
from tidegauge.domain.status import Status
from tidegauge.errors import InvalidInputError
from tidegauge.services.labels import PostedLabel
from tidegauge.services.segments import MOST, OTHER
from tidegauge.ui.report import to_html

STEP = timedelta(minutes=5)
SURE = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
HOSPITALS = ("east", "north", "west")


class Region:
    """A site whose hospitals send images with their names, and a monitor with a segment for each."""

    def __init__(self, site: Site, monitor: Monitor) -> None:
        self.site = site
        self.monitor = monitor
        self.services = site.services
        self.rng = np.random.default_rng(1)
        self.sent: dict[str, list[tuple[str, datetime, str]]] = {}

    def send(self, window: int, hospital: str, n: int = 8, *, upside_down: bool = False) -> list[str]:
        images, labels = draw(n, self.rng)
        if upside_down:
            images = images[:, ::-1, ::-1]
        start = START + window * STEP
        times = [start + STEP * float(share) for share in np.sort(self.rng.uniform(0, 1, n))]
        attributes = {"hospital": hospital} if hospital else {}
        self.site.clock.now = max(self.site.clock.now, start + STEP)
        ids = self.site.send(images, SURE[(labels == "PNEUMONIA").astype(int)], times, attributes)
        self.sent.setdefault(hospital, []).extend(zip(ids, times, map(str, labels), strict=True))
        return ids

    def look(self, window: int) -> MonitorRun:
        self.site.clock.now = max(self.site.clock.now, START + (window + 1) * STEP + timedelta(seconds=10))
        self.site.work()
        return self.services.monitors.runs(self.fresh(), START + window * STEP, START + (window + 1) * STEP)[
            -1
        ]

    def go(self, window: int, *upside_down: str) -> MonitorRun:
        for hospital in HOSPITALS:
            self.send(window, hospital, upside_down=hospital in upside_down)
        return self.look(window)

    def fresh(self) -> Monitor:
        return self.services.monitors.get(OWNER, self.monitor.id)


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.choice(CLASSES, n)
    return np.stack([image(str(label), rng) for label in labels]), labels


def of(run: MonitorRun, name: str) -> SegmentResult:
    return next(segment for segment in run.segments if segment.name == name)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    site = Site.build(folder / "home", CLASSES)
    truth = np.array(["NORMAL", "PNEUMONIA"] * 50)
    right = SURE[(truth == "PNEUMONIA").astype(int)]
    truth[:10] = truth[:10][::-1]
    site.deploy(folder / "model", ["NORMAL", "PNEUMONIA"] * 50, "PNEUMONIA", scores=right, labels=truth)
    site.add_images("pool", folder / "pool", *draw(300, np.random.default_rng(0)))
    site.monitor("pool", SIDE, general={"segments": "hospital"})
    site.close()
    return folder / "home"


@pytest.fixture
def region(tmp_path: Path, template: Path) -> Iterator[Region]:
    shutil.copytree(template, tmp_path / "home")
    site = Site.build(tmp_path / "home", CLASSES)
    (monitor,) = site.services.database.monitors.where()
    site.deployment = site.services.database.deployments.get(monitor.deployment_id)
    yield Region(site, monitor)
    site.close()


def test_each_hospital_is_measured_apart_and_the_whole_has_all(region: Region) -> None:
    run = region.go(0)
    assert [(segment.name, segment.n) for segment in run.segments] == [(name, 8) for name in HOSPITALS]
    assert run.metric("requests").value == 24  # type: ignore[union-attr]
    for segment in run.segments:
        assert segment.metric("requests").value == 8  # type: ignore[union-attr]
        assert segment.metric("image").n == 8  # type: ignore[union-attr]


def test_a_segment_has_the_scores_that_a_monitor_of_it_alone_would_have(region: Region) -> None:
    run = region.go(0)
    east = of(run, "east")
    region.rng = np.random.default_rng(1)
    region.send(5, "east")  # the same images as above, and no others
    only = region.look(5)
    for name in ("image", "prediction", "expected_accuracy"):
        assert east.metric(name).value == only.metric(name).value  # type: ignore[union-attr]


def test_one_of_three_hospitals_drifts_alone(region: Region) -> None:
    for window in range(2):
        assert region.go(window).drift is Status.HEALTHY
    for window in range(2, 5):
        run = region.go(window, "west")
    assert (of(run, "west").drift, of(run, "west").evidence.alarm) == (Status.CRITICAL, True)  # type: ignore[union-attr]
    assert [of(run, name).drift for name in ("east", "north")] == [Status.HEALTHY] * 2
    assert (run.drift, run.status) == (Status.CRITICAL, Status.CRITICAL)


def test_an_alarm_of_a_silent_segment_stays_on_until_it_is_acknowledged(region: Region) -> None:
    for window in range(3):
        region.go(window, "west")
    region.send(3, "east")
    run = region.look(3)
    assert (of(run, "west").n, of(run, "west").drift) == (0, Status.CRITICAL)
    region.services.acceptance.acknowledge(region.fresh(), OWNER, "a new machine")
    state = region.fresh().evidence
    assert state is not None
    assert state.alarms == ()
    assert state.segments["west"].resets == 1
    assert state.segments["east"].resets == 0
    region.send(4, "east")
    assert region.look(4).drift is Status.HEALTHY


def test_all_evidence_together_keeps_to_alpha(region: Region) -> None:
    region.go(0)
    state = region.fresh().evidence
    assert state is not None
    alpha = region.monitor.config.evidence.alpha
    assert state.alpha == pytest.approx(alpha / 2)
    shares = [state.segments[name].alpha / alpha for name in state.segments]
    assert shares == pytest.approx([1 / 4, 1 / 12, 1 / 24])


def test_evidence_of_segments_is_the_same_after_a_crash(region: Region) -> None:
    for window in range(3):
        region.go(window)
    before = region.fresh().evidence
    for window in range(3, 6):
        region.go(window, "north")
    straight = region.fresh().evidence
    region.services.database.monitors.update(region.monitor.id, evidence=before)
    region.services.runs._evidences.forget(region.monitor.id)
    region.send(6, "east")
    region.look(6)
    again = region.fresh().evidence
    assert straight is not None
    assert again is not None
    assert list(again.segments) == list(straight.segments)
    assert again.segments["north"].result == straight.segments["north"].result
    assert again.segments["west"].result == straight.segments["west"].result


def test_labels_count_in_the_segment_of_their_event(region: Region) -> None:
    region.go(0)
    east, west = region.sent["east"], region.sent["west"]
    region.services.runs.post_labels(region.fresh(), [PostedLabel(east[0][0], east[0][2])], OWNER)
    wrong = "NORMAL" if west[0][2] == "PNEUMONIA" else "PNEUMONIA"
    lines = ["timestamp,output,label", f"{west[0][1].isoformat()},{west[0][2]},{wrong}"]
    lines.append(f"{(START + STEP / 7).isoformat()},NORMAL,NORMAL")  # of no event that was seen
    region.services.deployments.put_labels(region.site.deployment, "a.csv", "\n".join(lines).encode())
    run = region.look(0)
    assert of(run, "east").metric("accuracy").value == 1.0  # type: ignore[union-attr]
    assert of(run, "west").metric("accuracy").value == 0.0  # type: ignore[union-attr]
    assert of(run, "north").metric("accuracy").n == 0  # type: ignore[union-attr]
    assert run.metric("accuracy").n == 3  # type: ignore[union-attr]
    assert any("Of 1 labels the segment cannot be told" in problem for problem in run.problems)
    assert of(run, "east").metric("accuracy").surely_high is not None  # type: ignore[union-attr]


def test_a_small_segment_is_unknown_and_hides_nothing(region: Region) -> None:
    region.services.monitors.set_thresholds(
        region.fresh(), {"image": {"type": "drift", "soft": 0.42, "hard": 0.55}}
    )
    region.send(0, "east")
    region.send(0, "north", 2)
    run = region.look(0)
    assert of(run, "north").metric("image").status is Status.UNKNOWN  # type: ignore[union-attr]
    assert run.drift is Status.HEALTHY


def test_events_without_the_attribute_count_in_the_whole_only(region: Region) -> None:
    region.send(0, "")
    run = region.look(0)
    assert run.segments == ()
    assert run.metric("requests").value == 8  # type: ignore[union-attr]


def test_an_attribute_with_no_end_of_values_is_pooled(region: Region) -> None:
    for number in range(MOST + 3):
        region.send(0, f"patient{number:03d}", 1)
    run = region.look(0)
    assert len(run.segments) == MOST + 1
    assert of(run, OTHER).n == 3
    assert any(f"more than {MOST} segments" in problem for problem in run.problems)


@pytest.mark.parametrize(("segment", "told"), [("", 0), ("east", 0), ("west", 1), ("*", 1)])
def test_an_alert_may_name_a_segment(region: Region, segment: str, told: int) -> None:
    condition = Condition(on=Subject.EVIDENCE, segment=segment)
    region.services.monitors.add_alert(region.fresh(), AlertRule("alarm", MetricType.DRIFT, (condition,)))
    # So few that the whole, to which the other hospitals belong, has no alarm yet.
    for hospital, n in (("east", 30), ("north", 30), ("west", 6)):
        region.send(0, hospital, n, upside_down=hospital == "west")
    run = region.look(0)
    assert (of(run, "west").evidence.alarm, run.evidence.alarm) == (True, False)  # type: ignore[union-attr]
    events = region.services.database.alert_events.where(monitor_id=region.monitor.id)
    assert len(events) == told
    assert all("west" in event.summary for event in events)


def test_minutes_without_events_are_those_of_the_whole() -> None:
    condition = Condition(on=Subject.QUIET, operator=Operator.GREATER, bound=5, segment="east")
    with pytest.raises(InvalidInputError, match="segment is 'east', but"):
        condition.check()


def test_a_report_sums_up_each_segment(region: Region) -> None:
    for window in range(3):
        region.go(window, "west")
    east = region.sent["east"]
    region.services.runs.post_labels(region.fresh(), [PostedLabel(east[0][0], east[0][2])], OWNER)
    region.look(0)
    report, made = region.services.reports.make(region.fresh(), START, START + 3 * STEP, OWNER)
    found = {segment.name: segment for segment in report.segments}
    assert list(found) == list(HOSPITALS)
    assert {segment.observations for segment in report.segments} == {24}
    assert found["west"].critical == found["west"].alarms > 0
    assert found["east"].alarms == 0
    assert found["east"].accuracy.n == 1  # type: ignore[union-attr]
    assert "<h2>Segments</h2>" in to_html(report, made)
    assert report.content()["segments"][2]["name"] == "west"
