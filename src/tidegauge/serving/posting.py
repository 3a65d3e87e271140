"""One connection to the collector: posts batches of CloudEvents."""

from __future__ import annotations

import http.client
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from tidegauge.domain.events import BATCH_CONTENT_TYPE
from tidegauge.errors import InvalidInputError

_TIMEOUT_SECONDS = 10.0
_REFUSED = re.compile(rb'"field":\s*"events\[([0-9]+)\]')


class Outcome(Enum):
    """What became of a batch."""

    TAKEN = auto()  # durable
    RETRY = auto()  # not now
    BAD_BATCH = auto()  # something in it is wrong or it is too large
    REFUSED = auto()  # no batch of ours would be taken


@dataclass(frozen=True)
class Answer:
    """What became of a batch and why; ``refused`` are the places of the events that a taken one lost."""

    outcome: Outcome
    reason: str
    refused: frozenset[int] = frozenset()


class Collector:
    """Posts to ``.../v1/deployments/<id>/events`` over a connection kept open. One thread at a time."""

    def __init__(self, url: str, token: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if port == -1 or parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError.of(
                "log_url", f"log_url is {url!r}; it must be the http(s) address of a deployment's events."
            )
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, port, timeout=timeout)
        self._path = parts.path or "/"
        self._headers = {"Content-Type": BATCH_CONTENT_TYPE, "Authorization": f"Bearer {token}"}

    def post(self, batch: Sequence[bytes]) -> Answer:
        """Post events, each JSON text after a comma, as one batch; return what came of it."""
        # In pieces: joining megabytes would cost as much as encoding them.
        pieces: list[bytes | memoryview] = [b"[", memoryview(batch[0])[1:], *batch[1:], b"]"]
        headers = {**self._headers, "Content-Length": str(sum(map(len, pieces)))}
        try:
            self._connection.request("POST", self._path, pieces, headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Answer(Outcome.RETRY, str(error) or type(error).__name__)
        text = " ".join(body[:300].decode(errors="replace").split())
        refused = frozenset(int(place) for place in _REFUSED.findall(body))
        return Answer(_outcome(answer.status), f"{answer.status} {text}", refused)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _outcome(status: int) -> Outcome:
    if status // 100 == 2:
        return Outcome.TAKEN
    if status in (400, 413, 422):
        return Outcome.BAD_BATCH
    if status in (408, 425, 429) or status >= 500:
        return Outcome.RETRY
    return Outcome.REFUSED
