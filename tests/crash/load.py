"""Senders that give nothing up, and write down what was acknowledged."""

from __future__ import annotations

import hashlib
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pybase64

from crash.victims import DEPLOYMENTS
from tidegauge.domain.events import BATCH_CONTENT_TYPE, REQUEST_TYPE, RESPONSE_TYPE

Key = tuple[str, str, str, str]  # deployment, source, id, type
DIGEST = "digest"  # extension that tells what the payload was
_HOURS = 2  # over which the times of events are spread
_MOST = 12 << 10  # bytes of a payload
_PAIRS = 12  # of a batch, at most


class Load:
    """Threads that send batches, each again and again with the same ids until it is acknowledged.

    ``pause`` are the most seconds between two batches of a thread; ``ports`` are tried in turn.
    """

    def __init__(
        self, ports: Sequence[int], token: str, seed: int, threads: int = 2, pause: float = 0.02
    ) -> None:
        self.sent: dict[Key, str] = {}  # digests
        self.acknowledged: set[Key] = set()
        self.unsure: set[Key] = (
            set()
        )  # of these, whoever sent them was left without an answer once, or refused
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._ports = ports
        self._headers = {"authorization": f"Bearer {token}", "content-type": BATCH_CONTENT_TYPE}
        self._pause = pause
        self._begun = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(
            hours=_HOURS + 2
        )
        self._lock = threading.Lock()
        self._draining = threading.Event()
        rngs = [random.Random(f"{seed}/{number}") for number in range(threads)]
        self._threads = [threading.Thread(target=self._send, args=(rng,), daemon=True) for rng in rngs]
        for thread in self._threads:
            thread.start()

    def drain(self, seconds: float = 120) -> bool:
        """Begin no further batch, and wait until all were acknowledged; False where that takes too long."""
        self._draining.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def goes_on(self, seconds: float) -> bool:
        """Wait until something that is sent from now on is acknowledged; False where that takes too long."""
        deadline, before = time.monotonic() + seconds, self.answers["202"]
        while self.answers["202"] <= before + len(self._threads):  # answers may be on their way
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _send(self, rng: random.Random) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._draining.is_set():
                keys, body = self._batch(rng)
                place = rng.randrange(len(self._ports))
                while not self._offer(client, self._ports[place % len(self._ports)], keys, body):
                    place += 1
                    time.sleep(0.05)
                time.sleep(rng.uniform(0, self._pause))

    def _offer(self, client: httpx.Client, port: int, keys: list[Key], body: bytes) -> bool:
        """Send a batch once; tell whether it was acknowledged."""
        try:
            answer = client.post(f"http://127.0.0.1:{port}/v1/events", content=body, headers=self._headers)
        except httpx.HTTPError as error:
            answer = None
            said = type(error).__name__
        else:
            said = str(answer.status_code)
        with self._lock:
            self.answers[said] += 1
            if answer is not None and answer.status_code == httpx.codes.ACCEPTED:
                counts = answer.json()
                if counts["accepted"] + counts["repeated"] != len(keys) or "refused" in counts:
                    self.wrong.append(f"{len(keys)} events: {counts}")
                self.acknowledged.update(keys)
                return True
            if answer is not None and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                self.wrong.append(f"{said}: {answer.text}")
            self.unsure.update(keys)
        return False

    def _batch(self, rng: random.Random) -> tuple[list[Key], bytes]:
        events: list[dict[str, Any]] = []
        keys: list[Key] = []
        for _ in range(rng.randint(1, _PAIRS)):
            deployment = rng.choice(DEPLOYMENTS)
            time_ = self._begun + timedelta(hours=_HOURS) * rng.random()
            event_id = uuid.uuid4().hex
            for kind in (REQUEST_TYPE, RESPONSE_TYPE):
                data = rng.randbytes(int(_MOST ** rng.random()))  # mostly small
                digest = hashlib.sha256(data).hexdigest()[:20]
                source = f"/deployments/{deployment}"
                keys.append((deployment, source, event_id, kind))
                with self._lock:
                    self.sent[keys[-1]] = digest
                events.append(
                    {
                        "specversion": "1.0",
                        "id": event_id,
                        "source": source,
                        "type": kind,
                        "time": time_.isoformat(),
                        "datacontenttype": "application/octet-stream",
                        DIGEST: digest,
                        "data_base64": pybase64.b64encode_as_string(data),
                    }
                )
        return keys, orjson.dumps(events)
