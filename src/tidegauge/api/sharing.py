"""``POST /api/v1/<noun>/{key}/share`` and ``/unshare`` of everything that can be shared."""

from __future__ import annotations

from fastapi import APIRouter

from tidegauge.web.access import CLOSED, Caller, Everything
from tidegauge.web.sharing import SHARED, Shareable, share


def build_router() -> APIRouter:
    """Build the routes; what is shared is read by everybody, and changed by its owner alone."""
    router = APIRouter(prefix="/api/v1", tags=["sharing"], dependencies=CLOSED)
    for plural, shown in SHARED.items():
        _add(router, plural, shown.noun, shown.kind)
    return router


def _add(router: APIRouter, plural: str, noun: str, kind: type[Shareable]) -> None:
    path = f"/{plural}/{{key}}"

    @router.post(f"{path}/share", response_model=kind, name=f"share {noun}")
    def on(caller: Caller, services: Everything, key: str) -> Shareable:
        """Let everybody read it; nobody but its owner changes it."""
        return share(services, caller, plural, key, shared=True)

    @router.post(f"{path}/unshare", response_model=kind, name=f"unshare {noun}")
    def off(caller: Caller, services: Everything, key: str) -> Shareable:
        """Let nobody but its owner see it."""
        return share(services, caller, plural, key, shared=False)
