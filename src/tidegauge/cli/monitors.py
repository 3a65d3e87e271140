"""``tidegauge monitor`` and ``tidegauge alert``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegauge.cli.output import (
    Json,
    Search,
    Yes,
    cell,
    confirm,
    connect,
    print_json,
    progress_bar,
    read_time,
    show,
    show_list,
)
from tidegauge.client import Client
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import FeatureKind, Monitor, MonitorRun, ValueType
from tidegauge.errors import InvalidInputError

app = typer.Typer(help="Monitors of deployments.", no_args_is_help=True)
alerts = typer.Typer(help="Alerts of monitors.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Id of the monitor, or name or id of its deployment.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--file", "-f", help="The whole configuration as JSON.", exists=True)
]
Frequency = Annotated[int, typer.Option(help="Minutes between runs.")]
Height = Annotated[int | None, typer.Option(help="Image height in pixels.")]
Width = Annotated[int | None, typer.Option(help="Image width in pixels.")]
Channels = Annotated[int, typer.Option(help="Image channels: 1 or 3.")]
TrainDataset = Annotated[str | None, typer.Option(help="Dataset that the model was trained on.")]
TrainVersion = Annotated[int, typer.Option(help="Version of that dataset.")]
Performance = Annotated[bool, typer.Option(help="Compute performance from labelled files.")]
Prefix = Annotated[str, typer.Option(help="Prefix of the labelled files; default: <deployment id>/livedata.")]


@app.command("list")
def list_(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
    """List the monitors."""
    show_list(
        connect(context).monitors.list(q),
        [
            ("name", lambda m: m.name),
            ("id", lambda m: m.id),
            ("state", lambda m: m.state),
            ("status", lambda m: m.status),
            ("last run", lambda m: m.last_run_at),
            ("message", lambda m: m.message or m.progress),
        ],
        as_json=as_json,
        empty="There is no monitor yet; make one with: tidegauge monitor create DEPLOYMENT",
    )


@app.command("show")
def show_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a monitor with its deployment, alerts and history."""
    detail = connect(context).monitors.detail(name)
    if as_json:
        print_json(detail)
    else:
        show(detail["monitor"], as_json=False)
        show_list(
            detail["transitions"],
            [(key, lambda t, key=key: t[key]) for key in ("at", "before", "after", "by", "why")],  # type: ignore[misc]
            as_json=False,
            empty="",
        )


@app.command()
def create(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="Name or id of the deployment to watch.")],
    file: ConfigFile = None,
    frequency: Frequency = 5,
    height: Height = None,
    width: Width = None,
    channels: Channels = 1,
    train_dataset: TrainDataset = None,
    train_version: TrainVersion = 1,
    performance: Performance = False,
    prefix: Prefix = "",
    as_json: Json = False,
) -> None:
    """Create the monitor of a deployment and wait for its baseline."""
    client = connect(context)
    config = _config(
        file, frequency, height, width, channels, train_dataset, train_version, performance, prefix
    )
    show(_baselined(client, client.monitors.create(deployment, config)), as_json=as_json)


@app.command()
def configure(
    context: typer.Context,
    name: Name,
    file: ConfigFile = None,
    frequency: Frequency = 5,
    height: Height = None,
    width: Width = None,
    channels: Channels = 1,
    train_dataset: TrainDataset = None,
    train_version: TrainVersion = 1,
    performance: Performance = False,
    prefix: Prefix = "",
    as_json: Json = False,
) -> None:
    """Replace the configuration: a new config version and a new baseline."""
    client = connect(context)
    config = _config(
        file, frequency, height, width, channels, train_dataset, train_version, performance, prefix
    )
    show(_baselined(client, client.monitors.configure(name, config)), as_json=as_json)


