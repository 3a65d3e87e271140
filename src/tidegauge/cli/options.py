"""The options that say which server of this machine is meant: of ``up``, ``token`` and ``doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegauge.settings import Settings, load_settings

Home = Annotated[
    Path | None, typer.Option(help="Folder of everything; default: TIDEGAUGE_HOME, ~/.tidegauge.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; default: 32222.")]
DatabaseUrl = Annotated[str | None, typer.Option(help="Default: SQLite in the home folder.")]
StoreUrl = Annotated[str | None, typer.Option(help="Default: a folder in the home folder.")]


Workers = Annotated[int | None, typer.Option(help="Threads that look at windows; default: 2.")]


def server_settings(
    home: Path | None,
    host: str | None = None,
    port: int | None = None,
    database_url: str | None = None,
    store_url: str | None = None,
    workers: int | None = None,
) -> Settings:
    """Read the settings of a server of this machine, these options first."""
    flags = {
        "host": host,
        "port": port,
        "database_url": database_url,
        "store_url": store_url,
        "workers": workers,
    }
    return load_settings(home, flags)
