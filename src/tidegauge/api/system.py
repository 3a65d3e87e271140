"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter

from tidegauge import __version__
from tidegauge.domain.cluster import ClusterStatus
from tidegauge.settings import ClusterRole
from tidegauge.web.access import OPEN, Caller, Everything

router = APIRouter(tags=["system"])


@dataclass(frozen=True)
class Health:
    status: Literal["ok"]
    version: str
    role: ClusterRole


@router.get("/healthz", openapi_extra=OPEN)
def healthz(services: Everything) -> Health:
    """The process lives."""
    return Health("ok", __version__, services.settings.role)


@router.get("/readyz", openapi_extra=OPEN)
def readyz(services: Everything) -> Health:
    """Database and store answer."""
    services.database.check()
    services.store.check()
    return Health("ok", __version__, services.settings.role)


@router.get("/api/v1/status")
def status(_: Caller, services: Everything) -> ClusterStatus:
    """What this cluster is there for, and what rests because its role was wider once."""
    return services.cluster.status()
