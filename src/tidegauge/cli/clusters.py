"""``tidegauge cluster``: links to serving clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegauge.cli.output import Json, Yes, confirm, connect, read_secret, say, show, show_list
from tidegauge.errors import InvalidInputError

app = typer.Typer(
    help="Clusters: links from this, a monitoring cluster, to serving ones.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Name or id of the link.")]
_TOKEN = typer.Option(
    help="Token of the scope link, of the serving cluster; - reads it from the standard input.",
    envvar="TIDEGAUGE_LINK_TOKEN",
)


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the links."""
    show_list(
        connect(context).clusters.list(),
        [
            ("name", lambda c: c.name),
            ("url", lambda c: c.url),
            ("state", lambda c: c.state),
            ("user", lambda c: c.user),
            ("version", lambda c: c.version),
            ("deployments", lambda c: c.deployments),
            ("message", lambda c: c.message),
        ],
        as_json=as_json,
        empty="No link yet; make one with: tidegauge cluster add NAME --url URL --token TOKEN",
    )


@app.command("show")
def show_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a link."""
    show(connect(context).clusters.get(name), as_json=as_json)


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new link.")],
    url: Annotated[str, typer.Option(help="URL of the serving cluster, with or without a final slash.")],
    token: Annotated[str, _TOKEN],
    ca: Annotated[
        Path | None, typer.Option(help="File of certificates (PEM) to trust in place of the system's.")
    ] = None,
    fingerprint: Annotated[
        str,
        typer.Option(help="SHA-256 of the only certificate to trust (openssl x509 -fingerprint -sha256)."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Link a serving cluster; it has to answer at once. Operators only."""
    made = connect(context).clusters.add(name, url, _secret(token), ca=_text(ca), fingerprint=fingerprint)
    show(made, as_json=as_json)


@app.command()
def check(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Look now whether a cluster answers and takes the token; exit code 1 where it does not."""
    found = connect(context).clusters.check(name)
    show(found, as_json=as_json)
    if found.state != "reachable":
        raise typer.Exit(1)


@app.command()
def renew(context: typer.Context, name: Name, token: Annotated[str, _TOKEN], as_json: Json = False) -> None:
    """Give a link another token."""
    show(connect(context).clusters.renew(name, _secret(token)), as_json=as_json)


@app.command("deployments")
def deployments_(
    context: typer.Context,
    name: Name,
    namespace: Annotated[str, typer.Option(help="User who has them on the serving cluster.")] = "",
    as_json: Json = False,
) -> None:
    """List what can be imported over a link."""
    show_list(
        connect(context).clusters.deployments(name, namespace),
        [
            ("name", lambda d: d.name),
            ("namespace", lambda d: d.namespace),
            ("state", lambda d: d.state),
            ("model", lambda d: f"{d.model.name} v{d.model.version}" if d.model else ""),
            ("trained on", lambda d: f"{d.training.name} v{d.training.version}" if d.training else ""),
            ("id", lambda d: d.id),
        ],
        as_json=as_json,
        empty="The cluster has no deployment that the link's user may see.",
    )


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Remove a link, over which no deployment comes any more."""
    confirm(f"The link {name!r} goes, and nothing can be imported over it any more.", yes=yes)
    connect(context).clusters.delete(name)
    say(f"Removed the link {name}.")


def _secret(token: str) -> str:
    return token if token != "-" else read_secret("Token")  # noqa: S105 - no secret


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError.of("ca", f"ca is {str(path)!r}, which cannot be read ({error}).") from error
