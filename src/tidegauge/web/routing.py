"""Routes as they are: FastAPI's own way would build each of them once more at the first request."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add the routes of a router, which has its prefix, tags and dependencies itself.

    ``include_router`` makes copies that are built when the first request comes: two seconds for all of ours.
    """
    app.router.routes.extend(router.routes)
