"""The commands of this machine: servers, their backups, tokens and sign-ins."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegauge.cli.options import (
    DatabaseUrl,
    Home,
    Host,
    Port,
    Role,
    StoreUrl,
    TlsCertificate,
    TlsKey,
    Workers,
    server_settings,
)
from tidegauge.cli.output import Json, progress_bar, read_secret, say, show
from tidegauge.errors import ForbiddenError, NotFoundError
from tidegauge.settings import ClusterRole, Settings

if TYPE_CHECKING:
    from tidegauge.storage.database import Database
    from tidegauge.storage.objects import ObjectStore


def up(
    home: Home = None,
    host: Host = None,
    port: Port = None,
    database_url: DatabaseUrl = None,
    store_url: StoreUrl = None,
    workers: Workers = None,
    role: Role = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
) -> None:
    """Run the server: API, collector, worker and pages."""
    settings = server_settings(
        home, host, port, database_url, store_url, workers, role, tls_certificate, tls_key
    )

    from tidegauge.app import serve
    from tidegauge.services.bundle import Services

    def announce(services: Services) -> None:
        typer.echo(f"Tidegauge is at {settings.address}")
        token = services.people.first_start()
        if token:
            typer.echo(f"Operator token (shown once): {token}")
            typer.echo(f"Sign in with it in the browser, or: tidegauge login --url {settings.address}")
        status = services.cluster.status()
        if status.role is not ClusterRole.BOTH:
            say(f"The role of this cluster is {status.role}.")
        for sentence in status.resting:
            say(sentence, "yellow")
        if not settings.is_private and not settings.tls_certificate:
            say(
                f"{settings.host} can be reached from other machines and nothing is encrypted; give a "
                "certificate with --tls-certificate and --tls-key, or put a proxy with TLS in front.",
                "yellow",
            )
        sys.stdout.flush()

    serve(settings, announce)


def worker(
    home: Home = None,
    database_url: DatabaseUrl = None,
    store_url: StoreUrl = None,
    workers: Workers = None,
) -> None:
    """Look at windows beside a server: as many as wanted, on any machine that has its database and store."""
    settings = server_settings(home, database_url=database_url, store_url=store_url, workers=workers or None)

    from tidegauge.app import run_worker

    run_worker(
        settings,
        lambda: typer.echo(f"Looking at windows of {settings.home} with {settings.workers} threads."),
    )


def collector(
    home: Home = None,
    host: Host = None,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 32223,
    database_url: DatabaseUrl = None,
    store_url: StoreUrl = None,
    fleet: Annotated[
        bool, typer.Option(help="Acknowledge when events are in the store, not on this disk.")
    ] = False,
) -> None:
    """Take events beside a server: as many as wanted, on any machine that has its database and store."""
    settings = server_settings(home, host, port, database_url, store_url)

    from tidegauge.collecting import run

    safe = f"in {settings.store}" if fleet else f"on the disk of {settings.home}"
    run(
        settings,
        lambda: typer.echo(f"Collecting at {settings.address}; events are acknowledged when safe {safe}."),
        fleet=fleet,
    )


_SAMPLING = typer.Option(help="Share of the requests that is logged, 0.1 for 1 in 10; failed ones all are.")


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
    sampling: Annotated[float, _SAMPLING] = 1.0,
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
            sampling=sampling,
        )
    )


def record(
    upstream: Annotated[str, typer.Option(help="Address of the model server.")],
    log_url: Annotated[
        str, typer.Option(help="Collector: URL/v1/deployments/ID/events; token: TIDEGAUGE_LOG_TOKEN.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8081,
    name: Annotated[str, typer.Option(help="Name of the model in the log.")] = "recorded",
    version: Annotated[str, typer.Option(help="Version of the model in the log.")] = "1",
    predictions: Annotated[
        str | None, typer.Option(help="Regular expression of the paths to log; default: the usual ones.")
    ] = None,
    sampling: Annotated[float, _SAMPLING] = 1.0,
) -> None:
    """Stand before a model server that cannot log: pass everything on, and log what is inferred."""
    from tidegauge.serving.options import log_token_from_environment
    from tidegauge.serving.recorder import PREDICTIONS, RecordOptions
    from tidegauge.serving.server import record as run_recorder

    options = RecordOptions(
        upstream,
        log_url,
        log_token_from_environment(),
        name,
        version,
        predictions=PREDICTIONS if predictions is None else predictions,
        sampling=sampling,
    )
    run_recorder(
        options,
        host,
        port,
        lambda opened: typer.echo(f"Recording {upstream} at http://{host}:{opened}"),
    )


def backup(
    file: Annotated[Path, typer.Argument(help="Where to; a .tar that is not there yet.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    store_url: StoreUrl = None,
    with_key: Annotated[
        bool, typer.Option(help="Take the key of its secrets along, too; guard the file like the server.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy everything that a server has into one file, while it runs; without the key of its secrets."""
    from tidegauge.app import utc_now
    from tidegauge.services.backups import back_up

    settings = server_settings(home, database_url=database_url, store_url=store_url)
    if not settings.database_url and not (settings.home / "tidegauge.sqlite").is_file():
        raise NotFoundError(f"{settings.home} has no database; name the server's home with --home.")
    with _parts(settings) as parts, progress_bar("Backing up") as tell:
        manifest = back_up(*parts, file.absolute(), utc_now(), tell, with_key=with_key)
    show({"file": str(file), "bytes": file.stat().st_size, **manifest.summary()}, as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="What `tidegauge backup` wrote.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    store_url: StoreUrl = None,
    as_json: Json = False,
) -> None:
    """Bring a backup into an empty home (or database and store); start the server on it afterwards."""
    from tidegauge.services.backups import restore as restore_from

    settings = server_settings(home, database_url=database_url, store_url=store_url)
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _parts(settings) as parts, progress_bar("Restoring") as tell:
        manifest = restore_from(*parts, file.absolute(), tell)
        database = parts[0]
        if missing := database.vault.lacking():
            say(database.keys.lacking(missing), "yellow")
    show({"home": str(settings.home), **manifest.summary()}, as_json=as_json)


