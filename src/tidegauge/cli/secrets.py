"""``tidegauge secrets``: the key that seals secrets in the database, of a home on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from tidegauge.cli.options import DatabaseUrl, Home, server_settings
from tidegauge.cli.output import Json, Yes, confirm, show

if TYPE_CHECKING:
    from tidegauge.storage.database import Database

app = typer.Typer(help="The key that seals secrets in the database.", no_args_is_help=True)


@app.command()
def rotate(home: Home = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """Seal every secret with a new key; the server may run, and a break leaves everything readable."""
    with _database(home, database_url) as database:
        database.vault.start()
        count = database.vault.renew()
        database.forget()
        show({"sealed": count, "key": database.keys.ids[0], "file": str(database.keys.path)}, as_json=as_json)


@app.command()
def forget(
    home: Home = None, database_url: DatabaseUrl = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Give up the secrets that no key opens, where their key is lost; they have to be given anew."""
    with _database(home, database_url) as database:
        missing = database.vault.lacking()
        if missing:
            confirm(f"Secrets that are sealed with {', '.join(missing)} will be emptied.", yes=yes)
        show({"forgotten": database.vault.give_up(), "keys": missing}, as_json=as_json)


@contextlib.contextmanager
def _database(home: Home, database_url: DatabaseUrl) -> Iterator[Database]:
    from tidegauge.errors import NotFoundError
    from tidegauge.storage.database import Database

    settings = server_settings(home, database_url=database_url)
    if not settings.database_url and not (settings.home / "tidegauge.sqlite").is_file():
        raise NotFoundError(f"{settings.home} has no database; name the server's home with --home.")
    with contextlib.closing(Database(settings.database, settings.key_file)) as database:
        database.migrate()
        yield database
