"""The supervisor: one model server process per deployment, started again when it dies."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import httpx

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.deployment import Deployment, DeploymentState, Origin, state_of_external
from tidegauge.domain.users import Scope
from tidegauge.errors import TidegaugeError
from tidegauge.links.processes import Process, free_port, tail
from tidegauge.services.catalogue import Catalogue
from tidegauge.services.deaths import Deaths
from tidegauge.services.people import LOG_TOKEN, People
from tidegauge.services.rounds import Rounds
from tidegauge.services.traffic import Traffic
from tidegauge.storage.database import Database

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_FAILED_AFTER = 3  # deaths before it was ever ready; it is tried again all the same
_START_SECONDS = 60.0
_LISTEN_SECONDS = 5.0
#: Said of a deployment that is wanted where nothing is served.
RESTING = "It rests: this cluster only monitors. It is served again when the role is both or serving."


@dataclass
class _Served:
    """A running model server and what it was started for."""

    process: Process
    port: int
    started: float
    ready: bool = False


class Supervisor:
    """Makes what is served equal to what is wanted, and writes down what is so."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        people: People,
        traffic: Traffic,
        home: Path,
        address: str,
        *,
        serves: bool = True,
    ) -> None:
        """``address`` is the collector's base URL as seen from this machine.

        Where it does not ``serve``, what is wanted rests: nothing of it is changed but its state.
        """
        self._database = database
        self._catalogue = catalogue
        self._people = people
        self._traffic = traffic
        self._home = home
        self._address = address
        self._serves = serves
        self._served: dict[str, _Served] = {}
        self._deaths = Deaths()
        self._listened = -_LISTEN_SECONDS
        self._lock = Lock()
        failure = "supervision failed for a moment"
        self._rounds = Rounds("supervisor", _POLL_SECONDS, self._look_around, failure, at_once=True)
        self._http = httpx.Client(timeout=2.0, trust_env=False)

    def start(self) -> None:
        rows = self._database.deployments
        if self._serves:
            rows.update_where({"origin": Origin.LOCAL, "message": RESTING}, message="")
        else:
            wanted = {"origin": Origin.LOCAL, "wanted": DeploymentState.RUNNING}
            rows.update_where(wanted, state=DeploymentState.STOPPED, message=RESTING, port=0)
        self._rounds.start()

    def close(self) -> None:
        """Stop every model server; each hands its last events to the collector first."""
        if self._rounds.is_closing:
            return
        self._rounds.close()
        with self._lock:
            for served in self._served.values():
                served.process.terminate()
            for served in self._served.values():
                served.process.stop()
            self._served.clear()
        self._http.close()

    def kick(self) -> None:
        """Look at once instead of at the next poll."""
        self._rounds.kick()

    def restart(self, deployment_id: str) -> None:
        """End the process; if one is wanted, the next look starts it afresh."""
        with self._lock:
            self._end(deployment_id)
        self.kick()

    def remove(self, deployment_id: str) -> None:
        """End the process for good, and forget its files and whoever may report events of it."""
        self._database.deployments.update(deployment_id, wanted=DeploymentState.STOPPED)
        with self._lock:
            self._end(deployment_id)
        self._people.revoke_ingest(deployment_id)
        shutil.rmtree(self._folder(deployment_id), ignore_errors=True)
        self._log_file(deployment_id).unlink(missing_ok=True)

    def log(self, deployment_id: str) -> str:
        return tail(self._log_file(deployment_id))

    def _end(self, deployment_id: str) -> None:
        served = self._served.pop(deployment_id, None)
        self._deaths.forget(deployment_id)
        if served:
            served.process.stop()
        self._people.revoke_ingest(deployment_id, name=LOG_TOKEN)

    def _look_around(self) -> None:
        if self._serves:
            self._look_at_all()
        self._listen()

    def _look_at_all(self) -> None:
        with self._lock:  # also around the query: what was deleted meanwhile must not start
            for deployment in self._database.deployments.where(origin=Origin.LOCAL):
                self._look(deployment)

    def _listen(self) -> None:
        """Write down of which deployments of other servers something comes, or which are ready."""
        if time.monotonic() - self._listened < _LISTEN_SECONDS:
            return
        self._listened = time.monotonic()
        for deployment in self._database.deployments.where(origin=Origin.EXTERNAL):
            if deployment.kserve and deployment.kserve.is_watched:
                continue  # Kubernetes says how it is
            is_quiet = self._traffic.is_quiet(deployment.id)
            state, message = state_of_external(deployment.served, is_quiet=is_quiet)
            self._note(deployment, state, message=message)

    def _look(self, deployment: Deployment) -> None:
        served = self._served.get(deployment.id)
        if deployment.wanted is not DeploymentState.RUNNING:
            if served:
                self._end(deployment.id)
            self._note(deployment, DeploymentState.STOPPED)
        elif served is None:
            if self._deaths.may_start(deployment.id):
                self._launch(deployment)
        elif served.process.exit_code is not None:
            self._bury(deployment, served)
        elif not served.ready:
            self._greet(deployment, served)

    def _launch(self, deployment: Deployment) -> None:
        folder = self._folder(deployment.id) / f"v{deployment.model_version}"
        model, number = deployment.model_id, deployment.model_version
        try:
            self._catalogue.lay_out(RepositoryKind.MODEL, deployment.owner, model, number, folder)
        except (TidegaugeError, OSError) as error:
            self._postpone(deployment, f"The model could not be laid out: {error}")
            return
        port = free_port()
        command = [sys.executable, "-m", "tidegauge.serving", "--model-dir", str(folder)]
        command += ["--name", deployment.name, "--version", str(deployment.model_version)]
        command += ["--host", "127.0.0.1", "--port", str(port), "--parent-pid", str(os.getpid())]
        command += ["--deployment-id", deployment.id, "--namespace", deployment.owner]
        environment = {}
        if deployment.logging:
            command += ["--sampling", str(deployment.sampling)]
            command += ["--log-url", f"{self._address}{deployment.events_path}"]
            environment["TIDEGAUGE_LOG_TOKEN"] = self._log_token(deployment)
        process = Process(command, self._log_file(deployment.id), environment)
        self._served[deployment.id] = _Served(process, port, time.monotonic())
        self._note(deployment, DeploymentState.STARTING, port=port)

    def _greet(self, deployment: Deployment, served: _Served) -> None:
        try:
            answer = self._http.get(f"http://127.0.0.1:{served.port}/v2/health/ready")
            served.ready = answer.status_code == httpx.codes.OK
        except httpx.HTTPError:
            served.ready = False
        if served.ready:
            self._deaths.forget(deployment.id)
            self._note(deployment, DeploymentState.RUNNING)
        elif time.monotonic() - served.started > _START_SECONDS:
            served.process.stop()

    def _bury(self, deployment: Deployment, served: _Served) -> None:
        del self._served[deployment.id]
        reason = served.process.last_line() or f"exit code {served.process.exit_code}"
        self._postpone(deployment, f"The model server ended: {reason}")

    def _postpone(self, deployment: Deployment, message: str) -> None:
        """Count a death and wait longer after each before the next start."""
        deaths, pause = self._deaths.count(deployment.id)
        state = DeploymentState.FAILED if deaths >= _FAILED_AFTER else DeploymentState.STARTING
        self._note(deployment, state, message=message, restarts=deployment.restarts + 1)
        _log.warning("deployment %s: %s; next start in %.1f s", deployment.name, message, pause)

    def _note(self, deployment: Deployment, state: DeploymentState, **changes: object) -> None:
        changes.setdefault("message", "" if state is DeploymentState.RUNNING else deployment.message)
        if state is not deployment.state or any(getattr(deployment, k) != v for k, v in changes.items()):
            # Not if the owner has changed what is wanted meanwhile.
            self._database.deployments.update(
                deployment.id, {"wanted": deployment.wanted}, state=state, **changes
            )

    def _log_token(self, deployment: Deployment) -> str:
        self._people.revoke_ingest(deployment.id, name=LOG_TOKEN)
        owner = self._people.owner(deployment.owner)
        return self._people.issue(owner, LOG_TOKEN, Scope.INGEST, deployment.id)[1]

    def _folder(self, deployment_id: str) -> Path:
        return self._home / "served" / deployment_id

    def _log_file(self, deployment_id: str) -> Path:
        return self._home / "logs" / f"deployment-{deployment_id}.log"