@app.command()
def baseline(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Make the baseline anew and wait for it."""
    client = connect(context)
    show(_baselined(client, client.monitors.baseline(name)), as_json=as_json)


@app.command("add-feature")
def add_feature(
    context: typer.Context,
    name: Name,
    feature: Annotated[str, typer.Argument(help="Name of the feature, such as prediction.")],
    kind: Annotated[FeatureKind, typer.Option(help="What the feature is.")] = FeatureKind.PREDICTION,
    value_type: Annotated[
        ValueType, typer.Option(help="How its values are to be read.")
    ] = ValueType.CATEGORICAL,
    as_json: Json = False,
) -> None:
    """Add a row to the schema."""
    changed = connect(context).monitors.add_feature(name, feature, kind.value, value_type.value)
    show(changed, as_json=as_json)


@app.command("remove-feature")
def remove_feature(
    context: typer.Context,
    name: Name,
    feature: Annotated[str, typer.Argument(help="Name of the feature.")],
    as_json: Json = False,
) -> None:
    """Remove a row from the schema."""
    show(connect(context).monitors.remove_feature(name, feature), as_json=as_json)


@app.command()
def thresholds(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="JSON file of thresholds.", exists=True, dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Replace the thresholds by those of a JSON file."""
    changed = connect(context).monitors.set_thresholds(name, file.read_bytes())
    show_list(
        list(changed.thresholds.values()),
        [
            ("name", lambda t: t.name),
            ("type", lambda t: t.type),
            ("soft", lambda t: t.soft),
            ("hard", lambda t: t.hard),
        ],
        as_json=as_json,
        empty="",
    )


@app.command()
def start(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Start a monitor that is ready."""
    show(connect(context).monitors.start(name), as_json=as_json)


@app.command()
def stop(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Stop an active monitor."""
    show(connect(context).monitors.stop(name), as_json=as_json)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a monitor with its baseline, runs, alerts and history."""
    client = connect(context)
    monitor = client.monitors.get(name)
    runs = len(client.monitors.runs(monitor.id))
    confirm(
        f"This deletes the monitor of {monitor.name!r} with its baseline, its alerts and its {runs} runs.",
        yes=yes,
    )
    client.monitors.delete(monitor.id)


@app.command()
def run(
    context: typer.Context,
    name: Name,
    start: Annotated[str, typer.Option("--from", help="Begin of the window, ISO 8601; without a zone UTC.")],
    end: Annotated[str, typer.Option("--to", help="End of the window, not part of it.")],
    as_json: Json = False,
) -> None:
    """Look at one window now."""
    found = connect(context).monitors.run(name, read_time(start, "from"), read_time(end, "to"))
    if as_json:
        print_json(found)
    else:
        _show_run(found)


@app.command()
def runs(
    context: typer.Context,
    name: Name,
    start: Annotated[
        str | None, typer.Option("--from", help="Only windows that begin here or later.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Only windows that begin before this.")] = None,
    as_json: Json = False,
) -> None:
    """List the windows that were looked at."""

    def value(run: MonitorRun, metric: str) -> Any:
        found = run.metric(metric)
        return found.value if found else None

    show_list(
        connect(context).monitors.runs(
            name,
            read_time(start, "from") if start else None,
            read_time(end, "to") if end else None,
        ),
        [
            ("from", lambda r: r.start),
            ("minutes", lambda r: (r.end - r.start).total_seconds() / 60),
            ("status", lambda r: r.status),
            ("drift", lambda r: r.drift),
            ("performance", lambda r: r.performance),
            ("health", lambda r: r.health),
            ("image", lambda r: value(r, "image")),
            ("prediction", lambda r: value(r, "prediction")),
            ("accuracy", lambda r: value(r, "accuracy")),
        ],
        as_json=as_json,
        empty=f"No window was looked at yet; do it with: tidegauge monitor run {name} --from T --to T",
    )


@alerts.command("add")
def add_alert(
    context: typer.Context,
    monitor: Name,
    name: Annotated[str, typer.Argument(help="Name of the alert.")],
    metric: Annotated[str, typer.Argument(help="Metric or feature, such as accuracy.")],
    operator: Annotated[str, typer.Argument(help="One of < <= > >= (in quotes).")],
    bound: Annotated[float, typer.Argument(help="The bound.")],
    type_: Annotated[MetricType, typer.Option("--type", help="Type of the metric.")] = MetricType.PERFORMANCE,
    as_json: Json = False,
) -> None:
    """Add a rule; it fires in every run in which it holds."""
    made = connect(context).monitors.add_alert(monitor, name, metric, operator, bound, type_.value)
    show(made, as_json=as_json)


@alerts.command("list")
def list_alerts(context: typer.Context, monitor: Name, as_json: Json = False) -> None:
    """List the rules of a monitor."""
    show_list(
        connect(context).monitors.alerts(monitor),
        [
            ("id", lambda a: a.id),
            ("name", lambda a: a.name),
            ("type", lambda a: a.type),
            ("rule", lambda a: a.rule),
        ],
        as_json=as_json,
        empty=f"There is no alert yet; make one with: tidegauge alert add {monitor} NAME accuracy '<' 0.85",
    )


@alerts.command("events")
def list_events(context: typer.Context, monitor: Name, as_json: Json = False) -> None:
    """List the times that alerts fired, newest first."""
    show_list(
        connect(context).monitors.alert_events(monitor),
        [
            ("at", lambda e: e.at),
            ("alert", lambda e: e.name),
            ("rule", lambda e: e.rule),
            ("value", lambda e: e.value),
        ],
        as_json=as_json,
        empty="No alert has fired.",
    )


@alerts.command("delete")
def delete_alert(
    context: typer.Context,
    monitor: Name,
    alert_id: Annotated[str, typer.Argument(help="Id of the alert.")],
    yes: Yes = False,
) -> None:
    """Delete a rule with the record of its firings."""
    confirm(f"This deletes the alert {alert_id} with the record of its firings.", yes=yes)
    connect(context).monitors.delete_alert(monitor, alert_id)


def _config(
    file: Path | None,
    frequency: int,
    height: int | None,
    width: int | None,
    channels: int,
    train_dataset: str | None,
    train_version: int,
    performance: bool,
    prefix: str,
) -> dict[str, Any]:
    if file is not None:
        try:
            config = json.loads(file.read_bytes())
        except ValueError as error:
            raise InvalidInputError.of("file", f"{file} is not valid JSON: {error}.") from error
        if not isinstance(config, dict):
            raise InvalidInputError.of("file", f"{file} must hold a JSON object.")
        return config
    sized = height is not None and width is not None
    return {
        "frequency_minutes": frequency,
        "drift": {
            "enabled": sized or train_dataset is not None,
            "image": {"height": height, "width": width, "channels": channels} if sized else None,
            "train_data": {"dataset": train_dataset, "version": train_version} if train_dataset else None,
        },
        "performance": {"enabled": performance, "prefix": prefix},
    }


def _baselined(client: Client, monitor: Monitor) -> Monitor:
    with progress_bar("baseline") as report:

        def watch(now: Monitor) -> None:
            done, _, rest = now.progress.partition(" of ")
            if rest:
                report("images", int(done), int(rest.split()[0]))

        return client.monitors.wait(monitor.id, watch)


def _show_run(run: MonitorRun) -> None:
    typer.echo(f"{cell(run.start)} to {cell(run.end)}, revision {run.revision}: {run.status.value}")
    show_list(
        run.metrics,
        [
            ("type", lambda m: m.type),
            ("metric", lambda m: m.name),
            ("value", lambda m: m.value),
            ("from", lambda m: m.low),
            ("to", lambda m: m.high),
            ("samples", lambda m: m.n),
            ("status", lambda m: m.status),
        ],
        as_json=False,
        empty="Nothing was measured.",
    )
    for problem in run.problems:
        typer.echo(problem)
