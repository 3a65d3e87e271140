"""The command ``tidegauge``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tidegauge import __version__, threads
from tidegauge.cli import (
    catalogue,
    channels,
    clusters,
    deployments,
    ides,
    local,
    monitors,
    people,
    pipelines,
    secrets,
)
from tidegauge.cli.audit import audit
from tidegauge.cli.demo import demo
from tidegauge.cli.doctor import doctor
from tidegauge.cli.output import say
from tidegauge.cli.status import status
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    NotSignedInError,
    TidegaugeError,
    UnavailableError,
)

#: What an exit code means; 1 is "it failed", 130 "interrupted". docs/cli.md lists them.
_EXIT_CODES: Mapping[type[TidegaugeError], int] = {
    InvalidInputError: 2,
    NotFoundError: 3,
    NotSignedInError: 4,
    ForbiddenError: 4,
    ConflictError: 5,
    UnavailableError: 6,
}


class _Group(TyperGroup):
    """Words every error as a sentence on standard error; the exit code says of which kind it was."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except TidegaugeError as error:
            raise typer.Exit(_report(error)) from error
        except BrokenPipeError as error:
            # The reader of our output (head, less) has gone, which is its right; what is still in the
            # buffer must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            say(f"{place}{error.strerror or error}.", "red")
            raise typer.Exit(1) from error
        return result


def _report(error: TidegaugeError) -> int:
    messages = [item.message for item in error.errors]
    if len(messages) < 2 or error.message != " ".join(messages):
        say(error.message, "red")
    if len(messages) > 1:
        for item in error.errors:
            say(item.message if item.field in item.message else f"{item.field}: {item.message}", "red")
    return next((_EXIT_CODES[cls] for cls in type(error).__mro__ if cls in _EXIT_CODES), 1)


app = typer.Typer(
    cls=_Group,
    help="Trains, serves and above all monitors deployed models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    local.up, local.worker, local.collector, demo, local.serve, local.record, doctor, status,
    local.backup, local.restore, local.login, local.logout, audit,
):  # fmt: skip
    app.command()(command)
for kind in RepositoryKind:
    app.add_typer(catalogue.build(kind), name=kind.value)
app.add_typer(pipelines.app, name="pipeline")
app.add_typer(deployments.app, name="deployment")
app.add_typer(ides.app, name="ide")
app.add_typer(monitors.app, name="monitor")
app.add_typer(monitors.alerts, name="alert")
app.add_typer(channels.app, name="channel")
app.add_typer(clusters.app, name="cluster")
app.add_typer(people.users, name="user")
app.add_typer(people.tokens, name="token")
app.add_typer(secrets.app, name="secrets")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tidegauge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    url: Annotated[
        str | None,
        typer.Option(envvar="TIDEGAUGE_URL", help="Address of the server; default: as saved."),
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="TIDEGAUGE_TOKEN", help="Token; default: as saved.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that every command over HTTP reads (see output.connect)."""


def run() -> None:
    """Run a command; whatever goes wrong is one sentence on standard error, never a stack trace."""
    threads.use_one()
    try:
        app()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        say(f"This is a mistake in Tidegauge, please report it with TIDEGAUGE_DEBUG=1: {what}", "red")
        if os.environ.get("TIDEGAUGE_DEBUG"):
            traceback.print_exc()
        sys.exit(1)
