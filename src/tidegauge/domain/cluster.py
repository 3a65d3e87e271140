"""The parts of a cluster, the roles that leave some out, and the one table of what belongs to which part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tidegauge.errors import ConflictError
from tidegauge.settings import ClusterRole


class Part(StrEnum):
    """What a cluster may be without."""

    SERVING = "serving"  # model servers, what they are asked, and the playground
    TRAINING = "training"  # pipeline runs, and the retrainings that are some
    IDE = "ide"
    MONITORING = "monitoring"  # monitors, their schedule and workers, alerts and channels


ALL_PARTS = frozenset(Part)

PARTS: Mapping[ClusterRole, frozenset[Part]] = {
    ClusterRole.BOTH: ALL_PARTS,
    ClusterRole.SERVING: ALL_PARTS - {Part.MONITORING},
    ClusterRole.MONITORING: frozenset({Part.MONITORING}),
}

_ONLY: Mapping[ClusterRole, str] = {
    ClusterRole.SERVING: "This cluster only serves",
    ClusterRole.MONITORING: "This cluster only monitors",
}
_REMEDY: Mapping[Part, str] = {
    Part.SERVING: "deploy on the serving cluster",
    Part.TRAINING: "train on the serving cluster",
    Part.IDE: "open the IDE of the serving cluster",
    Part.MONITORING: "monitor on the monitoring cluster",
}


@dataclass(frozen=True)
class ClusterStatus:
    """What a cluster is there for: its ``parts``, and sentences on what rests for want of others."""

    version: str
    role: ClusterRole
    parts: tuple[Part, ...]
    resting: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """What lies below ``path`` (``*``: any one segment) needs these parts; the first that fits counts."""

    path: str
    parts: frozenset[Part]
    remedy: str = ""  # where it is not that of the part

    def holds(self, path: str) -> bool:
        """Tell whether a path lies here.

        >>> Place("/deployments/*/monitor", ALL_PARTS).holds("/deployments/chest/monitor/new")
        True
        """
        own, given = _segments(self.path), _segments(path)
        fits = all(mine in ("*", one) for mine, one in zip(own, given, strict=False))
        return fits and len(given) >= len(own)


def _place(path: str, *parts: Part, remedy: str = "") -> Place:
    return Place(path, frozenset(parts), remedy)


#: Menu entries, buttons, pages and routes of the API: what is not below one of these every cluster has.
PLACES: tuple[Place, ...] = (
    _place("/serve", Part.SERVING, remedy="ask the serving cluster for predictions"),
    _place("/deployments/new", Part.SERVING),
    _place("/deployments/kserve", Part.SERVING),
    _place("/api/v1/deployments/kserve", Part.SERVING),
    _place("/deployments/*/playground", Part.SERVING, remedy="open the playground of the serving cluster"),
    _place("/deployments/*/version", Part.SERVING),
    _place("/deployments/*/start", Part.SERVING),
    _place("/deployments/*/stop", Part.SERVING),
    _place("/deployments/import", Part.MONITORING, remedy="import on the monitoring cluster"),
    _place("/api/v1/deployments/import", Part.MONITORING, remedy="import on the monitoring cluster"),
    _place("/clusters/links", Part.MONITORING, remedy="link clusters on the monitoring cluster"),
    _place("/api/v1/clusters", Part.MONITORING, remedy="link clusters on the monitoring cluster"),
    _place("/api/v1/link", Part.SERVING, remedy="link the serving cluster"),
    _place("/ide", Part.IDE),
    _place("/jupyter", Part.IDE),
    _place("/api/v1/ides", Part.IDE),
    _place("/pipeline-runs", Part.TRAINING),
    _place("/api/v1/pipeline-runs", Part.TRAINING),
    _place("/monitors/*/retraining", Part.MONITORING, Part.TRAINING),
    _place("/monitors/*/retrainings", Part.MONITORING, Part.TRAINING),
    _place("/api/v1/monitors/*/retrainings", Part.MONITORING, Part.TRAINING),
    _place("/monitors", Part.MONITORING),
    _place("/api/v1/monitors", Part.MONITORING),
    _place("/deployments/*/monitor", Part.MONITORING),
    _place("/settings/notifications", Part.MONITORING),
    _place("/api/v1/channels", Part.MONITORING),
    _place("/tour", Part.MONITORING),
    _place("/example", *Part, remedy="create the example on a cluster that has both roles"),
)


def absence(role: ClusterRole, path: str) -> str:
    """Say why a cluster of this role does not have what lies at ``path``; empty where it has it.

    >>> absence(ClusterRole.MONITORING, "/ide")
    'This cluster only monitors; open the IDE of the serving cluster.'
    >>> absence(ClusterRole.SERVING, "/ide")
    ''
    """
    place = next((place for place in PLACES if place.holds(path)), None)
    missing = _missing(role, place.parts) if place else []
    if place is None or not missing:
        return ""
    return f"{_ONLY[role]}; {place.remedy or _REMEDY[missing[0]]}."


def lacks(role: ClusterRole, part: Part) -> str:
    """Say why a cluster of this role does not do what this part is for; empty where it does."""
    return f"{_ONLY[role]}; {_REMEDY[part]}." if _missing(role, {part}) else ""


def check(role: ClusterRole, part: Part) -> None:
    """Raise ConflictError where a cluster of this role is without this part."""
    if sentence := lacks(role, part):
        raise ConflictError(sentence)


def _missing(role: ClusterRole, parts: frozenset[Part] | set[Part]) -> list[Part]:
    return [part for part in Part if part in parts and part not in PARTS[role]]


def _segments(path: str) -> list[str]:
    return path.partition("?")[0].strip("/").split("/")
