"""Ends a process when its supervisor dies, even by kill -9."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

_POLL_SECONDS = 0.5


def watch_parent(pid: int, gone: Callable[[], None]) -> None:
    """Call ``gone`` from a background thread once process ``pid`` has ended, at once if it already has.

    A pidfd wakes the thread at the very end of the process. (PR_SET_PDEATHSIG would fire already when the
    *thread* that started us ends.) Where there is no pidfd, a change of our parent's id says it.
    """
    threading.Thread(target=_watch, args=(pid, gone), name="parent-watch", daemon=True).start()


def _watch(pid: int, gone: Callable[[], None]) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        gone()
        return
    except (AttributeError, OSError):
        _poll_parent(pid)
        gone()
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
    finally:
        os.close(descriptor)
    gone()


def _poll_parent(pid: int) -> None:
    while os.getppid() == pid:
        time.sleep(_POLL_SECONDS)
