"""Links to serving clusters: ``/api/v1/clusters``."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from tidegauge.domain.cluster_link import Exported, ShownLink
from tidegauge.domain.secret import Secret
from tidegauge.domain.strict import STRICT
from tidegauge.web.access import CLOSED, Caller, Everything

router = APIRouter(prefix="/api/v1/clusters", tags=["clusters"], dependencies=CLOSED)


@dataclass(frozen=True)
class LinkRequest:
    """A serving cluster to link; see ``Clusters.add`` for the fields."""

    __pydantic_config__ = STRICT
    name: str
    url: str
    token: Secret
    ca: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class NewToken:
    __pydantic_config__ = STRICT
    token: Secret


@router.get("")
def list_clusters(caller: Caller, services: Everything) -> tuple[ShownLink, ...]:  # noqa: ARG001
    """List the links, by name: anybody may choose one to import a deployment over."""
    return services.clusters.page()


@router.post("", status_code=201)
def add_cluster(caller: Caller, services: Everything, body: LinkRequest) -> ShownLink:
    """Link a serving cluster, once it has answered; operators only."""
    return services.clusters.add(
        caller.user, body.name, body.url, body.token, ca=body.ca, fingerprint=body.fingerprint
    )


@router.get("/{cluster}")
def show_cluster(caller: Caller, services: Everything, cluster: str) -> ShownLink:  # noqa: ARG001
    return services.clusters.get(cluster)


@router.post("/{cluster}/check")
def check_cluster(caller: Caller, services: Everything, cluster: str) -> ShownLink:
    """Look now whether it answers and takes the token; operators only."""
    return services.clusters.check(caller.user, cluster)


@router.put("/{cluster}/token")
def renew_token(caller: Caller, services: Everything, cluster: str, body: NewToken) -> ShownLink:
    """Give the link another token, once the cluster has taken it; operators only."""
    return services.clusters.renew(caller.user, cluster, body.token)


@router.delete("/{cluster}", status_code=204)
def delete_cluster(caller: Caller, services: Everything, cluster: str) -> None:
    """Remove a link, over which nothing comes any more; operators only."""
    services.clusters.delete(caller.user, cluster)


@router.get("/{cluster}/deployments")
def find_deployments(
    caller: Caller,  # noqa: ARG001
    services: Everything,
    cluster: str,
    namespace: str = "",
) -> tuple[Exported, ...]:
    """List what can be imported over a link."""
    return services.clusters.found(cluster, namespace)
