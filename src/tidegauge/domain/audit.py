"""The audit log: who did what, when, from where, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """What came of it."""

    DONE = "done"
    REFUSED = "refused"  # not allowed, not signed in, or not valid
    FAILED = "failed"  # by a mistake of ours, or a part that is away


class ExportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"  # a JSON object on each line


@dataclass(frozen=True)
class AuditEntry:
    """One change, sign-in or failure; entries are only ever added. None holds a secret or what was sent.

    Attributes:
        id: sorts by time.
        at: when it was answered.
        who: name of the user; empty where nobody is known.
        means: what they called with: ``session``, ``token``, ``password``, ``machine`` (a command on the
            server's machine) or nothing.
        credential: id and name of the token, or id of the session.
        address: where the request came from.
        method: of HTTP.
        action: the route, with the names of its parameters in the place of their values.
        subject: what it was done to: the values of the parameters, or what was made.
        status: of the answer; 0 where there was none.
        outcome: done, refused or failed.
    """

    id: str
    at: datetime
    who: str
    means: str
    credential: str
    address: str
    method: str
    action: str
    subject: str
    status: int
    outcome: Outcome


def outcome_of(status: int) -> Outcome:
    """Return what an HTTP status says.

    >>> outcome_of(201).value, outcome_of(303).value, outcome_of(404).value, outcome_of(503).value
    ('done', 'done', 'refused', 'failed')
    """
    if status >= 500:
        return Outcome.FAILED
    return Outcome.REFUSED if status >= 400 else Outcome.DONE
