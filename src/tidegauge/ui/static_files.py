"""The files of the pages: scripts, styles, pictures. Each is kept by browsers for a year, by its version."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_YEAR = "public, max-age=31536000, immutable"


class VersionedFiles(StaticFiles):
    """Static files; what is asked for with a version in the query never changes."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        answer = await super().get_response(path, scope)
        if answer.status_code == 200:
            answer.headers["Cache-Control"] = _YEAR if scope.get("query_string") else "no-cache"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


def version_of(folder: Path) -> str:
    """Return a digest of all files of a folder: another file, another address."""
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
