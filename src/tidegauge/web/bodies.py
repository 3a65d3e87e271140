"""Reading request bodies without letting anybody fill the memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import Request

from tidegauge.errors import TooLargeError

_CHUNK = 1 << 20


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body, or raise TooLargeError past ``limit`` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError.of("body", f"The body is larger than {limit} bytes; send less at a time.")
    return bytes(body)


def spool(archive: UploadFile, folder: Path, limit: int) -> Path:
    """Write an upload to a file of the home, whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
        size = 0
        while chunk := archive.file.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                path.unlink()
                raise TooLargeError(
                    f"The archive is larger than {limit} bytes; raise max_upload_bytes to allow it."
                )
            file.write(chunk)
    return path
