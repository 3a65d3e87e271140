"""Long work in the background: a few threads, at most one job for a subject at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

_log = logging.getLogger(__name__)


class Worker:
    """Runs jobs that write down their own outcome.

    What is left undone by a crash stands in the database as a state (``importing``, ``baselining``,
    ``queued``); each service takes it up again at start, so jobs need no table of their own.
    """

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._running: dict[str, Future[None]] = {}
        self._lock = Lock()

    def submit(self, subject: str, job: Callable[[], None]) -> None:
        """Run ``job`` soon, unless one for this subject is under way."""
        with self._lock:
            if subject in self._running:
                return
            self._running[subject] = self._pool.submit(self._run, subject, job)

    def _run(self, subject: str, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:
            # A job records the failures it knows; this one is a bug and must not kill the thread.
            _log.exception("background job for %s failed", subject)
        finally:
            with self._lock:
                self._running.pop(subject, None)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(wait=True, cancel_futures=True)
