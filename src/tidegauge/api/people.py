"""``/api/v1/me`` and ``tokens`` of who is calling, and ``users`` for operators."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request

from tidegauge.domain.strict import STRICT
from tidegauge.domain.users import AccessToken, Invitation, Means, OpenSession, Person, Role, Scope, User
from tidegauge.storage.rows import Page
from tidegauge.web.access import OPEN, Caller, Everything, Listing, operating
from tidegauge.web.auditing import also, signing_in
from tidegauge.web.credentials import address_of

router = APIRouter(prefix="/api/v1", tags=["people"])
users = APIRouter(prefix="/api/v1/users", tags=["users"], dependencies=[Depends(operating)])


@dataclass(frozen=True)
class SignInRequest:
    """Name and password for a token; ``chosen`` replaces a password that is good once."""

    __pydantic_config__ = STRICT
    name: str
    password: str
    chosen: str = ""
    token_name: str = "sign-in"  # noqa: S105 - a name, no secret


@dataclass(frozen=True)
class PasswordRequest:
    """``password`` is the one before; empty where there is none yet."""

    __pydantic_config__ = STRICT
    chosen: str
    password: str = ""


@dataclass(frozen=True)
class AccessTokenRequest:
    """``deployment`` is for the scope ingest; ``days`` are those that it is good for, null: no end."""

    __pydantic_config__ = STRICT
    name: str
    scope: Scope = Scope.WRITE
    deployment: str = ""
    days: int | None = None


@dataclass(frozen=True)
class UserRequest:
    __pydantic_config__ = STRICT
    name: str
    role: Role = Role.USER


@dataclass(frozen=True)
class UserChange:
    """What is null stays as it is."""

    __pydantic_config__ = STRICT
    role: Role | None = None
    disabled: bool | None = None


@router.post("/sign-in", status_code=201, openapi_extra=OPEN)
def sign_in(request: Request, services: Everything, body: SignInRequest) -> AccessToken:
    """Issue a token for who knows a name and its password."""
    signing_in(request, Means.PASSWORD, body.name.strip())
    address = address_of(request)
    if body.chosen:
        user = services.sign_ins.choose(body.name, body.password, body.chosen, address)
    else:
        user = services.sign_ins.check(body.name, body.password, address)
    return services.people.issue_named(user, body.token_name)


@router.get("/me")
def me(caller: Caller) -> User:
    """Who the token belongs to."""
    return caller.user


@router.put("/me/password", status_code=204)
def change_password(request: Request, caller: Caller, services: Everything, body: PasswordRequest) -> None:
    """Choose another password; the caller's other sessions end."""
    services.sign_ins.change(caller, body.password, body.chosen, address_of(request))


@router.get("/me/sessions")
def list_own_sessions(caller: Caller, services: Everything, query: Listing) -> Page[OpenSession]:
    return services.sign_ins.sessions(caller.user, query, caller)


@router.delete("/me/sessions/{session_id}", status_code=204)
def end_own_session(caller: Caller, services: Everything, session_id: str) -> None:
    services.sign_ins.end(caller.user, session_id)


@router.get("/tokens")
def list_access_tokens(caller: Caller, services: Everything, query: Listing) -> Page[AccessToken]:
    """List the caller's tokens, without their secrets."""
    return services.people.tokens(caller.user, query)


@router.post("/tokens", status_code=201)
def create_access_token(
    request: Request, caller: Caller, services: Everything, body: AccessTokenRequest
) -> AccessToken:
    """Issue a token; its secret is told here and never again. It lasts no longer than that of the request."""
    also(request, scope=body.scope)
    if body.scope is not Scope.INGEST or not body.deployment:
        return services.people.issue_named(caller.user, body.name, body.scope, body.days, caller.token)
    deployment = services.deployments.get(caller, body.deployment)
    return services.people.issue_ingest(caller.user, deployment.id, body.name, body.days, caller.token)


@router.delete("/tokens/{token}", status_code=204)
def revoke_access_token(caller: Caller, services: Everything, token: str) -> None:
    """Revoke a token of the caller's, by its id or name."""
    services.people.revoke_own(caller.user, token)


@users.get("")
def list_users(services: Everything, query: Listing) -> Page[Person]:
    return services.accounts.page(query)


@users.post("", status_code=201)
def create_user(request: Request, services: Everything, body: UserRequest) -> Invitation:
    """Create a user; the one-time password is told here and never again."""
    also(request, role=body.role)
    return services.accounts.create(body.name, body.role)


@users.get("/{name}")
def show_user(services: Everything, name: str) -> User:
    return services.accounts.get(name)


@users.patch("/{name}")
def change_user(request: Request, services: Everything, name: str, body: UserChange) -> User:
    """Change the role, or keep a user out: tokens and sessions are refused from then on."""
    user = services.accounts.get(name)
    if body.role is not None:
        also(request, role=body.role)
        user = services.accounts.change_role(user, body.role)
    if body.disabled is not None:
        also(request, disabled=str(body.disabled).lower())
        user = services.accounts.disable(user) if body.disabled else services.accounts.enable(user)
    return user


@users.delete("/{name}", status_code=204)
def delete_user(request: Request, services: Everything, name: str, heir: str = "") -> None:
    """Delete a user; what they own goes to ``heir``, without whom it is refused while there is something."""
    accounts = services.accounts
    also(request, heir=heir or "nobody")
    accounts.delete(accounts.get(name), accounts.get(heir) if heir else None)


@users.post("/{name}/password", status_code=201)
def invite_user(services: Everything, name: str) -> Invitation:
    """Replace the password by a one-time password, told here and never again; the user's sessions end."""
    return services.accounts.invite(services.accounts.get(name))


@users.get("/{name}/sessions")
def list_sessions(services: Everything, name: str, query: Listing) -> Page[OpenSession]:
    return services.sign_ins.sessions(services.accounts.get(name), query)


@users.delete("/{name}/sessions", status_code=204)
def end_sessions(services: Everything, name: str) -> None:
    """End every session of a user."""
    services.sign_ins.end_all(services.accounts.get(name))


@users.delete("/{name}/sessions/{session_id}", status_code=204)
def end_session(services: Everything, name: str, session_id: str) -> None:
    services.sign_ins.end(services.accounts.get(name), session_id)
