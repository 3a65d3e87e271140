"""What every kind of channel has: a check of its settings, and how it sends one delivery."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from tidegauge.domain.channel import Channel, Message, Setting
from tidegauge.errors import TidegaugeError
from tidegauge.links.addresses import Gate


@dataclass(frozen=True)
class Outgoing:
    """One delivery as it goes out: ``at`` is now, ``url`` the page of the run, ``chart`` a PNG.

    ``gate`` says what the channel's owner may have connected to.
    """

    channel: Channel
    message: Message
    delivery_id: str
    url: str
    at: datetime
    gate: Gate
    chart: bytes | None = None


class SendError(TidegaugeError):
    """It did not get through, and why.

    ``refused``: the receiver was reached and will not have this very message. ``wait``: seconds after which
    the receiver asks to be tried again, 0 where it says nothing.
    """

    def __init__(self, message: str, *, refused: bool = False, wait: float = 0.0) -> None:
        super().__init__(message)
        self.refused = refused
        self.wait = wait


@dataclass(frozen=True)
class Transport:
    """``check`` returns all settings of a channel, defaults included, or raises InvalidInputError.

    It takes the settings, the secret and the gate that the channel's host has to pass.

    ``send`` takes the delivery and a time-out in seconds and returns what is worth keeping of the answer; it
    raises SendError. ``charts``: whether it can carry a picture.
    """

    check: Callable[[Mapping[str, Setting], str, Gate], dict[str, Setting]]
    send: Callable[[Outgoing, float], dict[str, str]]
    charts: bool = False
