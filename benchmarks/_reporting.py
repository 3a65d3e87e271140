"""Senders of events, as fast as they can: requests over raw sockets, each event with an id of its own.

    python benchmarks/_reporting.py PORT REQUEST_FILE CONNECTIONS SECONDS

Where the request has ``ID`` sixteen digits are written, other ones each time, so that no event is a repeat.
Prints JSON: events acknowledged, requests by status, seconds, p50 and p99 of the requests in milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from _load import Connection

ID = b"@@@@@@@@@@@@@@@@"
_PAUSE = 0.02  # seconds after a refusal: shorter than any sender of sense would wait


class Sender:
    """One connection that sends one request again and again, with new ids."""

    def __init__(self, port: int, request: bytes, first: int) -> None:
        self._connection = Connection(port, request)
        self._request = bytearray(request)
        self._places = _places(request)
        self._next = first
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.acknowledged = 0

    def run(self, until: float) -> None:
        """Send until the clock says ``until``; what is refused is not sent again."""
        while (start := time.perf_counter()) < until:
            for place in self._places:
                self._request[place : place + 16] = b"%016d" % self._next
                self._next += 1
            answer = self._connection.exchange(self._request)
            self.latencies.append(time.perf_counter() - start)
            status = answer[9:12].decode()
            self.statuses[status] += 1
            if status == "202":
                self.acknowledged += json.loads(answer.partition(b"\r\n\r\n")[2])["accepted"]
            elif status in ("429", "503"):
                time.sleep(_PAUSE)


def _places(request: bytes) -> list[int]:
    found = []
    at = request.find(ID)
    while at >= 0:
        found.append(at)
        at = request.find(ID, at + len(ID))
    return found


def report(port: int, request: bytes, connections: int, seconds: float) -> dict[str, object]:
    """Send from several connections at once for so many seconds; return what was measured."""
    begin = os.getpid() * 10**10
    senders = [Sender(port, request, begin + number * 10**8) for number in range(connections)]
    start = time.perf_counter()
    threads = [threading.Thread(target=sender.run, args=(start + seconds,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    latencies = sorted(latency for sender in senders for latency in sender.latencies)
    return {
        "acknowledged": sum(sender.acknowledged for sender in senders),
        "statuses": dict(sum((sender.statuses for sender in senders), Counter())),
        "seconds": time.perf_counter() - start,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[len(latencies) * 99 // 100] * 1e3,
    }


if __name__ == "__main__":
    port, file, connections, seconds = sys.argv[1:]
    print(json.dumps(report(int(port), Path(file).read_bytes(), int(connections), float(seconds))))
