"""``tidegauge pipeline``: pipeline runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from tidegauge.cli import sharing
from tidegauge.cli.output import Json, Search, colour, connect, print_log, read_pairs, say, show, show_list
from tidegauge.cli.sharing import WHOSE
from tidegauge.domain.pipeline import PipelineBackend, PipelineRun, PipelineState
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
    backend: Annotated[
        PipelineBackend, typer.Option(help="local: the server's machine; kubeflow: Kubeflow Pipelines.")
    ] = PipelineBackend.LOCAL,
    host: Annotated[str, typer.Option(help="On Kubeflow: address of its API, such as https://kfp.x/.")] = "",
    kubeflow_token: Annotated[
        str, typer.Option(envvar="KUBEFLOW_TOKEN", help="On Kubeflow: a token for it; better by environment.")
    ] = "",
    namespace: Annotated[str, typer.Option(help="On Kubeflow: whose, where it has several users.")] = "",
    secret_name: Annotated[
        str, typer.Option(help="On Kubeflow: Kubernetes secret with TIDEGAUGE_URL and TIDEGAUGE_TOKEN.")
    ] = "",
    wait: Annotated[bool, typer.Option(help="Wait until it has ended; exit 1 if it failed.")] = True,
    as_json: Json = False,
) -> None:
    """Run a pipeline on the server's machine, or on Kubeflow."""
    remote = {"host": host, "namespace": namespace, "secret_name": secret_name}
    if backend is PipelineBackend.KUBEFLOW:
        remote |= {"backend": backend, "token": kubeflow_token}
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
        **{name: value for name, value in remote.items() if value},
    )
    if not wait:
        show(started, as_json=as_json)
        return
    console = Console(stderr=True)
    try:
        with console.status(f"pipeline run {started.id}") as line:
            ended = pipelines.wait(started.id, _live(console, line))
    except KeyboardInterrupt:
        say(f"The run goes on; look again with: tidegauge pipeline show {started.id}")
        raise
    show(ended, as_json=as_json)
    if ended.state is not PipelineState.SUCCEEDED:
        raise TidegaugeError(
            f"The pipeline run {ended.state.value}: {ended.message} "
            f"What it wrote: tidegauge pipeline log {ended.id}"
        )


def _live(console: Console, line: Status) -> Callable[[PipelineRun], None]:
    """Return a watcher that prints each change of a step and keeps a line on what is going on."""
    print_step = step_printer(console)

    def watch(run: PipelineRun) -> None:
        print_step(run)
        running = [step.name for step in run.steps if step.state == PipelineState.RUNNING]
        line.update(f"pipeline run {run.id}: {', '.join(running) or run.state.value}")

    return watch


def step_printer(console: Console) -> Callable[[PipelineRun], None]:
    """Return a watcher that prints each change of a step once."""
    seen: dict[str, str] = {}

    def watch(run: PipelineRun) -> None:
        for step in run.steps:
            if seen.get(step.name) != step.state:
                seen[step.name] = step.state
                console.print(f"  {step.name}: {colour(step.state)}")

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
            ("backend", lambda r: r.backend),
            ("state", lambda r: r.state),
            ("created", lambda r: r.created_at),
            *WHOSE,
        ],
        as_json=as_json,
        empty="There is no pipeline run yet; start one with: "
        "tidegauge pipeline run --code C --dataset D --model M --deployment NAME",
    )


@app.command("show")
def show_(context: typer.Context, run_id: RunId, as_json: Json = False) -> None:
    """Show a pipeline run with its steps."""
    show(connect(context).pipelines.get(run_id), as_json=as_json)


@app.command()
def log(context: typer.Context, run_id: RunId, as_json: Json = False) -> None:
    """Print the end of what a pipeline run has written."""
    print_log(connect(context).pipelines.log(run_id), as_json=as_json)


@app.command()
def cancel(context: typer.Context, run_id: RunId, as_json: Json = False) -> None:
    """Cancel a pipeline run."""
    show(connect(context).pipelines.cancel(run_id), as_json=as_json)


sharing.add(app, "pipeline run", lambda client: client.pipelines)
