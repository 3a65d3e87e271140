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
        self._held: dict[str, datetime] = {}  # what was claimed by this, until when

    def take(self, path: str, now: datetime, until: datetime) -> datetime | None:
        """Claim what ``path`` stands for; where another has claimed it, return until when."""
        try:
            data, tag = self._store.get_tagged(path)
        except NotFoundError:
            if not self._store.create(path, _encoded(until)):
                return until
        else:
            claimed = datetime.fromisoformat(data.decode())
            if claimed > now:
                return claimed
            try:
                self._store.replace(path, _encoded(until), tag)
            except ConflictError:
                return until  # another was faster
        self._held[path] = until
        return None

    def keep(self, path: str, now: datetime, until: datetime) -> bool:
        """Claim for longer what was claimed here; False where another has it by now, or it was deleted.

        While more than half of the time is left, there is nothing to do.
        """
        held = self._held.get(path)
        if held is not None and held - now > (until - now) / 2:
            return True
        if not self._set(path, until):
            return False
        self._held[path] = until
        return True

    def release(self, path: str, until: datetime) -> None:
        """End a claim that another has not taken over; nobody has to look before ``until``.

        What was deleted meanwhile is not made again.
        """
        self._set(path, until)

    def _set(self, path: str, until: datetime) -> bool:
        """Say another time of what was claimed here, and forget it; False where it is no more."""
        held = self._held.pop(path, None)
        with contextlib.suppress(NotFoundError, ConflictError):
            data, tag = self._store.get_tagged(path)
            # Who takes over what has run out claims it until a later time.
            if held is not None and data == _encoded(held):
                self._store.replace(path, _encoded(until), tag)
                return True
        return False


def _encoded(until: datetime) -> bytes:
    return until.isoformat().encode()
