"""Pipeline runs: preprocess, train, deploy, from a Code version on this machine or on Kubeflow."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tidegauge.domain.catalogue import RepositoryKind, Version
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.identity import check_name, new_id
from tidegauge.domain.pipeline import PipelineBackend, PipelineRequest, PipelineRun, PipelineState
from tidegauge.domain.secret import NO_SECRET
from tidegauge.domain.users import Principal
from tidegauge.errors import (
    ConflictError,
    FieldError,
    InvalidInputError,
    NotFoundError,
    TidegaugeError,
    raise_all,
)
from tidegauge.links.folders import inside
from tidegauge.links.kubeflow import (
    compile_command,
    local_command,
    read_compiled,
    read_steps,
)
from tidegauge.links.processes import Process, tail
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.gates import Gates
from tidegauge.services.kubeflow import KubeflowRuns
from tidegauge.services.people import People
from tidegauge.services.sharing import Asker, look_up, page_of
from tidegauge.services.worker import Worker
from tidegauge.steps import RUN_VARIABLE
from tidegauge.storage.database import Database
from tidegauge.storage.rows import Page, Query

_POLL_SECONDS = 0.5
_COMPILE_SECONDS = 300.0
_SECRET_NAME = "tidegauge"  # noqa: S105 - a name, no secret
_PARAMETER = re.compile(r"[a-z][a-z0-9_]*")
_TOKEN = "pipeline run"  # noqa: S105 - how the token of a run is named
_ENDED = "The server ended during this run; start it again."
_STOPPED = "The server was stopped during this run."


@dataclass(frozen=True)
class Made:
    """What a pipeline run has made, as far as it is there: a monitor is configured by it."""

    dataset: Version | None
    model: Version | None
    deployment: Deployment | None

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels of the images that the model takes; None where it takes others."""
        inputs: Sequence[Any] = self.model.meta.get("inputs", ()) if self.model else ()
        shape: Sequence[Any] = (
            inputs[0].get("shape", ()) if len(inputs) == 1 and isinstance(inputs[0], Mapping) else ()
        )
        if len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape[1:]):
            return None
        return shape[1], shape[2], shape[3]


