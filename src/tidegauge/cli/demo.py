"""``tidegauge demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder of labelled image folders, or GIT_URL[#branch:subpath]; default: phantoms."
        ),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="Where to keep everything; default: a temporary folder.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the server; default: 32222, or a free one.")] = 0,
    wait: Annotated[bool, typer.Option(help="Keep serving at the end, until Ctrl-C.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 1,
    serving_url: Annotated[
        str, typer.Option(help="Play on a server that runs: the cluster that serves, and monitors by itself.")
    ] = "",
    serving_token: Annotated[
        str, typer.Option(envvar="TIDEGAUGE_SERVING_TOKEN", help="Token of that cluster.")
    ] = "",
    monitoring_url: Annotated[str, typer.Option(help="The cluster that monitors, if it is another.")] = "",
    monitoring_token: Annotated[
        str, typer.Option(envvar="TIDEGAUGE_MONITORING_TOKEN", help="Token of that cluster.")
    ] = "",
    cluster: Annotated[
        str, typer.Option(help="Its link to the serving cluster; without one an operator's token makes it.")
    ] = "",
    two_clusters: Annotated[
        bool, typer.Option("--two-clusters", help="One that serves and one that monitors, linked over https.")
    ] = False,
) -> None:
    """Train, deploy, log, monitor and catch a drift, from start to end."""
    if serving_url or monitoring_url:
        from tidegauge.cli.demo_clusters import Place, play_on

        serving = Place(serving_url, serving_token)
        monitoring = Place(monitoring_url, monitoring_token) if monitoring_url else None
        play_on(data, serving, monitoring, cluster, as_json=as_json, seed=seed)
        return
    if two_clusters:
        from tidegauge.cli.demo_clusters import play_two

        play_two(data, home, as_json=as_json, seed=seed)
        return
    from tidegauge.cli.demo_play import play

    play(data, home, port, wait=wait, as_json=as_json, seed=seed)
