"""Options that several commands share: which server of this machine is meant, and files of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegauge.errors import InvalidInputError
from tidegauge.settings import Settings, load_settings

Home = Annotated[
    Path | None, typer.Option(help="Folder of everything; default: TIDEGAUGE_HOME, ~/.tidegauge.")
]
Host = Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; default: 32222.")]
DatabaseUrl = Annotated[str | None, typer.Option(help="Default: SQLite in the home folder.")]
StoreUrl = Annotated[str | None, typer.Option(help="Default: a folder in the home folder.")]


Role = Annotated[
    str | None, typer.Option(help="What this cluster does: both, serving or monitoring; default: both.")
]
Workers = Annotated[int | None, typer.Option(help="Threads that look at windows; default: 2.")]
TlsCertificate = Annotated[
    str | None, typer.Option(help="File (PEM) with the server's certificate: it is asked by https then.")
]
TlsKey = Annotated[str | None, typer.Option(help="File (PEM) with the key of the certificate.")]


def server_settings(
    home: Path | None,
    host: str | None = None,
    port: int | None = None,
    database_url: str | None = None,
    store_url: str | None = None,
    workers: int | None = None,
    role: str | None = None,
    tls_certificate: str | None = None,
    tls_key: str | None = None,
) -> Settings:
    """Read the settings of a server of this machine, these options first."""
    flags = {
        "host": host,
        "port": port,
        "database_url": database_url,
        "store_url": store_url,
        "workers": workers,
        "role": role,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
    }
    return load_settings(home, flags)


def read_json(file: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object."""
    try:
        found = json.loads(file.read_bytes())
    except ValueError as error:
        raise InvalidInputError.of("file", f"{file} is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInputError.of("file", f"{file} holds {type(found).__name__}; it must be a JSON object.")
    return found
