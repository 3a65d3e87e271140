"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter

from tidegauge import __version__
from tidegauge.web.access import OPEN, Everything

router = APIRouter(tags=["system"])


@dataclass(frozen=True)
class Health:
    status: Literal["ok"]
    version: str


@router.get("/healthz", openapi_extra=OPEN)
def healthz() -> Health:
    """The process lives."""
    return Health("ok", __version__)


@router.get("/readyz", openapi_extra=OPEN)
def readyz(services: Everything) -> Health:
    """Database and store answer."""
    services.database.check()
    services.store.check()
    return Health("ok", __version__)
