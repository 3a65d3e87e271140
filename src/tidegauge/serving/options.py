"""What a model server is started with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TOKEN_VARIABLE = "TIDEGAUGE_LOG_TOKEN"  # noqa: S105 - the name of a variable, no secret


def log_token_from_environment() -> str:
    """Return the token for the collector; not an argument, since arguments show in process lists."""
    return os.environ.get(TOKEN_VARIABLE, "")


@dataclass(frozen=True)
class ServeOptions:
    """Options of one model server.

    ``name`` and ``version`` default to those in model.json, then to the folder's name and ``1``. Without
    ``log_url`` (the collector's ``.../v1/deployments/<id>/events``) nothing is logged. ``threads`` is for
    the computation of one request. With ``parent_pid`` the server ends when that process does.
    ``sampling`` is the share of requests that is logged.
    """

    model_dir: Path
    name: str | None = None
    version: str | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    deployment_id: str = "local"
    namespace: str = "default"
    log_url: str | None = None
    log_token: str = ""
    threads: int = 1
    max_body_bytes: int = 64 << 20
    parent_pid: int | None = None
    sampling: float = 1.0
