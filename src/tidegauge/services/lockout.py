"""Who failed to get in too often waits, and nobody else does.

Failures are counted by account and address together, by address, and by account over all addresses. Waits
grow and are at most a quarter of an hour, and what is refused meanwhile does not prolong them, so no address
keeps anybody out for good: the count over all addresses does not concern one from which its owner signed in
before.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.errors import TooManyError
from tidegauge.storage.attempts import Tried
from tidegauge.storage.database import Database

#: Failures that are free of a wait: of an account at an address, of an address, of an account, of tokens.
FREE_PAIR, FREE_ADDRESS, FREE_NAME, FREE_TOKENS = 5, 20, 50, 20
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)
_FORGOTTEN = timedelta(hours=1)  # after the last failure
_KNOWN = timedelta(days=90)  # that an address is its owner's
_TRIES = 50  # to count, where others count at the same time


@dataclass(frozen=True)
class _Counter:
    """What is counted, and how many failures are free of a wait."""

    key: str
    free: int


class Lockout:
    """Counts failures in the database, so that several processes of a server agree."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._attempts = database.attempts
        self._now = now

    def begin_sign_in(self, name: str, address: str) -> None:
        """Count an attempt with a password as failed, until ``succeed`` says otherwise.

        Raises TooManyError where too many failed before. Counted first: of many at once none gets past.
        """
        pair = _pair(name, address)
        self._count([pair, *self._beyond(pair, name, address)], "sign in")

    def succeed(self, name: str, address: str) -> None:
        """Forget the failures of who has signed in from there, and take back what was counted in advance.

        Failures with other accounts stay counted: an attacker may have an account, too.
        """
        pair = _pair(name, address)
        for counter in self._beyond(pair, name, address):
            self._attempts.take_back(counter.key)
        self._attempts.succeed(pair.key, self._now())

    def fail_token(self, address: str) -> None:
        """Count a token that nobody has; TooManyError where too many came from this address.

        Tokens that somebody has are not held up: 256 bits are not guessed, and others may share the address.
        """
        self._count([_Counter(_key("token", _network(address)), FREE_TOKENS)], "use a token that is valid")

    def _count(self, counters: list[_Counter], remedy: str) -> None:
        """Count a failure of each, unless one of them keeps everybody waiting."""
        now = self._now()
        for counter in counters:
            _check(counter, self._attempts.get(counter.key), now, remedy)
        self._attempts.forget(now - _FORGOTTEN, now - _KNOWN)
        for counter in counters:
            for _ in range(_TRIES):
                tried = self._attempts.get(counter.key)
                _check(counter, tried, now, remedy)  # others may have failed meanwhile
                failures = 1 if tried is None or tried.last_at < now - _FORGOTTEN else tried.failures + 1
                if self._attempts.fail(counter.key, tried, failures, now):
                    break
            else:
                raise TooManyError(f"Many attempts come at once; wait a second, then {remedy}.", 1.0)

    def _beyond(self, pair: _Counter, name: str, address: str) -> list[_Counter]:
        """Return what is counted beside a pair: the name, too, where its owner has not come from before."""
        return [_address(address)] if self._is_known(pair) else [_address(address), _name(name)]

    def _is_known(self, pair: _Counter) -> bool:
        tried = self._attempts.get(pair.key)
        return bool(tried and tried.succeeded_at and tried.succeeded_at > self._now() - _KNOWN)


def _check(counter: _Counter, tried: Tried | None, now: datetime, remedy: str) -> None:
    """Raise TooManyError while a counter keeps everybody waiting."""
    if tried is None or tried.failures < counter.free or tried.last_at < now - _FORGOTTEN:
        return
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(tried.failures - counter.free, 10))
    seconds = (tried.last_at + wait - now).total_seconds()
    if seconds > 0:
        raise TooManyError(f"Too many attempts have failed; wait {_worded(seconds)}, then {remedy}.", seconds)


def _worded(seconds: float) -> str:
    """Word a wait.

    >>> _worded(0.2), _worded(30), _worded(61), _worded(900)
    ('1 second', '30 seconds', '2 minutes', '15 minutes')
    """
    whole = math.ceil(seconds)
    number, unit = (whole, "second") if whole < 60 else (math.ceil(whole / 60), "minute")
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _pair(name: str, address: str) -> _Counter:
    return _Counter(_key("name and address", name, _network(address)), FREE_PAIR)


def _address(address: str) -> _Counter:
    return _Counter(_key("address", _network(address)), FREE_ADDRESS)


def _name(name: str) -> _Counter:
    return _Counter(_key("name", name), FREE_NAME)


def _key(*parts: str) -> str:
    """Return the key of a counter; hashed, since people type passwords where names belong."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 a /64, of which each machine has any number.

    >>> _network("2001:db8::1"), _network("2001:db8::ffff:2"), _network("10.0.0.1"), _network("?")
    ('2001:db8::/64', '2001:db8::/64', '10.0.0.1', '?')
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
