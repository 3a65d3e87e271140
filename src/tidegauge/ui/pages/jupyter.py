"""``/jupyter/<id>/...``: the JupyterLab of an IDE, through the server's own address, for its owner alone.

What it shows runs on the same origin as the pages. So it is told what it may ask: addresses below its own
path, by a Content-Security-Policy, and no window of the pages is in its reach (Cross-Origin-Opener-Policy).
"""

from __future__ import annotations

import re
from http.cookies import CookieError, SimpleCookie
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from fastapi import Depends, Request, Response, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from tidegauge.domain.ide import JUPYTER, Ide
from tidegauge.domain.users import Principal
from tidegauge.errors import ConflictError, ForbiddenError, TidegaugeError, UnavailableError
from tidegauge.links.jupyter import Door
from tidegauge.ui.site import Pages, go
from tidegauge.web.access import Caller, Everything, services_of, signed_in
from tidegauge.web.bodies import allow
from tidegauge.web.forwarding import NOT_FORWARDED, Headers, ask, passed_back, without
from tidegauge.web.relaying import relay

_MOST = 512 << 20  # bytes of a body, as JupyterLab's own
_TIMEOUT = httpx.Timeout(10.0, read=600.0)  # a conversion of a notebook takes its time
_REFUSED = 1008
_HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?")
#: Of JupyterLab's own cookies the one by which it tells its pages from others; it needs no other here.
_COOKIE = "_xsrf"
#: What JupyterLab's answers do not decide.
_OURS = frozenset(
    b"server date set-cookie cross-origin-opener-policy cross-origin-resource-policy x-frame-options "
    b"referrer-policy service-worker-allowed strict-transport-security access-control-allow-origin "
    b"access-control-allow-credentials".split()
)

router = Pages(prefix=JUPYTER)


def same_site(request: Request) -> None:
    """Refuse what another site asks for, unless somebody follows a link to a page."""
    follows = request.headers.get("sec-fetch-dest") == "document" and request.method in ("GET", "HEAD")
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not follows:
        raise ForbiddenError("This was asked for by another site; open the IDE from its page.")


@router.get("/{ide_id}/{path:path}")
@router.head("/{ide_id}/{path:path}")
@router.post("/{ide_id}/{path:path}")
@router.put("/{ide_id}/{path:path}")
@router.patch("/{ide_id}/{path:path}")
@router.delete("/{ide_id}/{path:path}")
async def forward(
    request: Request,
    caller: Caller,
    services: Everything,
    ide_id: str,
    path: str,
    _: Annotated[None, Depends(same_site)],
) -> Response:
    """Pass a request on to the owner's JupyterLab; who opens one that does not run is led to its page."""
    try:
        ide, door = await run_in_threadpool(services.ides.door, caller, ide_id)
    except (ConflictError, UnavailableError):
        if path == "lab" or request.headers.get("sec-fetch-dest") == "document":
            return go(request, f"/ide/{ide_id}")
        raise
    allow(request, _MOST, "send the file in parts, as JupyterLab does")
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    answer = await ask(
        request,
        httpx.URL(f"http://127.0.0.1:{door.port}").copy_with(raw_path=_target(request)),
        [*without(request.headers.raw, NOT_FORWARDED - {b"content-length"}), *_shown(request, door)],
        request.stream() if has_body else None,
        f"The JupyterLab of {ide.name!r} does not answer ({ide.state.value}); try again soon.",
        _TIMEOUT,
    )
    headers = _headers(request, ide, answer)
    if headers is None:
        await answer.aclose()
        raise UnavailableError("JupyterLab leads out of its own path, where it may not.")
    return passed_back(answer, headers)


@router.websocket("/{ide_id}/{path:path}")
async def channel(socket: WebSocket, ide_id: str, path: str) -> None:  # noqa: ARG001 - it is in the target
    """Pass the messages of kernels, terminals and events on, while the owner is signed in."""
    services = services_of(socket)

    def look() -> tuple[Ide, Door]:
        return services.ides.door(_caller(socket), ide_id)

    try:
        _, door = await run_in_threadpool(look)
        target = f"ws://{socket.url.netloc}{_target(socket).decode('ascii')}"
        shown = [(name.decode(), value.decode("latin-1")) for name, value in _shown(socket, door)]
        headers = [pair for pair in shown if pair[0] != "host"]
        if origin := socket.headers.get("origin"):
            headers.append(("origin", origin))
        await relay(socket, door.port, target, headers, lambda: run_in_threadpool(look))
    except TidegaugeError:
        await socket.close(_REFUSED)


