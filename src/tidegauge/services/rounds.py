"""What is done again and again in the background."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

_log = logging.getLogger(__name__)


class Rounds:
    """A thread that looks every so many seconds, until it is closed; a look that fails ends nothing."""

    def __init__(
        self, name: str, seconds: float, look: Callable[[], object], failure: str, *, at_once: bool = False
    ) -> None:
        """``failure`` is logged with what went wrong; the first look is ``at_once``, or after a pause."""
        self._seconds = seconds
        self._look = look
        self._failure = failure
        self._at_once = at_once
        self._wake = Event()
        self._closing = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def is_closing(self) -> bool:
        """Whether a look that takes long is to end."""
        return self._closing.is_set()

    def start(self) -> None:
        self._thread.start()

    def kick(self) -> None:
        """Look at once instead of after the pause."""
        self._wake.set()

    def close(self) -> None:
        """Wait for the look that is under way; there is no other."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        if not self._at_once:
            self._rest()
        while not self.is_closing:
            try:
                self._look()
            except Exception:
                # A database or a store that is away for a moment must not end the rounds.
                _log.exception(self._failure)
            self._rest()

    def _rest(self) -> None:
        self._wake.wait(self._seconds)
        self._wake.clear()
