"""``tidegauge monitor create`` and ``configure``: the same options, over nothing or over what is there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegauge.cli.options import read_json
from tidegauge.cli.output import Json, connect, progress_bar, read_pairs, show
from tidegauge.domain.catalogue import VersionState
from tidegauge.domain.monitor import Monitor
from tidegauge.errors import NotFoundError

if TYPE_CHECKING:
    from tidegauge.client import Client


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``tidegauge monitor``."""
    _register(
        app,
        "create",
        "Create the monitor of a deployment and wait for its baseline.",
        lambda _client, _key: {},
        lambda client, key, config: client.monitors.create(key, config),
    )
    _register(
        app,
        "configure",
        "Change the configuration; what is not given stays. Waits for the new baseline.",
        _current,
        lambda client, key, config: client.monitors.configure(key, config),
    )


def _register(
    app: typer.Typer,
    name: str,
    help_: str,
    begin: Callable[[Client, str], dict[str, Any]],
    send: Callable[[Client, str, Mapping[str, Any]], Monitor],
) -> None:
    @app.command(name, help=help_)
    def command(
        context: typer.Context,
        deployment: Annotated[str, typer.Argument(help="Name or id of the deployment to watch.")],
        file: Annotated[
            Path | None,
            typer.Option("--file", "-f", help="Configuration as JSON.", exists=True, dir_okay=False),
        ] = None,
        frequency: Annotated[int | None, typer.Option(help="Minutes between runs; default: 5.")] = None,
        time_zone: Annotated[str | None, typer.Option(help="IANA name; default: UTC.")] = None,
        minimum_samples: Annotated[
            int | None, typer.Option(help="With fewer, a verdict is unknown; default: 5.")
        ] = None,
        drift: Annotated[bool | None, typer.Option(help="Compare with the training data.")] = None,
        height: Annotated[int | None, typer.Option(help="Image height in pixels.")] = None,
        width: Annotated[int | None, typer.Option(help="Image width in pixels.")] = None,
        channels: Annotated[int | None, typer.Option(help="Image channels: 1 or 3; default: 1.")] = None,
        train_dataset: Annotated[
            str | None, typer.Option(help="Dataset that the model was trained on.")
        ] = None,
        train_version: Annotated[
            int | None, typer.Option(help="Version of that dataset; default: the newest.")
        ] = None,
        performance: Annotated[
            bool | None, typer.Option(help="Compute performance from labelled files.")
        ] = None,
        prefix: Annotated[
            str | None, typer.Option(help="Of the labelled files; default: <deployment id>/livedata.")
        ] = None,
        positive: Annotated[
            str | None, typer.Option(help="Class that precision and recall speak of; default: the model's.")
        ] = None,
        sets: Annotated[
            list[str] | None,
            typer.Option(
                "--set", help="Any field as FIELD=VALUE, such as performance.prefix=labels; repeat it."
            ),
        ] = None,
        as_json: Json = False,
    ) -> None:
        client = connect(context)
        config = read_json(file) if file else begin(client, deployment)
        if train_dataset is not None and train_version is None:
            train_version = _newest(client, train_dataset)
        changes = {
            "frequency_minutes": frequency,
            "time_zone": time_zone,
            "minimum_samples": minimum_samples,
            "drift.image.height": height,
            "drift.image.width": width,
            "drift.image.channels": channels,
            "drift.train_data.dataset": train_dataset,
            "drift.train_data.version": train_version,
            "performance.enabled": performance,
            "performance.prefix": prefix,
            "performance.positive": positive,
        }
        about_drift = any(value is not None for path, value in changes.items() if path.startswith("drift."))
        changes["drift.enabled"] = True if drift is None and about_drift else drift
        given = {path: value for path, value in changes.items() if value is not None}
        given |= {path: _value(text) for path, text in read_pairs(sets or (), "set").items()}
        monitor = send(client, deployment, overlay(config, given))
        show(baselined(client, monitor), as_json=as_json)


def overlay(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set dotted names in a JSON object.

    >>> overlay({"drift": {"image": None}}, {"drift.image.width": 200})
    {'drift': {'image': {'width': 200}}}
    """
    for path, value in changes.items():
        *outer, last = path.split(".")
        place = config
        for name in outer:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        place[last] = value
    return config


def _value(text: str) -> Any:
    """Read a value as JSON, such as 200 or true; what is none is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def baselined(client: Client, monitor: Monitor) -> Monitor:
    """Wait until a monitor has its baseline, with a progress bar."""
    with progress_bar("baseline") as report:

        def watch(now: Monitor) -> None:
            done, _, rest = now.progress.partition(" of ")
            if done.isdecimal() and rest.split():
                report("images", int(done), int(rest.split()[0]))

        return client.monitors.wait(monitor.id, watch)


def _current(client: Client, key: str) -> dict[str, Any]:
    return dict(client.monitors.detail(key)["monitor"]["config"])


def _newest(client: Client, dataset: str) -> int:
    ready = [v.number for v in client.datasets.versions(dataset) if v.state is VersionState.READY]
    if not ready:
        raise NotFoundError(
            f"The dataset {dataset!r} has no version that is ready; "
            f"add one with: tidegauge dataset add-version {dataset}"
        )
    return max(ready)
