"""``tidegauge monitor`` and ``tidegauge alert``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegauge.cli import monitor_apply, monitor_config, monitor_schema, report, retraining, sharing, watching
from tidegauge.cli.monitor_config import baselined
from tidegauge.cli.options import read_json
from tidegauge.cli.output import (
    Json,
    Search,
    Yes,
    cell,
    colour,
    confirm,
    connect,
    out,
    print_json,
    read_time,
    say,
    show,
    show_list,
)
from tidegauge.cli.sharing import WHOSE
from tidegauge.domain.alert import Alert, Severity, Subject
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import (
    MonitorRun,
    SegmentResult,
    farthest,
)
from tidegauge.domain.status import Status
from tidegauge.errors import InvalidInputError, NotFoundError

app = typer.Typer(help="Monitors of deployments.", no_args_is_help=True)
monitor_config.register(app)
monitor_apply.register(app)
monitor_schema.register(app)
report.register(app)
watching.register(app)
retraining.register(app)
alerts = typer.Typer(help="Alerts of monitors.", no_args_is_help=True)

_ALERT_COLUMNS: list[tuple[str, Callable[[Alert], object]]] = [
    ("id", lambda a: a.id),
    ("name", lambda a: a.name),
    ("type", lambda a: a.rule.type),
    ("rule", lambda a: a.rule.text),
    ("severity", lambda a: a.rule.severity),
    ("firing since", lambda a: a.firing_since),
    ("muted until", lambda a: a.muted_until),
]
Name = Annotated[str, typer.Argument(help="Id of the monitor, or name or id of its deployment.")]


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
            *WHOSE,
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
        return
    show(detail["monitor"], as_json=False)
    if detail["alerts"]:
        show_list(connect(context).monitors.alerts(name), _ALERT_COLUMNS, as_json=False, empty="")
    columns = ("at", "before", "after", "by", "why")
    show_list(detail["transitions"], [(key, itemgetter(key)) for key in columns], as_json=False, empty="")


@app.command()
def baseline(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Make the baseline anew and wait for it."""
    client = connect(context)
    show(baselined(client, client.monitors.baseline(name)), as_json=as_json)


