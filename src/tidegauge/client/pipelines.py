"""Pipeline runs."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tidegauge.client.connection import Connection, wait_for
from tidegauge.client.sharing import Sharing
from tidegauge.domain.pipeline import PipelineRun


class Pipelines(Sharing[PipelineRun]):
    """Pipeline runs."""

    _kind = PipelineRun

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._path = "/api/v1/pipeline-runs"

    def run(
        self,
        *,
        code: str,
        dataset: str,
        model: str,
        deployment: str,
        file: str = "pipeline.py",
        **options: Any,
    ) -> PipelineRun:
        """Start a run; ``options``: code_version, dataset_version, parameters.

        On Kubeflow they are also ``backend="kubeflow"``, ``host`` (the address of its API), ``token``
        (one for it), ``namespace`` (where it has several users) and ``secret_name`` (the Kubernetes
        secret with TIDEGAUGE_URL and TIDEGAUGE_TOKEN for the steps; by default tidegauge).
        """
        body = {
            "code": code,
            "dataset": dataset,
            "model": model,
            "deployment": deployment,
            "file": file,
            **options,
        }
        return self._client.read(PipelineRun, "POST", self._path, body)

    def list(self, q: str = "") -> builtins.list[PipelineRun]:
        return list(self._client.pages(PipelineRun, self._path, q))

    def get(self, run_id: str) -> PipelineRun:
        return self._client.read(PipelineRun, "GET", f"{self._path}/{run_id}")

    def log(self, run_id: str) -> str:
        return self._client.request("GET", f"{self._path}/{run_id}/log").text

    def cancel(self, run_id: str) -> PipelineRun:
        return self._client.read(PipelineRun, "POST", f"{self._path}/{run_id}/cancel")

    def wait(
        self, run_id: str, watch: Callable[[PipelineRun], None] | None = None, timeout: float = 7200.0
    ) -> PipelineRun:
        """Wait until the run has ended; ``watch`` sees it again and again meanwhile."""

        def look() -> PipelineRun:
            run = self.get(run_id)
            if watch:
                watch(run)
            return run

        return wait_for(look, lambda run: run.state.ended, f"The pipeline run {run_id}", timeout)

    def _at(self, name_or_id: str) -> str:
        return f"{self._path}/{quote(name_or_id, safe='')}"