class Pipelines:
    """Runs pipeline files as child processes with a token of their own."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        people: People,
        worker: Worker,
        home: Path,
        address: str,
        now: Callable[[], datetime],
        gates: Gates,
        image: str = "",
    ) -> None:
        """``image`` is that of the steps on Kubeflow; without one they install what they need."""
        self._image = image
        self.remote = KubeflowRuns(database, gates, self._log_file, self._end)
        self._database = database
        self._catalogue = catalogue
        self._people = people
        self._worker = worker
        self._home = home
        self._address = address
        self._now = now
        self._processes: dict[str, Process] = {}
        self._closing = False

    def start(self) -> None:
        """Fail what a crash interrupted: its process may be half-way; begin what was queued."""
        for run in self._database.pipeline_runs.where(state=PipelineState.RUNNING):
            if run.remote_id:
                continue  # Kubeflow goes on with it, and so does its mirror
            self._people.revoke_named(f"{_TOKEN} {run.id}")
            self._end(run.id, PipelineState.FAILED, _ENDED)
        for run in self._database.pipeline_runs.where(state=PipelineState.QUEUED):
            self._submit(run)
        self.remote.start()

    def close(self) -> None:
        self._closing = True
        self.remote.close()
        for process in list(self._processes.values()):
            process.stop()

    def create(self, request: PipelineRequest, owner: str, id_: str = "") -> PipelineRun:
        """Queue a run, under ``id_`` where it has one already."""
        parameters = dict(request.parameters or {})
        errors = tuple(
            FieldError("parameters", f"parameters has {name!r}; use a-z, 0-9 and '_' in names.")
            for name in parameters
            if not _PARAMETER.fullmatch(name)
        )
        raise_all([*errors, *self.remote.errors(request, owner)])
        is_remote = request.backend is PipelineBackend.KUBEFLOW
        code = self._catalogue.get(RepositoryKind.CODE, owner, request.code)
        dataset = self._catalogue.get(RepositoryKind.DATASET, owner, request.dataset)
        self._catalogue.get(RepositoryKind.MODEL, owner, request.model)
        run = PipelineRun(
            id=id_ or new_id(),
            owner=owner,
            file=request.file,
            code=code.name,
            code_version=self._catalogue.version(code, request.code_version).number,
            dataset=dataset.name,
            dataset_version=self._catalogue.version(dataset, request.dataset_version).number,
            model=request.model,
            deployment=check_name(request.deployment, "deployment") if request.deployment else "",
            state=PipelineState.QUEUED,
            created_at=self._now(),
            parameters=parameters,
            backend=request.backend,
            host=request.host.rstrip("/"),
            namespace=request.namespace,
            secret_name=(request.secret_name or _SECRET_NAME) if is_remote else "",
            token=request.token,
        )
        self._database.pipeline_runs.add(run)
        self._submit(run)
        return run

    def page(self, asker: Asker, query: Query) -> Page[PipelineRun]:
        return page_of(self._database.pipeline_runs, asker, query)

    def get(self, asker: Asker, run_id: str) -> PipelineRun:
        return look_up(self._database.pipeline_runs, asker, "pipeline run", run_id, ("id",))

    def share(self, run: PipelineRun, *, shared: bool) -> PipelineRun:
        """Let everybody read a run with its log, or nobody but its owner."""
        self._database.pipeline_runs.update(run.id, shared=shared)
        return self._database.pipeline_runs.get(run.id)

    def made(self, run: PipelineRun) -> Made:
        """Return what a run was made from and has made."""
        return Made(
            self._version(RepositoryKind.DATASET, run.owner, run.dataset, run.dataset_version),
            self._model(run),
            self._database.deployments.find(owner=run.owner, name=run.deployment) if run.deployment else None,
        )

    def find(self, run_id: str) -> PipelineRun | None:
        return self._database.pipeline_runs.find(id=run_id)

    @staticmethod
    def was_interrupted(run: PipelineRun) -> bool:
        """Tell whether a run failed only because the server ended."""
        return run.state is PipelineState.FAILED and run.message in (_ENDED, _STOPPED)

    def lineage(self, caller: Principal, told: str = "") -> dict[str, Any]:
        """Return what a version says of the run that makes it, by the name of its token.

        On Kubeflow steps have a token of their owner, and have ``told`` which run they are of. People name
        tokens as they like, and tell what they like, so the run of somebody else is not told of.
        """
        kind, _, run_id = caller.token_name.rpartition(" ")
        run = self.find(run_id) if kind == _TOKEN else None
        if run is None and told:
            run = self.find(told)
            if run is not None and (run.backend is PipelineBackend.LOCAL or run.state.ended):
                run = None
        if run is None or run.owner != caller.name:
            return {}
        retraining = self._database.retrainings.find(pipeline_run=run.id)
        return {
            "lineage": {
                "pipeline_run": run.id,
                "code": {"name": run.code, "version": run.code_version, "file": run.file},
                "dataset": {"name": run.dataset, "version": run.dataset_version},
                **({"retraining": retraining.id} if retraining else {}),
            }
        }

    def log(self, run: PipelineRun) -> str:
        """Return the end of what the run has written."""
        return tail(self._log_file(run.id))

    def cancel(self, run: PipelineRun) -> PipelineRun:
        if run.state.ended:
            raise ConflictError(f"The pipeline run has ended already; it is {run.state.value}.")
        if run.remote_id:
            self.remote.terminate(run)
        self._end(run.id, PipelineState.CANCELLED, "Cancelled.")
        process = self._processes.get(run.id)
        if process:
            process.terminate()
        return self._database.pipeline_runs.get(run.id)

    def _model(self, run: PipelineRun) -> Version | None:
        """Return the model version whose lineage names the run."""
        try:
            versions = self._catalogue.versions(
                self._catalogue.get(RepositoryKind.MODEL, run.owner, run.model)
            )
        except NotFoundError:
            return None
        return next(
            (one for one in versions if one.meta.get("lineage", {}).get("pipeline_run") == run.id), None
        )

    def _version(self, kind: RepositoryKind, owner: str, name: str, number: int) -> Version | None:
        try:
            return self._catalogue.version(self._catalogue.get(kind, owner, name), number)
        except NotFoundError:
            return None

    def _submit(self, run: PipelineRun) -> None:
        self._worker.submit(run.id, lambda: self._run(run))

    def _run(self, run: PipelineRun) -> None:
        queued = {"state": PipelineState.QUEUED.value}
        if not self._database.pipeline_runs.update(run.id, queued, state=PipelineState.RUNNING):
            return
        folder, token = self._home / "runs" / run.id, None
        try:
            run = self._database.pipeline_runs.get(run.id)  # it may be an heir's by now
            token, secret = self._people.issue(self._people.owner(run.owner), f"{_TOKEN} {run.id}")
            code = folder / "code"
            code.mkdir(parents=True, exist_ok=True)
            repository = self._catalogue.get(RepositoryKind.CODE, run.owner, run.code)
            self._catalogue.export(repository, self._catalogue.version(repository, run.code_version), code)
            if not inside(code, run.file, "file").is_file():
                raise InvalidInputError.of(
                    "file", f"file is {run.file!r}, which this Code version does not have."
                )
            if run.backend is PipelineBackend.KUBEFLOW:
                self._send(run, code, folder / "pipeline.yaml")
                return
            environment = {"TIDEGAUGE_URL": self._address, "TIDEGAUGE_TOKEN": secret}
            process = Process(
                local_command(run, code, folder / "root"), self._log_file(run.id), environment, code
            )
            self._processes[run.id] = process
            self._follow(run, process)
        except (TidegaugeError, OSError) as error:
            self._end(run.id, PipelineState.FAILED, str(error))
        finally:
            self._processes.pop(run.id, None)
            if token:
                self._people.revoke(token.id)
            shutil.rmtree(folder, ignore_errors=True)

    def _send(self, run: PipelineRun, code: Path, output: Path) -> None:
        """Compile the pipeline and send it to Kubeflow; its mirror follows it from then on."""
        log = self._log_file(run.id)
        process = Process(compile_command(run, code, output, self._image), log, {}, code)
        self._processes[run.id] = process
        deadline = time.monotonic() + _COMPILE_SECONDS
        while process.wait(_POLL_SECONDS) is None:
            if self._closing or time.monotonic() > deadline:
                process.stop()
        if process.exit_code or not output.is_file():
            reason = _STOPPED if self._closing else process.last_line() or "it writes nothing"
            self._end(run.id, PipelineState.FAILED, f"The pipeline could not be compiled: {reason}")
            return
        compiled = read_compiled(output.read_text()).told({RUN_VARIABLE: run.id})
        compiled.parameters(run)  # before anything is sent
        if self._database.pipeline_runs.get(run.id).state is not PipelineState.CANCELLED:
            self.remote.submit(run, compiled)

    def _follow(self, run: PipelineRun, process: Process) -> None:
        """Copy the steps from the output to the row until the process ends."""
        if self._closing or self._database.pipeline_runs.get(run.id).state is PipelineState.CANCELLED:
            process.terminate()
        while process.wait(_POLL_SECONDS) is None:
            self._note_steps(run)
        self._note_steps(run)
        if process.exit_code == 0:
            self._end(run.id, PipelineState.SUCCEEDED, "")
        else:
            self._end(
                run.id,
                PipelineState.FAILED,
                _STOPPED if self._closing else process.last_line(),
            )

    def _note_steps(self, run: PipelineRun) -> None:
        with self._log_file(run.id).open(errors="replace") as lines:
            self._database.pipeline_runs.update(run.id, steps=read_steps(lines))

    def _end(self, run_id: str, state: PipelineState, message: str) -> None:
        live = {"state": (PipelineState.QUEUED.value, PipelineState.RUNNING.value)}
        self._database.pipeline_runs.update(
            run_id, live, state=state, message=message, ended_at=self._now(), token=NO_SECRET
        )

    def _log_file(self, run_id: str) -> Path:
        return self._home / "logs" / f"pipeline-{run_id}.log"
