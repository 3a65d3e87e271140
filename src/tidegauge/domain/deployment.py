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
    """A served model. ``wanted`` is what its owner asked for; ``state`` is what is so."""

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

    @property
    def livedata(self) -> str:
        """Prefix in the store below which label files are dropped."""
        return f"{self.id}/livedata"
