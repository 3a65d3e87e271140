"""Notifications: what alerts have to tell waits as rows, and threads send it until it got through."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from tidegauge.domain.alert import AlertEvent, Severity
from tidegauge.domain.channel import TEST, Channel, ChannelKind, Delivery, DeliveryState, Message
from tidegauge.domain.identity import new_id
from tidegauge.errors import UnavailableError
from tidegauge.links.channels.kinds import TRANSPORTS
from tidegauge.links.channels.transport import Outgoing, SendError, Transport
from tidegauge.services.gates import Gates
from tidegauge.storage.database import Database

_log = logging.getLogger(__name__)

Draw = Callable[[Delivery], bytes | None]

_WAITS, _SENDS = DeliveryState.WAITING.value, DeliveryState.SENDING.value
_TELLING = 8  # characters of a path that may be a secret
_MOST_THREADS = 32  # channels that may hang at once before others have to wait
_END_PAUSES = (0.5, 2.0, 8.0)  # seconds to wait for a database that is away for a moment
_CLOSE_SECONDS = 5.0  # what is still being sent then is left to its lease


@dataclass(frozen=True)
class Pace:
    """How long things may take, in seconds.

    ``timeout`` is one try's; ``lease`` how long a sender is believed to live and has to be longer than
    several of them. After a failure the pause doubles from ``first_pause`` to ``longest_pause``. A message is
    given up after ``keep``, one that its receiver refuses after ``keep_refused``.
    """

    timeout: float = 20.0
    lease: float = 180.0
    first_pause: float = 5.0
    longest_pause: float = 3600.0
    keep: float = 86_400.0
    keep_refused: float = 3600.0
    look: float = 2.0  # between looks at the table

    def pause(self, tries: int, share: float) -> float:
        """Return how long to wait after ``tries`` failures; ``share`` in [0, 1) takes up to half of it off.

        >>> [Pace().pause(tries, 0.0) for tries in (1, 2, 3, 20, 5000)]
        [5.0, 10.0, 20.0, 3600.0, 3600.0]
        """
        doubled = self.first_pause * 2.0 ** min(tries - 1, 60)
        return min(self.longest_pause, doubled) * (1 - share / 2)


class Notifications:
    """Sends deliveries, on any number of machines that share the database.

    Of one channel only the oldest delivery is sent, so their order is kept and a channel takes one thread at
    most. A sender claims it by a conditional UPDATE, for a lease; one that died leaves a lease that runs out,
    and the delivery is sent again under the same id, by which receivers tell repeats.
    """

    def __init__(
        self,
        database: Database,
        address: str,
        now: Callable[[], datetime],
        draw: Draw | None = None,
        *,
        gates: Gates | None = None,
        transports: Mapping[ChannelKind, Transport] = TRANSPORTS,
        pace: Pace | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """``address`` is what links begin with; ``draw`` makes the chart of a delivery as PNG.

        ``gates`` say where channels may lead; without them only operators' into private networks.
        """
        self._database = database
        self._address = address.rstrip("/")
        self._now = now
        self._draw = draw
        self.gates = gates or Gates(database)
        self._transports = transports
        self._pace = pace or Pace()
        self._rng = rng or random.Random()  # noqa: S311 - spreads senders in time
        self._name = f"{socket.gethostname()}-{os.getpid()}-{new_id()[-6:]}"
        self._stop = threading.Event()
        self._wake = threading.Condition()
        self._kicked = False
        self._sending: dict[str, threading.Thread] = {}
        self._looker = threading.Thread(target=self._look, name="notifications", daemon=True)

    def start(self) -> None:
        self._looker.start()

    def close(self) -> None:
        """Begin nothing more and wait a little for what is being sent."""
        self._stop.set()
        self.kick()
        if self._looker.is_alive():
            self._looker.join()
        with self._wake:
            self._wake.wait_for(lambda: not self._sending, _CLOSE_SECONDS)

    def kick(self) -> None:
        """Look for what is to be sent at once."""
        with self._wake:
            self._kicked = True
            self._wake.notify_all()

    def post(
        self, event: AlertEvent, message: Message, channels: Sequence[str], owner: str, now: datetime
    ) -> None:
        """Have ``message`` told by these channels (names) of ``owner``; within a transaction it is a part."""
        for name in dict.fromkeys(channels):
            channel = self._database.channels.find(owner=owner, name=name)
            if channel is None:
                _log.error("alert %s cannot be told: there is no channel %r", message.alert, name)
                continue
            self._database.deliveries.add(
                Delivery(new_id(), channel.id, event.monitor_id, event.id, message, now, due_at=now)
            )

    def test(self, channel_id: str) -> Delivery:
        """Send a test at once, past what waits; UnavailableError, with the reason, where it fails."""
        channel = self._database.channels.get(channel_id)
        now = self._now()
        text = f"This is a test of the channel {channel.name!r}: it works."
        message = Message(TEST, TEST, TEST, "", Severity.INFO, "healthy", now, now, text)
        made = Delivery(new_id(), channel.id, "", "", message, now, due_at=now, tries=1)
        try:
            details = self._send(channel, made)
        except SendError as error:
            reason = _redacted(error.message, channel)
            self._database.deliveries.add(replace(made, state=DeliveryState.DROPPED, error=reason))
            raise UnavailableError(f"The channel {channel.name!r} does not work: {reason}") from error
        sent = replace(made, state=DeliveryState.SENT, sent_at=self._now(), details=details)
        self._database.deliveries.add(sent)
        self._recover(channel)
        self.hurry(channel.id)
        return sent

    def hurry(self, channel_id: str) -> None:
        """Try what waits for a channel at once, for the reason of its failures may be gone."""
        self._database.deliveries.update_where(
            {"channel_id": channel_id, "state": _WAITS}, due_at=self._now()
        )
        self.kick()

    def send_due(self) -> int:
        """Send all that is due here and now, channel after channel; return how many tries it took."""
        return sum(self._drain(channel_id) for channel_id in self._unsent())

    def _look(self) -> None:
        while not self._stop.is_set():
            try:
                for channel_id in self._unsent():
                    self._begin(channel_id)
            except Exception:
                # A database that is away for a moment must not end notifications.
                _log.exception("looking for deliveries failed for a moment")
            with self._wake:
                self._wake.wait_for(lambda: self._kicked, self._pace.look)
                self._kicked = False

    def _unsent(self) -> list[str]:
        """Return the channels that have something that is not sent."""
        return [key[0] for key in self._database.deliveries.tally("channel_id", state=[_WAITS, _SENDS])]

    def _begin(self, channel_id: str) -> None:
        """Let a thread send what is due for one channel, unless one does or nothing is."""
        with self._wake:
            if channel_id in self._sending or len(self._sending) >= _MOST_THREADS:
                return
        if self._head(channel_id) is None:
            return
        thread = threading.Thread(
            target=self._run, args=(channel_id,), name=f"channel-{channel_id[-6:]}", daemon=True
        )
        with self._wake:
            self._sending[channel_id] = thread
        thread.start()

    def _run(self, channel_id: str) -> None:
        sent = 0
        try:
            sent = self._drain(channel_id)
        except Exception:
            _log.exception("sending to channel %s failed for a moment", channel_id)
        with self._wake:
            self._sending.pop(channel_id, None)
            # What was posted since this thread last looked was skipped while it was there.
            self._kicked = self._kicked or sent > 0
            self._wake.notify_all()

    def _drain(self, channel_id: str) -> int:
        tries = 0
        while not self._stop.is_set():
            delivery = self._claim(channel_id)
            if delivery is None:
                break
            self._deliver(delivery)
            tries += 1
        return tries

    def _head(self, channel_id: str) -> Delivery | None:
        """Return the delivery that a channel is to have next, None while that has to wait."""
        now = self._now()
        claimed = self._database.deliveries.find(channel_id=channel_id, state=_SENDS)
        if claimed is not None:
            return claimed if claimed.claimed_until is None or claimed.claimed_until < now else None
        first = self._database.deliveries.find(channel_id=channel_id, state=_WAITS)
        return first if first is not None and first.due_at <= now else None

    def _claim(self, channel_id: str) -> Delivery | None:
        if self._head(channel_id) is None:
            return None
        with self._database.transaction():
            # Takes the lock of the row: of two senders that look at a channel, the second looks again after
            # the first has claimed.
            self._database.channels.update(channel_id, id=channel_id)
            head = self._head(channel_id)
            if head is None:
                return None
            claim = {
                "state": DeliveryState.SENDING,
                "tries": head.tries + 1,
                "claimed_by": self._name,
                "claimed_until": self._now() + timedelta(seconds=self._pace.lease),
            }
            won = self._database.deliveries.update(
                head.id, {"state": head.state, "tries": head.tries}, **claim
            )
            return self._database.deliveries.get(head.id) if won else None

    def _deliver(self, delivery: Delivery) -> None:
        channel = self._database.channels.find(id=delivery.channel_id)
        if channel is None:
            return  # deleted, and its deliveries with it
        try:
            details = self._send(channel, delivery)
        except SendError as error:
            self._fail(channel, delivery, error)
            return
        sent = {"state": DeliveryState.SENT, "sent_at": self._now(), "details": details, "error": ""}
        if self._end(delivery, **sent):
            self._recover(channel)

    def _send(self, channel: Channel, delivery: Delivery) -> dict[str, str]:
        transport = self._transports[channel.kind]
        chart = self._chart(delivery) if transport.charts else None
        gate = self.gates.of(channel.owner)
        if not channel.settings and not channel.secret:
            raise SendError("Its settings were given up with the key that sealed them; give them anew.")
        outgoing = Outgoing(
            channel, delivery.message, delivery.id, self._url(delivery.message), self._now(), gate, chart
        )
        try:
            return transport.send(outgoing, self._pace.timeout)
        except SendError:
            raise
        except Exception as error:
            # Whatever a message or a receiver brings a transport to do, the channel has to go on.
            _log.exception("delivery %s failed by a mistake of ours", delivery.id)
            raise SendError(f"It could not be sent: {type(error).__name__}: {error}", refused=True) from error

    def _chart(self, delivery: Delivery) -> bytes | None:
        if self._draw is None or not delivery.message.run_id:
            return None
        try:
            return self._draw(delivery)
        except Exception:
            # The message counts, the picture does not.
            _log.exception("the chart of delivery %s could not be drawn", delivery.id)
            return None

    def _url(self, message: Message) -> str:
        page = f"{self._address}/monitors"
        if message.monitor_id:
            page = f"{page}/{message.monitor_id}"
        return f"{page}/runs/{message.run_id}" if message.run_id else page

    def _fail(self, channel: Channel, delivery: Delivery, error: SendError) -> None:
        """Put a delivery off, or give it up where it has been tried for long; the channel shows why."""
        now = self._now()
        reason = _redacted(error.message, channel)
        self._database.channels.update(channel.id, {"failing_since": None}, failing_since=now)
        keep = timedelta(seconds=self._pace.keep_refused if error.refused else self._pace.keep)
        if now - delivery.created_at >= keep:
            if self._end(delivery, state=DeliveryState.DROPPED, error=reason):
                _log.error(
                    "delivery %s to channel %s is given up after %d tries: %s",
                    delivery.id,
                    channel.name,
                    delivery.tries,
                    reason,
                )
            reason = f"{reason} A message of {delivery.created_at:%Y-%m-%d %H:%M} UTC was given up."
        else:
            pause = max(self._pace.pause(delivery.tries, self._rng.random()), error.wait)
            due = now + timedelta(seconds=min(pause, self._pace.longest_pause))
            self._end(delivery, state=DeliveryState.WAITING, error=reason, due_at=due)
            _log.warning("delivery %s to channel %s failed: %s", delivery.id, channel.name, reason)
        self._database.channels.update(channel.id, message=reason)

    def _end(self, delivery: Delivery, **changes: object) -> bool:
        """Write down how a try ended, unless the lease ran out and another sender has claimed it since."""
        ours = {"state": DeliveryState.SENDING, "tries": delivery.tries}
        free = {"claimed_by": "", "claimed_until": None}
        for pause in _END_PAUSES:
            try:
                return self._database.deliveries.update(delivery.id, ours, **free, **changes)
            except Exception:
                # What is sent and not written down would be sent again.
                _log.exception("the end of delivery %s is written down again", delivery.id)
                time.sleep(pause)
        return self._database.deliveries.update(delivery.id, ours, **free, **changes)

    def _recover(self, channel: Channel) -> None:
        self._database.channels.update(channel.id, failing_since=None, message="")


def _redacted(text: str, channel: Channel) -> str:
    """Return what a receiver said without the channel's secret and URL, which it may have repeated."""
    url = str(channel.settings.get("url", ""))
    path = urlsplit(url)._replace(scheme="", netloc="").geturl()
    for secret in (channel.secret, url, path if len(path) > _TELLING else ""):
        text = text.replace(secret, "***") if secret else text
    return text
