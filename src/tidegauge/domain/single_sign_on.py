"""Single sign-on: who a provider says somebody is, and what that lets them be here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegauge.domain.users import Role

PATIENCE = timedelta(minutes=10)  # that a browser may be away at the provider
_LONGEST = 50  # characters of a name that is made of what a provider says


@dataclass(frozen=True)
class Asked:
    """Where a browser goes to sign in, and what is compared when it comes back."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Claimed:
    """Who a provider says somebody is: (issuer, subject) is one person for ever, a name may be another's."""

    issuer: str
    subject: str
    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class SignInRequest:
    """A browser that is away at a provider, by the hash of its state."""

    id: str
    nonce: str
    verifier: str
    redirect_uri: str
    next: str
    expires_at: datetime


@dataclass(frozen=True)
class Identity:
    """That a person at a provider is a user here."""

    id: str
    user_id: str
    issuer: str
    subject: str
    created_at: datetime


@dataclass(frozen=True)
class GroupRules:
    """Which groups at the provider may sign in (none named: everybody), and which are operators here."""

    allowed: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()

    def admits(self, groups: tuple[str, ...]) -> bool:
        """Tell whether somebody with these groups may sign in.

        >>> GroupRules(frozenset({"ward"}), frozenset({"it"})).admits(("it",)), GroupRules().admits(())
        (True, True)
        """
        return not self.allowed or not (self.allowed | self.operators).isdisjoint(groups)

    def role(self, groups: tuple[str, ...]) -> Role | None:
        """Return the role of somebody with these groups; None where groups do not decide."""
        if not self.operators:
            return None
        return Role.USER if self.operators.isdisjoint(groups) else Role.OPERATOR


def read_groups(text: str) -> frozenset[str]:
    """Read names of groups with commas between them.

    >>> sorted(read_groups("it, ward 7 ,"))
    ['it', 'ward 7']
    """
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def name_from(claimed: str) -> str:
    """Make a name for a user of what a provider says.

    >>> name_from("Ada.Lovelace@example.org"), name_from("Grüße!"), name_from("...")
    ('ada-lovelace', 'gr-sse', 'user')
    """
    local = claimed.partition("@")[0].casefold()
    return re.sub(r"[^a-z0-9]+", "-", local)[:_LONGEST].strip("-") or "user"