@app.command()
def thresholds(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="JSON file of thresholds.", exists=True, dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Replace the thresholds by those of a JSON file, and say what they would do on clean data."""
    monitors, content = connect(context).monitors, file.read_bytes()
    changed = monitors.set_thresholds(name, content)
    with contextlib.suppress(InvalidInputError):  # no window has been seen yet: nothing can be said
        for sentence in monitors.preview_thresholds(name, content)["sentences"]:
            say(sentence)
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
    say(f"The monitor of {monitor.name!r} is deleted.")


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
            ("inputs", _inputs),
            ("prediction", lambda r: _value(r, "prediction")),
            ("accuracy or MAE", lambda r: _value(r, "accuracy", "mae")),
        ],
        as_json=as_json,
        empty=f"No window was looked at yet; do it with: tidegauge monitor run {name} --from T --to T",
    )


@alerts.command("add")
def add_alert(
    context: typer.Context,
    monitor: Name,
    name: Annotated[str, typer.Argument(help="Name of the alert.")],
    metric: Annotated[str, typer.Argument(help="Metric or feature, such as accuracy; * for any.")] = "",
    operator: Annotated[str, typer.Argument(help="One of < <= > >= (in quotes).")] = ">=",
    bound: Annotated[float | None, typer.Argument(help="The bound.")] = None,
    type_: Annotated[MetricType, typer.Option("--type", help="Type of the metric.")] = MetricType.PERFORMANCE,
    on: Annotated[
        Subject, typer.Option(help="What is judged; evidence without a bound is the drift alarm.")
    ] = Subject.METRIC,
    status: Annotated[Status | None, typer.Option(help="With --on status: which one.")] = None,
    surely: Annotated[
        bool, typer.Option(help="Only if the whole confidence sequence is past the bound.")
    ] = False,
    segment: Annotated[
        str, typer.Option(help="Segment that is judged; * for any, and the whole; left out: the whole.")
    ] = "",
    breaches: Annotated[int, typer.Option(help="Windows in a row before it fires.")] = 1,
    severity: Annotated[Severity, typer.Option(help="How bad it is.")] = Severity.WARNING,
    channel: Annotated[list[str] | None, typer.Option(help="Channel to tell; may be repeated.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag; may be repeated.")] = None,
    repeat: Annotated[int, typer.Option(help="Minutes until it is told again while it fires; 0: never.")] = 0,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Begin a retraining when it fires; a person decides.")
    ] = False,
    held_out: Annotated[
        str | None, typer.Option(help="With --retrain: DATASET:VERSION to compare on.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="The whole rule as JSON.", exists=True, dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a rule; it fires when it holds, and resolves when it no longer does."""
    rule: dict[str, Any] = {"name": name}
    if file:
        rule |= read_json(file)
    else:
        condition = {
            "on": on.value,
            "name": metric,
            "operator": operator,
            "bound": bound,
            "status": status.value if status else None,
            "surely": surely,
            "segment": segment,
        }
        about = MetricType.DRIFT if on is Subject.EVIDENCE else type_
        rule |= {
            "type": about.value,
            "conditions": [condition],
            "breaches": breaches,
            "severity": severity.value,
            "channels": channel or [],
            "tags": tag or [],
            "repeat_minutes": repeat,
            "retrain": retraining.action(held_out) if retrain else None,
        }
    show(connect(context).monitors.add_rule(monitor, rule), as_json=as_json)


@alerts.command("mute")
def mute_alert(
    context: typer.Context,
    monitor: Name,
    alert_id: Annotated[str, typer.Argument(help="Id of the alert.")],
    until: Annotated[str | None, typer.Option(help="Until when, ISO 8601; left out: no longer.")] = None,
    as_json: Json = False,
) -> None:
    """Tell nothing of an alert until a time; without --until it is told again."""
    moment = read_time(until, "until") if until else None
    show(connect(context).monitors.mute_alert(monitor, alert_id, moment), as_json=as_json)


@alerts.command("list")
def list_alerts(context: typer.Context, monitor: Name, as_json: Json = False) -> None:
    """List the rules of a monitor."""
    show_list(
        connect(context).monitors.alerts(monitor),
        _ALERT_COLUMNS,
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
    monitors = connect(context).monitors
    alert = next((alert for alert in monitors.alerts(monitor) if alert.id == alert_id), None)
    if alert is None:
        raise NotFoundError(f"The monitor {monitor!r} has no alert {alert_id!r}.")
    fired = sum(event.alert_id == alert_id for event in monitors.alert_events(monitor))
    confirm(f"This deletes the alert {alert.name!r} ({alert.rule.text}) and its {fired} firings.", yes=yes)
    monitors.delete_alert(monitor, alert_id)
    say(f"The alert {alert.name!r} is deleted.")


def _show_run(run: MonitorRun) -> None:
    out().print(f"{cell(run.start)} to {cell(run.end)}, revision {run.revision}: {colour(run.status.value)}")
    show_list(
        run.metrics,
        [
            ("type", lambda m: m.type),
            ("metric", lambda m: m.name),
            ("value", lambda m: m.value),
            ("low", lambda m: m.low),
            ("high", lambda m: m.high),
            ("samples", lambda m: m.n),
            ("status", lambda m: m.status),
        ],
        as_json=False,
        empty="Nothing was measured.",
    )
    if run.segments:
        show_list(
            run.segments,
            [
                ("segment", lambda s: s.name),
                ("observations", lambda s: s.n),
                ("inputs", _inputs),
                ("prediction", lambda s: _value(s, "prediction")),
                ("accuracy or MAE", lambda s: _value(s, "accuracy", "mae")),
                ("drift", lambda s: s.drift),
                ("performance", lambda s: s.performance),
                ("health", lambda s: s.health),
            ],
            as_json=False,
            empty="",
        )
    for problem in run.problems:
        say(problem, "yellow")


def _inputs(found: MonitorRun | SegmentResult) -> float | None:
    """Return the score of images, or of the feature of a table that is farthest from the baseline."""
    measured = farthest(found.metrics)
    return measured.value if measured else None


def _value(found: MonitorRun | SegmentResult, *metrics: str) -> float | None:
    """Return the value of the first of these metrics that there is."""
    measured = next((metric for name in metrics if (metric := found.metric(name))), None)
    return measured.value if measured else None


sharing.add(app, "monitor", lambda client: client.monitors)
