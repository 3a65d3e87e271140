"""Pipeline runs: preprocess, train, deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class PipelineState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (PipelineState.QUEUED, PipelineState.RUNNING)


@dataclass(frozen=True)
class PipelineStep:
    name: str
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class PipelineRun:
    """One run of a pipeline file of a Code version, with its parameters."""

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
