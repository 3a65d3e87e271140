"""Long work in the background: a few threads, at most one job for a subject at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

_log = logging.getLogger(__name__)


class Worker:
    """Runs jobs that write down their own outcome.

    What is left undone by a crash stands in the database as a state (``importing``, ``baselining``,
    ``queued``); each service takes it up again at start, so jobs need no table of their own.
    """

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._lock = Lock()  # guards everything below
        self._under_way: set[str] = set()
        self._next: dict[str, Callable[[], None]] = {}
        self._is_closed = False

    def submit(self, subject: str, job: Callable[[], None]) -> None:
        """Run ``job`` soon; where one for this subject is under way, after it, and of several the last.

        What is under way may have looked already at what has made somebody ask again.
        """
        with self._lock:
            if subject in self._under_way:
                self._next[subject] = job
                return
            self._pool.submit(self._run, subject, job)
            self._under_way.add(subject)

    def _run(self, subject: str, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception:
            # A job records the failures it knows; this one is a bug and must not kill the thread.
            _log.exception("background job for %s failed", subject)
        finally:
            with self._lock:
                following = self._next.pop(subject, None)
                if following and not self._is_closed:
                    self._pool.submit(self._run, subject, following)
                else:
                    self._under_way.remove(subject)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        with self._lock:
            self._is_closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
