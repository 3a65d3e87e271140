"""Rows of one table as frozen dataclasses of one noun."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json, to_jsonable_python
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from tidegauge.errors import ConflictError, InvalidInputError, NotFoundError
from tidegauge.storage.connections import Connections
from tidegauge.storage.limits import UnstorableError
from tidegauge.storage.tables import Sealed, SealedJson
from tidegauge.typed import adapter

T = TypeVar("T")
#: The columns that a search looks into.
_SEARCHED = frozenset(
    {"name", "model_name", "state", "rule", "reason", "code", "dataset", "model", "deployment"}
)


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing; ``cursor`` fetches the next one and is empty on the last."""

    items: tuple[T, ...]
    cursor: str


@dataclass(frozen=True)
class Query:
    """How to list: ``limit`` rows after ``cursor``, by ``sort`` (``-``: descending), matching ``q``."""

    limit: int = 100
    cursor: str = ""
    sort: str = "-id"
    q: str = ""


class Rows(Generic[T]):
    """The table of one noun. ``noun`` words the errors."""

    def __init__(self, connections: Connections, table: Table, cls: type[T], noun: str) -> None:
        self._connections = connections
        self._table = table
        self._noun = noun
        self._adapter: TypeAdapter[T] = adapter(cls)
        self._insert = insert(table)
        self._sealed = [column for column in table.c if isinstance(column.type, Sealed | SealedJson)]
        self._statements: dict[tuple[Any, ...], Any] = {}

    def add(self, item: T) -> T:
        """Insert ``item``; ConflictError where a unique constraint forbids it."""
        try:
            with self._connections.begin() as connection:
                connection.execute(self._insert, self._to_row(item))
        except IntegrityError as error:
            name = getattr(item, "name", "")
            raise ConflictError(
                f"There is a {self._noun}{f' {name!r}' if name else ''} already; choose another name."
            ) from error
        return item

    def add_all(self, items: Iterable[T]) -> None:
        """Insert many rows at once; ConflictError where a unique constraint forbids one."""
        rows = [self._to_row(item) for item in items]
        if not rows:
            return
        try:
            with self._connections.begin() as connection:
                connection.execute(self._insert, rows)
        except IntegrityError as error:
            raise ConflictError(f"One of these {len(rows)} {self._noun}s is there already.") from error

    def get(self, id_: str, **where: Any) -> T:
        """Return the row with this id (and these values), or raise NotFoundError."""
        found = self.find(id=id_, **where)
        if found is None:
            raise NotFoundError(f"There is no {self._noun} with id {id_!r}.")
        return found

    def find(self, **where: Any) -> T | None:
        """Return the first row with these values, or None."""
        rows = self.where(limit=1, **where)
        return rows[0] if rows else None

    def find_by(self, key: str, *columns: str, **where: Any) -> T | None:
        """Return the row whose first of these columns that matches is ``key``, or None."""
        for column in columns:
            found = self.find(**where, **{column: key})
            if found is not None:
                return found
        return None

    def where(self, *, sort: str = "id", limit: int | None = None, **where: Any) -> tuple[T, ...]:
        """Return all rows with these values; a sequence as a value means any of its members."""
        return self._select(where, {}, sort, limit)

    def between(
        self, column: str, low: Any, high: Any, *, sort: str = "id", limit: int | None = None, **where: Any
    ) -> tuple[T, ...]:
        """Return the rows with low <= column < high; None leaves a side open."""
        bounds = {name: value for name, value in (("low", low), ("high", high)) if value is not None}
        return self._select(where, bounds, sort, limit, column)

    def overlapping(
        self, first: str, last: str, start: Any, end: Any, *, sort: str = "id", **where: Any
    ) -> tuple[T, ...]:
        """Return the rows whose span, columns ``first`` to ``last``, both included, meets [start, end)."""
        return self._select(where, {"high": end, "low": start}, sort, None, first, last)

    def page(self, query: Query, visible_to: str = "", **where: Any) -> Page[T]:
        """Return one page; rows are told apart by id where the sort column ties.

        With ``visible_to``, of what this person owns and of what anybody shares.
        """
        column, descending = self._sort(query.sort)
        conditions = self._conditions(where)
        if visible_to:
            conditions.append(or_(self._table.c.owner == visible_to, self._table.c.shared.is_(True)))
        if query.q:
            columns = [c for c in self._table.c if c.name in _SEARCHED]
            conditions.append(or_(*(c.icontains(query.q, autoescape=True) for c in columns)))
        if query.cursor:
            conditions.append(self._after(query.cursor, column, descending))
        limit = max(1, min(query.limit, 1000))
        statement = select(self._table).where(*conditions).order_by(*self._order(query.sort)).limit(limit + 1)
        items = self._fetch(statement)
        more = len(items) > limit
        return Page(items[:limit], items[limit - 1].id if more else "")  # type: ignore[attr-defined]

    def columns(self, *names: str, **where: Any) -> list[tuple[Any, ...]]:
        """Return some columns of the rows with these values, by id, without making nouns of them."""
        query = self._built(
            ("columns", *_shape(where), *names),
            lambda: (
                select(*(self._table.c[name] for name in names))
                .where(*self._shaped(where))
                .order_by(self._table.c.id)
            ),
        )
        with self._connections.connect() as connection:
            return [tuple(row) for row in connection.execute(query, _values(where))]

    def count(self, **where: Any) -> int:
        query = self._built(
            ("count", *_shape(where)),
            lambda: select(func.count()).select_from(self._table).where(*self._shaped(where)),
        )
        try:
            with self._connections.connect() as connection:
                return int(connection.execute(query, _values(where)).scalar_one())
        except UnstorableError:
            return 0

    def highest(self, column: str, **where: Any) -> int:
        """Return the largest value of an integer column, 0 for no rows."""
        query = self._built(
            ("highest", *_shape(where), column),
            lambda: select(func.max(self._table.c[column])).where(*self._shaped(where)),
        )
        with self._connections.connect() as connection:
            return connection.execute(query, _values(where)).scalar_one() or 0

    def tally(self, *columns: str, **where: Any) -> dict[tuple[Any, ...], int]:
        """Count the rows with these values by the values of some columns."""
        fields = [self._table.c[column] for column in columns]
        query = select(*fields, func.count()).where(*self._conditions(where)).group_by(*fields)
        with self._connections.connect() as connection:
            return {tuple(row[:-1]): row[-1] for row in connection.execute(query)}

    def newest(self, column: str, per: str) -> dict[str, str]:
        """Return the id of the row with the largest ``column`` by parent in ``per``, at ties the last."""
        parent = next(iter(self._table.c[per].foreign_keys)).column
        # One look into the index per parent; to group all rows would read them all.
        first = (
            select(self._table.c.id)
            .where(self._table.c[per] == parent)
            .order_by(self._table.c[column].desc(), self._table.c.id.desc())
            .limit(1)
            .correlate(parent.table)
            .scalar_subquery()
        )
        with self._connections.connect() as connection:
            rows = connection.execute(select(parent, first)).all()
        return {row[0]: row[1] for row in rows if row[1] is not None}

    def update(self, id_: str, expect: Mapping[str, Any] | None = None, **changes: Any) -> bool:
        """Change columns of one row if it still has the expected values; tell whether it had."""
        where = {"id": id_, **(expect or {})}
        columns = self._table.c

        def build() -> Any:
            sets = {name: bindparam(f"to_{name}", type_=columns[name].type) for name in changes}
            return update(self._table).where(*self._shaped(where)).values(sets)

        statement = self._built(("update", *_shape(where), *changes), build)
        values = {f"to_{name}": self._to_column(columns[name], value) for name, value in changes.items()}
        with self._connections.begin() as connection:
            return connection.execute(statement, {**_values(where), **values}).rowcount == 1

    def touch(self, id_: str, column: str, before: datetime | None, now: datetime) -> None:
        """Note when a row was last used, unless another has meanwhile; nobody has to look at it afresh."""
        field = self._table.c[column]
        unchanged = field.is_(None) if before is None else field == before
        with self._connections.begin(counts=False) as connection:
            connection.execute(
                update(self._table).where(self._table.c.id == id_, unchanged).values({column: now})
            )

    def update_where(self, where: Mapping[str, Any], **changes: Any) -> int:
        """Change columns of all rows with these values; return how many there were."""
        values = {name: self._to_column(self._table.c[name], value) for name, value in changes.items()}
        with self._connections.begin() as connection:
            statement = update(self._table).where(*self._conditions(where)).values(values)
            return int(connection.execute(statement).rowcount)

    def lock(self, *ids: str) -> list[str]:
        """Let no other transaction change or lock these rows until this one ends; in SQLite none does anyway.

        Returns which there are; one that comes later is not locked. Rows of other tables that name these
        may come all the while.
        """
        with self._connections.connect() as connection:
            # In order, so that two transactions never wait for each other.
            found = select(self._table.c.id).where(self._table.c.id.in_(ids)).order_by(self._table.c.id)
            return list(connection.execute(found.with_for_update(key_share=True)).scalars())

    def delete(self, id_: str) -> bool:
        """Delete one row; tell whether it was there."""
        return self.delete_where(id=id_) == 1

    def delete_where(self, **where: Any) -> int:
        """Delete all rows with these values; return how many there were."""
        statement = self._built(
            ("delete", *_shape(where)), lambda: delete(self._table).where(*self._shaped(where))
        )
        with self._connections.begin() as connection:
            return int(connection.execute(statement, _values(where)).rowcount)

    def delete_before(self, column: str, moment: datetime) -> int:
        """Delete the rows whose time in a column is before a moment; return how many there were."""
        with self._connections.begin() as connection:
            statement = delete(self._table).where(self._table.c[column] < moment)
            return int(connection.execute(statement).rowcount)

    def delete_below(self, column: str, prefix: str, **where: Any) -> int:
        """Delete the rows whose text in a column begins with ``prefix``; return how many there were."""
        begins = self._table.c[column].startswith(prefix, autoescape=True)
        with self._connections.begin() as connection:
            statement = delete(self._table).where(begins, *self._conditions(where))
            return int(connection.execute(statement).rowcount)

    def _select(
        self,
        where: Mapping[str, Any],
        bounds: Mapping[str, Any],
        sort: str,
        limit: int | None,
        column: str = "",
        low_column: str = "",
    ) -> tuple[T, ...]:
        """``bounds`` are those of ``column``; where ``low_column`` is given, the lower one is of that."""

        def build() -> Any:
            field = self._table.c[column] if bounds else self._table.c.id
            lower = self._table.c[low_column] if low_column else field
            sides = {"low": lower >= bindparam("low"), "high": field < bindparam("high")}
            query = select(self._table).where(*self._shaped(where), *(sides[side] for side in bounds))
            return query.order_by(*self._order(sort)).limit(limit)

        shape = ("select", *_shape(where), *bounds, sort, limit, column, low_column)
        return self._fetch(self._built(shape, build), {**_values(where), **bounds})

    def _built(self, shape: tuple[Any, ...], build: Callable[[], Any]) -> Any:
        """Return a statement of a shape; to build one takes longer than to execute it."""
        statement = self._statements.get(shape)
        if statement is None:
            statement = self._statements[shape] = build()
        return statement

    def _fetch(self, query: Any, values: Mapping[str, Any] | None = None) -> tuple[T, ...]:
        try:
            with self._connections.connect() as connection:
                rows = connection.execute(query, values).mappings().all()
        except UnstorableError:
            return ()
        return tuple(self._adapter.validate_python(self._opened(dict(row))) for row in rows)

    def _shaped(self, where: Mapping[str, Any]) -> list[ColumnElement[bool]]:
        """Return the conditions with a name in the place of each value."""
        found: list[ColumnElement[bool]] = []
        for name, value in where.items():
            column, kind = self._table.c[name], _kind(value)
            if kind == "none":
                found.append(column.is_(None))
            elif kind == "members":
                found.append(column.in_(bindparam(f"is_{name}", expanding=True)))
            else:
                found.append(column == bindparam(f"is_{name}"))
        return found

    def _conditions(self, where: Mapping[str, Any]) -> list[ColumnElement[bool]]:
        return [
            self._table.c[name].in_([_plain(member) for member in value])
            if _kind(value) == "members"
            else self._table.c[name].is_(None)
            if value is None
            else self._table.c[name] == _plain(value)
            for name, value in where.items()
        ]

    def _sort(self, sort: str) -> tuple[Column[Any], bool]:
        name = sort.removeprefix("-")
        unsorted = JSON | Sealed
        if name not in self._table.c or isinstance(self._table.c[name].type, unsorted):
            names = ", ".join(c.name for c in self._table.c if not isinstance(c.type, unsorted))
            raise InvalidInputError.of(
                "sort", f"sort is {sort!r}; use one of {names}, with '-' for descending."
            )
        return self._table.c[name], sort.startswith("-")

    def _order(self, sort: str) -> list[ColumnElement[Any]]:
        column, descending = self._sort(sort)
        columns = [column] if column is self._table.c.id else [column, self._table.c.id]
        turned = [c.desc() if descending else c.asc() for c in columns]
        # The databases differ in where nothing stands; here it is at the end, whichever way round.
        return [order.nulls_last() if c.nullable else order for c, order in zip(columns, turned, strict=True)]

    def _after(self, cursor: str, column: Column[Any], descending: bool) -> ColumnElement[bool]:
        key = self._table.c.id
        with self._connections.connect() as connection:
            row = connection.execute(select(column).where(key == cursor)).first()
        if row is None:
            raise InvalidInputError.of("cursor", f"cursor is {cursor!r}; use the one of the previous page.")
        value, later = row[0], key < cursor if descending else key > cursor
        if value is None:
            return and_(column.is_(None), later)
        beyond = column < value if descending else column > value
        end = [column.is_(None)] if column.nullable else []
        return or_(beyond, and_(column == value, later), *end)

    def _to_row(self, item: T) -> dict[str, Any]:
        return {c.name: self._to_column(c, getattr(item, c.name)) for c in self._table.c}

    def _to_column(self, column: Column[Any], value: Any) -> Any:
        if isinstance(column.type, SealedJson):
            return self._connections.keys.seal(to_json(value).decode())
        if isinstance(column.type, Sealed):
            return self._connections.keys.seal(str(value))
        return to_jsonable_python(value) if isinstance(column.type, JSON) else _plain(value)

    def _opened(self, row: dict[str, Any]) -> dict[str, Any]:
        for column in self._sealed:
            value = row[column.name]
            if isinstance(value, str):  # JSON from before there were seals is none
                opened = self._connections.keys.open(value)
                row[column.name] = from_json(opened) if isinstance(column.type, SealedJson) else opened
        return row


def _kind(value: Any) -> str:
    """Tell how a value is compared: as one of several, as none, or as it is."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "members"
    return "none" if value is None else "value"


def _shape(where: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, _kind(value)) for name, value in where.items())


def _values(where: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a statement's names stand for."""
    return {
        f"is_{name}": [_plain(member) for member in value] if _kind(value) == "members" else _plain(value)
        for name, value in where.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
