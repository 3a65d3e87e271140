"""Plays the example on a running server as a person would: from images to a drift that is noticed."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from tidegauge.client import Client, Repositories
from tidegauge.domain.catalogue import Version, VersionState
from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.domain.monitor import Monitor, MonitorRun, MonitorState
from tidegauge.domain.pipeline import PipelineRun, PipelineState
from tidegauge.errors import ConflictError, NotFoundError, TidegaugeError
from tidegauge.services.example.data import KINDS, SIDE, ExampleData, Traffic, example_folder, load

MINUTES = 5  # of a window


class Step(StrEnum):
    """What the example does, one after another."""

    DATA = "Code, Dataset and Model"
    PIPELINE = "Pipeline: preprocess, train, deploy"
    MONITOR = "Monitor: baseline, schema, thresholds, alert"
    TRAFFIC = "Traffic: six windows, four of them drifted"


class Teller:
    """Is told how far the example is; what it raises ends the example."""

    def began(self, step: Step) -> None: ...

    def ended(self, step: Step, seconds: float) -> None: ...

    def imported(self, dataset: Version) -> None: ...

    def followed(self, run: PipelineRun) -> None: ...

    def looked(self, cycle: Cycle, number: int) -> None: ...


@dataclass(frozen=True)
class Cycle:
    """What was sent in a window, and what the monitor found."""

    kind: str
    sent: int
    run: MonitorRun
    alerts: tuple[str, ...]


class Example:
    """Plays the user of a running server, or of two: one that serves, and one that monitors."""

    def __init__(
        self,
        client: Client,
        data: ExampleData,
        teller: Teller,
        seed: int,
        *,
        again: bool = False,
        watching: Client | None = None,
        cluster: str = "",
    ) -> None:
        """Wire the example; nothing is asked yet.

        ``again``: what an earlier play has left is used, not made anew. ``watching`` is the client of the
        monitoring cluster, where that is another one, and ``cluster`` its link to the serving one.
        """
        self._client = client
        self._watching = watching or client
        self._cluster = cluster
        self._data = data
        self._teller = teller
        self._seed = seed
        self._again = again
        self._name = name_of(synthetic=data.synthetic)

    def play(self) -> Monitor:
        """Play all of it; return the monitor, which is active."""
        deployment, model = self.prepare()
        self.follow(deployment)
        monitor = self.monitor(deployment)
        for _ in self.cycles(deployment, monitor, list(model.meta["classes"])):
            pass
        return monitor

    def prepare(self) -> tuple[Deployment, Version]:
        """Create code, dataset and model, run the pipeline; return the deployment and the model version."""
        client = self._client
        with self._step(Step.DATA):
            for repositories in (client.code, client.datasets, client.models):
                with contextlib.suppress(ConflictError):  # the home has played the example before
                    repositories.create(self._name)
            code = self._left(client.code) or client.code.add_version(self._name, example_folder())
            dataset = self._left(client.datasets) or client.datasets.add_version(self._name, self._data.train)
        self._teller.imported(dataset)
        with self._step(Step.PIPELINE):
            deployment = self._served() or self._train(code, dataset)
        return deployment, client.models.version(self._name, deployment.model_version)

    def follow(self, deployment: Deployment) -> None:
        """Import the deployment where another cluster monitors it, with its model and training data."""
        if self._watching is self._client:
            return
        deployments = self._watching.deployments
        try:
            deployments.followed(deployment.id)
        except NotFoundError:
            deployments.import_(deployment.name, cluster=self._cluster, namespace=deployment.owner)
        deployments.wait_for_import(deployment.id)

    def monitor(
        self, deployment: Deployment, watching: Client | None = None, **changes: Mapping[str, Any]
    ) -> Monitor:
        """Create, configure and start the monitor as the example's workflow does.

        ``watching`` is the client of the cluster where, by default the one that monitors; ``changes`` are
        fields of parts of its configuration that are not as usual.
        """
        client = watching or self._watching
        monitors = client.monitors
        dataset = client.datasets.versions(self._name)[0]
        config: dict[str, Any] = {
            "model_type": "classification",
            "input_data_type": "image",
            "frequency_minutes": MINUTES,
            "drift": {
                "enabled": True,
                "image": {"height": SIDE, "width": SIDE, "channels": 1, "channel_order": "channels_last"},
                "train_data": {"dataset": self._name, "version": dataset.number},
            },
            "performance": {"enabled": True},
        }
        for part, fields in changes.items():
            config[part] |= fields
        with self._step(Step.MONITOR):
            try:
                monitor = monitors.get(deployment.id)
                if monitor.state is MonitorState.ACTIVE:
                    monitors.stop(monitor.id)
                monitors.configure(monitor.id, config)
            except NotFoundError:
                monitor = monitors.create(deployment.id, config)
            monitors.wait(monitor.id)
            monitors.add_feature(monitor.id, "prediction", "prediction_output", "categorical")
            monitors.set_thresholds(monitor.id, (example_folder() / "threshold.json").read_bytes())
            with contextlib.suppress(ConflictError):
                monitors.add_alert(monitor.id, "accuracy", "accuracy", "<", 0.85)
            return monitors.start(monitor.id)

    def cycles(self, deployment: Deployment, monitor: Monitor, classes: list[str]) -> Iterator[Cycle]:
        """Send six cycles in simulated time, drop their labels, run the monitor over each window."""
        traffic = Traffic(self._data, self._seed)
        width = timedelta(minutes=MINUTES)
        now = datetime.now(UTC)
        first = now.replace(minute=now.minute - now.minute % MINUTES, second=0, microsecond=0)
        first -= len(KINDS) * width
        sent = self._captured(deployment)
        self._teller.began(Step.TRAFFIC)
        for number, kind in enumerate(KINDS):
            start = first + number * width
            rows = self._send(deployment, traffic, kind, start, classes)
            name = f"{start:%Y%m%dT%H%M%S}.csv"
            self._client.deployments.put_labels(deployment.id, name, rows)
            self._client.deployments.wait_for_log(deployment.id)
            sent += len(rows)
            if self._watching is not self._client:
                self._watching.deployments.wait_to_follow(deployment.id, sent)
            run = self._watching.monitors.run(monitor.id, start, start + width)
            cycle = Cycle(kind, len(rows), run, self._firing(monitor, run))
            self._teller.looked(cycle, number + 1)
            yield cycle

    def _left(self, repositories: Repositories) -> Version | None:
        """Return the newest version of an earlier play, where it may be used."""
        versions = repositories.versions(self._name) if self._again else []
        return next((version for version in versions if version.state is VersionState.READY), None)

    def _served(self) -> Deployment | None:
        """Return the deployment of an earlier play, where it may be used."""
        if not self._again:
            return None
        try:
            deployment = self._client.deployments.get(self._name)
        except NotFoundError:
            return None
        stopped = deployment.wanted is not DeploymentState.RUNNING
        return None if stopped else self._client.deployments.wait(self._name)

    def _train(self, code: Version, dataset: Version) -> Deployment:
        pipelines = self._client.pipelines
        run = pipelines.run(
            code=self._name,
            code_version=code.number,
            dataset=self._name,
            dataset_version=dataset.number,
            model=self._name,
            deployment=self._name,
        )
        try:
            run = pipelines.wait(run.id, self._teller.followed)
        except CancelledError:
            with contextlib.suppress(ConflictError):  # it has ended just now
                pipelines.cancel(run.id)
            raise
        if run.state is not PipelineState.SUCCEEDED:
            raise TidegaugeError(
                f"The pipeline {run.state.value}: {run.message}\n{pipelines.log(run.id)[-2000:]}"
            )
        return self._client.deployments.wait(self._name)

    def _firing(self, monitor: Monitor, run: MonitorRun) -> tuple[str, ...]:
        """Name the alerts that fire in a run, whether they have just begun to or still do."""
        judged = [(alert, *alert.rule.judge(run)) for alert in self._watching.monitors.alerts(monitor.id)]
        return tuple(
            f"{alert.name}: {alert.rule.text} ({value:.3g})" for alert, holds, value in judged if holds
        )

    def _send(
        self, deployment: Deployment, traffic: Traffic, kind: str, start: datetime, classes: list[str]
    ) -> list[dict[str, Any]]:
        images = traffic.draw()
        pause = timedelta(minutes=MINUTES) / (len(images) + 1)
        rows = []
        for position, image in enumerate(images, 1):
            moment = start + position * pause
            body = {"inputs": {"input_1": [load(image, kind).tolist()]}}
            answer = self._client.deployments.predict(deployment, body, time=moment)
            scores = answer["outputs"][0]
            rows.append(
                {"timestamp": moment, "output": classes[scores.index(max(scores))], "label": image.label}
            )
        return rows

    def _captured(self, deployment: Deployment) -> int:
        """Return how many requests of the last day the log of the monitoring cluster has."""
        return self._watching.deployments.captures(deployment.id).total.captured

    @contextlib.contextmanager
    def _step(self, step: Step) -> Iterator[None]:
        self._teller.began(step)
        began = time.monotonic()
        yield
        self._teller.ended(step, time.monotonic() - began)


class CancelledError(TidegaugeError):
    """Raised by a teller whose listener wants no more."""


def name_of(*, synthetic: bool) -> str:
    """Return the name of everything that the example makes."""
    return "phantom-chest-xray" if synthetic else "chest-xray"


def missing() -> list[str]:
    """Return the packages that training needs and that are not installed."""
    return [name for name in ("tensorflow", "kfp", "tf2onnx") if importlib.util.find_spec(name) is None]
