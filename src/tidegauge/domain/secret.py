"""A secret as text that shows itself to nobody: neither in an answer nor in a representation."""

from __future__ import annotations

from typing import Any


class Secret(str):
    """Text that is written as ``(hidden)`` wherever it is made JSON of, and as that in representations.

    >>> Secret("me:word"), Secret("")
    ((hidden), '')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return _shown(self) or "''"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        # Here, since the command line has no use for the library that reads it.
        from pydantic_core import core_schema

        written = core_schema.plain_serializer_function_ser_schema(
            _shown, return_schema=core_schema.str_schema()
        )
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=written
        )


#: There is none.
NO_SECRET = Secret()


def _shown(secret: str) -> str:
    from tidegauge.domain.channel import HIDDEN

    return HIDDEN if secret else ""
