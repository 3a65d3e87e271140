"""Plays the example on two clusters: one serves, the other monitors, and both come to the same."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tidegauge.cli.demo_play import Printer, check_training, tell
from tidegauge.cli.demo_server import ServerProcess
from tidegauge.client import Client
from tidegauge.domain.deployment import Deployment
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import Monitor, MonitorRun
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.links.authority import make_authority
from tidegauge.links.processes import free_port
from tidegauge.services.example.data import find_data
from tidegauge.services.example.play import Cycle, Example

_LINK, _LOGS = "serving", "serving-logs"
_SERVING, _MONITORING = "ada", "grace"  # who has the deployment there, and here


def play_two(data: str | None, home: Path | None, *, as_json: bool, seed: int) -> None:
    """Start two servers of their own, link them over https, and play the example on them.

    The serving one monitors too, so that the verdicts of one cluster are there to compare with. Raises
    TidegaugeError where the other cluster comes to something else.
    """
    check_training()
    began = time.monotonic()
    console = Console(stderr=as_json)
    with contextlib.ExitStack() as stack:
        folder = home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegauge-")))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegauge-data-")))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        images = find_data(data, scratch, seed)
        tls = make_authority(folder / "tls")
        serving = ServerProcess(folder / "serving", free_port(), tls=tls)
        stack.callback(serving.stop)
        monitoring = ServerProcess(folder / "monitoring", free_port(), role="monitoring", tls=tls)
        stack.callback(monitoring.stop)
        for name, server in (("Serving", serving), ("Monitoring", monitoring)):
            server.wait_ready()
            console.print(f"{name} cluster: [b]{server.url}[/b], home {server.home}")
        theirs = stack.enter_context(serving.client(_SERVING))
        ours = stack.enter_context(monitoring.client(_MONITORING))
        operator = stack.enter_context(monitoring.client())
        token = theirs.tokens.create("monitoring cluster", "link").secret
        operator.clusters.add(_LINK, f"{serving.url}/", token, ca=tls.ca.read_text())
        example = Example(theirs, images, Printer(console, images), seed, watching=ours, cluster=_LINK)
        deployment, model = example.prepare()
        example.follow(deployment)
        monitor = example.monitor(deployment)
        reference = example.monitor(deployment, theirs)
        cycles = list(example.cycles(deployment, monitor, list(model.meta["classes"])))
        alone = [_run(theirs, reference, cycle) for cycle in cycles]
        _compare("over the link", [cycle.run for cycle in cycles], alone, console)
        again = _as_a_dataset(ours, operator, serving, example, deployment, monitor, cycles)
        _compare("through the bucket", again, alone, console)
        tell(console, cycles, as_json=as_json, same=True)
        console.print(f"The whole demo took {time.monotonic() - began:.0f} s.")


@dataclass(frozen=True)
class Place:
    """A server that runs already, and a token for it."""

    url: str
    token: str


def play_on(
    data: str | None, serving: Place, monitoring: Place | None, cluster: str, *, as_json: bool, seed: int
) -> None:
    """Play the example on servers that run already; with one of them everything is there.

    ``cluster`` is the monitoring cluster's link to the serving one; empty: the one to its URL, which is made
    where there is none.
    """
    check_training()
    console = Console(stderr=as_json)
    if not serving.url:
        raise InvalidInputError.of(
            "serving_url", "serving_url is missing; --monitoring-url alone plays nothing."
        )
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegauge-data-")))
        images = find_data(data, scratch, seed)
        theirs = stack.enter_context(Client(serving.url, serving.token))
        ours = stack.enter_context(Client(monitoring.url, monitoring.token)) if monitoring else None
        if ours is not None and not cluster:
            cluster = _linked(theirs, ours)
        printer = Printer(console, images)
        example = Example(theirs, images, printer, seed, again=True, watching=ours, cluster=cluster)
        deployment, model = example.prepare()
        example.follow(deployment)
        monitor = example.monitor(deployment)
        cycles = list(example.cycles(deployment, monitor, list(model.meta["classes"])))
        tell(console, cycles, as_json=as_json)
        console.print(f"Monitor: [b]{(ours or theirs).url}/monitors/{monitor.id}[/b]")


def _linked(theirs: Client, ours: Client) -> str:
    """Return the name of the link to a cluster; where there is none, an operator makes it."""
    for link in ours.clusters.list():
        if link.url == theirs.url:
            return link.name
    token = theirs.tokens.create("monitoring cluster", "link").secret
    ca = os.environ.get("TIDEGAUGE_CA")
    return ours.clusters.add(_LINK, theirs.url, token, ca=Path(ca).read_text() if ca else "").name


def _as_a_dataset(
    ours: Client,
    operator: Client,
    serving: ServerProcess,
    example: Example,
    deployment: Deployment,
    monitor: Monitor,
    cycles: Sequence[Cycle],
) -> list[MonitorRun]:
    """Import the deployment anew, read its log where the serving cluster stores it, and run once more."""
    ours.monitors.stop(monitor.id)
    ours.monitors.delete(monitor.id)
    ours.deployments.delete(deployment.id)
    operator.deployments.import_(
        deployment.name, cluster=_LINK, namespace=deployment.owner, through="dataset"
    )
    operator.deployments.wait_for_import(deployment.id)
    operator.datasets.create(_LOGS, folder=serving.home.absolute() / "store")
    second = example.monitor(
        deployment,
        operator,
        drift={
            "predict_data": "dataset",
            "predict_dataset": _LOGS,
            "predict_prefix": deployment.id,
        },
        performance={"dataset": _LOGS, "prefix": deployment.livedata},
    )
    return [_run(operator, second, cycle) for cycle in cycles]


def _run(client: Client, monitor: Monitor, cycle: Cycle) -> MonitorRun:
    return client.monitors.run(monitor.id, cycle.run.start, cycle.run.end)


def _compare(how: str, found: Sequence[MonitorRun], alone: Sequence[MonitorRun], console: Console) -> None:
    for mine, reference in zip(found, alone, strict=True):
        if _verdict(mine) != _verdict(reference):
            raise TidegaugeError(
                f"The window from {mine.start} on came to something else {how}: {_verdict(mine)}, and on one "
                f"cluster {_verdict(reference)}."
            )
    console.print(f"Of {len(found)} windows the verdicts {how} are those of one cluster, to the bit.")


def _verdict(run: MonitorRun) -> dict[str, Any]:
    """Return what a window says of drift and performance: every number as it is."""
    return {
        "drift": run.drift,
        "performance": run.performance,
        "metrics": {
            metric.name: (metric.value, metric.n, metric.low, metric.high, metric.status)
            for metric in run.metrics
            if metric.type is not MetricType.HEALTH
        },
    }
