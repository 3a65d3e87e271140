"""``tidegauge monitor features``, ``add-feature`` and ``remove-feature``: the schema of a monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tidegauge.cli.monitor_config import baselined
from tidegauge.cli.output import Json, connect, show, show_list
from tidegauge.domain.monitor import Feature, FeatureKind, Monitor, MonitorState, ValueType

if TYPE_CHECKING:
    from tidegauge.client import Client

Name = Annotated[str, typer.Argument(help="Id of the monitor, or name or id of its deployment.")]


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``tidegauge monitor``."""
    for command in (features, add_feature, remove_feature):
        app.command(command.__name__.replace("_", "-"))(command)


def _settled(client: Client, monitor: Monitor) -> Monitor:
    """Wait for the baseline that other columns of a table need."""
    waits = monitor.state is MonitorState.BASELINING and monitor.config.input_data_type == "tabular"
    return baselined(client, monitor) if waits else monitor


def features(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show the schema: what was inferred from the training data, and what was given by hand."""
    monitor = connect(context).monitors.get(name)
    show_list(
        list(monitor.schema),
        [
            ("name", lambda feature: feature.name),
            ("kind", lambda feature: feature.kind.value),
            ("value type", lambda feature: feature.value_type.value),
            ("selected", lambda feature: "yes" if feature.selected else "no"),
        ],
        as_json=as_json,
        empty=f"The schema is empty; begin it with: tidegauge monitor add-feature {name} prediction",
    )


def add_feature(
    context: typer.Context,
    name: Name,
    feature: Annotated[str, typer.Argument(help="Name of the feature, such as prediction.")],
    kind: Annotated[
        FeatureKind | None, typer.Option(help="What the feature is; a new one: prediction_output.")
    ] = None,
    value_type: Annotated[
        ValueType | None, typer.Option(help="How its values are to be read; a new one: categorical.")
    ] = None,
    selected: Annotated[
        bool | None, typer.Option("--selected/--left-out", help="Whether it has a score and evidence.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a row to the schema, or change what is given of the one of this name.

    Of a table other input features make a new baseline.
    """
    client = connect(context)
    there = next((known for known in client.monitors.get(name).schema if known.name == feature), None)
    known = there or Feature(feature, FeatureKind.PREDICTION, ValueType.CATEGORICAL)
    changed = client.monitors.add_feature(
        name,
        feature,
        (kind or known.kind).value,
        (value_type or known.value_type).value,
        selected=known.selected if selected is None else selected,
    )
    show(_settled(client, changed), as_json=as_json)


def remove_feature(
    context: typer.Context,
    name: Name,
    feature: Annotated[str, typer.Argument(help="Name of the feature.")],
    as_json: Json = False,
) -> None:
    """Remove a row from the schema; of a table that makes a new baseline."""
    client = connect(context)
    show(_settled(client, client.monitors.remove_feature(name, feature)), as_json=as_json)
