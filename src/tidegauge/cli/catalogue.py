"""``tidegauge code|dataset|model``: repositories and their versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tidegauge.cli import sharing
from tidegauge.cli.output import (
    Json,
    Search,
    Yes,
    confirm,
    connect,
    print_json,
    progress_bar,
    say,
    secret_of,
    show,
    show_list,
)
from tidegauge.cli.sharing import WHOSE
from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.content import ContentForm

if TYPE_CHECKING:
    from tidegauge.client import Client, Repositories

Name = Annotated[str, typer.Argument(help="Name of the repository.")]
Number = Annotated[int, typer.Argument(help="Number of the version, 1 for v1.")]


def build(kind: RepositoryKind) -> typer.Typer:
    """Build the commands of one kind of repository."""
    app = typer.Typer(
        help=f"{kind.value.capitalize()} repositories and their versions.", no_args_is_help=True
    )

    def of(client: Client) -> Repositories:
        return {
            RepositoryKind.CODE: client.code,
            RepositoryKind.DATASET: client.datasets,
            RepositoryKind.MODEL: client.models,
        }[kind]

    @app.command("list")
    def list_(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
        """List the repositories."""
        show_list(
            of(connect(context)).list(q),
            [
                ("name", lambda r: r.name),
                ("source", lambda r: f"{r.source.type.value} {r.source.url}".strip()),
                ("form", lambda r: r.form),
                ("created", lambda r: r.created_at),
                *WHOSE,
            ],
            as_json=as_json,
            empty=f"There is no {kind.value} yet; make one with: tidegauge {kind.value} create NAME",
        )

    @app.command()
    def create(
        context: typer.Context,
        name: Name,
        git: Annotated[str, typer.Option(help="Git URL to read versions from.")] = "",
        branch: Annotated[str, typer.Option(help="Branch of the git repository.")] = "",
        sub_path: Annotated[str, typer.Option(help="Folder within the source.")] = "",
        folder: Annotated[
            str, typer.Option(help="Folder on the server's machine, or s3://bucket/prefix.")
        ] = "",
        endpoint: Annotated[str, typer.Option(help="URL of the S3 server that has the bucket.")] = "",
        region: Annotated[str, typer.Option(help="Region of the bucket.")] = "",
        access_key: Annotated[
            str, typer.Option(help="Access key of the bucket; its secret key is asked for.")
        ] = "",
        secret_key_file: Annotated[
            str, typer.Option(help="File with the secret key of the bucket; not asked for then.")
        ] = "",
        form: Annotated[
            ContentForm | None, typer.Option(help="Form of the files; default: recognised.")
        ] = None,
        as_json: Json = False,
    ) -> None:
        """Create a repository from git, a server's folder, or (neither) for uploads."""
        secret_key = ""
        if access_key or secret_key_file:
            secret_key = secret_of(secret_key_file or "-", "Secret key")
        made = of(connect(context)).create(
            name,
            git=git,
            branch=branch,
            sub_path=sub_path,
            folder=folder,
            form=form,
            endpoint=endpoint,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
        )
        show(made, as_json=as_json)

    @app.command("show")
    def show_(context: typer.Context, name: Name, as_json: Json = False) -> None:
        """Show a repository and its versions."""
        repositories = of(connect(context))
        repository, versions = repositories.get(name), repositories.versions(name)
        if as_json:
            print_json({"repository": repository, "versions": versions})
            return
        show(repository, as_json=False)
        show_list(
            versions,
            [
                ("version", lambda v: v.label),
                ("state", lambda v: v.state),
                ("files", lambda v: v.files),
                ("bytes", lambda v: v.bytes),
                ("classes", lambda v: ", ".join(v.classes)),
                ("problems", lambda v: len(v.problems)),
                ("created", lambda v: v.created_at),
                ("error", lambda v: v.error),
            ],
            as_json=False,
            empty=f"It has no version yet; add one with: tidegauge {kind.value} add-version {name}",
        )

    @app.command("add-version")
    def add_version(
        context: typer.Context,
        name: Name,
        source: Annotated[Path | None, typer.Argument(help="Folder or archive to upload.")] = None,
        as_json: Json = False,
    ) -> None:
        """Import a new version from the source, or upload one, and wait for it."""
        with progress_bar(f"{name}") as report:
            version = of(connect(context)).add_version(name, source, progress=report)
        show(version, as_json=as_json)
        if version.problems:
            say(f"{len(version.problems)} problems: what they name was left out.", "yellow")

    @app.command()
    def download(
        context: typer.Context,
        name: Name,
        number: Number,
        folder: Annotated[Path, typer.Argument(help="Where to write the files.")],
    ) -> None:
        """Write the files of a version into a folder."""
        with progress_bar(f"{name} v{number}") as report:
            of(connect(context)).download(name, number, folder, report)
        say(f"The files are in {folder}.")

    @app.command()
    def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
        """Delete a repository with all its versions."""
        repositories = of(connect(context))
        count = len(repositories.versions(name))
        confirm(f"This deletes the {kind.value} {name!r} with its {count} versions.", yes=yes)
        repositories.delete(name)
        say(f"The {kind.value} {name!r} is deleted.")

    sharing.add(app, kind.value, of)
    return app
