"""Which monitors a list shows of those at a glance: what the dashboard and the list of monitors share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidegauge.domain.monitor import MonitorState
from tidegauge.domain.status import Status
from tidegauge.services.history import Glance
from tidegauge.ui.forms import check_known

ROWS = 50  # of a page


@dataclass(frozen=True)
class Part:
    """One page of monitors, of ``found`` in all."""

    rows: Sequence[Glance]
    found: int
    page: int
    pages: int

    @classmethod
    def of(cls, glances: Sequence[Glance], page: int) -> Part:
        """Return a page by its number; the nearest where there is none of that number."""
        pages = max(1, -(-len(glances) // ROWS))
        page = max(1, min(page, pages))
        return cls(glances[(page - 1) * ROWS : page * ROWS], len(glances), page, pages)


def check(status: str, state: str) -> None:
    """Raise InvalidInputError for what no monitor has; empty is any."""
    for name, value, known in (("status", status, list(Status)), ("state", state, list(MonitorState))):
        if value:
            check_known(name, value, known)


def matching(glances: Sequence[Glance], q: str, status: str, state: str) -> Iterator[Glance]:
    """Yield those whose name has ``q``, of a status and of a state; empty: any."""
    for glance in glances:
        if q.lower() in glance.name.lower() and status in ("", glance.status) and state in ("", glance.state):
            yield glance
