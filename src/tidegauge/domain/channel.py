"""Channels: where alerts are told, and what is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from tidegauge.domain.alert import Severity, Told

Setting = str | int | bool
TEST = "test"  # as what a message tells, beside fired, repeated and resolved
HIDDEN = "(hidden)"  # stands for a secret wherever a channel is shown


class ChannelKind(StrEnum):
    MAIL = "mail"
    WEBHOOK = "webhook"
    SLACK = "slack"
    ALERTMANAGER = "alertmanager"


@dataclass(frozen=True)
class Channel:
    """A place to tell of alerts. ``secret`` (a password or a signing key) is never shown again.

    ``failing_since`` and ``message`` say since when nothing has got through, and why.
    """

    id: str
    owner: str
    name: str
    kind: ChannelKind
    settings: Mapping[str, Setting]
    created_at: datetime
    secret: str = field(default="", repr=False)
    failing_since: datetime | None = None
    message: str = ""

    def hidden(self) -> Self:
        """Return the channel as it may be shown."""
        return replace(self, secret=HIDDEN if self.secret else "")


@dataclass(frozen=True)
class Message:
    """What one delivery tells; ``told`` is fired, repeated, resolved or test.

    ``start`` and ``end`` are the window's, ``summary`` one sentence, ``facts`` further ones. ``run_id``
    lets the sender draw the chart and link to the page.
    """

    told: str
    alert: str
    monitor: str
    monitor_id: str
    severity: Severity
    status: str
    start: datetime
    end: datetime
    summary: str
    facts: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    run_id: str = ""
    alert_id: str = ""

    @property
    def title(self) -> str:
        """What it tells in a few words, on one line.

        >>> moment = datetime(2026, 3, 1)
        >>> Message("repeated", "low", "xray", "m", Severity.CRITICAL, "critical", moment, moment, "").title
        'still critical: low, monitor xray'
        """
        if self.told == TEST:
            return "Tidegauge: test"
        begins = {Told.REPEATED: f"still {self.severity.value}", Told.RESOLVED: "resolved"}
        begin = begins.get(Told(self.told), self.severity.value)
        return f"{begin}: {self.alert}, monitor {self.monitor}"


class DeliveryState(StrEnum):
    WAITING = "waiting"
    SENDING = "sending"  # claimed until ``claimed_until``; then it is taken for crashed and sent again
    SENT = "sent"
    DROPPED = "dropped"  # given up, or the channel is gone


@dataclass(frozen=True)
class Delivery:
    """One message for one channel; its id is what receivers tell repeats by."""

    id: str
    channel_id: str
    monitor_id: str
    alert_event_id: str  # empty for a test
    message: Message
    created_at: datetime
    due_at: datetime
    state: DeliveryState = DeliveryState.WAITING
    tries: int = 0
    claimed_by: str = ""
    claimed_until: datetime | None = None
    sent_at: datetime | None = None
    error: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
