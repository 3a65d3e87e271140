"""``tidegauge deployment import`` and ``look``: what is served by another cluster, or a server not ours."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegauge.cli.output import Json, connect, say, show
from tidegauge.domain.cluster_link import Through
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.served import ServedState
from tidegauge.errors import FieldError, raise_all


def import_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the deployment on the serving cluster.")] = "",
    cluster: Annotated[str, typer.Option(help="Name of the link; see tidegauge cluster list.")] = "",
    namespace: Annotated[str, typer.Option(help="User who has it on the serving cluster.")] = "",
    local_name: Annotated[
        str, typer.Option("--local-name", "--name", help="What it is called here; by default as there.")
    ] = "",
    through: Annotated[
        Through, typer.Option(help="How its log comes: over the link, or as a Dataset of its monitor.")
    ] = Through.LINK,
    wait: Annotated[bool, typer.Option(help="Wait until its model is here.")] = True,
    url: Annotated[
        str, typer.Option(help="In place of a cluster: base of a model server, or a predict URL of it.")
    ] = "",
    model: Annotated[str, typer.Option(help="Which model, of a server at a URL that has several.")] = "",
    classes: Annotated[
        str, typer.Option(help="Names of the answers of a model at a URL, by commas; none: a regression.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Import a deployment of a serving cluster, or by URL one of a server that is not ours."""
    raise_all(_wrong(name, cluster, namespace, url, model, classes))
    if url:
        _by_url(context, url, model, local_name or name, classes, as_json=as_json)
        return
    client = connect(context)
    made = client.deployments.import_(
        name, cluster=cluster, namespace=namespace, local_name=local_name, through=through
    )
    show(client.deployments.wait_for_import(made.id) if wait else made, as_json=as_json)


def _wrong(name: str, cluster: str, namespace: str, url: str, model: str, classes: str) -> list[FieldError]:
    """Say which options do not fit together: a deployment is a linked cluster's, or that of a URL."""
    if not cluster and not url:
        message = "cluster is missing; give --cluster with the name there, or the --url of a model server."
        return [FieldError("cluster", message)]
    if cluster and url:
        return [FieldError("url", "url is given beside cluster; give one of them.")]
    if cluster and not name:
        return [FieldError("name", "name is missing; give that of the deployment on the serving cluster.")]
    of_other = {"namespace": namespace} if url else {"model": model, "classes": classes}
    remedy = "cluster" if url else "url"
    return [
        FieldError(field, f"{field} is {value!r}, which is for --{remedy}; leave it out.")
        for field, value in of_other.items()
        if value
    ]


def _by_url(context: typer.Context, url: str, model: str, name: str, classes: str, *, as_json: bool) -> None:
    named = [one.strip() for one in classes.split(",")] if classes.strip() else []
    deployments = connect(context).deployments
    made = deployments.import_url(url, model=model, name=name, classes=named)
    show(made, as_json=as_json)
    if not as_json:
        _tell(made)
        say(
            f"Send its events to {deployments.events_url(made)} with a token of: "
            f"tidegauge deployment token create {made.name} NAME"
        )


def look(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name or id of the deployment.")],
    as_json: Json = False,
) -> None:
    """Look at the server of an external deployment now: whether its model is ready, and what it takes."""
    found = connect(context).deployments.look_again(name)
    show(found.served if as_json else found, as_json=as_json)
    if not as_json:
        _tell(found)


def _tell(deployment: Deployment) -> None:
    served = deployment.served
    if served and served.message:
        say(served.message, "yellow")
    elif served and served.state is ServedState.READY:
        say(f"{served.model!r} is ready{f' on {served.server}' if served.server else ''}.")
