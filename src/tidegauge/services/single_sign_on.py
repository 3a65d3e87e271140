"""Signing in at a provider: a user is made at the first time, and roles follow groups each time."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tidegauge.domain.identity import new_id
from tidegauge.domain.single_sign_on import (
    PATIENCE,
    Asked,
    Claimed,
    GroupRules,
    Identity,
    SignInRequest,
    name_from,
    read_groups,
)
from tidegauge.domain.users import Role, Session, User, hash_secret
from tidegauge.errors import ConflictError, ForbiddenError, InvalidInputError, NotSignedInError
from tidegauge.services.accounts import Accounts
from tidegauge.services.sign_ins import SignIns
from tidegauge.settings import Settings
from tidegauge.storage.database import Database

_log = logging.getLogger(__name__)

_TRIES = 20  # to find a name that nobody has
_STALE = "This sign-in has been used or is too old; begin again."


class Provider(Protocol):
    """Who knows people: see ``links.oidc``."""

    @property
    def issuer(self) -> str: ...
    def begin(self, redirect_uri: str) -> Asked: ...
    def close(self) -> None: ...
    def finish(self, code: str, redirect_uri: str, nonce: str, verifier: str) -> Claimed: ...


@dataclass(frozen=True)
class Returned:
    """What a browser brings back from a provider, and the state that it was given here."""

    code: str
    state: str
    own_state: str
    issuer: str = ""
    error: str = ""


class SingleSignOn:
    """Sends browsers to a provider and signs in who comes back."""

    def __init__(
        self,
        database: Database,
        provider: Provider,
        label: str,
        rules: GroupRules,
        sign_ins: SignIns,
        accounts: Accounts,
        now: Callable[[], datetime],
    ) -> None:
        """``label`` is how the button calls the provider."""
        self._database = database
        self._provider = provider
        self.label = label
        self._rules = rules
        self._sign_ins = sign_ins
        self._accounts = accounts
        self._now = now

    def close(self) -> None:
        """End the connections to the provider."""
        self._provider.close()

    def begin(self, redirect_uri: str, next_: str) -> tuple[str, str]:
        """Return where to send a browser, and the state that it has to bring back."""
        asked = self._provider.begin(redirect_uri)
        now = self._now()
        self._database.sign_in_requests.delete_before("expires_at", now)
        self._database.sign_in_requests.add(
            SignInRequest(
                hash_secret(asked.state), asked.nonce, asked.verifier, redirect_uri, next_, now + PATIENCE
            )
        )
        return asked.url, asked.state

    def finish(self, returned: Returned, address: str, agent: str) -> tuple[Session, str, str]:
        """Sign in who has come back; return the session, its secret, and where they wanted to go.

        Raises NotSignedInError where what came back does not fit what was sent, ForbiddenError for who may
        not sign in.
        """
        request = self._taken(returned)
        if returned.error:
            raise NotSignedInError("The provider has signed nobody in; try again, or ask who looks after it.")
        if returned.issuer and returned.issuer != self._provider.issuer:
            raise NotSignedInError("Another provider than was asked has answered; begin again.")
        claimed = self._provider.finish(returned.code, request.redirect_uri, request.nonce, request.verifier)
        user = self._user(claimed)
        session, secret = self._sign_ins.by_provider(user, address, agent)
        return session, secret, request.next

    def _taken(self, returned: Returned) -> SignInRequest:
        """Return what a browser was sent away with; once, and only to the browser that was sent."""
        if not returned.state or not hmac.compare_digest(
            returned.state.encode(), returned.own_state.encode()
        ):
            raise NotSignedInError("This sign-in was begun in another browser, or is too old; begin again.")
        requests = self._database.sign_in_requests
        found = requests.find(id=hash_secret(returned.state))
        if found is None or not requests.delete(found.id) or self._now() > found.expires_at:
            raise NotSignedInError(_STALE)
        return found

    def _user(self, claimed: Claimed) -> User:
        """Return the user that a person at the provider is, as their groups say."""
        user = self._bound(claimed)
        if not self._rules.admits(claimed.groups):
            if user is not None:
                self._sign_ins.end_all(user)
            raise ForbiddenError(
                "None of your groups at the provider may sign in here; ask an operator of this cluster."
            )
        role = self._rules.role(claimed.groups)
        if user is None:
            user = self._made(claimed, role or Role.USER)
        elif role is not None and role is not user.role:
            try:
                user = self._accounts.change_role(user, role)
            except ConflictError as error:  # the last operator stays one
                _log.warning("The role of %s does not follow the groups: %s", user.name, error.message)
        return user

    def _bound(self, claimed: Claimed) -> User | None:
        found = self._database.identities.find(issuer=claimed.issuer, subject=claimed.subject)
        return self._database.users.get(found.user_id) if found else None

    def _made(self, claimed: Claimed, role: Role) -> User:
        """Make a user of a person; a name that is taken is never theirs, whoever has it, or had it."""
        base = name_from(claimed.name)
        for number in range(1, _TRIES + 1):
            now = self._now()
            user = User(new_id(), base if number == 1 else f"{base}-{number}", role, now)
            try:
                with self._database.transaction():
                    self._accounts.add(user)
                    self._database.identities.add(
                        Identity(new_id(), user.id, claimed.issuer, claimed.subject, now)
                    )
            except ConflictError:
                bound = self._bound(claimed)  # two first sign-ins at once
                if bound is not None:
                    return bound
            else:
                return user
        raise ConflictError(f"There are many users named like {base!r}; ask an operator of this cluster.")


def build_single_sign_on(
    settings: Settings,
    database: Database,
    sign_ins: SignIns,
    accounts: Accounts,
    now: Callable[[], datetime],
) -> SingleSignOn | None:
    """Build the sign-in at a provider, where one is set; InvalidInputError where its extra is missing."""
    if not settings.oidc_issuer:
        return None
    try:
        from tidegauge.links import oidc
    except ModuleNotFoundError as error:
        raise InvalidInputError.of(
            "oidc_issuer",
            f"oidc_issuer is set, but the library {error.name!r} is missing; pip install 'tidegauge[oidc]'.",
        ) from error
    provider = oidc.Provider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        settings.oidc_secret,
        settings.oidc_scopes,
        settings.oidc_groups_claim,
    )
    rules = GroupRules(read_groups(settings.oidc_allowed_groups), read_groups(settings.oidc_operator_groups))
    return SingleSignOn(database, provider, settings.oidc_label, rules, sign_ins, accounts, now)
