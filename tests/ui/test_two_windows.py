"""Two windows of a browser: the second to submit is told what the first has changed, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from parts_pages import Visitor, add_monitor, open_pages
from tidegauge.domain.alert import AlertRule, Condition, Operator
from tidegauge.domain.channel import ChannelKind
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, MonitorState, ValueType
from tidegauge.domain.thresholds import parse_thresholds

CHANGED = "It was changed meanwhile"


class Fields(HTMLParser):
    """What a browser would send of the form of a page, with the first of its buttons that has no name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sent: dict[str, list[str]] = {}
        self._choice = ""
        self._area = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "select":
            self._choice = name
        elif tag == "option" and self._choice and (self._choice not in self.sent or "selected" in given):
            self.sent[self._choice] = [value]
        elif tag == "textarea":
            self._area = name
            self.sent[name] = [""]
        elif tag == "input" and name and _is_sent(given):
            self.sent.setdefault(name, []).append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._choice = ""
        if tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.sent[self._area][0] += data


def _is_sent(given: dict[str, str | None]) -> bool:
    kind = given.get("type")
    return "checked" in given if kind in ("checkbox", "radio") else kind != "file"


@pytest.fixture
def visitor(tmp_path: Any) -> Iterator[Visitor]:
    with open_pages(tmp_path / "home") as found:
        yield found


@pytest.fixture
def monitor(visitor: Visitor) -> Monitor:
    schema = (
        Feature("image", FeatureKind.INPUT, ValueType.CONTINUOUS),
        Feature("prediction", FeatureKind.PREDICTION, ValueType.CATEGORICAL),
    )
    bounds = {
        "image": {"type": "drift", "soft": 0.4, "hard": 0.5},
        "prediction": {"type": "drift", "soft": 0.1, "hard": 0.2},
    }
    return add_monitor(
        visitor.services, "ward", schema=schema, thresholds=parse_thresholds(bounds), state=MonitorState.INIT
    )


def both(visitor: Visitor, path: str, action: str, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Open a form twice, send the first window's, then the second's, which is told and sent again."""
    one, other = (Fields(visitor.text(path)).sent for _ in range(2))
    answer = visitor.post(action, {**one, **first})
    assert answer.status_code in (200, 204, 303), answer.text
    told = visitor.post(action, {**other, **second})
    assert told.status_code == 409, told.text
    assert CHANGED in told.text
    again = Fields(told.text).sent
    for name, value in second.items():
        if name != "do":
            assert again[name] == ([value] if isinstance(value, str) else value)
    answer = visitor.post(action, {**again, **second})
    assert answer.status_code in (200, 204, 303), answer.text


def test_a_configuration(visitor: Visitor, monitor: Monitor) -> None:
    path = f"/monitors/{monitor.id}/config"
    both(visitor, path, path, {"frequency_minutes": "10"}, {"minimum_samples": "7"})
    config = visitor.services.monitors.get("operator", monitor.id).config
    assert (config.frequency_minutes, config.minimum_samples) == (5, 7)


def test_thresholds(visitor: Visitor, monitor: Monitor) -> None:
    path = f"/monitors/{monitor.id}/thresholds"
    both(visitor, f"{path}/edit", f"{path}/view", {"row.0.soft": "0.3"}, {"row.1.hard": "0.25"})
    found = visitor.services.monitors.get("operator", monitor.id).thresholds
    assert (found["image"].soft, found["prediction"].hard) == (0.4, 0.25)


def test_a_selection_of_features(visitor: Visitor, monitor: Monitor) -> None:
    path = f"/monitors/{monitor.id}/schema"
    feature = {"do": "add", "name": "age", "kind": "prediction_output", "value_type": "continuous"}
    both(visitor, path, path, feature, {"do": "select", "selected": ["image"]})
    schema = visitor.services.monitors.get("operator", monitor.id).schema
    assert [one.name for one in schema if one.selected] == ["image"]


def test_an_alert_even_when_a_condition_is_added_between(visitor: Visitor, monitor: Monitor) -> None:
    rule = AlertRule(
        "low", MetricType.PERFORMANCE, (Condition(name="accuracy", operator=Operator.LESS, bound=0.8),)
    )
    alert = visitor.services.monitors.add_alert(monitor, rule)
    path = f"/monitors/{monitor.id}/alerts/{alert.id}"
    both(visitor, path, path, {"breaches": "2"}, {"severity": "critical"})
    other = Fields(visitor.text(path)).sent
    visitor.post(path, {**Fields(visitor.text(path)).sent, "breaches": "3"})
    rearranged = Fields(visitor.post(path, {**other, "add": "true"}).text).sent
    assert len(rearranged["row"]) == 2
    key = rearranged["row"][1]
    filled = {**rearranged, f"conditions.{key}.metric": "recall", f"conditions.{key}.bound": "0.5"}
    told = visitor.post(path, filled)
    assert told.status_code == 409
    assert CHANGED in told.text
    assert Fields(told.text).sent[f"conditions.{key}.bound"] == ["0.5"]


def test_a_channel(visitor: Visitor) -> None:
    channels = visitor.services.channels
    channel = channels.create("operator", "hook", ChannelKind.WEBHOOK, {"url": "http://127.0.0.1:9/a"}, "")
    path = f"/settings/notifications/{channel.id}/change"
    both(
        visitor,
        path,
        path,
        {"settings.url": "http://127.0.0.1:9/b"},
        {"settings.url": "http://127.0.0.1:9/c"},
    )
    assert channels.get("operator", channel.id).settings["url"] == "http://127.0.0.1:9/c"


def test_who_sends_no_trace_of_a_page_is_not_asked(visitor: Visitor, monitor: Monitor) -> None:
    """A script that posts a form has not seen one."""
    path = f"/monitors/{monitor.id}/config"
    sent = Fields(visitor.text(path)).sent
    del sent["seen"]
    assert visitor.post(path, {**sent, "frequency_minutes": "15"}).status_code in (200, 303)
