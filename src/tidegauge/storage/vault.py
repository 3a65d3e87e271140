"""All that is sealed in a database: whether it can be opened, sealing it anew, and giving it up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Engine, select, update

from tidegauge.errors import InvalidInputError
from tidegauge.storage import tables
from tidegauge.storage.sealing import Keys, sealed_with
from tidegauge.storage.tables import Sealed, SealedJson

_COLUMNS = [
    column
    for table in tables.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, Sealed | SealedJson)
]


@dataclass(frozen=True)
class _Value:
    """One value that is sealed, or should be: as text, JSON as it is written."""

    column: Column[Any]
    id: str
    stored: Any

    @property
    def key(self) -> str:
        return sealed_with(self.stored) if isinstance(self.stored, str) else ""

    @property
    def is_empty(self) -> bool:
        return self.stored in ("", None)


class Vault:
    """The sealed values of a database, of every table."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys

    def counts(self) -> Counter[str]:
        """Count the values by the key that each is sealed with; the empty name stands for none."""
        with self._engine.connect() as connection:
            return Counter(value.key for value in self._values(connection) if not value.is_empty)

    def lacking(self) -> list[str]:
        """Name the keys that are needed and not there."""
        return sorted(set(self.counts()) - {"", *self._keys.ids})

    def start(self) -> None:
        """See that there is a key: the one that is needed, or where nothing is sealed yet a new one.

        Raises InvalidInputError where sealed values cannot be opened.
        """
        if missing := self.lacking():
            raise InvalidInputError.of("secrets_key", self._keys.lacking(missing))
        self._keys.make()

    def seal_plain(self) -> int:
        """Seal what was written before there were seals; return how many values that were."""
        return self._seal(lambda value: not value.key)

    def renew(self) -> int:
        """Seal everything with a new key; return how many values that were.

        Whenever this is broken off, the file has every key that is needed. The key that was the first
        stays in it until the next time, for whoever is just sealing with it.
        """
        self._keys.make()
        with self._keys.alone():
            before = self._keys.ids[0]
            self._keys.renew()
            now = self._keys.ids[0]
            count = self._seal(lambda value: value.key != now)
            self._keys.keep([now, before, *(name for name in self.counts() if name)])
        return count

    def give_up(self) -> int:
        """Empty what no key opens; return how many values that were."""
        known = {"", *self._keys.ids}
        count = 0
        with self._writing() as connection:
            for value in list(self._values(connection)):
                if value.key not in known:
                    empty: Any = {} if isinstance(value.column.type, SealedJson) else ""
                    count += self._put(connection, value, empty)
        return count

    def _seal(self, wanted: Callable[[_Value], bool]) -> int:
        count = 0
        with self._engine.connect() as connection:
            found = [value for value in self._values(connection) if not value.is_empty and wanted(value)]
        for value in found:
            plain = value.stored if isinstance(value.stored, str) else json.dumps(value.stored)
            sealed = self._keys.seal(self._keys.open(plain))
            with self._writing() as connection:  # each by itself: nobody waits for all of them
                count += self._put(connection, value, sealed)
        return count

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @staticmethod
    def _put(connection: Connection, value: _Value, new: Any) -> bool:
        """Replace a value that is still what it was; whoever has changed it since has sealed it, too."""
        table = value.column.table
        found = select(value.column).where(table.c.id == value.id).with_for_update()
        row = connection.execute(found).first()
        if row is None or row[0] != value.stored:
            return False
        connection.execute(update(table).where(table.c.id == value.id).values({value.column.name: new}))
        return True

    @staticmethod
    def _values(connection: Connection) -> Iterator[_Value]:
        for column in _COLUMNS:
            for id_, stored in connection.execute(select(column.table.c.id, column)):
                yield _Value(column, id_, stored)
