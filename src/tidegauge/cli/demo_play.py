"""Plays the example on a server of its own, and prints what comes out."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tidegauge.cli.demo_server import ServerProcess
from tidegauge.cli.pipelines import step_printer
from tidegauge.domain.catalogue import Version
from tidegauge.domain.pipeline import PipelineRun
from tidegauge.domain.status import Status
from tidegauge.errors import UnavailableError
from tidegauge.links.processes import free_port, port_is_free
from tidegauge.services.example.data import KINDS, ExampleData, find_data
from tidegauge.services.example.play import Cycle, Example, Step, Teller, missing, name_of

_COLOURS = {
    Status.HEALTHY: "green",
    Status.WARNING: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "dim",
}


class Printer(Teller):
    """Prints how far the demo is."""

    def __init__(self, console: Console, data: ExampleData) -> None:
        self._console = console
        self._data = data
        self._print_step = step_printer(console)

    def began(self, step: Step) -> None:
        self._console.print(f"[b]{step.value}[/b]")

    def ended(self, step: Step, seconds: float) -> None:  # noqa: ARG002 - of the one that began last
        self._console.print(f"  done in {seconds:.1f} s")

    def imported(self, dataset: Version) -> None:
        name = name_of(synthetic=self._data.synthetic)
        self._console.print(
            f"  dataset [b]{name}[/b] {dataset.label}: {dataset.files} images, "
            f"classes {', '.join(dataset.classes)}, from {self._data.origin}"
        )

    def followed(self, run: PipelineRun) -> None:
        self._print_step(run)

    def looked(self, cycle: Cycle, number: int) -> None:
        found = cycle.run
        self._console.print(
            f"  cycle {number} of {len(KINDS)}, {cycle.kind}: drift {found.drift.value}, "
            f"performance {found.performance.value}, health {found.health.value}"
        )


def tell(console: Console, cycles: list[Cycle], *, as_json: bool, **more: Any) -> None:
    """Print what came out: a table, or all that a program reads, on standard output alone."""
    if as_json:
        sys.stdout.write(json.dumps({**more, "cycles": [_to_json(cycle) for cycle in cycles]}) + "\n")
        sys.stdout.flush()
    else:
        console.print(_table(cycles))


def _to_json(cycle: Cycle) -> dict[str, Any]:
    image, prediction, accuracy = (cycle.run.metric(name) for name in ("image", "prediction", "accuracy"))
    return {
        "kind": cycle.kind,
        "images": cycle.sent,
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
        "alerts": list(cycle.alerts),
    }


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


def check_training() -> None:
    absent = missing()
    if absent:
        raise UnavailableError(
            f"The demo trains a model, for which {' and '.join(absent)} must be installed: "
            "pip install 'tidegauge[train]'"
        )


def play(data: str | None, home: Path | None, port: int, *, wait: bool, as_json: bool, seed: int) -> None:
    """Start a server, play the whole example on it, print what came out, and keep serving if asked to."""
    check_training()
    began = time.monotonic()
    console = Console(stderr=as_json)
    with contextlib.ExitStack() as stack:
        folder = home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegauge-")))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegauge-data-")))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        images = find_data(data, scratch, seed)
        server = ServerProcess(folder, port or (32222 if port_is_free(32222) else free_port()))
        stack.callback(server.stop)
        server.check("/example")
        server.wait_ready()
        console.print(f"Tidegauge is at [b]{server.url}[/b], home {folder}")
        client = stack.enter_context(server.client())
        user = Example(client, images, Printer(console, images), seed)
        deployment, model = user.prepare()
        monitor = user.monitor(deployment)
        cycles = list(user.cycles(deployment, monitor, list(model.meta["classes"])))
        described = {"version": model.number, "metrics": model.meta.get("metrics", {})}
        tell(console, cycles, as_json=as_json, deployment_id=deployment.id, model=described)
        console.print(f"The whole demo took {time.monotonic() - began:.0f} s.")
        console.print(f"Monitor: [b]{server.url}/monitors/{monitor.id}[/b]")
        console.print(f"Sign in with the token {server.token}")
        if wait and sys.stdin.isatty() and not os.environ.get("CI"):
            _keep_serving(console)
