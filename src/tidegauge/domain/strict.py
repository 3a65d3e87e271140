"""What people write is read strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # pydantic takes a while to load, and --help reads the nouns too
    from pydantic import ConfigDict

#: As ``__pydantic_config__`` of a dataclass: a field that does not exist is an error, for it is a mistake.
STRICT: ConfigDict = {"extra": "forbid"}
