"""Leases: claims, as objects, on what one process of several should do at a time."""

from __future__ import annotations

import contextlib
from datetime import datetime

from tidegauge.errors import ConflictError, NotFoundError
from tidegauge.storage.objects import ObjectStore


class Leases:
    """An object says until when nobody else has to look; it runs out, since its owner may die."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def take(self, path: str, now: datetime, until: datetime) -> datetime | None:
        """Claim what ``path`` stands for; where another has claimed it, return until when."""
        try:
            data, tag = self._store.get_tagged(path)
        except NotFoundError:
            return None if self._store.create(path, _encoded(until)) else until
        claimed = datetime.fromisoformat(data.decode())
        if claimed > now:
            return claimed
        try:
            self._store.replace(path, _encoded(until), tag)
        except ConflictError:
            return until  # another was faster
        return None

    def release(self, path: str, until: datetime) -> None:
        """End a claim; nobody has to look before ``until``. What was deleted meanwhile is not made again."""
        with contextlib.suppress(NotFoundError, ConflictError):
            _, tag = self._store.get_tagged(path)
            self._store.replace(path, _encoded(until), tag)


def _encoded(until: datetime) -> bytes:
    return until.isoformat().encode()
