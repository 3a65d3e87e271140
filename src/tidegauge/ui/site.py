"""What every page stands on: templates, headers, errors as pages, and where a form leads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from tidegauge import __version__
from tidegauge.domain.cluster import absence
from tidegauge.domain.monitor import farthest
from tidegauge.errors import ForbiddenError, NotSignedInError, TidegaugeError
from tidegauge.settings import ClusterRole
from tidegauge.ui import words
from tidegauge.ui.forms import Form
from tidegauge.web.access import services_of
from tidegauge.web.errors import UNEXPECTED, headers_of, status_of

_log = logging.getLogger(__name__)

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_role: ContextVar[ClusterRole] = ContextVar("role", default=ClusterRole.BOTH)


def has(path: str) -> bool:
    """Tell whether the cluster that answers this request has what lies at ``path``."""
    return not absence(_role.get(), path)


_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {
    "utc": words.utc,
    "number": words.number,
    "words": words.plain,
    "size": words.size,
    "took": words.took,
    "farthest": farthest,
    "interval": words.metric,
}
_templates.tests["synthetic"] = words.is_synthetic
_templates.globals |= {"version": __version__, "no_form": Form(), "has": has}


def use_version(version: str) -> None:
    """Name this version in the addresses of static files."""
    _templates.globals["version"] = version


def render(template: str, code: int = 200, /, **values: Any) -> HTMLResponse:
    """Render a template; ``user`` is who is signed in, None at the sign-in alone.

    ``thing`` is what the page is about, which may be somebody else's.
    """
    values.setdefault("user", None)
    found = (values.get(name) for name in ("monitor", "deployment", "repository", "run"))
    values["thing"] = next((one for one in found if hasattr(one, "owner")), None)
    return HTMLResponse(_templates.get_template(template).render(**values), code, headers=HEADERS)


def refuse(template: str, form: Form, error: TidegaugeError, **values: Any) -> HTMLResponse:
    """Render a form again with what was typed and what is wrong with it."""
    status, _ = status_of(error)
    return render(template, status, form=form.refused(error), **values)


def go(request: Request, path: str) -> Response:
    """Lead to a page after a change; a dialog's form is told by a header, since fetch follows a redirect."""
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={**HEADERS, "HX-Redirect": path})
    return RedirectResponse(path, 303, headers=HEADERS)


def here(request: Request) -> str:
    """Return the path of a request with its query."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def told(request: Request, error: HTTPException) -> HTMLResponse:
    """Render what the framework refuses: an address that is not there, or a form that cannot be read."""
    title = HTTPStatus(error.status_code).phrase.capitalize()
    message = error.detail if error.detail.endswith(".") else f"{error.detail}."
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = f"There is no page {request.url.path}; go back to the dashboard."
    page = render("error.html", error.status_code, title=title, message=message)
    page.headers.update(error.headers or {})
    return page


class Page(APIRoute):
    """A route whose errors are pages, and that sends strangers to the sign-in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            _role.set(services_of(request).settings.role)
            try:
                if request.method not in ("GET", "HEAD"):
                    _check_origin(request)
                return await handler(request)
            except NotSignedInError:
                if "hx-request" in request.headers and request.method != "GET":
                    message = "You are signed out; sign in in another window, and submit this again."
                    return render("error.html", 401, title="Not signed in", message=message)
                return go(request, f"/sign-in?next={words.quoted(_before(request))}")
            except TidegaugeError as error:
                status, title = status_of(error)
                page = render("error.html", status, title=title, message=error.message)
                page.headers.update(headers_of(error))
                return page
            except RequestValidationError as error:
                message = " ".join(f"{item['loc'][-1]}: {item['msg']}." for item in error.errors())
                return render("error.html", 422, title="Invalid input", message=message)
            except HTTPException as error:
                return told(request, error)
            except Exception:
                _log.exception("%s %s failed", request.method, request.url.path)
                return render("error.html", 500, title="Internal server error", message=UNEXPECTED)

        return guarded


#: A router of pages, which stand in no API document.
Pages = partial(APIRouter, route_class=Page, include_in_schema=False, default_response_class=HTMLResponse)


def _check_origin(request: Request) -> None:
    """Refuse a form that another site sends, or that nobody knows where from: browsers always say.

    SameSite keeps the cookie from it as well.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    own = f"{request.url.scheme}://{request.url.netloc}"
    if (
        (origin, site) == (None, None)
        or origin not in (None, own)
        or site not in (None, "same-origin", "none")
    ):
        raise ForbiddenError("This form was sent from another site; open Tidegauge and send it again.")


def _before(request: Request) -> str:
    """Return the page that a visitor was on or wanted; a form that was sent is not sent again."""
    return here(request) if request.method == "GET" and "hx-request" not in request.headers else "/"
