"""The audit log, for operators."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from tidegauge.client.connection import Connection, decode
from tidegauge.domain.audit import AuditEntry

_PAGE = 1000
_SECONDS = 600.0


class Audit:
    """The audit log of a cluster, newest first."""

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/audit"

    def list(
        self,
        *,
        q: str = "",
        who: str = "",
        outcome: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Return the newest entries that fit.

        Args:
            q: text of the action, the subject, the credential or the address.
            who: name of a user.
            outcome: done, refused or failed.
            start: not before.
            end: before.
            limit: how many at most.
        """
        return [*islice(self._all(_filter(q, who, outcome, start, end)), limit)]

    def export(
        self,
        form: str = "csv",
        *,
        q: str = "",
        who: str = "",
        outcome: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Iterator[bytes]:
        """Yield every entry that fits as a file in pieces: csv, or jsonl, a JSON object on each line."""
        params = {**_filter(q, who, outcome, start, end), "format": form}
        with self._client.stream(f"{self._path}/export", _SECONDS, params) as answer:
            yield from answer.iter_bytes()

    def _all(self, params: dict[str, str]) -> Iterator[AuditEntry]:
        cursor = ""
        while True:
            given = {**params, "limit": str(_PAGE), "cursor": cursor}
            answer = self._client.json("GET", self._path, params=given)
            yield from (decode(AuditEntry, item) for item in answer["items"])
            cursor = answer["cursor"]
            if not cursor:
                return


def _filter(q: str, who: str, outcome: str, start: datetime | None, end: datetime | None) -> dict[str, str]:
    given = {
        "q": q,
        "who": who,
        "outcome": outcome,
        "start": start.isoformat() if start else "",
        "end": end.isoformat() if end else "",
    }
    return {name: value for name, value in given.items() if value}
