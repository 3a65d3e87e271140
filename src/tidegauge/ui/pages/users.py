"""The users of this cluster, for its operators."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request, Response

from tidegauge.domain.users import Principal, Role, User
from tidegauge.errors import TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Everything, Operator
from tidegauge.web.auditing import also

PATH = "/users"
_ROWS = 50

router = Pages(prefix=PATH)


@router.get("")
def list_users(
    caller: Operator, services: Everything, q: str = "", sort: str = "name", cursor: str = ""
) -> Response:
    query = Query(_ROWS, cursor, sort, q)
    return render("users/list.html", user=caller, page=services.accounts.page(query), query=query, path=PATH)


@router.get("/new")
def new_user(caller: Operator) -> Response:
    return render("users/new.html", user=caller, path=PATH, form=Form())


@router.post("/new")
def create_user(request: Request, caller: Operator, services: Everything, form: Filled) -> Response:
    """Create a user and show the one-time password, once."""
    try:
        invitation = services.accounts.create(
            form.text("name"), parse(Role, form.text("role", Role.USER) or Role.USER)
        )
    except TidegaugeError as error:
        return refuse("users/new.html", form, error, user=caller, path=PATH)
    also(request, name=invitation.user.name, role=invitation.user.role)
    return render("users/invitation.html", user=caller, path=PATH, invitation=invitation, url=_url(request))


@router.get("/{name}")
def show_user(caller: Operator, services: Everything, name: str, cursor: str = "") -> Response:
    user = services.accounts.get(name)
    query = Query(_ROWS, cursor)
    sessions = services.sign_ins.sessions(user, query, caller)
    return render(
        "users/show.html",
        **_values(caller, user),
        query=query,
        page=sessions,
        has_password=services.sign_ins.has_password(user),
    )


@router.get("/{name}/role")
def confirm_role(caller: Operator, services: Everything, name: str) -> Response:
    return _confirm(caller, services, name, "role")


@router.post("/{name}/role")
def change_role(request: Request, caller: Operator, services: Everything, name: str) -> Response:
    def change(user: User) -> None:
        role = Role.USER if user.is_operator else Role.OPERATOR
        also(request, role=role)
        services.accounts.change_role(user, role)

    return _do(request, caller, services, name, "role", change)


@router.get("/{name}/access")
def confirm_access(caller: Operator, services: Everything, name: str) -> Response:
    return _confirm(caller, services, name, "access")


@router.post("/{name}/access")
def change_access(request: Request, caller: Operator, services: Everything, name: str) -> Response:
    """Disable a user, or enable one that is disabled."""

    def change(user: User) -> None:
        also(request, disabled="false" if user.disabled_at else "true")
        (services.accounts.enable if user.disabled_at else services.accounts.disable)(user)

    return _do(request, caller, services, name, "access", change)


@router.get("/{name}/password")
def confirm_invitation(caller: Operator, services: Everything, name: str) -> Response:
    return _confirm(caller, services, name, "password")


@router.post("/{name}/password")
def invite(request: Request, caller: Operator, services: Everything, name: str) -> Response:
    """Give a user a one-time password, and show it once."""
    invitation = services.accounts.invite(services.accounts.get(name))
    return render("users/invitation.html", user=caller, path=PATH, invitation=invitation, url=_url(request))


@router.get("/{name}/delete")
def confirm_deletion(caller: Operator, services: Everything, name: str) -> Response:
    return _confirm(caller, services, name, "delete")


@router.post("/{name}/delete")
def delete_user(
    request: Request, caller: Operator, services: Everything, name: str, form: Filled
) -> Response:
    heir = form.text("heir")
    also(request, heir=heir or "nobody")

    def delete(user: User) -> None:
        services.accounts.delete(user, services.accounts.get(heir) if heir else None)

    return _do(request, caller, services, name, "delete", delete, form, PATH)


@router.get("/{name}/sessions/end")
def confirm_end(caller: Operator, services: Everything, name: str) -> Response:
    return _confirm(caller, services, name, "sessions")


@router.post("/{name}/sessions/end")
def end_sessions(request: Request, caller: Operator, services: Everything, name: str) -> Response:
    return _do(request, caller, services, name, "sessions", services.sign_ins.end_all)


def _confirm(caller: Principal, services: Services, name: str, what: str) -> Response:
    return render(f"users/{what}.html", form=Form(), **_values(caller, services.accounts.get(name)))


def _do(
    request: Request,
    caller: Principal,
    services: Services,
    name: str,
    what: str,
    change: Callable[[User], object],
    form: Form | None = None,
    then: str = "",
) -> Response:
    """Change a user and show it; what is refused is told in the dialog that asked."""
    user = services.accounts.get(name)
    try:
        change(user)
    except TidegaugeError as error:
        return refuse(f"users/{what}.html", form or Form(), error, **_values(caller, user))
    return go(request, then or f"{PATH}/{user.name}")


def _values(caller: Principal, shown: User) -> dict[str, object]:
    return {"user": caller, "path": PATH, "shown": shown}


def _url(request: Request) -> str:
    return str(request.base_url).rstrip("/")
