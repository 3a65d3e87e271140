"""The audit log of a cluster: what is written into it, and how it is read and exported."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import orjson

from tidegauge.domain.audit import AuditEntry, ExportFormat, Outcome, outcome_of
from tidegauge.domain.identity import new_id
from tidegauge.domain.users import Principal, Session
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query

_log = logging.getLogger(__name__)

_LONGEST = 500  # characters of what others sent
#: With these a spreadsheet takes a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class AuditFilter:
    """Which entries: of a person, with an outcome, of [start, end)."""

    who: str = ""
    outcome: Outcome | None = None
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Deed:
    """What was asked for over HTTP, and how it was answered."""

    address: str
    method: str
    action: str
    subject: str
    status: int


class Auditing:
    """Writes entries as they happen, and reads them."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._entries = database.audit
        self._users = database.users
        self._now = now

    def note(
        self,
        deed: Deed,
        caller: Principal | None,
        means: str = "",
        name: str = "",
        session: Session | None = None,
    ) -> None:
        """Write down a deed; where nobody is signed in yet, by which means, as whom, and what came of it.

        A name that no user has is not written down: people type passwords there. Where an entry cannot be
        written the server's log has it: what is done is done.
        """
        if caller is not None:
            name, means, credential = _of(caller)
        else:
            credential = f"{session.id} {session.token_id or ''}".strip() if session else ""
            user = self._users.find(id=session.user_id) if session else self._users.find(name=name)
            name = user.name if user else ""
        entry = AuditEntry(
            new_id(),
            self._now(),
            name,
            means,
            _short(credential),
            _short(deed.address),
            deed.method,
            _short(deed.action),
            _short(deed.subject),
            deed.status,
            outcome_of(deed.status),
        )
        try:
            self._entries.add(entry)
        except Exception:
            _log.exception("The audit log could not be written: %s", entry)

    def note_command(self, command: str, subject: str) -> None:
        """Write down a command on the server's machine, which goes past the server."""
        self._entries.add(
            AuditEntry(
                new_id(), self._now(), "", "machine", "", "", "", command, _short(subject), 0, Outcome.DONE
            )
        )

    def page(self, query: Query, wanted: AuditFilter) -> Page[AuditEntry]:
        """Return entries, newest first."""
        limit = max(1, min(query.limit, 1000))
        return self._entries.page(limit, query.cursor, q=query.q, **_filters(wanted))

    def export(self, form: ExportFormat, q: str, wanted: AuditFilter) -> Iterator[bytes]:
        """Yield the entries as CSV with a heading, or as a JSON object on each line, newest first."""
        entries = self._entries.all(q=q, **_filters(wanted))
        if form is ExportFormat.JSONL:
            for entry in entries:
                yield orjson.dumps(asdict(entry), option=orjson.OPT_APPEND_NEWLINE)
            return
        names = [field.name for field in fields(AuditEntry)]
        yield _row(names)
        for entry in entries:
            yield _row([_cell(getattr(entry, name)) for name in names])


def _of(caller: Principal) -> tuple[str, str, str]:
    """Return name, means and credential of a caller; a session by token names both."""
    token = f"{caller.token.id} {caller.token.name}" if caller.token else ""
    if caller.session is None:
        return caller.name, "token", token
    return caller.name, "session", f"{caller.session.id} {token}".strip()


def _filters(wanted: AuditFilter) -> dict[str, Any]:
    return {"who": wanted.who, "outcome": wanted.outcome, "start": wanted.start, "end": wanted.end}


def _short(text: str) -> str:
    """Return text of others on one line, and not without end."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_LONGEST])


def _cell(value: object) -> str:
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
