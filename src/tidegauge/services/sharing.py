"""Whose things somebody may see and change: their own, and to read, what others share.

Operators look after every monitor as its owner does, and read what it watches.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

from tidegauge.domain.users import Principal
from tidegauge.errors import ForbiddenError, NotFoundError
from tidegauge.storage.rows import Page, Query, Rows

#: Who asks: an owner by name, whose own things alone are meant, or a caller, who also reads what is shared.
Asker = str | Principal


class Oversight(Enum):
    """What an operator may do with what is somebody else's and not shared."""

    NONE = 0
    READ = 1
    CHANGE = 2


class Owned(Protocol):
    """What somebody has, and may share with everybody."""

    @property
    def id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def shared(self) -> bool: ...


T = TypeVar("T", bound=Owned)


def look_up(
    rows: Rows[T],
    asker: Asker,
    noun: str,
    key: str,
    columns: Sequence[str],
    oversight: Oversight = Oversight.NONE,
    **where: Any,
) -> T:
    """Return what is named by the first of these columns that fits: the asker's own, or what is shared.

    What others share has ids alone: a name means one's own, or what somebody shares would be found in the
    place of what is to be made. Raises NotFoundError for what is neither, whether there is such a thing or
    not; ForbiddenError where a caller would change what others share.
    """
    name = asker if isinstance(asker, str) else asker.name
    found = rows.find_by(key, *columns, owner=name, **where)
    if found is not None:
        return found
    if isinstance(asker, Principal):
        ids = [column for column in columns if column != "name"]
        theirs = rows.find_by(key, *ids, **where)
        may = oversight if asker.is_operator else Oversight.NONE
        if theirs is not None and (theirs.shared or may is not Oversight.NONE):
            if asker.reading or may is Oversight.CHANGE:
                return theirs
            shares = ", who shares it to be read" if theirs.shared else ""
            raise ForbiddenError(
                f"The {noun} {key!r} is {theirs.owner}'s{shares}; ask {theirs.owner} to change it."
            )
    raise NotFoundError(f"There is no {noun} {key!r}.")


def page_of(
    rows: Rows[T], asker: Asker, query: Query, oversight: Oversight = Oversight.NONE, **where: Any
) -> Page[T]:
    """Return one page of what is the asker's own, and for a caller of what others share.

    For an operator it has all of what operators may change.
    """
    if isinstance(asker, str):
        return rows.page(query, owner=asker, **where)
    if asker.is_operator and oversight is Oversight.CHANGE:
        return rows.page(query, **where)
    return rows.page(query, visible_to=asker.name, **where)
