"""``tidegauge pipeline``: pipeline runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from tidegauge.cli.output import Json, Search, connect, print_json, read_pairs, show, show_list
from tidegauge.domain.pipeline import PipelineRun, PipelineState
from tidegauge.errors import TidegaugeError

app = typer.Typer(help="Pipeline runs: preprocess, train, deploy.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(help="Id of the pipeline run.")]


@app.command()
def run(
    context: typer.Context,
    code: Annotated[str, typer.Option(help="Code with the pipeline file.")],
    dataset: Annotated[str, typer.Option(help="Dataset to train on.")],
    model: Annotated[str, typer.Option(help="Model that takes the new version.")],
    deployment: Annotated[str, typer.Option(help="Name of the deployment to create or update.")],
    file: Annotated[str, typer.Option(help="Path of the pipeline file in the Code.")] = "pipeline.py",
    code_version: Annotated[int | None, typer.Option(help="Default: the newest.")] = None,
    dataset_version: Annotated[int | None, typer.Option(help="Default: the newest.")] = None,
    parameter: Annotated[list[str] | None, typer.Option(help="name=value, can be repeated.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it has ended; exit 1 if it failed.")] = True,
    as_json: Json = False,
) -> None:
    """Run a pipeline on the server's machine."""
    pipelines = connect(context).pipelines
    started = pipelines.run(
        code=code,
        dataset=dataset,
        model=model,
        deployment=deployment,
        file=file,
        code_version=code_version,
        dataset_version=dataset_version,
        parameters=read_pairs(parameter or [], "parameter"),
    )
    if not wait:
        show(started, as_json=as_json)
        return
    ended = pipelines.wait(started.id, step_printer(Console(stderr=True)))
    show(ended, as_json=as_json)
    if ended.state is not PipelineState.SUCCEEDED:
        raise TidegaugeError(f"The pipeline run {ended.state.value}: {ended.message}")


def step_printer(console: Console) -> Callable[[PipelineRun], None]:
    """Return a watcher that prints each change of a step once."""
    seen: dict[str, str] = {}

    def watch(run: PipelineRun) -> None:
        for step in run.steps:
            if seen.get(step.name) != step.state:
                seen[step.name] = step.state
                console.print(f"  {step.name}: {step.state}")

    return watch


@app.command("list")
def list_(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
    """List the pipeline runs, newest first."""
    show_list(
        connect(context).pipelines.list(q),
        [
            ("id", lambda r: r.id),
            ("code", lambda r: f"{r.code} v{r.code_version}"),
            ("dataset", lambda r: f"{r.dataset} v{r.dataset_version}"),
            ("model", lambda r: r.model),
            ("state", lambda r: r.state),
            ("created", lambda r: r.created_at),
        ],
        as_json=as_json,
        empty="There is no pipeline run yet; start one with: tidegauge pipeline run",
    )


@app.command("show")
def show_(context: typer.Context, run_id: RunId, as_json: Json = False) -> None:
    """Show a pipeline run with its steps."""
    show(connect(context).pipelines.get(run_id), as_json=as_json)


@app.command()
def log(context: typer.Context, run_id: RunId, as_json: Json = False) -> None:
    """Print the end of what a pipeline run has written."""
    text = connect(context).pipelines.log(run_id)
    if as_json:
        print_json({"log": text})
    else:
        typer.echo(text, nl=False)


@app.command()
def cancel(context: typer.Context, run_id: RunId, as_json: Json = False) -> None:
    """Cancel a pipeline run."""
    show(connect(context).pipelines.cancel(run_id), as_json=as_json)
