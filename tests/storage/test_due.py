"""Windows that wait: one row each, whoever asks for one at the same moment."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from parts_prometheus import add_deployment, add_monitor
from tidegauge.domain.identity import new_id
from tidegauge.domain.monitor import Cause, DueWindow
from tidegauge.errors import NotFoundError
from tidegauge.storage.database import Database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=5)


@pytest.fixture
def monitor(database: Database) -> str:
    return add_monitor(database, add_deployment(database, "xray", NOON), NOON).id


def due(monitor: str, cause: Cause, minute: int = 5) -> DueWindow:
    return DueWindow(new_id(), monitor, NOON, NOON + LEASE, cause, due_at=NOON + timedelta(minutes=minute))


def only(database: Database) -> DueWindow:
    (found,) = database.due_windows.where()
    return found


def test_a_window_that_is_due_stays_as_it_is(database: Database, monitor: str) -> None:
    first = due(monitor, Cause.BACKFILL)
    database.due_windows.want([first])
    database.due_windows.want([due(monitor, Cause.SCHEDULE, 9)])
    assert only(database) == first


def test_one_that_late_labels_asked_for_is_looked_at_whole(database: Database, monitor: str) -> None:
    first = due(monitor, Cause.LATE_LABELS)
    database.due_windows.want([first])
    database.due_windows.want([due(monitor, Cause.SCHEDULE, 9)])
    assert only(database) == replace(first, cause=Cause.SCHEDULE)


def test_who_is_at_it_loses_the_claim(database: Database, monitor: str) -> None:
    database.due_windows.want([due(monitor, Cause.SCHEDULE)])
    claimed = database.due_windows.claim("me", NOON + LEASE, LEASE)
    assert claimed is not None
    database.due_windows.want_again(due(monitor, Cause.LATE_LABELS, 9))
    again = only(database)
    assert (again.claimed_by, again.claimed_until, again.cause) == ("", None, Cause.SCHEDULE)
    assert again.due_at == NOON + timedelta(minutes=9)
    database.due_windows.want_again(due(monitor, Cause.LATE_EVENTS, 10))
    assert only(database).cause is Cause.LATE_EVENTS
    assert not database.due_windows.delete_where(id=again.id, claimed_by="me")


def test_what_is_touched_while_a_worker_ends_is_due_again(database: Database, monitor: str) -> None:
    """The row is still to be seen, and gone when it would be changed."""
    database.due_windows.want([due(monitor, Cause.SCHEDULE)])
    database.due_windows.claim("me", NOON + LEASE, LEASE)
    labels = threading.Thread(
        target=database.due_windows.want_again, args=(due(monitor, Cause.LATE_LABELS, 9),)
    )
    with database.transaction():
        database.due_windows.delete_where(monitor_id=monitor, claimed_by="me")
        labels.start()
        labels.join(0.5)
        assert labels.is_alive()  # waits for this transaction
    labels.join(20)
    assert only(database).cause is Cause.LATE_LABELS


def test_a_monitor_that_is_gone_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError, match="There is no monitor with id 'gone'"):
        database.due_windows.want([due("gone", Cause.SCHEDULE)])
