"""``tidegauge channel``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from tidegauge.cli.output import (
    Json,
    Search,
    Yes,
    confirm,
    connect,
    print_json,
    say,
    secret_of,
    show,
    show_list,
)
from tidegauge.domain.channel import ChannelKind, DeliveryState

app = typer.Typer(help="Channels, where alerts are told.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name or id of the channel.")]
Url = Annotated[str | None, typer.Option(help="Of a webhook, or of an Alertmanager.")]
Host = Annotated[str | None, typer.Option(help="Mail server.")]
Port = Annotated[int | None, typer.Option(help="Of the mail server; default: as usual for --security.")]
Security = Annotated[str | None, typer.Option(help="Of mail: starttls (the default), tls or none.")]
User = Annotated[str | None, typer.Option(help="Who signs in to the mail server or Alertmanager.")]
From = Annotated[str | None, typer.Option("--from", help="Mail address that alerts come from.")]
To = Annotated[str | None, typer.Option("--to", help="Mail addresses that they go to, with commas.")]
SecretFile = Annotated[
    str | None,
    typer.Option(
        help="File with the secret, or - to read or ask for it: the password (mail), the signing key "
        "(webhook), the URL (Slack), the password or bearer token (Alertmanager)."
    ),
]


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the channel.")],
    kind: Annotated[ChannelKind, typer.Argument(help="What it is.")],
    url: Url = None,
    host: Host = None,
    port: Port = None,
    security: Security = None,
    user: User = None,
    from_: From = None,
    to: To = None,
    secret_file: SecretFile = None,
    as_json: Json = False,
) -> None:
    """Add a channel; try it with: tidegauge channel test NAME."""
    settings = _given(url=url, host=host, port=port, security=security, user=user, **{"from": from_}, to=to)
    secret = secret_of(secret_file) if secret_file else ""
    show(connect(context).channels.create(name, kind.value, settings, secret), as_json=as_json)


@app.command()
def change(
    context: typer.Context,
    name: Name,
    url: Url = None,
    host: Host = None,
    port: Port = None,
    security: Security = None,
    user: User = None,
    from_: From = None,
    to: To = None,
    secret_file: SecretFile = None,
    as_json: Json = False,
) -> None:
    """Change a channel and try at once what waits; what is not given stays as it is."""
    settings = _given(url=url, host=host, port=port, security=security, user=user, **{"from": from_}, to=to)
    secret = secret_of(secret_file) if secret_file else None
    show(connect(context).channels.change(name, settings, secret), as_json=as_json)


@app.command("list")
def list_(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
    """List the channels."""
    show_list(
        connect(context).channels.list(q),
        [
            ("name", lambda c: c.name),
            ("id", lambda c: c.id),
            ("kind", lambda c: c.kind.value),
            ("to", lambda c: c.settings.get("url") or c.settings.get("to") or c.secret),
            ("failing since", lambda c: c.failing_since),
            ("message", lambda c: c.message),
        ],
        as_json=as_json,
        empty="There is no channel yet; make one with: tidegauge channel add NAME webhook --url URL",
    )


@app.command("show")
def show_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a channel, its deliveries by state and the alerts that use it."""
    detail = connect(context).channels.detail(name)
    if as_json:
        print_json(detail)
        return
    show({**detail["channel"], "deliveries": detail["deliveries"], "alerts": detail["alerts"]}, as_json=False)


@app.command("test")
def try_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Send a test now."""
    delivery = connect(context).channels.test(name)
    if as_json:
        print_json(delivery)
    else:
        say(f"The test has got through ({delivery.id}).")


@app.command()
def deliveries(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List what was told, and what waits, newest first."""
    show_list(
        connect(context).channels.deliveries(name),
        [
            ("made", lambda d: d.created_at),
            ("id", lambda d: d.id),
            ("state", lambda d: d.state),
            ("told", lambda d: d.message.title),
            ("tries", lambda d: d.tries),
            ("sent", lambda d: d.sent_at),
            ("next try", lambda d: d.due_at if d.state is DeliveryState.WAITING else None),
            ("error", lambda d: d.error or d.details.get("refused", "")),
        ],
        as_json=as_json,
        empty=f"Nothing was told yet; try the channel with: tidegauge channel test {name}",
    )


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a channel with the record of its deliveries."""
    channels = connect(context).channels
    detail = channels.detail(name)
    counts: Mapping[str, int] = detail["deliveries"]
    unsent = counts["waiting"] + counts["sending"]
    found = detail["channel"]["name"]
    confirm(
        f"This deletes the channel {found!r} with {unsent} messages that are not sent yet and the record of "
        f"{sum(counts.values()) - unsent} others.",
        yes=yes,
    )
    channels.delete(detail["channel"]["id"])
    say(f"The channel {found!r} is deleted.")


def _given(**options: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in options.items() if value is not None}
