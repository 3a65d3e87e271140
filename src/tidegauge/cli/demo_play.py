"""Plays the example: the whole way from a folder of images to a drift that is noticed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tidegauge.app import open_database, utc_now
from tidegauge.cli.demo_data import KINDS, SIDE, DemoData, Traffic, example_folder, find_data, load
from tidegauge.cli.pipelines import step_printer
from tidegauge.client import Client, wait_for
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.monitor import Monitor, MonitorRun, MonitorState
from tidegauge.domain.pipeline import PipelineState
from tidegauge.domain.status import Status
from tidegauge.errors import ConflictError, NotFoundError, TidegaugeError, UnavailableError
from tidegauge.links.processes import free_port, port_is_free
from tidegauge.services.people import OPERATOR, People
from tidegauge.settings import load_settings

_MINUTES = 5
_COLOURS = {
    Status.HEALTHY: "green",
    Status.WARNING: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "dim",
}


@dataclass(frozen=True)
class Cycle:
    """What was sent in a window, and what the monitor found."""

    kind: str
    sent: int
    run: MonitorRun
    alerts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        image, prediction, accuracy = (self.run.metric(name) for name in ("image", "prediction", "accuracy"))
        return {
            "kind": self.kind,
            "images": self.sent,
            "image": {"score": image and image.value, "status": image and image.status},
            "prediction": {
                "score": prediction and prediction.value,
                "status": prediction and prediction.status,
            },
            "accuracy": {
                "value": accuracy and accuracy.value,
                "low": accuracy and accuracy.low,
                "high": accuracy and accuracy.high,
                "status": accuracy and accuracy.status,
            },
            "alerts": list(self.alerts),
        }


class Demo:
    """Plays the user of a running server."""

    def __init__(self, client: Client, data: DemoData, console: Console, seed: int) -> None:
        self._client = client
        self._data = data
        self._console = console
        self._seed = seed
        self._name = "phantom-chest-xray" if data.synthetic else "chest-xray"

    def prepare(self) -> tuple[Deployment, dict[str, Any]]:
        """Create code, dataset and model, run the pipeline; return the deployment and the model version."""
        client = self._client
        with self._step("Code, dataset and model"):
            for repositories in (client.code, client.datasets, client.models):
                with contextlib.suppress(ConflictError):  # the home ran the demo before
                    repositories.create(self._name)
            code = client.code.add_version(self._name, example_folder())
            dataset = client.datasets.add_version(self._name, self._data.train)
        self._console.print(
            f"  dataset [b]{self._name}[/b] v{dataset.number}: {dataset.files} images, "
            f"classes {', '.join(dataset.classes)}, from {self._data.origin}"
        )
        run = client.pipelines.run(
            code=self._name,
            code_version=code.number,
            dataset=self._name,
            dataset_version=dataset.number,
            model=self._name,
            deployment=self._name,
        )
        with self._step("Pipeline"):
            run = client.pipelines.wait(run.id, step_printer(self._console))
        if run.state is not PipelineState.SUCCEEDED:
            raise TidegaugeError(
                f"The pipeline {run.state.value}: {run.message}\n{client.pipelines.log(run.id)[-2000:]}"
            )
        deployment = client.deployments.wait(self._name)
        version = client.models.version(self._name, deployment.model_version)
        return deployment, {
            "version": version.number,
            "metrics": version.meta.get("metrics", {}),
            **version.meta,
        }

    def monitor(self, deployment: Deployment) -> Monitor:
        """Create, configure and start the monitor as the example's workflow does."""
        monitors = self._client.monitors
        dataset = self._client.datasets.versions(self._name)[0]
        config = {
            "model_type": "classification",
            "input_data_type": "image",
            "frequency_minutes": _MINUTES,
            "drift": {
                "enabled": True,
                "image": {"height": SIDE, "width": SIDE, "channels": 1, "channel_order": "channels_last"},
                "train_data": {"dataset": self._name, "version": dataset.number},
            },
            "performance": {"enabled": True},
        }
        with self._step("Monitor: baseline, schema, thresholds, alert"):
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
        width = timedelta(minutes=_MINUTES)
        now = datetime.now(UTC)
        first = now.replace(minute=now.minute - now.minute % _MINUTES, second=0, microsecond=0)
        first -= len(KINDS) * width
        for number, kind in enumerate(KINDS):
            start = first + number * width
            rows = self._send(deployment, traffic, kind, start, classes)
            name = f"{start:%Y%m%dT%H%M%S}.csv"
            self._client.deployments.put_labels(deployment.id, name, rows)
            self._wait_for_log(deployment)
            run = self._client.monitors.run(monitor.id, start, start + width)
            yield Cycle(kind, len(rows), run, self._firing(monitor, run))

    def _firing(self, monitor: Monitor, run: MonitorRun) -> tuple[str, ...]:
        """Name the alerts that fire in a run, whether they have just begun to or still do."""
        judged = [(alert, *alert.rule.judge(run)) for alert in self._client.monitors.alerts(monitor.id)]
        return tuple(
            f"{alert.name}: {alert.rule.text} ({value:.3g})" for alert, holds, value in judged if holds
        )

    def _send(
        self, deployment: Deployment, traffic: Traffic, kind: str, start: datetime, classes: list[str]
    ) -> list[dict[str, Any]]:
        images = traffic.draw()
        pause = timedelta(minutes=_MINUTES) / (len(images) + 1)
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

    def _wait_for_log(self, deployment: Deployment) -> None:
        """The model server reports in the background: wait until it has nothing left to report."""
        wait_for(
            lambda: self._client.request("GET", f"/serve/{deployment.id}/healthz").json(),
            lambda health: health["queued"] == 0,
            "The inference log",
            60.0,
        )

    @contextlib.contextmanager
    def _step(self, title: str) -> Iterator[None]:
        self._console.print(f"[b]{title}[/b]")
        began = time.monotonic()
        yield
        self._console.print(f"  done in {time.monotonic() - began:.1f} s")


