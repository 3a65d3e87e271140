"""The sender of the inference log: takes exchanges without waiting, hands them to the collector in batches.

Two threads share one bounded queue: the encoder makes events of exchanges, which frees the memory of
float tensors early; the sender posts them and keeps what was not acknowledged. Every exchange is numbered,
also one that is dropped, and reports of how many there were go ahead of the queue: so what is lost with this
process shows, too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tidegauge.serving.exchange import Exchange, Origin, encode_exchange, encode_report
from tidegauge.serving.posting import Collector, Outcome
from tidegauge.serving.served import Number, Served

_log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.02  # how long exchanges may gather before they are encoded: fewer, larger posts
_BATCH_COUNT = 256
_BATCH_BYTES = 4 << 20
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_REPORT_SECONDS = 60.0


@dataclass(frozen=True)
class LogCounts:
    """Request/response pairs: waiting, durable at the collector, lost to a full queue, refused by it."""

    queued: int = 0
    acknowledged: int = 0
    dropped_overflow: int = 0
    refused: int = 0


class EventLog:
    """Bounded queue of exchanges with a background sender; when full, new ones are counted and dropped."""

    def __init__(
        self,
        collector: Collector,
        origin: Origin,
        *,
        max_count: int = 20_000,
        max_bytes: int = 256 << 20,
    ) -> None:
        self._collector = collector
        self._origin = origin
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._raw: deque[tuple[Exchange, Number]] = deque()
        self._encoded: deque[tuple[bytes, Number]] = deque()
        self._lock = threading.Lock()  # guards the counts, _bytes and _served
        self._served = Served()
        self._bytes = 0
        self._queued = 0
        self._acknowledged = 0
        self._dropped = 0
        self._refused = 0
        self._raw_ready = threading.Event()
        self._encoded_ready = threading.Event()
        self._closing = threading.Event()
        self._encoder_done = threading.Event()
        self._closed = False
        self._deadline = float("inf")
        self._reported = float("-inf")
        self._threads = (
            threading.Thread(target=self._encode, name="log-encoder", daemon=True),
            threading.Thread(target=self._send, name="log-sender", daemon=True),
        )

    @property
    def counts(self) -> LogCounts:
        """The counts now."""
        with self._lock:
            # What is on its way at the end is lost as far as is known, until it is acknowledged after all.
            queued, left = (0, self._queued) if self._closed else (self._queued, 0)
            return LogCounts(queued, self._acknowledged, self._dropped + left, self._refused)

    @property
    def sender(self) -> str:
        """The id under which this process numbers what it serves."""
        return self._served.sender

    def start(self) -> None:
        """Start the background threads."""
        for thread in self._threads:
            thread.start()

    def put(self, exchange: Exchange) -> None:
        """Queue an exchange; never waits, and counts it as dropped when the queue is full."""
        size = exchange.size
        with self._lock:
            number = self._served.number(exchange.time)
            full = self._queued >= self._max_count or self._bytes + size > self._max_bytes
            if full or self._closing.is_set():
                self._dropped += 1
                self._served.lose(number, "overflow")
            else:
                self._queued += 1
                self._bytes += size
                self._raw.append((exchange, number))
        if full:
            self._report("The log queue is full; inferences go unlogged until the collector takes more.")
        elif not self._raw_ready.is_set():
            self._raw_ready.set()

    def close(self, seconds: float) -> LogCounts:
        """Send what is queued for at most so long and stop; what is left is counted as dropped."""
        self._deadline = time.monotonic() + seconds
        self._closing.set()
        self._raw_ready.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, self._deadline - time.monotonic()))
        with self._lock:
            self._closed, left = True, self._queued
        self._collector.close()
        if left:
            _log.warning("%d inferences could not be logged before the end", left)
        return self.counts

    def _encode(self) -> None:
        while True:
            self._raw_ready.wait()
            self._closing.wait(_GATHER_SECONDS)
            self._raw_ready.clear()
            while self._raw:
                self._encode_one(*self._raw.popleft())
            self._encoded_ready.set()
            if self._closing.is_set() and not self._raw:
                self._encoder_done.set()
                self._encoded_ready.set()
                return

    def _encode_one(self, exchange: Exchange, number: Number) -> None:
        try:
            pair = encode_exchange(exchange, number, self._origin)
        except Exception:
            # The thread must outlive an exchange that cannot be written; the count says that one is lost.
            _log.exception("An inference could not be written as events; it is counted as refused.")
            with self._lock:
                self._bytes -= exchange.size
                self._queued -= 1
                self._refused += 1
                self._served.lose(number, "refused")
            return
        with self._lock:
            self._bytes += len(pair) - exchange.size
        self._encoded.append((pair, number))

    def _send(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._encoded_ready.wait(self._served.seconds())
            self._encoded_ready.clear()
            while (news := self._has_news()) or self._encoded:
                if time.monotonic() >= self._deadline:
                    return
                left = self._tell() if news else self._deliver(self._next_batch())
                if left:
                    if not self._closing.wait(pause):
                        pause = min(pause * 2, _LONGEST_PAUSE)
                    else:
                        time.sleep(_FIRST_PAUSE)
                else:
                    pause = _FIRST_PAUSE
            if self._encoder_done.is_set() and not self._encoded and not self._has_news():
                return

    def _has_news(self) -> bool:
        with self._lock:
            return self._served.has_news(at_once=self._closing.is_set())

    def _tell(self) -> bool:
        """Report what was served; return whether it must be tried again."""
        with self._lock:
            minutes, reports = self._served.report()
        now = datetime.now(UTC)
        answer = self._collector.post([encode_report(data, now, self._origin) for data in reports])
        if answer.outcome is Outcome.RETRY:
            with self._lock:
                self._served.not_told(minutes)
        if answer.outcome is not Outcome.TAKEN:
            self._report(f"The collector takes no report of what was served ({answer.reason}).")
        return answer.outcome is Outcome.RETRY

    def _next_batch(self) -> list[tuple[bytes, Number]]:
        """Return the oldest pairs, at least one, without removing them."""
        batch: list[tuple[bytes, Number]] = []
        size = 0
        for index in range(min(len(self._encoded), _BATCH_COUNT)):
            pair, number = self._encoded[index]
            if batch and size + len(pair) > _BATCH_BYTES:
                break
            batch.append((pair, number))
            size += len(pair)
        return batch

    def _deliver(self, batch: Sequence[tuple[bytes, Number]]) -> bool:
        """Post a batch; return whether it must be tried again. One with a bad pair is halved to find it."""
        answer = self._collector.post([pair for pair, _ in batch])
        if answer.outcome is Outcome.RETRY:
            self._report(f"The collector takes no events now ({answer.reason}); they wait in the queue.")
            return True
        if answer.outcome is Outcome.BAD_BATCH and len(batch) > 1:
            half = len(batch) // 2
            # The first half leaves the queue before the second is tried, so a retry repeats neither.
            return self._deliver(batch[:half]) or self._deliver(batch[half:])
        refused = set(range(len(batch)))
        if answer.outcome is Outcome.TAKEN:  # a pair is in the log if its response is
            refused &= {place // 2 for place in answer.refused if place % 2}
        if refused:
            self._report(f"The collector refused events ({answer.reason}); they are dropped.")
        with self._lock:
            for _ in batch:
                self._bytes -= len(self._encoded.popleft()[0])
            for place in refused:
                self._served.lose(batch[place][1], "refused")
            self._queued -= len(batch)
            self._refused += len(refused)
            self._acknowledged += len(batch) - len(refused)
        return False

    def _report(self, message: str) -> None:
        """Log at most once a minute; the counts say the rest."""
        now = time.monotonic()
        if now - self._reported > _REPORT_SECONDS:
            self._reported = now
            _log.warning("%s", message)
