from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parts_receivers import EVENT, MESSAGE, NOW, Clock, Receiver, http_receiver
from tidegauge.domain.alert import Alert, AlertRule, Condition
from tidegauge.domain.channel import HIDDEN, ChannelKind, DeliveryState
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig
from tidegauge.domain.status import Status
from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.services.channels import Channels
from tidegauge.services.gates import Gates
from tidegauge.services.notifications import Notifications
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Query

MAIL = {"host": "smtp.example.org", "from": "g@example.org", "to": "a@example.org"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'db.sqlite'}")
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def notifications(database: Database) -> Notifications:
    return Notifications(database, "http://gauge", Clock(), gates=Gates(database, allow_private=True))


@pytest.fixture
def channels(database: Database, notifications: Notifications) -> Channels:
    return Channels(database, notifications, Clock())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as made:
        yield made


def add_alert(database: Database, *names: str) -> None:
    running = DeploymentState.RUNNING
    database.deployments.add(
        Deployment("d", "xray", "ward", "m", "m", 1, True, Origin.LOCAL, running, running, NOW, "")
    )
    database.monitors.add(
        Monitor("m", "d", "xray", "ward", MonitorState.ACTIVE, Status.UNKNOWN, MonitorConfig(), 1, NOW)
    )
    rule = AlertRule("low", MetricType.PERFORMANCE, (Condition(name="accuracy", bound=1),), channels=names)
    database.alerts.add(Alert("a", "m", "low", rule, NOW))


def test_a_secret_goes_in_and_never_comes_out(database: Database, channels: Channels) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"}, "key")
    shown = [
        made,
        channels.get("ward", "ops"),
        channels.detail(made).channel,
        *channels.page("ward", Query()).items,
        channels.change(made, {}, "other key"),
    ]
    assert {channel.secret for channel in shown} == {HIDDEN}
    assert database.channels.get(made.id).secret == "other key"


def test_a_channel_without_a_secret_shows_that_it_has_none(channels: Channels) -> None:
    assert channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"}).secret == ""


def test_a_channel_that_is_wrong_is_not_made(database: Database, channels: Channels) -> None:
    with pytest.raises(InvalidInputError, match=r"settings\.url is missing"):
        channels.create("ward", "ops", ChannelKind.WEBHOOK, {})
    with pytest.raises(InvalidInputError, match="name is 'No Good'"):
        channels.create("ward", "No Good", ChannelKind.WEBHOOK, {"url": "https://a.org"})
    assert database.channels.count() == 0


def test_a_name_is_taken_once_by_each_owner(channels: Channels) -> None:
    for owner in ("ward", "clinic"):
        channels.create(owner, "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"})
    with pytest.raises(ConflictError, match="There is a channel 'ops' already"):
        channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"})


def test_nobody_sees_the_channels_of_others(channels: Channels) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"})
    for key in ("ops", made.id):
        with pytest.raises(NotFoundError):
            channels.get("clinic", key)
    assert channels.page("clinic", Query()).items == ()


def test_a_change_leaves_alone_what_it_does_not_name(database: Database, channels: Channels) -> None:
    made = channels.create("ward", "ops", ChannelKind.MAIL, {**MAIL, "user": "ward"}, "pass")
    changed = channels.change(made, {"host": "mail.example.org", "port": 2525})
    assert changed.settings == {
        **MAIL,
        "host": "mail.example.org",
        "port": 2525,
        "security": "starttls",
        "user": "ward",
    }
    assert database.channels.get(made.id).secret == "pass"
    assert channels.change(made, {"port": None}).settings["port"] == 0


def test_what_is_shown_for_a_secret_is_not_taken_for_one(database: Database, channels: Channels) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"}, "key")
    channels.change(made, {}, HIDDEN)
    assert database.channels.get(made.id).secret == "key"


def test_a_wrong_change_changes_nothing(channels: Channels) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"})
    with pytest.raises(InvalidInputError):
        channels.change(made, {"url": "nowhere"})
    assert channels.get("ward", "ops").settings == {"url": "https://a.org"}


def test_what_waited_is_tried_at_once_when_a_channel_is_mended(
    channels: Channels, notifications: Notifications, receiver: Receiver
) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "http://127.0.0.1:9"})
    notifications.post(EVENT, MESSAGE, ["ops"], "ward", NOW)
    notifications.send_due()
    assert notifications.send_due() == 0
    channels.change(made, {"url": receiver.url})
    assert notifications.send_due() == 1
    assert channels.get("ward", "ops").failing_since is None


def test_a_channel_that_an_alert_uses_is_not_deleted(database: Database, channels: Channels) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"})
    add_alert(database, "ops")
    assert channels.detail(made).alerts == ("xray/low",)
    with pytest.raises(ConflictError, match="used by the alerts xray/low; take it out of them first"):
        channels.delete(made)
    assert channels.get("ward", "ops") == made


def test_a_channel_goes_with_its_deliveries(
    database: Database, channels: Channels, notifications: Notifications
) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": "https://a.org"})
    notifications.post(EVENT, MESSAGE, ["ops"], "ward", NOW)
    channels.delete(made)
    assert (database.channels.count(), database.deliveries.count()) == (0, 0)
    assert notifications.send_due() == 0


def test_deliveries_are_counted_and_listed_by_state(
    channels: Channels, notifications: Notifications, receiver: Receiver
) -> None:
    made = channels.create("ward", "ops", ChannelKind.WEBHOOK, {"url": receiver.url})
    sent = channels.test(made)
    notifications.post(EVENT, MESSAGE, ["ops"], "ward", NOW)
    assert channels.detail(made).deliveries == {"waiting": 1, "sending": 0, "sent": 1, "dropped": 0}
    assert channels.deliveries(made, Query(), DeliveryState.SENT).items == (sent,)
    assert len(channels.deliveries(made, Query()).items) == 2
