"""The HTTP status of each error class."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TidegaugeError,
    TooLargeError,
    TooManyError,
    UnavailableError,
    UnsupportedMediaError,
)

#: What is said of a mistake of ours.
UNEXPECTED = "Something went wrong; the server's log has the details."

_STATUS: Mapping[type[TidegaugeError], tuple[int, str]] = {
    TooLargeError: (413, "Content too large"),
    UnsupportedMediaError: (415, "Unsupported media type"),
    InvalidInputError: (422, "Invalid input"),
    NotFoundError: (404, "Not found"),
    ConflictError: (409, "Conflict"),
    NotSignedInError: (401, "Not signed in"),
    ForbiddenError: (403, "Forbidden"),
    TooManyError: (429, "Too many requests"),
    UnavailableError: (503, "Unavailable"),
}


def status_of(error: TidegaugeError) -> tuple[int, str]:
    """Return the HTTP status and the title for an error."""
    return next(
        (_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS), (500, "Internal server error")
    )


def headers_of(error: TidegaugeError) -> dict[str, str]:
    """Return the headers that an error has beside its status."""
    return {"Retry-After": str(math.ceil(error.retry_after))} if isinstance(error, TooManyError) else {}
