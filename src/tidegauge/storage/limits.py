"""What no database can hold is refused in a sentence, alike by SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError

from tidegauge.errors import InvalidInputError

_NUL = "\0"


class UnstorableError(InvalidInputError):
    """A value that no row has, since no column can hold it."""


def guard(engine: Engine) -> None:
    """Raise UnstorableError for values that PostgreSQL would refuse or SQLite cannot count as far as."""
    event.listen(engine, "before_cursor_execute", _look)
    event.listen(engine, "handle_error", _word)


def _look(_connection: Any, _cursor: Any, _statement: str, parameters: Any, *_: Any) -> None:
    for value in _values(parameters):
        if isinstance(value, str) and _NUL in value:
            raise UnstorableError(f"A text has the character NUL ({value[:40]!r}); leave it out.")


def _values(parameters: Any) -> Iterator[Any]:
    """Go through the values of one row, or of many."""
    if isinstance(parameters, Mapping):
        yield from parameters.values()
        return
    for part in parameters or ():
        if isinstance(part, Mapping | tuple | list):
            yield from _values(part)
        else:
            yield part


def _word(context: ExceptionContext) -> None:
    error = context.original_exception
    # Drivers raise these two themselves: for half a character, and for numbers of more than 64 bits.
    if isinstance(error, UnicodeEncodeError):
        raise UnstorableError("A text has half a character (a lone surrogate); leave it out.") from error
    if isinstance(error, OverflowError) or isinstance(context.sqlalchemy_exception, DataError):
        raise UnstorableError(
            "A number or a time is out of the range that can be stored; give one that is less far out."
        ) from error
