"""Errors that word themselves: what happened and what to do next.

Only the doors (``api``, ``ui``, ``serving``, ``cli``) turn a class into an HTTP status or an exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with one field of the input: where, and a sentence with the remedy."""

    field: str
    message: str

    def below(self, section: str) -> FieldError:
        """Return the error of a part as one of the whole, in its field and in its sentence.

        >>> FieldError("bound", "bound is missing; give one.").below("conditions.0").message
        'conditions.0.bound is missing; give one.'
        """
        if not section:
            return self
        name = f"{section}.{self.field}"
        rest = self.message.removeprefix(self.field)
        return FieldError(name, f"{name}{rest}" if rest != self.message else f"{name}: {self.message}")


class TidegaugeError(Exception):
    """Base of every error meant for a person to read."""

    def __init__(self, message: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.errors = errors


class InvalidInputError(TidegaugeError):
    """The request cannot be carried out as it is worded (HTTP 422; 400 on a model server)."""

    @classmethod
    def of(cls, field: str, message: str) -> Self:
        """Build the error for a single field; ``message`` is a whole sentence."""
        return cls(message, (FieldError(field, message),))


class TooLargeError(InvalidInputError):
    """The body is larger than the stated limit (HTTP 413)."""


class UnsupportedMediaError(InvalidInputError):
    """The body has a content type or encoding that this door does not read (HTTP 415)."""


class NotFoundError(TidegaugeError):
    """There is no such thing, or it is not yours to see (HTTP 404)."""


class ConflictError(TidegaugeError):
    """The thing exists already or is not in a state that allows this (HTTP 409)."""


class NotSignedInError(TidegaugeError):
    """No token, or one that is not valid (HTTP 401)."""


class ForbiddenError(TidegaugeError):
    """A valid token without the right to do this (HTTP 403)."""


class UnavailableError(TidegaugeError):
    """A part that is needed is not there now; the same call may work later (HTTP 503)."""


class TooManyError(TidegaugeError):
    """More than is allowed of this in a time (HTTP 429); ``retry_after`` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def raise_all(errors: Iterable[FieldError]) -> None:
    """Raise InvalidInputError with these errors, all at once, if there are any."""
    found = tuple(errors)
    if found:
        raise InvalidInputError(" ".join(error.message for error in found), found)


def all_of(*checks: Callable[[], Any]) -> None:
    """Make every check; raise InvalidInputError with everything that is wrong, all at once."""
    found: list[FieldError] = []
    for check in checks:
        try:
            check()
        except InvalidInputError as error:
            found += error.errors
    raise_all(found)
