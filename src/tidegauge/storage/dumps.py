"""The rows of a database as Parquet, a file a table: read at one moment, put into an empty database again.

The files are the same for SQLite and PostgreSQL, so that a backup of one restores into the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    Text,
    cast,
    insert,
    inspect,
    literal,
    select,
    text,
)

from tidegauge.errors import ConflictError, InvalidInputError
from tidegauge.storage import tables
from tidegauge.storage.database import Database, migrations
from tidegauge.storage.tables import UtcDateTime

_ROWS = 2000  # read, and written, at a time
_TYPES = (
    (UtcDateTime, pa.timestamp("us", tz="UTC")),
    (Boolean, pa.bool_()),
    (Integer, pa.int64()),
    (Float, pa.float64()),
    (LargeBinary, pa.large_binary()),
)


def dump(database: Database, folder: Path, tell: Callable[[str], None]) -> tuple[str, dict[str, int]]:
    """Write every table as it is at this moment; return the version of the schema and the rows of each."""
    if not database.is_migrated():
        raise ConflictError(
            "The database is of another version of Tidegauge; back it up with that one, or start this one."
        )
    counts = {}
    with _snapshot(database) as connection:
        revision = MigrationContext.configure(connection).get_current_revision() or ""
        for table in tables.metadata.sorted_tables:
            tell(table.name)
            counts[str(table.name)] = _write(connection, table, folder / f"{table.name}.parquet")
    return revision, counts


def load(database: Database, revision: str, folder: Path, tell: Callable[[str], None]) -> None:
    """Put dumped rows into a database without any, all of them or none, and bring it up to date.

    Raises ConflictError where it has rows, InvalidInputError for a version of the schema that is not known.
    """
    config = migrations()
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if revision not in known:
        raise InvalidInputError.of(
            "backup",
            f"The backup has the schema {revision!r}, which this version does not know; take a newer one.",
        )
    with database.engine.begin() as connection:
        check_empty(connection)
        tables.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for table in tables.metadata.sorted_tables:
            path = folder / f"{table.name}.parquet"
            if path.exists():  # a table that came later has no file
                tell(table.name)
                for rows in _read(table, path):
                    connection.execute(insert(table), rows)
        command.upgrade(config, "head")


def check_empty(connection: Connection) -> None:
    """Raise ConflictError where a database has rows."""
    there = set(inspect(connection).get_table_names())
    for table in tables.metadata.sorted_tables:
        if table.name in there and connection.execute(select(literal(1)).select_from(table).limit(1)).first():
            raise ConflictError(
                f"The database has rows already ({table.name}); restore into an empty home and database."
            )


@contextmanager
def _snapshot(database: Database) -> Iterator[Connection]:
    """Connect so that all that is read is of one moment, while others write."""
    engine = database.engine
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")  # the driver begins nothing for what only reads
            yield connection
        return
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        yield connection


def _write(connection: Connection, table: Table, path: Path) -> int:
    schema = pa.schema([pa.field(column.name, _type_of(column)) for column in table.columns])
    columns = [cast(c, Text).label(c.name) if isinstance(c.type, JSON) else c for c in table.columns]
    found = connection.execution_options(yield_per=_ROWS).execute(select(*columns))
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in found.mappings().partitions():
            writer.write_table(pa.Table.from_pylist([dict(row) for row in part], schema))
            count += len(part)
    return count


def _read(table: Table, path: Path) -> Iterator[list[dict[str, Any]]]:
    texts = [column.name for column in table.columns if isinstance(column.type, JSON)]
    for batch in pq.ParquetFile(path).iter_batches(_ROWS):
        rows = batch.to_pylist()
        for row in rows:
            row.update({name: json.loads(row[name]) for name in texts if row.get(name) is not None})
        yield rows


def _type_of(column: Column[Any]) -> pa.DataType:
    return next((to for kind, to in _TYPES if isinstance(column.type, kind)), pa.string())
