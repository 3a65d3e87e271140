"""The commands that run here and need no server: ``up``, ``serve``, ``doctor``, ``token``, ``login``."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tidegauge.cli.output import Json, show_list
from tidegauge.client import Client, credentials_file
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.links.processes import port_is_free
from tidegauge.settings import Settings, load_settings

Home = Annotated[
    Path | None, typer.Option(help="Folder of everything; default: TIDEGAUGE_HOME, ~/.tidegauge.")
]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def up(
    home: Home = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: 32222.")] = None,
    database_url: Annotated[str | None, typer.Option(help="Default: SQLite in the home folder.")] = None,
    store_url: Annotated[str | None, typer.Option(help="Default: a folder in the home folder.")] = None,
) -> None:
    """Run the server: API, collector, worker and pages."""
    from tidegauge.app import serve
    from tidegauge.services.bundle import Services

    flags = {"host": host, "port": port, "database_url": database_url, "store_url": store_url}

    def announce(services: Services) -> None:
        settings = services.settings
        typer.echo(f"Tidegauge is at http://{settings.host}:{settings.port}")
        if settings.host not in _LOOPBACK:
            typer.echo(
                "Traffic is not encrypted; put a proxy with TLS in front before others connect.", err=True
            )
        token = services.people.first_start()
        if token:
            typer.echo(f"Operator token (shown once): {token}")
            typer.echo("Sign in with it in the browser, or: tidegauge login --url URL --token TOKEN")
        sys.stdout.flush()

    serve(load_settings(home, flags), announce)


def serve(
    model_dir: Annotated[Path, typer.Argument(help="Folder with model.onnx.", exists=True, file_okay=False)],
    name: Annotated[str | None, typer.Option(help="Default: that in model.json, or the folder's.")] = None,
    version: Annotated[str | None, typer.Option(help="Default: that in model.json, or 1.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    threads: Annotated[int, typer.Option(help="Threads for the computation of one request.")] = 1,
    log_url: Annotated[
        str | None, typer.Option(help="Collector: URL/v1/deployments/ID/events; token: TIDEGAUGE_LOG_TOKEN.")
    ] = None,
    deployment_id: Annotated[str, typer.Option(help="Deployment that the log speaks of.")] = "local",
) -> None:
    """Serve one model, without the platform."""
    from tidegauge.serving.options import ServeOptions, log_token_from_environment
    from tidegauge.serving.server import serve as serve_model

    serve_model(
        ServeOptions(
            model_dir=model_dir,
            name=name,
            version=version,
            host=host,
            port=port,
            threads=threads,
            log_url=log_url,
            log_token=log_token_from_environment(),
            deployment_id=deployment_id,
        )
    )


def token(
    home: Home = None,
    user: Annotated[str, typer.Option(help="Whose token.")] = "operator",
    name: Annotated[str, typer.Option(help="What the token is for.")] = "command line",
) -> None:
    """Issue a new token from this machine, for one that was lost."""
    from tidegauge.app import open_database, utc_now
    from tidegauge.services.people import People

    with contextlib.closing(open_database(load_settings(home))) as database:
        people = People(database, utc_now)
        people.first_start()
        typer.echo(people.issue_for(user, name))


def login(
    url: Annotated[str, typer.Option(help="Address of the server.")],
    token: Annotated[str, typer.Option(help="Token; asked for when left out.", prompt=True, hide_input=True)],
) -> None:
    """Check an address and a token and keep them for later commands."""
    with Client(url, token) as client:
        user = client.me()
    path = credentials_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Created with its mode, so that nobody can read it in between.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f'url = "{client.url}"\ntoken = "{token}"\n')
    typer.echo(f"Signed in at {client.url} as {user.name}.")


def logout() -> None:
    """Forget the address and the token."""
    credentials_file().unlink(missing_ok=True)


@dataclass(frozen=True)
class Check:
    """One thing that doctor looked at."""

    name: str
    found: str
    ok: bool
    required: bool
    remedy: str


def doctor(home: Home = None, as_json: Json = False) -> None:
    """Tell what is missing, and how to get it."""
    checks = [*_programs(), *_extras(), *_parts(home)]
    show_list(
        checks,
        [
            ("what", lambda c: c.name),
            ("", lambda c: "ok" if c.ok else "missing" if c.required else "optional, absent"),
            ("found", lambda c: c.found),
            ("remedy", lambda c: "" if c.ok else c.remedy),
        ],
        as_json=as_json,
        empty="",
    )
    missing = [check.name for check in checks if check.required and not check.ok]
    if missing:
        raise TidegaugeError(f"Missing: {', '.join(missing)}.")
    Console(stderr=True).print("Everything that the server needs is there.")


def _programs() -> list[Check]:
    version = sys.version.split()[0]
    checks = [Check("python", version, sys.version_info >= (3, 11), True, "Use Python 3.11 or later.")]
    for name, why in (("git", "to read Code and Datasets from git: apt-get install git"),):
        path = shutil.which(name)
        checks.append(Check(name, path or "", path is not None, False, f"Needed {why}."))
    return checks


def _extras() -> list[Check]:
    extras = (
        ("tensorflow", "train", "the example's training"),
        ("kfp", "train", "pipelines"),
        ("psycopg", "postgres", "PostgreSQL"),
    )
    return [
        Check(
            module,
            f"extra {extra}",
            importlib.util.find_spec(module) is not None,
            False,
            f"Needed for {purpose}: pip install 'tidegauge[{extra}]'",
        )
        for module, extra, purpose in extras
    ]


def _parts(home: Path | None) -> list[Check]:
    try:
        settings = load_settings(home)
    except InvalidInputError as error:
        return [Check("settings", "", False, True, error.message)]
    return [
        Check("settings", str(settings.home), True, True, ""),
        _attempt("home is writable", str(settings.home), lambda: _write(settings)),
        _attempt(
            "database", settings.database.partition("@")[2] or settings.database, lambda: _database(settings)
        ),
        _attempt("object store", settings.store, lambda: _store(settings)),
        Check(
            "port",
            str(settings.port),
            port_is_free(settings.port),
            False,
            "Taken, perhaps by a running server; choose another with --port.",
        ),
    ]


def _attempt(name: str, found: str, action: Any) -> Check:
    try:
        action()
    except (TidegaugeError, OSError) as error:
        return Check(name, found, False, True, str(error))
    return Check(name, found, True, True, "")


def _write(settings: Settings) -> None:
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=settings.home):
        pass


def _database(settings: Settings) -> None:
    from tidegauge.app import open_database

    open_database(settings).close()


def _store(settings: Settings) -> None:
    from tidegauge.storage.objects import ObjectStore

    ObjectStore(settings.store).check()
