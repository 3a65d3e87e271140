"""Two who write the same objects at once, as threads or as processes."""

from __future__ import annotations

import contextlib
import json
import sys

from tidegauge.errors import ConflictError
from tidegauge.storage.objects import ObjectStore

ROUNDS = 25


def create(store: ObjectStore, name: str) -> list[int]:
    """Create the object of every round; return the rounds that were won."""
    return [number for number in range(ROUNDS) if store.create(f"races/{number}", name.encode())]


def count(store: ObjectStore, _name: str) -> list[int]:
    """Add one to the object ``count``, once a round, however often that takes; return what was written."""
    written = []
    while len(written) < ROUNDS:
        data, tag = store.get_tagged("count")
        with contextlib.suppress(ConflictError):
            store.replace("count", str(int(data) + 1).encode(), tag)
            written.append(int(data) + 1)
    return written


RACES = {"create": create, "count": count}

if __name__ == "__main__":
    race, url, name = sys.argv[1:]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(RACES[race](ObjectStore(url), name)))
