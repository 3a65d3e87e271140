"""A bucket that tests start themselves: what of S3 is needed to list and to read, over HTTP."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

_TIME = "2026-02-01T00:00:00.000Z"
_HTTP_TIME = "Sun, 01 Feb 2026 00:00:00 GMT"


@contextlib.contextmanager
def bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a folder as the bucket ``logs``, and let this process's S3 client ask there; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            key = unquote(asked.path).removeprefix("/logs").lstrip("/")
            if not asked.path.startswith("/logs"):
                self._send(404, b"<Error><Code>NoSuchBucket</Code></Error>")
            elif "list-type" in asked.query:
                self._list(parse_qs(asked.query).get("prefix", [""])[0])
            elif not (folder / key).is_file():
                self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
            else:
                self._file((folder / key).read_bytes())

        def _list(self, prefix: str) -> None:
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            keys = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
            found = "".join(
                f"<Contents><Key>{escape(key)}</Key><LastModified>{_TIME}</LastModified>"
                f'<ETag>"{size}"</ETag><Size>{size}</Size></Contents>'
                for key, size in keys.items()
                if key.startswith(prefix)
            )
            listed = f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
            self._send(200, listed.encode())

        def _file(self, data: bytes) -> None:
            wanted = self.headers.get("Range")
            if not wanted:
                self._send(200, data)
                return
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1, len(data)) if last else len(data)
            self._send(206, data[int(first) : end], f"bytes {first}-{end - 1}/{len(data)}")

        def _send(self, code: int, body: bytes, part: str = "") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", _HTTP_TIME)
            self.send_header("ETag", f'"{len(body)}"')
            if part:
                self.send_header("Content-Range", part)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        yield "s3://logs"
    finally:
        server.shutdown()
        server.server_close()
