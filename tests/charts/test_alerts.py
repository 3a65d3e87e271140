"""The charts that go with messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from parts_receivers import mail_server
from report_rows import MINUTES, START, add_monitor, add_span
from tidegauge import charts
from tidegauge.app import build_services
from tidegauge.charts.alerts import of_segment
from tidegauge.domain.alert import Alert, AlertRule, Condition, Operator, Subject
from tidegauge.domain.channel import ChannelKind, Delivery
from tidegauge.domain.identity import new_id
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Metric, Monitor, MonitorRun, SegmentResult
from tidegauge.domain.status import Status
from tidegauge.services.alerting import Alerting
from tidegauge.services.bundle import Services
from tidegauge.services.pictures import Pictures
from tidegauge.settings import load_settings

WINDOWS = 60
END = START + WINDOWS * timedelta(minutes=MINUTES)


class Told:
    """A monitor with sixty windows, and what its alerts have told."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.database = services.database
        self.monitor: Monitor = add_monitor(services.database)
        add_span(services.database, self.monitor, WINDOWS)
        self.runs = self.database.monitor_runs.where(monitor_id=self.monitor.id, sort="start")

    def fire(
        self, *conditions: Condition, about: MetricType = MetricType.PERFORMANCE, **run: object
    ) -> Delivery:
        """Let an alert fire at the last window; return what is to be sent."""
        rule = AlertRule("watch", about, conditions, channels=("ward",))
        self.database.alerts.add(Alert(new_id(), self.monitor.id, "watch", rule, START))
        last = replace(self.runs[-1], id=new_id(), revision=9, **run)  # type: ignore[arg-type]
        alerting = Alerting(self.database, self.services.notifications, lambda: END)
        alerting.judge(self.monitor, self.database.monitor_runs.add(last), None)
        (delivery,) = self.database.deliveries.where()
        return delivery


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    services = build_services(
        load_settings(tmp_path / "home", {"port": 1, "allow_private_urls": True}, {}), lambda: END
    )
    made = Told(services)
    with mail_server() as box:
        made.box = box  # type: ignore[attr-defined]
        settings = {
            "host": "127.0.0.1",
            "port": str(box.port),
            "security": "none",
            "from": "a@b.c",
            "to": "d@e.f",
        }
        services.channels.create("operator", "ward", ChannelKind.MAIL, settings, "")
        yield made
    services.worker.close()
    services.collector.close()
    services.database.close()


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(int(value) for value in row) for row in np.unique(picture.reshape(-1, 3), axis=0)}


def test_a_mail_brings_the_chart_of_what_its_alert_is_about(told: Told) -> None:
    told.fire(Condition(name="accuracy", operator=Operator.LESS, bound=1.01))
    assert told.services.notifications.send_due() == 1
    (letter,) = told.box.letters  # type: ignore[attr-defined]
    (part,) = [part for part in letter.walk() if part.get_content_type() == "image/png"]
    picture = pixels(part.get_content())
    assert picture.shape[1] > 1000
    assert picture.shape[0] > 250
    assert len(colours(picture)) > 20


@pytest.mark.parametrize(
    ("condition", "about"),
    [
        (Condition(on=Subject.EVIDENCE, bound=-1000.0), MetricType.DRIFT),
        (Condition(on=Subject.STATUS, status=Status.HEALTHY), MetricType.HEALTH),
        (Condition(on=Subject.QUIET, bound=0), MetricType.HEALTH),
        (Condition(name="*", operator=Operator.LESS, bound=1.01), MetricType.PERFORMANCE),
    ],
)
def test_whatever_an_alert_is_about_has_a_chart(told: Told, condition: Condition, about: MetricType) -> None:
    delivery = told.fire(condition, about=about, quiet_minutes=3.0)
    picture = pixels(Pictures(told.database, charts.of_alert).draw(delivery))
    assert len(colours(picture)) > 20


def test_the_chart_of_a_segment_is_of_the_segment(told: Told) -> None:
    west = SegmentResult(
        "west", 8, Status.HEALTHY, Status.HEALTHY, Status.CRITICAL,
        (Metric("accuracy", MetricType.PERFORMANCE, 0.25, 8, Status.CRITICAL),),
    )  # fmt: skip
    condition = Condition(name="accuracy", operator=Operator.LESS, bound=0.5, segment="west")
    delivery = told.fire(condition, segments=(west,))
    drawn: list[float | None] = []

    def note(_alert: Alert, _monitor: Monitor, runs: Sequence[MonitorRun]) -> bytes:
        for run in runs:
            found = of_segment(run, "west").metric("accuracy")
            drawn.append(found.value if found else None)
        return b""

    Pictures(told.database, note).draw(delivery)
    assert len(drawn) == 48
    assert drawn[-1] == 0.25
    assert set(drawn[:-1]) == {None}


def test_what_is_gone_has_no_chart(told: Told) -> None:
    delivery = told.fire(Condition(name="accuracy", operator=Operator.LESS, bound=1.01))
    told.database.alerts.delete(delivery.message.alert_id)
    assert Pictures(told.database, charts.of_alert).draw(delivery) is None
