"""The schedule: which windows are due, and the workers that look at them."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from tidegauge.domain.cluster_link import Through
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Cause, DueWindow, Monitor, MonitorState
from tidegauge.domain.windows import Window, span, window_of, windows_between
from tidegauge.errors import InvalidInputError, NotFoundError, TidegaugeError
from tidegauge.services.runs import Runs, SupersededError
from tidegauge.storage.database import Database

_log = logging.getLogger(__name__)

_LEASE = timedelta(seconds=20)  # a worker that has not renewed its claims by then is taken for dead
_AT_ONCE = 500  # windows made due in one transaction
_PAUSES = (5, 30, 120, 600, 3600)  # seconds before a window that failed is tried again
_LOOK_LEASE = timedelta(minutes=2)  # longer than any slice of reading takes
_SLICE_SECONDS = 5.0  # of reading a log, before the next monitor has its turn
_LATE = timedelta(seconds=30)  # between looks for what comes late
_TIDY_SECONDS = 900.0  # between looks for small files to join
_SWEEP_SECONDS = 86_400.0  # between looks for files that crashes left behind
_MOST_BACKFILL = 100_000


class Schedule:
    """Makes windows due and has them looked at, on any number of machines that share the database.

    Every monitor is looked after by one worker at a time, when its next window ends and now and then between.
    Every window is made due once, by the transaction that moves its monitor's ``due_from`` past it. Claims
    run out, so what a dead worker left is taken up by another; a result counts once, by the transaction that
    deletes the wish for it.
    """

    def __init__(
        self,
        database: Database,
        runs: Runs,
        now: Callable[[], datetime],
        *,
        grace: timedelta,
        threads: int = 2,
        seconds: float = 1.0,
    ) -> None:
        """``grace`` is how long after its end a window is due; ``seconds`` how often is looked for more."""
        self._database = database
        self._runs = runs
        self._now = now
        self._grace = grace
        self._seconds = seconds
        self._name = f"{socket.gethostname()}-{os.getpid()}-{new_id()[-6:]}"
        self._stop = threading.Event()
        self._wake = threading.Condition()
        self._next: dict[tuple[str, str], float] = {}  # when what is to be done for which monitor
        self._threads = [threading.Thread(target=self._renew, name="claims", daemon=True)]
        self._threads += [
            threading.Thread(target=self._work, args=(number,), name=f"window-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let every worker finish its window."""
        self._stop.set()
        self.kick()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def kick(self) -> None:
        """Look for work at once."""
        with self._wake:
            self._wake.notify_all()

    def backfill(self, monitor: Monitor, start: datetime, end: datetime) -> int:
        """Make every window between two times due; return how many there are."""
        found = self._past(monitor, start, end)
        for place in range(0, len(found), _AT_ONCE):
            with self._database.transaction():
                self._add(monitor, found[place : place + _AT_ONCE], Cause.BACKFILL)
        self.kick()
        return len(found)

    def windows(self, monitor: Monitor, start: datetime, end: datetime) -> int:
        """Return how many windows a backfill of this span makes due."""
        return len(self._past(monitor, start, end))

    def waiting(self, monitor: Monitor) -> int:
        """Return how many windows of backfills wait to be looked at."""
        return self._database.due_windows.count(monitor_id=monitor.id, cause=Cause.BACKFILL)

    def _past(self, monitor: Monitor, start: datetime, end: datetime) -> list[Window]:
        """Return the windows of a span that have ended."""
        config = monitor.config
        start, end = span(start, end)
        now = self._now()
        if start >= now:
            raise InvalidInputError.of(
                "start", f"start is {start.isoformat()}, which lies in the future; give an earlier one."
            )
        last = min(end, now)
        if (last - start) / timedelta(minutes=config.frequency_minutes) > _MOST_BACKFILL:
            raise InvalidInputError.of(
                "start", f"start is {start.isoformat()}; give a span of at most {_MOST_BACKFILL:,} windows."
            )
        found = list(windows_between(start, last, config.frequency_minutes, config.time_zone))
        if not found:
            raise InvalidInputError.of(
                "end",
                f"end is {end.isoformat()}, but no window from {start.isoformat()} on has ended by then; "
                "give a longer span, or wait.",
            )
        return found

    def look(self) -> bool:
        """Look after one monitor whose time has come; tell whether there was one.

        What its log and labels have got since is taken in, and then its windows that have ended are made due,
        so that whoever looks at these finds everything read. A long log is read slice by slice, between which
        other monitors have their turn.
        """
        monitor = self._database.monitors.claim(self._now(), _LOOK_LEASE)
        if monitor is None:
            return False
        again = self._now() + _LATE
        try:
            again = self._look_after(monitor)
        except NotFoundError:
            pass  # it was deleted meanwhile
        except TidegaugeError as error:
            _log.warning("monitor %s: %s", monitor.name, error)
        except Exception:
            _log.exception("monitor %s could not be looked after", monitor.name)
        self._database.monitors.update(monitor.id, look_at=again, look_until=None)
        return True

    def work(self) -> bool:
        """Look at one window that is due; tell whether there was one."""
        due = self._database.due_windows.claim(self._name, self._now(), _LEASE)
        if due is None:
            return False
        try:
            monitor = self._database.monitors.get(due.monitor_id)
            self._runs.run(monitor, due.start, due.end, due.cause, due)
        except SupersededError:
            pass  # it has changed meanwhile, and is due again
        except NotFoundError:
            self._database.due_windows.delete(due.id)  # the monitor was deleted
        except Exception as error:
            if not isinstance(error, TidegaugeError):
                _log.exception("window %s of monitor %s failed", due.start, due.monitor_id)
            self._postpone(due, str(error))
        return True

    def _look_after(self, monitor: Monitor) -> datetime:
        """Return when the next look is due."""
        config, now = monitor.config, self._now()
        if monitor.due_from is None:  # active since before there was a schedule
            begin = window_of(now, config.frequency_minutes, config.time_zone)[0]
            self._database.monitors.update(monitor.id, {"due_from": None}, due_from=begin)
            return now
        known = self._known_until(monitor, now)
        until = known - self._grace - timedelta(seconds=config.time.grace_seconds)
        found = list(windows_between(monitor.due_from, until, config.frequency_minutes, config.time_zone))
        if not self._runs.catch_up(monitor, _SLICE_SECONDS):
            return now
        if self._is_time("tidy", monitor.id, _TIDY_SECONDS):
            self._runs.tidy(monitor)
        if self._is_time("sweep", monitor.id, _SWEEP_SECONDS):
            self._runs.sweep(monitor)
        self._make_due(monitor, found)
        begin = found[-1][1] if found else monitor.due_from
        end = window_of(begin, config.frequency_minutes, config.time_zone)[1]
        return min(now + _LATE, max(now, end + (now - until)))

    def _known_until(self, monitor: Monitor, now: datetime) -> datetime:
        """Return the moment up to which the log is here: of an imported deployment it follows its cluster.

        Windows wait for what is still over there, since what is not known is neither silence nor drift.
        """
        followed = self._database.imports.find(id=monitor.deployment_id)
        if followed is None or followed.through is not Through.LINK:
            return now
        return min(now, followed.known_until or monitor.created_at)

    def _is_time(self, what: str, monitor_id: str, seconds: float) -> bool:
        """Tell whether this worker did something for a monitor so long ago, or was started then."""
        clock = time.monotonic()
        if clock < self._next.setdefault((what, monitor_id), clock + seconds):
            return False
        self._next[what, monitor_id] = clock + seconds
        return True

    def _make_due(self, monitor: Monitor, found: list[Window]) -> None:
        for place in range(0, len(found), _AT_ONCE):
            part = found[place : place + _AT_ONCE]
            expected = monitor.due_from if not place else part[0][0]
            with self._database.transaction():
                moved = self._database.monitors.update(
                    monitor.id,
                    {"due_from": expected, "state": MonitorState.ACTIVE},
                    due_from=part[-1][1],
                )
                if not moved:
                    return  # another worker was faster, or the monitor was stopped
                self._add(monitor, part, Cause.SCHEDULE)
        if found:
            self.kick()

    def _add(self, monitor: Monitor, windows: list[Window], cause: Cause) -> None:
        now = self._now()
        self._database.due_windows.want(
            [DueWindow(new_id(), monitor.id, start, end, cause, due_at=now) for start, end in windows]
        )

    def _postpone(self, due: DueWindow, error: str) -> None:
        pause = _PAUSES[min(due.tries, len(_PAUSES) - 1)]
        self._database.due_windows.update(
            due.id,
            {"claimed_by": self._name},
            claimed_by="",
            claimed_until=None,
            tries=due.tries + 1,
            error=error[:1000],
            due_at=self._now() + timedelta(seconds=pause),
        )

    def _renew(self) -> None:
        """Keep the claims of this process while it lives, however long a window takes."""
        while not self._stop.wait(_LEASE.total_seconds() / 4):
            try:
                mine = {"claimed_by": self._name}
                self._database.due_windows.update_where(mine, claimed_until=self._now() + _LEASE)
            except Exception:
                _log.exception("claims could not be renewed for a moment")

    def _work(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                worked = self.look() or self.work()
            except Exception:
                _log.exception("worker %d failed for a moment", number)
                worked = False
            if not worked:
                with self._wake:
                    if not self._stop.is_set():
                        self._wake.wait(self._seconds)
