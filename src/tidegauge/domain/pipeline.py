"""Pipeline runs: preprocess, train, deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from tidegauge.domain.secret import NO_SECRET, Secret
from tidegauge.domain.shown import Shown
from tidegauge.domain.strict import STRICT

_STEPS = ("preprocess", "train", "deploy")  # of a pipeline that deploys what it trains


class PipelineState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (PipelineState.QUEUED, PipelineState.RUNNING)


class PipelineBackend(StrEnum):
    """Where the steps of a run are run."""

    LOCAL = "local"  # on this server's machine
    KUBEFLOW = "kubeflow"


@dataclass(frozen=True)
class PipelineStep:
    name: str
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class PipelineRequest:
    """What to run; versions left out mean the newest that is ready.

    With an empty ``deployment`` the pipeline trains, and deploys nothing. On the backend ``kubeflow`` the
    ``host`` is the address of its API and ``token`` one for it; ``namespace`` is needed where it has
    several users, and ``secret_name`` (by default tidegauge) the Kubernetes secret with TIDEGAUGE_URL and
    TIDEGAUGE_TOKEN.
    """

    __pydantic_config__ = STRICT
    code: str
    dataset: str
    model: str
    deployment: str
    file: str = "pipeline.py"
    code_version: int | None = None
    dataset_version: int | None = None
    parameters: Mapping[str, str | int | float] | None = None
    backend: PipelineBackend = PipelineBackend.LOCAL
    host: str = ""
    namespace: str = ""
    token: Secret = NO_SECRET
    secret_name: str = ""


@dataclass(frozen=True)
class PipelineRun(Shown):
    """One run of a pipeline file of a Code version, with its parameters.

    One on Kubeflow has the address of its API as ``host``, its ``namespace`` there (empty: of a Kubeflow with
    one user), the ``secret_name`` of the Kubernetes secret with which its steps ask this server, a ``token``
    until it has ended, and, once it was sent, the id that it has there.
    """

    shown: ClassVar = ("code", "dataset", "model", "deployment", "state", "progress", "message")

    id: str
    owner: str
    file: str  # path of the pipeline in the Code
    code: str
    code_version: int
    dataset: str
    dataset_version: int
    model: str
    deployment: str
    state: PipelineState
    created_at: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[PipelineStep, ...] = ()
    ended_at: datetime | None = None
    message: str = ""
    shared: bool = False
    backend: PipelineBackend = PipelineBackend.LOCAL
    host: str = ""
    namespace: str = ""
    secret_name: str = ""
    token: Secret = NO_SECRET
    remote_id: str = ""

    @property
    def remote_url(self) -> str:
        """Page of a run in Kubeflow's own pages; empty where it has none."""
        return f"{self.host}/#/runs/details/{self.remote_id}" if self.remote_id else ""

    @property
    def took(self) -> timedelta | None:
        """How long it took from its beginning to its end; None while it is under way."""
        return self.ended_at - self.created_at if self.ended_at else None

    @property
    def planned(self) -> tuple[PipelineStep, ...]:
        """The steps that have begun, and after them those that are yet to come, as far as is known."""
        usual = _STEPS if self.deployment else _STEPS[:-1]
        begun = {step.name for step in self.steps}
        if not begun <= set(usual):
            return self.steps  # a pipeline of its own steps
        left = () if self.state.ended else [name for name in usual if name not in begun]
        return (*self.steps, *(PipelineStep(name, "waiting") for name in left))

    @property
    def progress(self) -> str:
        """Where it stands, in words.

        >>> steps = (PipelineStep("preprocess", "succeeded"), PipelineStep("train", "running"))
        >>> running = PipelineState.RUNNING
        >>> PipelineRun("1", "me", "p.py", "c", 1, "d", 1, "m", "x", running, None, {}, steps).progress
        'step 2 of 3: train'
        """
        if not self.steps:
            return ""
        last = self.steps[-1]
        if last.state == PipelineState.SUCCEEDED and self.state.ended:
            return f"all {len(self.steps)} steps" if len(self.steps) > 1 else last.name
        return f"step {len(self.steps)} of {len(self.planned)}: {last.name}"
