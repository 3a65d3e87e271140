"""Load from its own process: prepared bytes over raw sockets that stay open, so that it is no bottleneck.

    python benchmarks/_load.py PORT REQUEST_FILE CONNECTIONS SECONDS

Prints JSON: requests, seconds, p50 and p99 in milliseconds, and the answers that were not 200.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path

_CHUNK = 1 << 16


class Connection:
    """One HTTP/1.1 connection that sends the same request again and again."""

    def __init__(self, port: int, request: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self.latencies: list[float] = []
        self.failed = 0

    def exchange(self, request: bytes | bytearray | None = None) -> bytes:
        """Send the request, or another one, read the whole answer and return it."""
        self._socket.sendall(self._request if request is None else request)
        answer = self._socket.recv(_CHUNK)
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        while not _is_whole(answer):
            answer += self._more()
        return answer

    def run(self, until: float) -> None:
        """Exchange until the monotonic clock says ``until``."""
        while (start := time.perf_counter()) < until:
            answer = self.exchange()
            self.latencies.append(time.perf_counter() - start)
            self.failed += not answer.startswith(b"HTTP/1.1 200")

    def _more(self) -> bytes:
        data = self._socket.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = head.lower()
    if b"\r\ntransfer-encoding: chunked" in fields:
        return body.endswith(b"0\r\n\r\n")
    length = fields.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0]
    return len(body) >= int(length)


def load(port: int, request: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Send from several connections at once for so many seconds; return what was measured."""
    clients = [Connection(port, request) for _ in range(connections)]
    for client in clients:
        client.exchange()
    begin = time.perf_counter()
    threads = [threading.Thread(target=client.run, args=(begin + seconds,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begin
    latencies = sorted(latency for client in clients for latency in client.latencies)
    return {
        "requests": len(latencies),
        "seconds": took,
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[len(latencies) * 99 // 100] * 1e3,
        "failed": sum(client.failed for client in clients),
    }


if __name__ == "__main__":
    port, file, connections, seconds = sys.argv[1:]
    print(json.dumps(load(int(port), Path(file).read_bytes(), int(connections), float(seconds))))
