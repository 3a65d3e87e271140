"""Connections: one per statement, or one for all statements of a transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import TimeoutError  # noqa: A004 - its name

from tidegauge.errors import UnavailableError
from tidegauge.storage.sealing import Keys


class Connections:
    """Hands out connections; within ``transaction`` every statement of the thread shares one."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        """``keys`` open what is sealed in these rows."""
        self._engine = engine
        # What reads is one statement: PostgreSQL need not be told where its transaction begins and ends.
        self._reading = engine
        if engine.dialect.name != "sqlite":
            self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.keys = keys
        self.writes = 0  # of this process: what was remembered before one of them may have changed
        self._local = threading.local()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let what this thread writes in the block happen as a whole or not at all; blocks may nest."""
        if getattr(self._local, "current", None) is not None:
            yield
            return
        try:
            with self._open(self._engine) as connection, connection.begin():
                if connection.dialect.name == "sqlite":
                    # At once, so that what is read in the block is still so when it writes.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._local.current = connection
                try:
                    yield
                finally:
                    self._local.current = None
        finally:
            self.writes += 1

    @contextmanager
    def begin(self, *, counts: bool = True) -> Iterator[Connection]:
        """Yield a connection to write with; what does not count makes nothing untrue that was remembered."""
        current = getattr(self._local, "current", None)
        if current is not None:
            yield current
            return
        try:
            with self._open(self._engine) as connection, connection.begin():
                yield connection
        finally:
            self.writes += counts

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection to read with."""
        current = getattr(self._local, "current", None)
        if current is not None:
            yield current
            return
        with self._open(self._reading) as connection:
            yield connection

    def _open(self, engine: Engine) -> Connection:
        """Take a connection; UnavailableError where others have them all for too long."""
        try:
            return engine.connect()
        except TimeoutError as error:
            raise UnavailableError("The database has more to do than it can; try again soon.") from error


def insert_into(table: Table, connection: Connection) -> Any:
    """Return an insert of the database's own, which knows what to do where the key is there already."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table)
