"""``tidegauge deployment create --backend kserve``: deployments on Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from tidegauge.cli.output import print_json, say, show
from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.errors import InvalidInputError

if TYPE_CHECKING:
    from tidegauge.client import Client

_PULL_SECONDS = 600.0  # a cluster pulls images first


class Backend(StrEnum):
    """Who serves a new deployment."""

    LOCAL = "local"
    KSERVE = "kserve"


def create(
    client: Client,
    name: str,
    model: str,
    version: int,
    options: Mapping[str, Any],
    *,
    wait: bool,
    as_json: bool,
) -> None:
    """Put a deployment on KServe, and wait for it; or print its manifest alone."""
    placed = client.deployments.create_on_kserve(name, model, version, **options)
    if not options.get("manifest_only"):
        made = placed.deployment
        begins = wait and made.state is DeploymentState.STARTING
        show(client.deployments.wait(made.id, _PULL_SECONDS) if begins else made, as_json=as_json)
        return
    if as_json:
        print_json(placed)
        return
    typer.echo(placed.manifest, nl=False)
    say(
        f"The deployment {name!r} waits for its events. The manifest holds the token of its log, shown this "
        "once; apply it with: kubectl apply -f FILE"
    )


def check_unused(options: Mapping[str, Any]) -> None:
    """Refuse options of KServe for a deployment that is served here."""
    for field, value in options.items():
        raise InvalidInputError.of(
            field, f"{field} is {value!r}, which is for --backend kserve; leave it out."
        )


def what_goes(deployment: Deployment) -> str:
    """Say what goes with a deployment in Kubernetes; empty where nothing does."""
    service = deployment.kserve
    if service is None:
        return ""
    where = f"its InferenceService {service.name!r} in the namespace {service.namespace!r}"
    if service.applied:
        return f" With it goes {where}."
    return f" Delete {where} yourself: it was not applied by this server."
