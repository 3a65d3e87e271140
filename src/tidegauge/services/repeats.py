"""Events that came before: senders repeat what was not acknowledged in time."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice

Key = bytes
_BYTES = 16


def key_of(deployment_id: str, source: str, event_id: str, type_: str) -> Key:
    """Return what tells events apart: source and id, as CloudEvents asks, and KServe's type of the pair."""
    # None of them may hold a control character.
    return blake2b(f"{deployment_id}\0{source}\0{event_id}\0{type_}".encode(), digest_size=_BYTES).digest()


class Repeats:
    """Remembers the newest keys: ``most`` of them for sure, twice as many at most."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._young: dict[Key, Future[None] | None] = {}
        self._old: dict[Key, Future[None] | None] = {}

    def fill(self, keys: Iterable[Key]) -> None:
        """Take down keys of events that are safe, newest first, as after a start."""
        for key in reversed(list(islice(keys, 2 * self._most))):
            self.put(key, None)

    def put(self, key: Key, group: Future[None] | None) -> None:
        """Take down a key; ``group`` is done when its event is safe, or has failed when it is not."""
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[key] = group

    def before(self, key: Key) -> bool | Future[None]:
        """Tell whether an event with this key is safe already, or return what to wait for until it is."""
        generation = self._young if key in self._young else self._old
        if key not in generation:
            return False
        group = generation[key]
        if group is None:
            return True
        if not group.done():
            return group
        return group.exception() is None