def _caller(socket: WebSocket) -> Principal:
    """Recognise who opens a WebSocket: by a token, or by the cookie, which a browser sends for any site."""
    caller = signed_in(socket)
    origin, scheme = socket.headers.get("origin"), {"wss": "https"}.get(socket.url.scheme, "http")
    if origin != f"{scheme}://{socket.url.netloc}" and (origin or "authorization" not in socket.headers):
        raise ForbiddenError("This was opened by another site; open the IDE from its page.")
    return caller


def _target(connection: HTTPConnection) -> bytes:
    """Return path and query as they came."""
    path: bytes = connection.scope.get("raw_path") or connection.url.path.encode()
    query: bytes = connection.scope.get("query_string", b"")
    return path.partition(b"?")[0] + (b"?" + query if query else b"")


def _shown(connection: HTTPConnection, door: Door) -> Headers:
    """Return the headers that show JupyterLab who asks and by which name; never the cookie of a sign-in."""
    shown = [
        (b"authorization", door.authorization.encode()),
        (b"host", connection.url.netloc.encode("latin-1")),
    ]
    if own := connection.cookies.get(_COOKIE):
        shown.append((b"cookie", f"{_COOKIE}={own}".encode("latin-1", "ignore")))
    return shown


def _headers(request: Request, ide: Ide, answer: httpx.Response) -> Headers | None:
    """Return the headers of an answer; None where it leads elsewhere, where no policy would follow."""
    led = urlsplit(answer.headers.get("location", ""))
    leads_here = led.netloc in ("", request.url.netloc) and _is_below(ide, led.path)
    if answer.has_redirect_location and not leads_here:
        return None
    headers = without(answer.headers.raw, (NOT_FORWARDED - {b"content-length"}) | _OURS)
    headers += [(b"set-cookie", cookie.encode("latin-1")) for cookie in _cookies(request, ide, answer)]
    headers += [
        (b"content-security-policy", _policy(request, ide).encode()),  # beside JupyterLab's own, both count
        (b"cross-origin-opener-policy", b"unsafe-none"),  # not that of the pages, so that they stay apart
        (b"x-frame-options", b"SAMEORIGIN"),
    ]
    if "cache-control" not in answer.headers:
        headers.append((b"cache-control", b"private, no-cache"))
    return headers


def _is_below(ide: Ide, path: str) -> bool:
    return path.startswith(ide.base) and ".." not in path.split("/")


def _cookies(request: Request, ide: Ide, answer: httpx.Response) -> list[str]:
    """Return the one cookie that JupyterLab may set, for its own path."""
    found = []
    for line in answer.headers.get_list("set-cookie"):
        try:
            morsel = SimpleCookie(line).get(_COOKIE)
        except CookieError:
            continue
        if morsel is not None:
            secure = "; Secure" if request.url.scheme == "https" else ""
            found.append(f"{_COOKIE}={morsel.coded_value}; Path={ide.base}; SameSite=Lax{secure}")
    return found


def _policy(request: Request, ide: Ide) -> str:
    """Return what pages below the path of an IDE may load and ask: what is below it, and pictures."""
    host = request.url.netloc
    own = f"{host}{ide.base}" if _HOST.fullmatch(host) else "'self'"  # no path in a policy for [::1]
    sockets = f"{'wss' if request.url.scheme == 'https' else 'ws'}://{own}" if own != "'self'" else ""
    parts = {
        "default-src": own,
        "script-src": f"{own} 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": f"{own} 'unsafe-inline'",
        "img-src": "* data: blob:",
        "media-src": "* data: blob:",
        "font-src": f"{own} data:",
        "connect-src": f"{own} {sockets} data: blob:",
        "worker-src": f"{own} blob:",
        "frame-src": f"{own} data: blob:",
        "object-src": f"{own} data: blob:",
        "form-action": own,
        "base-uri": "'none'",
        "frame-ancestors": "'self'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())
