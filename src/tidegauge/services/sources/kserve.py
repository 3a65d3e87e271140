"""What KServe's logger writes to a bucket: an object for each request and each response.

Source: kserve, pkg/logger (store.go names the objects, types.go has the fields, written as Go writes JSON).
An object has no time of its own, so that of the object counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from tidegauge.domain.cloudevents import Decoded, decode_json
from tidegauge.domain.events import KSERVE_ATTRIBUTES
from tidegauge.errors import InvalidInputError

_FIELDS = dict(zip(KSERVE_ATTRIBUTES, ("InferenceService", "Namespace", "Endpoint"), strict=True))


def has_written(data: bytes) -> bool:
    """Tell whether an object is one of KServe's logger, and no CloudEvents.

    >>> has_written(b'[{"Id": "1", "ReqType": "t"}]'), has_written(b'[{"id": "1", "type": "ReqType"}]')
    (True, False)
    """
    if b'"ReqType"' not in data:
        return False
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(found, list) and all(isinstance(one, dict) and "ReqType" in one for one in found)


def decode(data: bytes, time: datetime, now: datetime) -> Decoded:
    """Return the events of an object that was written at ``time``; InvalidInputError for one that is none."""
    try:
        found = orjson.loads(data)
        events = [_event(one, time) for one in found]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError("It is no object of KServe's logger (a JSON array of requests).") from error
    return decode_json(orjson.dumps(events), batch=True, now=now)


def _event(one: Mapping[str, Any], time: datetime) -> dict[str, Any]:
    more = {name: one[field] for name, field in _FIELDS.items() if one.get(field)}
    return {
        "specversion": "1.0",
        "id": one["Id"],
        "source": _url(one.get("SourceUri")) or "kserve",
        "type": one["ReqType"],
        "time": time.isoformat(),
        "datacontenttype": one.get("ContentType") or "application/json",
        "data_base64": one.get("Bytes") or "",
        **more,
    }


def _url(parts: Mapping[str, Any] | None) -> str:
    """Return a URL that Go has written as its parts."""
    if not parts:
        return ""
    host = parts.get("Host") or ""
    scheme = f"{parts['Scheme']}:" if parts.get("Scheme") else ""
    return f"{scheme}{'//' + host if host else ''}{parts.get('Path') or ''}"
