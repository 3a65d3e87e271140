"""Whose things somebody may see and change: their own, and to read, what others share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from tidegauge.domain.users import Principal
from tidegauge.errors import ForbiddenError, NotFoundError
from tidegauge.storage.rows import Page, Query, Rows

#: Who asks: an owner by name, whose own things alone are meant, or a caller, who also reads what is shared.
Asker = str | Principal


class Owned(Protocol):
    """What somebody has, and may share with everybody."""

    @property
    def id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def shared(self) -> bool: ...


T = TypeVar("T", bound=Owned)


def look_up(rows: Rows[T], asker: Asker, noun: str, key: str, columns: Sequence[str], **where: Any) -> T:
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
        shared = rows.find_by(key, *ids, shared=True, **where)
        if shared is not None and asker.reading:
            return shared
        if shared is not None:
            raise ForbiddenError(
                f"The {noun} {key!r} is {shared.owner}'s, who shares it to be read; "
                f"ask {shared.owner} to change it."
            )
    raise NotFoundError(f"There is no {noun} {key!r}.")


def page_of(rows: Rows[T], asker: Asker, query: Query, **where: Any) -> Page[T]:
    """Return one page of what is the asker's own, and for a caller of what others share."""
    if isinstance(asker, str):
        return rows.page(query, owner=asker, **where)
    return rows.page(query, visible_to=asker.name, **where)
