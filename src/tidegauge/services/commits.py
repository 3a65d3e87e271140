"""Group commit: records that come while others are being made safe go together with the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tidegauge.errors import UnavailableError
from tidegauge.storage.segments import Record

_CLOSED = "The collector is closed; send the events again when it is back."


@dataclass
class _Group:
    """Records that are written as one, and what their senders wait for."""

    done: asyncio.Future[None]
    records: list[Record] = field(default_factory=list)


class Commits:
    """Hands records to ``append`` in groups, some at once; for the tasks of one event loop."""

    def __init__(self, append: Callable[[Sequence[Record]], object], at_once: int = 1) -> None:
        """``append`` blocks until records are safe; ``at_once`` groups may be on their way."""
        self._append = append
        self._at_once = at_once
        self._under_way = 0
        self._next: _Group | None = None
        self._closed = False
        self._pool = ThreadPoolExecutor(at_once, "collector-commit")

    def add(self, records: Sequence[Record]) -> asyncio.Future[None]:
        """Take records into the next group; return what is done when that is safe, or has its error.

        Others wait for the same future: shield it from the cancellation of one of them. Raises
        UnavailableError after ``close``.
        """
        if self._closed:
            raise UnavailableError(_CLOSED)
        if self._next is None:
            self._next = _Group(asyncio.get_running_loop().create_future())
            if self._under_way < self._at_once:
                # Not at once: tasks that are ready in this round of the loop may still join.
                asyncio.get_running_loop().call_soon(self._begin)
        self._next.records.extend(records)
        return self._next.done

    def close(self) -> None:
        """Wait for the groups that are on their way, and take no more."""
        self._closed = True
        self._pool.shutdown()

    def _begin(self) -> None:
        if self._next is None or self._under_way >= self._at_once:
            return
        group, self._next = self._next, None
        self._under_way += 1
        try:
            written = asyncio.get_running_loop().run_in_executor(self._pool, self._append, group.records)
        except RuntimeError:  # closed meanwhile
            self._end(group, UnavailableError(_CLOSED))
        else:
            written.add_done_callback(lambda _: self._end(group, written.exception()))

    def _end(self, group: _Group, error: BaseException | None) -> None:
        self._under_way -= 1
        if error is None:
            group.done.set_result(None)
        else:
            group.done.set_exception(error)
            group.done.exception()  # whoever waited may be gone
        self._begin()
