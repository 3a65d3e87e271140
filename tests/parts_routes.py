"""Every route that an app answers, also those of routers within it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from tidegauge.ui.site import Page


def routes_of(app: FastAPI) -> list[Any]:
    """Return the routes with their path, methods and access; FastAPI keeps those of routers in branches."""
    found = [
        route
        for route in _leaves(app.routes)
        if isinstance(getattr(route, "original_route", route), APIRoute)
    ]
    assert len(found) > 100, "FastAPI keeps its routes in another way; mend this, or nothing is tested"
    return found


def pages_of(app: FastAPI) -> list[str]:
    """Return the paths of all pages that can be opened."""
    return sorted(
        {
            route.path
            for route in routes_of(app)
            if isinstance(getattr(route, "original_route", route), Page) and "GET" in route.methods
        }
    )


def _leaves(routes: Any) -> Iterator[Any]:
    for route in routes:
        if hasattr(route, "effective_candidates"):
            yield from _leaves(route.effective_candidates())
        else:
            yield route
