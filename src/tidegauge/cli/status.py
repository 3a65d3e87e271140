"""``tidegauge status``: what a cluster is there for."""

from __future__ import annotations

import typer

from tidegauge.cli.output import Json, connect, show


def status(context: typer.Context, as_json: Json = False) -> None:
    """Tell the role of the cluster, its parts, and what rests because its role was wider once."""
    show(connect(context).status(), as_json=as_json)
