"""The pages, a module per menu. A handler parses, makes one service call, renders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.ui import live
from tidegauge.ui.pages import (
    account,
    alerts,
    audit,
    channels,
    charts,
    choices,
    clusters,
    dashboard,
    deployments,
    example,
    external,
    help_pages,
    ide,
    jupyter,
    kserve,
    monitor_config,
    monitor_life,
    monitor_list,
    monitor_schema,
    monitors,
    pipeline_runs,
    playground,
    repositories,
    retrainings,
    runs,
    settings,
    sharing,
    sign_in,
    thresholds,
    tour,
    users,
    watching,
)
from tidegauge.ui.site import HERE, told, use_version
from tidegauge.ui.static_files import VersionedFiles, version_of
from tidegauge.web.credentials import PROGRAMS
from tidegauge.web.routing import add_routes

_Handler = Callable[[Request, Exception], Awaitable[Response]]


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the app, and tell people by a page of what is not there."""
    for_programs = cast(_Handler, app.exception_handlers[HTTPException])

    async def on_http(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and not request.url.path.startswith(PROGRAMS):
            return told(request, error)
        return await for_programs(request, error)

    app.add_exception_handler(HTTPException, on_http)
    app.mount("/static", VersionedFiles(directory=HERE / "static"), name="static")
    use_version(version_of(HERE / "static"))
    for kind in RepositoryKind:
        add_routes(app, repositories.build_router(kind))
    for module in (
        sign_in,
        live,
        dashboard,
        choices,
        external,
        kserve,
        deployments,
        monitor_config,
        monitor_list,
        monitor_schema,
        monitor_life,
        monitors,
        charts,
        runs,
        retrainings,
        channels,
        settings,
        account,
        alerts,
        thresholds,
        watching,
        pipeline_runs,
        ide,
        jupyter,
        clusters,
        users,
        audit,
        sharing,
        help_pages,
        tour,
        example,
        playground,
    ):
        add_routes(app, module.router)
