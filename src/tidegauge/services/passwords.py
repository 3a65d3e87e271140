"""Passwords: hashed by argon2id, and checked in the same time whether there is one or not."""

from __future__ import annotations

from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_AT_ONCE = 2  # each takes 64 MiB
_OF_NOBODY = "a password that nobody has"


class Passwords:
    """Hashes and checks; ``hasher`` has the parameters, by default those of RFC 9106 for little memory."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._room = BoundedSemaphore(_AT_ONCE)
        self._dummy = ""

    def hash(self, password: str) -> str:
        """Return what is stored of a password."""
        with self._room:
            return self._hasher.hash(password)

    def check(self, stored: str | None, password: str) -> bool:
        """Tell whether a password is the stored one; with None, no, after as long a time."""
        self._dummy = self._dummy or self.hash(_OF_NOBODY)
        with self._room:
            try:
                return self._hasher.verify(stored or self._dummy, password) and stored is not None
            except (VerificationError, InvalidHashError):
                return False

    def is_outdated(self, stored: str) -> bool:
        """Tell whether a stored hash was made with other parameters than are used now."""
        return self._hasher.check_needs_rehash(stored)
