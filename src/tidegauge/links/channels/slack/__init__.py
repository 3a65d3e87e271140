"""Slack, and what takes the same incoming webhooks (Mattermost, Rocket.Chat, Discord's ``/slack``)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tidegauge.domain.alert import Severity, Told
from tidegauge.domain.channel import Message, Setting
from tidegauge.links.addresses import Gate
from tidegauge.links.channels.http import post
from tidegauge.links.channels.settings import Reading
from tidegauge.links.channels.transport import Outgoing

_COLOURS = {Severity.INFO: "#3b82f6", Severity.WARNING: "#f59e0b", Severity.CRITICAL: "#dc2626"}
_GREEN = "#16a34a"


def check(settings: Mapping[str, Setting], secret: str, gate: Gate) -> dict[str, Setting]:
    """Check the settings, of which there are none; the secret is the URL of the incoming webhook."""
    reading = Reading(settings, {})
    if not secret:
        reading.wrong("secret", "is empty; give the URL of the incoming webhook.", prefix="")
    else:
        reading.look(lambda: gate.check(secret, "secret"))
    return reading.result()


def send(outgoing: Outgoing, timeout: float) -> dict[str, str]:
    """Post the message as text with one attachment, which all of these services know."""
    message = outgoing.message
    body = {
        "text": f"*{_escape(message.title)}*",
        "attachments": [
            {
                "color": _colour(message),
                "fallback": message.summary,
                "text": "\n".join(_lines(outgoing)),
                "mrkdwn_in": ["text"],
            }
        ],
    }
    post(outgoing.gate, outgoing.channel.secret, json.dumps(body).encode(), timeout)
    return {}


def _lines(outgoing: Outgoing) -> list[str]:
    message = outgoing.message
    lines = [_escape(message.summary), *(_escape(fact) for fact in message.facts)]
    if message.tags:
        lines.append(f"Tags: {_escape(', '.join(message.tags))}")
    return [*lines, f"<{outgoing.url}|Look at it in Tidegauge>"]


def _colour(message: Message) -> str:
    return _GREEN if message.told == Told.RESOLVED else _COLOURS[message.severity]


def _escape(text: str) -> str:
    """Mask what Slack takes for its own signs.

    >>> _escape("a < b & c")
    'a &lt; b &amp; c'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
