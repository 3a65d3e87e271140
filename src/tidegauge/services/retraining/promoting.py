"""Promoting: the deployment serves the candidate, and the monitor compares with its training data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.domain.monitor import Acknowledgement, Monitor, MonitorState
from tidegauge.domain.monitor_config import MonitorConfig, TrainData
from tidegauge.domain.retraining import Retraining
from tidegauge.errors import ConflictError, TidegaugeError
from tidegauge.services.deployments import Deployments
from tidegauge.services.monitors import Monitors
from tidegauge.storage.database import Database


class NotYetError(ConflictError):
    """Something has to come about first; the message says what."""


class Promoting:
    """Takes the next step towards a promotion; each can be taken again, so a crash changes nothing."""

    def __init__(
        self,
        database: Database,
        deployments: Deployments,
        monitors: Monitors,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._deployments = deployments
        self._monitors = monitors
        self._now = now

    def check(self, monitor: Monitor, retraining: Retraining) -> None:
        """Raise ConflictError where the deployment no longer serves what was compared."""
        deployment = self._database.deployments.get(monitor.deployment_id)
        if deployment.model_version != retraining.serving:
            raise ConflictError(
                f"The deployment serves v{deployment.model_version} now, but v{retraining.serving} was "
                "compared; refuse this retraining and start another one."
            )

    def advance(self, monitor: Monitor, retraining: Retraining) -> Acknowledgement:
        """Promote as far as can be; NotYetError while something is waited for, TidegaugeError if it failed.

        Returns what the new beginning of evidence spends, for the caller to save with the end of it.
        """
        self._serve(self._database.deployments.get(monitor.deployment_id), retraining)
        self._compare_with_new_data(monitor, retraining)
        alpha = monitor.evidence.alpha if monitor.evidence else monitor.config.evidence.alpha
        before = self._database.acknowledgements.count(monitor_id=monitor.id)
        note = f"promoted {retraining.model} v{retraining.candidate} by the retraining {retraining.id}"
        return Acknowledgement(
            retraining.id,
            monitor.id,
            _decider(retraining),
            self._now(),
            note,
            alpha,
            min(1.0, alpha * (before + 2)),
        )

    def _serve(self, deployment: Deployment, retraining: Retraining) -> None:
        before, candidate = retraining.serving, retraining.candidate
        if candidate is not None and deployment.model_version == before:
            deployment = self._deployments.update(deployment, version=candidate)
        if deployment.model_version != candidate:
            raise TidegaugeError(
                f"Somebody has the deployment serve v{deployment.model_version} meanwhile; it was left so."
            )
        if deployment.state is DeploymentState.STARTING:
            raise NotYetError(f"{deployment.name} starts with v{candidate}")
        if before is not None and deployment.state is DeploymentState.FAILED:
            self._deployments.update(deployment, version=before)
            raise TidegaugeError(
                f"v{candidate} could not be served, so that v{before} is again: {deployment.message}"
            )

    def _compare_with_new_data(self, monitor: Monitor, retraining: Retraining) -> None:
        wanted = _with_data(monitor.config, retraining)
        if monitor.config != wanted:
            if monitor.state is MonitorState.ACTIVE:
                monitor = self._monitors.stop(monitor, _decider(retraining))
            monitor = self._monitors.configure(monitor, wanted, _decider(retraining))
        if monitor.state is MonitorState.BASELINING:
            raise NotYetError(f"baseline: {monitor.progress or 'begins'}")
        if monitor.state is MonitorState.ERROR:
            raise TidegaugeError(
                f"v{retraining.candidate} is served, but the monitor's new baseline could not be made: "
                f"{monitor.message}"
            )
        if retraining.resume and monitor.state is MonitorState.READY:
            # From where it was stopped: what came meanwhile is judged, too.
            self._monitors.start(monitor, _decider(retraining), since=monitor.due_from)


def _decider(retraining: Retraining) -> str:
    return retraining.history[-1].by if retraining.history else retraining.by


def _with_data(config: MonitorConfig, retraining: Retraining) -> MonitorConfig:
    data = retraining.collected.data if retraining.collected else None
    train = config.drift.train_data
    if data is None or train is None:
        return config
    saved = train.images_saved_as
    return replace(
        config, drift=replace(config.drift, train_data=TrainData(data.dataset, data.version, saved))
    )