class _ServerProcess:
    """``tidegauge up`` as a child, with a token issued beforehand."""

    def __init__(self, home: Path, port: int) -> None:
        settings = load_settings(home, {"port": port})
        database = open_database(settings)
        try:
            people = People(database, utc_now)
            self.token = people.first_start() or people.issue_for(OPERATOR, "demo")
        finally:
            database.close()
        self.url = f"http://127.0.0.1:{port}"
        log = home / "server.log"
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tidegauge", "up", "--home", str(home), "--port", str(port)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the server in order
            )
        self._log = log

    def wait_ready(self) -> None:
        client = Client(self.url, self.token)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._child.poll() is None:
            try:
                client.request("GET", "/readyz")
            except UnavailableError:
                time.sleep(0.1)
            else:
                client.close()
                return
        raise UnavailableError(f"The server did not start:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(60)
        except subprocess.TimeoutExpired:
            self._child.kill()


def _table(cycles: list[Cycle]) -> Table:
    table = Table(title="Six cycles of 5 minutes (simulated time)")
    columns = ("cycle", "images", "image score", "prediction score", "accuracy (95% interval)", "alerts")
    for column in columns:
        table.add_column(column)
    for cycle in cycles:
        image, prediction, accuracy = (cycle.run.metric(name) for name in ("image", "prediction", "accuracy"))
        table.add_row(
            cycle.kind,
            str(cycle.sent),
            *(_cell(metric) for metric in (image, prediction, accuracy)),
            "\n".join(cycle.alerts) or "-",
        )
    return table


def _cell(metric: Any) -> str:
    if metric is None or metric.value is None:
        return "-"
    interval = f" ({metric.low:.2f} to {metric.high:.2f})" if metric.low is not None else ""
    colour = _COLOURS[metric.status]
    return f"{metric.value:.2f}{interval} [{colour}]{metric.status.value}[/{colour}]"


def _keep_serving(console: Console) -> None:
    console.print("Serving until Ctrl-C.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    console.print("Stopping.")


def _check_training() -> None:
    missing = [name for name in ("tensorflow", "kfp", "tf2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"The demo trains a model, for which {' and '.join(missing)} must be installed: "
            "pip install 'tidegauge[train]'"
        )


def play(data: str | None, home: Path | None, port: int, *, wait: bool, as_json: bool, seed: int) -> None:
    """Start a server, play the whole example on it, print what came out, and keep serving if asked to."""
    _check_training()
    began = time.monotonic()
    console = Console(stderr=as_json)
    with contextlib.ExitStack() as stack:
        folder = home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegauge-")))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegauge-data-")))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        images = find_data(data, scratch, seed)
        server = _ServerProcess(folder, port or (32222 if port_is_free(32222) else free_port()))
        stack.callback(server.stop)
        server.wait_ready()
        console.print(f"Tidegauge is at [b]{server.url}[/b], home {folder}")
        client = stack.enter_context(Client(server.url, server.token))
        user = Demo(client, images, console, seed)
        deployment, model = user.prepare()
        monitor = user.monitor(deployment)
        cycles = []
        for cycle in user.cycles(deployment, monitor, list(model["classes"])):
            cycles.append(cycle)
            found = cycle.run
            console.print(
                f"  cycle {len(cycles)} of {len(KINDS)}, {cycle.kind}: drift {found.drift.value}, "
                f"performance {found.performance.value}, health {found.health.value}"
            )
        if as_json:
            result = {
                "deployment_id": deployment.id,
                "model": {"version": model["version"], "metrics": model["metrics"]},
                "cycles": [cycle.to_json() for cycle in cycles],
            }
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()
        else:
            console.print(_table(cycles))
        console.print(f"The whole demo took {time.monotonic() - began:.0f} s.")
        console.print(f"Monitor: [b]{server.url}/monitors/{monitor.id}[/b]")
        console.print(f"Sign in with the token {server.token}")
        if wait and sys.stdin.isatty() and not os.environ.get("CI"):
            _keep_serving(console)
