"""What can be shared, by the word in its addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegauge.domain.catalogue import Repository, RepositoryKind
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.pipeline import PipelineRun
from tidegauge.domain.users import Principal
from tidegauge.services.bundle import Services

Shareable = Repository | Deployment | Monitor | PipelineRun


@dataclass(frozen=True)
class Shared:
    """A noun that can be shared: its word, and its class."""

    noun: str
    kind: type[Shareable]


SHARED: Mapping[str, Shared] = {
    **{kind.plural: Shared(kind.value, Repository) for kind in RepositoryKind},
    "deployments": Shared("deployment", Deployment),
    "monitors": Shared("monitor", Monitor),
    "pipeline-runs": Shared("pipeline run", PipelineRun),
}
_REPOSITORIES = {kind.plural: kind for kind in RepositoryKind}


def share(services: Services, caller: Principal, plural: str, key: str, *, shared: bool) -> Shareable:
    """Let everybody read something of the caller's, or nobody else; raises as the noun's ``get``."""
    if plural in _REPOSITORIES:
        repository = services.catalogue.get(_REPOSITORIES[plural], caller, key)
        return services.catalogue.share(repository, shared=shared)
    if plural == "deployments":
        return services.deployments.share(services.deployments.get(caller, key), shared=shared)
    if plural == "monitors":
        return services.monitors.share(services.monitors.get(caller, key), shared=shared)
    return services.pipelines.share(services.pipelines.get(caller, key), shared=shared)
