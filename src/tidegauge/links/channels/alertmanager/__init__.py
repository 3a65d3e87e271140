"""Prometheus Alertmanager, by its API v2: what fires begins, what resolves ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta

from tidegauge.domain.alert import Told
from tidegauge.domain.channel import TEST, Message, Setting
from tidegauge.links.addresses import Gate
from tidegauge.links.channels.http import post
from tidegauge.links.channels.settings import Known, Reading
from tidegauge.links.channels.transport import Outgoing

_KNOWN = {"url": Known("", needed=True, example="http://alertmanager:9093"), "user": Known("")}
# Alertmanager ends by itself what is not told again within minutes; each change is told once, so what fires
# has to stand until it is resolved.
_FIRES_FOR = timedelta(days=365)
_TEST_FOR = timedelta(minutes=5)


def check(settings: Mapping[str, Setting], secret: str, gate: Gate) -> dict[str, Setting]:
    """Check the settings; the secret is the password of ``user``, or without one a bearer token."""
    reading = Reading(settings, _KNOWN)
    if url := reading.text("url"):
        reading.look(lambda: gate.check(url, "settings.url"))
    if reading.values["user"] and not secret:
        reading.wrong("secret", "is empty; give the password of the user.", prefix="")
    return reading.result()


def send(outgoing: Outgoing, timeout: float) -> dict[str, str]:
    """Post one alert; its labels are the same when it fires and when it is resolved."""
    message = outgoing.message
    alert = {
        "labels": _labels(message),
        "annotations": {
            "summary": message.summary,
            "description": "\n".join(message.facts),
            "status": message.status,
        },
        "startsAt": _stamp(message.start),
        "endsAt": _stamp(_end(outgoing)),
        "generatorURL": outgoing.url,
    }
    url = f"{str(outgoing.channel.settings['url']).rstrip('/')}/api/v2/alerts"
    post(outgoing.gate, url, json.dumps([alert]).encode(), timeout, _authorization(outgoing))
    return {}


def _labels(message: Message) -> dict[str, str]:
    labels = {
        "alertname": message.alert,
        "severity": message.severity.value,
        "monitor": message.monitor,
        "monitor_id": message.monitor_id,
        "alert_id": message.alert_id,
        "tags": ",".join(message.tags),
    }
    return {name: value for name, value in labels.items() if value}


def _end(outgoing: Outgoing) -> datetime:
    if outgoing.message.told == Told.RESOLVED:
        # Never after now, or a clock that runs ahead would leave it firing.
        return max(min(outgoing.message.end, outgoing.at), outgoing.message.start)
    return outgoing.at + (_TEST_FOR if outgoing.message.told == TEST else _FIRES_FOR)


def _authorization(outgoing: Outgoing) -> dict[str, str]:
    secret, user = outgoing.channel.secret, outgoing.channel.settings["user"]
    if not secret:
        return {}
    if not user:
        return {"authorization": f"Bearer {secret}"}
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"}


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
