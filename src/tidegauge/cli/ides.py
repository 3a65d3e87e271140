"""``tidegauge ide``: JupyterLabs that the server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidegauge.cli.output import Json, Search, Yes, confirm, connect, print_log, say, show, show_list
from tidegauge.domain.ide import FRAMEWORK_VERSION, Framework, Ide

if TYPE_CHECKING:
    from tidegauge.client.ides import Ides  # its imports would slow down --help

app = typer.Typer(help="IDEs: JupyterLabs that the server runs, with a Code.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name or id of the IDE.")]
Wait = Annotated[bool, typer.Option(help="Wait until it runs; exit 1 if it fails.")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new IDE.")],
    code: Annotated[str, typer.Option(help="Code whose newest version is put into workspace/CODE.")],
    framework: Annotated[
        Framework, typer.Option(help="What notebooks compute with; kernels have what the server has.")
    ] = Framework.TENSORFLOW,
    framework_version: Annotated[str, typer.Option(help="Such as 2.21.")] = FRAMEWORK_VERSION,
    image: Annotated[str, typer.Option(help="A container image, for machines with Docker.")] = "",
    wait: Wait = True,
    as_json: Json = False,
) -> None:
    """Make a JupyterLab with a Code, and start it; its address opens it in a browser."""
    ides = connect(context).ides
    made = ides.create(name, code, framework=framework, framework_version=framework_version, image=image)
    _tell(ides, made, wait=wait, as_json=as_json)


@app.command("list")
def list_(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
    """List your IDEs; an operator sees everybody's."""
    ides = connect(context).ides
    show_list(
        ides.list(q),
        [
            ("name", lambda i: i.name),
            ("owner", lambda i: i.owner),
            ("code", lambda i: f"{i.code} v{i.code_version}"),
            ("state", lambda i: i.state),
            ("used", lambda i: i.used_at),
            ("address", ides.url),
            ("message", lambda i: i.message),
        ],
        as_json=as_json,
        empty="There is no IDE yet; make one with: tidegauge ide create NAME --code CODE",
    )


@app.command("show")
def show_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show an IDE."""
    show(connect(context).ides.get(name), as_json=as_json)


@app.command()
def start(context: typer.Context, name: Name, wait: Wait = True, as_json: Json = False) -> None:
    """Start an IDE that is stopped, with the files that it has."""
    ides = connect(context).ides
    _tell(ides, ides.start(name), wait=wait, as_json=as_json)


@app.command()
def stop(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Stop an IDE with its kernels; its files stay. Operators may stop anybody's, by its id."""
    show(connect(context).ides.stop(name), as_json=as_json)


@app.command()
def log(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Print the end of what an IDE has written."""
    print_log(connect(context).ides.log(name), as_json=as_json)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete an IDE with the files of its workspace."""
    confirm(f"The IDE {name!r} ends, and the files of its workspace are deleted.", yes=yes)
    connect(context).ides.delete(name)
    say(f"Deleted the IDE {name}.")


def _tell(ides: Ides, ide: Ide, *, wait: bool, as_json: bool) -> None:
    ide = ides.wait(ide.id) if wait else ide
    show(ide, as_json=as_json)
    say(f"Open it at {ides.url(ide)}")