@contextlib.contextmanager
def _parts(settings: Settings) -> Iterator[tuple[Database, ObjectStore, Path]]:
    """Open what a backup is of: the database, the store, and the folder of the collector's segments."""
    from tidegauge.storage.database import Database
    from tidegauge.storage.objects import ObjectStore

    with contextlib.closing(Database(settings.database, settings.key_file)) as database:
        yield database, ObjectStore(settings.store), settings.home.absolute() / "collector"


def login(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="Address of the server.")] = None,
    token: Annotated[str | None, typer.Option(help="Token; asked for when left out.")] = None,
    user: Annotated[
        str | None, typer.Option(help="Your name, to make a token by your password, which is asked for.")
    ] = None,
) -> None:
    """Check an address and a token and keep them for later commands."""
    from tidegauge.client import Client, credentials_file

    given = context.find_root().params
    url = url or given["url"] or typer.prompt("Address of the server", "http://127.0.0.1:32222", err=True)
    if user is not None:
        token = _token_of(url, user)
    token = token or given["token"] or typer.prompt("Token", hide_input=True, err=True)
    with Client(url, token) as client:
        found = client.me()
    path = credentials_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written beside and moved into place: nobody can read it in between, whatever mode an old file has.
    beside = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"url = {json.dumps(client.url)}\ntoken = {json.dumps(client.token)}\n")
    beside.replace(path)
    say(f"Signed in at {client.url} as {found.name}; kept in {path}.")


def _token_of(url: str, name: str) -> str:
    """Make a token by a password, which is asked for; one that is good once is replaced first."""
    from tidegauge.client import Client

    password = read_secret("Password")
    machine = f"login at {socket.gethostname()}"[:100]
    with Client(url, "none") as client:
        try:
            return client.sign_in(name, password, token_name=machine).secret
        except ForbiddenError as error:
            if not sys.stdin.isatty() or "good once" not in error.message:
                raise
        say("This password is good once. Choose your own, of 12 characters or more.")
        chosen = str(typer.prompt("New password", hide_input=True, confirmation_prompt=True, err=True))
        return client.sign_in(name, password, chosen=chosen, token_name=machine).secret


def logout() -> None:
    """Forget the address and the token."""
    from tidegauge.client import credentials_file

    credentials_file().unlink(missing_ok=True)
    say("Signed out. The token itself stays valid.")
