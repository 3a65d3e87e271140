"""``tidegauge user`` and ``tidegauge token``."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Annotated

import typer

from tidegauge.cli.options import DatabaseUrl, Home, server_settings
from tidegauge.cli.output import Json, Search, Yes, confirm, connect, print_json, say, show, show_list
from tidegauge.domain.users import AccessToken, Invitation, Role, Scope

users = typer.Typer(help="Users of the cluster, for its operators.", no_args_is_help=True)
tokens = typer.Typer(help="Your tokens; without a command: issue one on the server's machine.")

Name = Annotated[str, typer.Argument(help="Name of the user.")]


@users.command("list")
def list_users(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
    """List the users."""
    show_list(
        connect(context).users.list(q),
        [
            ("name", lambda p: p.user.name),
            ("role", lambda p: p.user.role.value),
            ("disabled", lambda p: p.user.disabled_at),
            ("password", lambda p: p.password),
            ("monitors", lambda p: p.monitors),
            ("tokens", lambda p: p.tokens),
            ("sessions", lambda p: p.sessions),
            ("created", lambda p: p.user.created_at),
        ],
        as_json=as_json,
        empty="No user has that in the name.",
    )


@users.command()
def create(
    context: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option(help="What the user may do.")] = Role.USER,
    as_json: Json = False,
) -> None:
    """Create a user; prints a one-time password, this once, with which they choose their own."""
    client = connect(context)
    _invited(client.url, client.users.create(name, role), as_json=as_json)


@users.command()
def password(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Replace a user's password by a one-time password, printed this once; browsers are signed out."""
    client = connect(context)
    _invited(client.url, client.users.invite(name), as_json=as_json)


@users.command()
def role(
    context: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Argument(help="What the user may do from now on.")],
    as_json: Json = False,
) -> None:
    """Make a user an operator, or an operator a user."""
    show(connect(context).users.change_role(name, role), as_json=as_json)


@users.command()
def disable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Keep a user out: tokens and sessions are refused at once, and what they own stays."""
    show(connect(context).users.disable(name), as_json=as_json)


@users.command()
def enable(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Let a user in again, with the tokens that they had."""
    show(connect(context).users.enable(name), as_json=as_json)


@users.command()
def delete(
    context: typer.Context,
    name: Name,
    heir: Annotated[str, typer.Option(help="User who gets what they own.")] = "",
    yes: Yes = False,
) -> None:
    """Delete a user; refused while they own something and nobody gets it."""
    client = connect(context)
    user = client.users.get(name)
    rest = f"what they own goes to {heir!r}" if heir else "nobody gets what they own"
    confirm(f"This deletes the user {user.name!r} with all tokens and sessions; {rest}.", yes=yes)
    client.users.delete(user.name, heir)
    say(f"The user {user.name!r} is deleted.")


@users.command()
def sessions(
    context: typer.Context,
    name: Name,
    end: Annotated[bool, typer.Option("--end", help="Sign out all of these browsers.")] = False,
    as_json: Json = False,
) -> None:
    """List the browsers that are signed in as a user, or sign them out."""
    client = connect(context)
    if end:
        client.users.end_sessions(name)
        say(f"No browser is signed in as {name!r} any more.")
        return
    show_list(
        client.users.sessions(name),
        [
            ("browser", lambda s: s.agent),
            ("address", lambda s: s.address),
            ("signed in", lambda s: s.created_at),
            ("by", lambda s: s.means.value),
            ("last used", lambda s: s.seen_at),
            ("ends at the latest", lambda s: s.expires_at),
        ],
        as_json=as_json,
        empty=f"No browser is signed in as {name}.",
    )


@tokens.callback(invoke_without_command=True)
def issue(
    context: typer.Context,
    home: Home = None,
    database_url: DatabaseUrl = None,
    user: Annotated[str, typer.Option(help="Whose token.")] = "operator",
    name: Annotated[str, typer.Option(help="What the token is for.")] = "command line",
) -> None:
    """Your tokens; without a command: issue a new one from this machine, for one that was lost."""
    if context.invoked_subcommand is not None:
        return
    from tidegauge.app import open_database, utc_now
    from tidegauge.services.people import OPERATOR, People

    with contextlib.closing(open_database(server_settings(home, database_url=database_url))) as database:
        people = People(database, utc_now)
        first = people.first_start()
        typer.echo(first if first and user == OPERATOR else people.issue_for(user, name))


@tokens.command("create")
def create_token(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[Scope, typer.Option(help="What it is good for.")] = Scope.WRITE,
    deployment: Annotated[str, typer.Option(help="Of the scope ingest: whose events it reports.")] = "",
    days: Annotated[int | None, typer.Option(help="That it is good for; default: until revoked.")] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, this once."""
    made = connect(context).tokens.create(name, scope, deployment=deployment, days=days)
    if as_json:
        print_json(made)
    else:
        typer.echo(made.secret)


@tokens.command("list")
def list_tokens(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
    """List your tokens, without their secrets."""
    show_list(
        connect(context).tokens.list(q),
        [
            ("name", lambda t: t.name),
            ("id", lambda t: t.id),
            ("scope", lambda t: t.scope.value),
            ("deployment", lambda t: t.subject),
            ("created", lambda t: t.created_at),
            ("last used", lambda t: t.used_at),
            ("ends", _end),
        ],
        as_json=as_json,
        empty="You have no such token; make one with: tidegauge token create NAME",
    )


@tokens.command()
def revoke(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="Name or id of the token.")],
    yes: Yes = False,
) -> None:
    """Revoke one of your tokens: whatever uses it is refused from now on."""
    client = connect(context)
    confirm(f"This revokes the token {token!r}.", yes=yes)
    client.tokens.revoke(token)
    say(f"The token {token!r} is revoked.")


def _end(token: AccessToken) -> str | datetime | None:
    return "expired" if token.expired else token.expires_at


def _invited(url: str, invitation: Invitation, *, as_json: bool) -> None:
    if as_json:
        print_json(invitation)
        return
    typer.echo(invitation.password)
    name = invitation.user.name
    say(
        f"This one-time password of {name!r} is shown this once. It is good until "
        f"{invitation.expires_at:%Y-%m-%d %H:%M} UTC, to choose another: {url}/sign-in/password?name={name}"
    )
