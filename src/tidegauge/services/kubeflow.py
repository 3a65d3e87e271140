"""Pipeline runs on Kubeflow: what they ask for, how they are sent, and the mirror of how they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tidegauge.domain.pipeline import PipelineBackend, PipelineRequest, PipelineRun, PipelineState
from tidegauge.errors import FieldError, InvalidInputError, NotFoundError, TidegaugeError
from tidegauge.links.addresses import split
from tidegauge.links.kubeflow import Compiled, Kubeflow
from tidegauge.services.gates import Gates
from tidegauge.services.rounds import Rounds
from tidegauge.storage.database import Database

_MIRROR_SECONDS = 5.0
_KUBERNETES_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class KubeflowRuns:
    """Sends runs to Kubeflow, and copies from time to time how they are."""

    def __init__(
        self,
        database: Database,
        gates: Gates,
        log_file: Callable[[str], Path],
        end: Callable[[str, PipelineState, str], None],
    ) -> None:
        """``log_file`` is that of a run, and ``end`` writes down how one has ended."""
        self._database = database
        self._gates = gates
        self._log_file = log_file
        self._end = end
        self._known: dict[str, tuple[str, ...]] = {}  # steps of runs that this process has sent
        failure = "runs on Kubeflow could not be looked at for a moment"
        self._rounds = Rounds("kubeflow", _MIRROR_SECONDS, self.mirror, failure)

    def start(self) -> None:
        self._rounds.start()

    def close(self) -> None:
        """Let the look that is under way end; the runs go on."""
        self._rounds.close()

    def submit(self, run: PipelineRun, compiled: Compiled) -> None:
        """Send a compiled pipeline; the mirror follows it from then on."""
        with self._kubeflow(run) as kubeflow:
            remote_id = kubeflow.submit(run, compiled)
        self._known[run.id] = compiled.tasks
        self._database.pipeline_runs.update(run.id, None, remote_id=remote_id)
        sent = replace(run, remote_id=remote_id)
        self._tell(run, f"Sent to Kubeflow: {sent.remote_url}")
        if self._database.pipeline_runs.get(run.id).state is PipelineState.CANCELLED:  # while it was sent
            self.terminate(sent)

    def terminate(self, run: PipelineRun) -> None:
        with self._kubeflow(run) as kubeflow:
            kubeflow.terminate(run.remote_id)

    def mirror(self) -> None:
        """Copy how runs on Kubeflow are, once; one whose Kubeflow is away says so, and is looked at again."""
        rows = self._database.pipeline_runs
        for run in rows.where(state=PipelineState.RUNNING, backend=PipelineBackend.KUBEFLOW):
            if not run.remote_id or self._rounds.is_closing:
                continue
            try:
                self._mirror(run)
            except NotFoundError:
                self._end(run.id, PipelineState.FAILED, "Kubeflow has this run no more.")
            except TidegaugeError as error:
                self._database.pipeline_runs.update(
                    run.id, {"state": PipelineState.RUNNING}, message=error.message
                )

    def _mirror(self, run: PipelineRun) -> None:
        with self._kubeflow(run) as kubeflow:
            found = kubeflow.look(run.remote_id, self._known.get(run.id, ()))
        for step in found.steps:
            if step not in run.steps:
                self._tell(run, f"{step.name}: {step.state}")
        if found.steps != run.steps or run.message:
            still = {"state": PipelineState.RUNNING}
            self._database.pipeline_runs.update(run.id, still, steps=found.steps, message="")
        if found.state.ended:
            self._tell(run, f"The run {found.state.value}. {found.message}".strip())
            self._end(run.id, found.state, found.message)
            self._known.pop(run.id, None)

    def _kubeflow(self, run: PipelineRun) -> Kubeflow:
        return Kubeflow(run.host, run.token, self._gates.of(run.owner))

    def errors(self, request: PipelineRequest, owner: str) -> list[FieldError]:
        """Say what is wrong with where a run is to go."""
        if request.backend is PipelineBackend.LOCAL:
            return [
                FieldError(name, f"{name} is given, which is for the backend kubeflow; leave it out.")
                for name in ("host", "namespace", "token", "secret_name")
                if getattr(request, name)
            ]
        if not request.host:
            return [FieldError("host", "host is missing; give the address of Kubeflow Pipelines.")]
        found: list[FieldError] = []
        try:
            if split(request.host, "host").query or split(request.host, "host").fragment:
                found.append(FieldError("host", "host has a query or a fragment; give it without."))
            self._gates.of(owner).check(request.host, "host")
        except InvalidInputError as error:
            found += error.errors
        if not (request.token.isascii() and request.token.isprintable()) or " " in request.token:
            found.append(FieldError("token", "token has characters that no token has; copy it again."))
        for name in ("namespace", "secret_name"):
            value = getattr(request, name)
            if value and not _KUBERNETES_NAME.fullmatch(value):
                found.append(
                    FieldError(
                        name, f"{name} is {value[:80]!r}; give a name of Kubernetes (a-z, 0-9, '-', '.')."
                    )
                )
        return found

    def _tell(self, run: PipelineRun, line: str) -> None:
        """Write a line into the log of a run."""
        with self._log_file(run.id).open("a") as log:
            log.write(f"{line}\n")
