"""Compression of what people and programs read: pages, their files, and the JSON API."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tidegauge.domain.ide import JUPYTER

_LEAST = 1000  # bytes; less fits in one packet anyhow
_LEVEL = 5
#: Pictures, documents and archives are small already, and who downloads one is told how large it is.
_PACKED = (".png", ".pdf", "/archive")
#: Answers of models pass as they are: they are streamed, and each millisecond counts. So do the collector's,
#: the stream of events, which must not wait for more, and JupyterLab's, which compresses them itself.
_UNTOUCHED = ("/serve/", "/v1/", "/live", f"{JUPYTER}/")


class Compressing:
    """Compresses answers to GET, but for those that must pass as they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(app, minimum_size=_LEAST, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and not scope["path"].startswith(_UNTOUCHED)
            and not scope["path"].endswith(_PACKED)
        )
        await (self._compressed if wanted else self._plain)(scope, receive, send)
