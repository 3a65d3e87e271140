"""Webhooks: JSON by POST, signed as https://www.standardwebhooks.com describes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping

from pydantic_core import to_jsonable_python

from tidegauge.domain.channel import Setting
from tidegauge.links.addresses import Gate
from tidegauge.links.channels.http import post
from tidegauge.links.channels.settings import Known, Reading
from tidegauge.links.channels.transport import Outgoing

_KNOWN = {"url": Known("", needed=True, example="https://example.org/hook")}
_PREFIX = "whsec_"


def check(settings: Mapping[str, Setting], secret: str, gate: Gate) -> dict[str, Setting]:
    """Check the settings; the secret is the signing key: any text, or ``whsec_`` and base64."""
    reading = Reading(settings, _KNOWN)
    if url := reading.text("url"):
        reading.look(lambda: gate.check(url, "settings.url"))
    try:
        _key(secret)
    except binascii.Error:
        reading.wrong("secret", f"begins with {_PREFIX}, but what follows is not base64.", prefix="")
    return reading.result()


def send(outgoing: Outgoing, timeout: float) -> dict[str, str]:
    """Post the message; the headers tell the delivery, the time and the signature over both and the body."""
    body = json.dumps(
        {
            "delivery_id": outgoing.delivery_id,
            **to_jsonable_python(outgoing.message),
            "url": outgoing.url,
        }
    ).encode()
    headers = {
        "webhook-id": outgoing.delivery_id,
        "webhook-timestamp": str(int(outgoing.at.timestamp())),
    }
    if outgoing.channel.secret:
        headers["webhook-signature"] = sign(outgoing.channel.secret, body, headers)
    post(outgoing.gate, str(outgoing.channel.settings["url"]), body, timeout, headers)
    return {}


def sign(secret: str, body: bytes, headers: Mapping[str, str]) -> str:
    """Return the signature: HMAC-SHA256 over ``id.timestamp.body``, as base64 after its version.

    >>> sign("key", b"{}", {"webhook-id": "1", "webhook-timestamp": "1772366400"})
    'v1,ogt6Xc++2Tu67dKEjZjHuAOa9AQdijbu28okxQRHYls='
    """
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    return secret.encode()
