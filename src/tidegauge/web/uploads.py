"""Archives in forms: read only of somebody who is signed in, and written whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from tidegauge.web.access import Caller, Everything
from tidegauge.web.bodies import allow

_ENVELOPE = 1 << 20  # bytes of a form around its archive


async def uploaded(request: Request, services: Everything, _: Caller) -> AsyncIterator[FormData]:
    """Read a form with an archive, of somebody who is signed in; its files are closed with the answer."""
    most = services.settings.max_upload_bytes + _ENVELOPE
    allow(request, most, "raise max_upload_bytes to allow it")
    async with request.form(max_files=1, max_fields=100) as form:
        yield form


def spool(archive: UploadFile, folder: Path) -> Path:
    """Write an upload to a file of the home, whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            shutil.copyfileobj(archive.file, file)
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)
