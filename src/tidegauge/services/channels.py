"""Channels: making, changing, trying and deleting them. A secret goes in and never comes out again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tidegauge.domain.channel import HIDDEN, Channel, ChannelKind, Delivery, DeliveryState, Setting
from tidegauge.domain.identity import check_name, new_id
from tidegauge.errors import ConflictError, NotFoundError
from tidegauge.links.channels.kinds import TRANSPORTS
from tidegauge.services.notifications import Notifications
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query


@dataclass(frozen=True)
class ChannelDetail:
    """A channel, how many deliveries are in each state, and the alerts (``monitor/alert``) that use it."""

    channel: Channel
    deliveries: Mapping[str, int]
    alerts: tuple[str, ...]


class Channels:
    """Every channel that leaves here is without its secret."""

    def __init__(self, database: Database, notifications: Notifications, now: Callable[[], datetime]) -> None:
        self._database = database
        self._notifications = notifications
        self._now = now

    def create(
        self, owner: str, name: str, kind: ChannelKind, settings: Mapping[str, Setting], secret: str = ""
    ) -> Channel:
        """Make a channel; InvalidInputError names every setting that is wrong."""
        checked = TRANSPORTS[kind].check(settings, secret, self._notifications.gates.of(owner))
        channel = Channel(new_id(), owner, check_name(name), kind, checked, self._now(), secret)
        return self._database.channels.add(channel).hidden()

    def page(self, owner: str, query: Query) -> Page[Channel]:
        page = self._database.channels.page(query, owner=owner)
        return replace(page, items=tuple(channel.hidden() for channel in page.items))

    def get(self, owner: str, name_or_id: str) -> Channel:
        return self._find(owner, name_or_id).hidden()

    def detail(self, channel: Channel) -> ChannelDetail:
        counts = self._database.deliveries.tally("state", channel_id=channel.id)
        states = {state.value: counts.get((state.value,), 0) for state in DeliveryState}
        return ChannelDetail(channel, states, self._users(channel))

    def change(
        self, channel: Channel, settings: Mapping[str, Setting | None], secret: str | None = None
    ) -> Channel:
        """Change settings (None: back to the default) and the secret (None: as it is); try again at once."""
        known = self._find(channel.owner, channel.id)
        merged = {**known.settings, **settings}
        given = {name: value for name, value in merged.items() if value is not None}
        kept = known.secret if secret is None or secret == HIDDEN else secret
        checked = TRANSPORTS[known.kind].check(given, kept, self._notifications.gates.of(known.owner))
        self._database.channels.update(known.id, settings=checked, secret=kept)
        self._notifications.hurry(known.id)
        return self.get(known.owner, known.id)

    def delete(self, channel: Channel) -> None:
        """Delete a channel with its deliveries; not while an alert uses it."""
        users = self._users(channel)
        if users:
            raise ConflictError(
                f"The channel {channel.name!r} is used by the alerts {', '.join(users)}; "
                "take it out of them first."
            )
        self._database.channels.delete(channel.id)

    def test(self, channel: Channel) -> Delivery:
        """Send a test at once; UnavailableError, with the reason, where it does not get through."""
        return self._notifications.test(channel.id)

    def deliveries(
        self, channel: Channel, query: Query, state: DeliveryState | None = None
    ) -> Page[Delivery]:
        where = {"state": state} if state else {}
        return self._database.deliveries.page(query, channel_id=channel.id, **where)

    def _find(self, owner: str, name_or_id: str) -> Channel:
        found = self._database.channels.find_by(name_or_id, "id", "name", owner=owner)
        if found is None:
            raise NotFoundError(f"There is no channel {name_or_id!r}.")
        return found

    def _users(self, channel: Channel) -> tuple[str, ...]:
        monitors = {monitor.id: monitor for monitor in self._database.monitors.where(owner=channel.owner)}
        return tuple(
            f"{monitors[alert.monitor_id].name}/{alert.name}"
            for alert in self._database.alerts.where(monitor_id=list(monitors))
            if channel.name in alert.rule.channels
        )
