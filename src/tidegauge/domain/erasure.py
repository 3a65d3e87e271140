"""The deletion of a logged event, as a patient may ask for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Erasure:
    """An event that is deleted, or is to be.

    ``event_id`` is there until all of it is gone; then ``digest`` is what keeps it from coming back.
    ``time`` is that of its observations, None where it had none; ``leftovers`` are files that are to go.
    """

    id: str
    deployment_id: str
    digest: str
    event_id: str
    by: str
    note: str
    at: datetime
    time: datetime | None = None
    leftovers: tuple[str, ...] = ()
    done_at: datetime | None = None
    found: str = ""  # what was deleted, in words


def digest_of(deployment_id: str, event_id: str) -> str:
    """Return what stands for an event that nobody is to know of.

    >>> len(digest_of("d", "e")), digest_of("d", "e") == digest_of("d", "f")
    (64, False)
    """
    return hashlib.sha256(f"{deployment_id}/{event_id}".encode()).hexdigest()
