"""Deployments: served models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeploymentState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Origin(StrEnum):
    LOCAL = "local"
    IMPORTED = "imported"
    EXTERNAL = "external"


@dataclass(frozen=True)
class Deployment:
    """A served model. ``wanted`` is what its owner asked for; ``state`` is what is so.

    ``service`` and ``namespace`` are the names under which KServe's logger reports an external one,
    ``classes`` those of its answers where no model of ours says so, ``predict_url`` where others serve it.
    ``sampling`` is the share of its requests that is logged. ``keep_days`` and ``keep_bytes`` bound its log;
    None: all is kept.
    """

    id: str
    name: str
    owner: str
    model_id: str
    model_name: str
    model_version: int
    logging: bool
    origin: Origin
    wanted: DeploymentState  # running or stopped
    state: DeploymentState
    created_at: datetime
    predict_path: str  # of the predict URL, below the server's own address
    port: int = 0
    restarts: int = 0
    message: str = ""
    service: str = ""
    namespace: str = ""
    classes: tuple[str, ...] = ()
    predict_url: str = ""
    sampling: float = 1.0
    keep_days: int | None = None
    keep_bytes: int | None = None

    @property
    def livedata(self) -> str:
        """Prefix in the store below which label files are dropped."""
        return f"{self.id}/livedata"
