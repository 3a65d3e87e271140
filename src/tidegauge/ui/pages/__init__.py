"""The pages, a module per menu. A handler parses, makes one service call, renders."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.ui import live
from tidegauge.ui.pages import (
    alerts,
    channels,
    choices,
    dashboard,
    deployments,
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
    sign_in,
    thresholds,
    watching,
)
from tidegauge.ui.site import HERE


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the app."""
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for kind in RepositoryKind:
        app.include_router(repositories.build_router(kind))
    for module in (
        sign_in,
        live,
        dashboard,
        choices,
        deployments,
        monitor_config,
        monitor_list,
        monitor_schema,
        monitor_life,
        monitors,
        playground,
        runs,
        retrainings,
        channels,
        settings,
        pipeline_runs,
        alerts,
        thresholds,
        watching,
    ):
        app.include_router(module.router)
