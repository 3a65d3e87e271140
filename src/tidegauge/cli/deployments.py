"""``tidegauge deployment``: served models."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegauge.cli import imports, kserve, sharing
from tidegauge.cli.output import (
    Json,
    Search,
    Yes,
    confirm,
    connect,
    print_json,
    print_log,
    say,
    show,
    show_list,
)
from tidegauge.cli.sharing import WHOSE
from tidegauge.domain.deployment import Deployment, DeploymentState
from tidegauge.domain.inference_service import Runtime
from tidegauge.errors import InvalidInputError, TidegaugeError

if TYPE_CHECKING:
    from tidegauge.client import Client

app = typer.Typer(help="Deployments: served models.", no_args_is_help=True)

tokens = typer.Typer(
    help="Tokens that report events of a deployment, and nothing else.", no_args_is_help=True
)
app.add_typer(tokens, name="token")
app.command("import")(imports.import_)
app.command("look")(imports.look)

Name = Annotated[str, typer.Argument(help="Name or id of the deployment.")]
_SERVICE = typer.Option(help="InferenceService under which KServe's logger reports it.")
_NAMESPACE = typer.Option(help="Namespace of the InferenceService.")
_PREDICT_URL = typer.Option(help="Where others ask it.")
_KEEP_DAYS = typer.Option(help="Days that its events are kept; all, or default: as the server is set.")
_KEEP_BYTES = typer.Option(help="Bytes that its log may have; all, or default: as the server is set.")
_REPLICAS = typer.Option(help="Of one on KServe: as few replicas (0: none while nobody asks).")
_MOST_REPLICAS = typer.Option(help="Of one on KServe: as many replicas.")
_SAMPLING = typer.Option(help="Share of its requests that is logged, from 0.000001 to 1.")


@app.command("list")
def list_(context: typer.Context, q: Search = "", as_json: Json = False) -> None:
    """List the deployments."""
    show_list(
        connect(context).deployments.list(q),
        [
            ("name", lambda d: d.name),
            ("id", lambda d: d.id),
            ("model", lambda d: d.model_label),
            ("state", lambda d: d.state),
            ("logging", lambda d: "on" if d.logging else "off"),
            ("origin", lambda d: d.origin),
            ("message", lambda d: d.message),
            *WHOSE,
        ],
        as_json=as_json,
        empty="No deployment yet; make one with: tidegauge deployment create NAME --model M --version 1",
    )


@app.command("show")
def show_(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show a deployment."""
    client = connect(context)
    deployment = client.deployments.get(name)
    show(deployment, as_json=as_json)
    if not as_json:
        typer.echo(f"\nPredict URL: {client.deployments.predict_url(deployment) or 'unknown'}")
        typer.echo(f"Events URL: {client.deployments.events_url(deployment)}")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new deployment.")],
    model: Annotated[str, typer.Option(help="Model to serve.")],
    version: Annotated[int, typer.Option(help="Version of the model.")],
    logging: Annotated[bool, typer.Option(help="Log every request and response.")] = True,
    backend: Annotated[
        kserve.Backend, typer.Option(help="local: this server's own processes; kserve: KServe on Kubernetes.")
    ] = kserve.Backend.LOCAL,
    namespace: Annotated[str, typer.Option(help="On KServe: namespace; by default the server's.")] = "",
    runtime: Annotated[
        Runtime | None, typer.Option(help="On KServe: our model server, or the cluster's own for ONNX.")
    ] = None,
    min_replicas: Annotated[int | None, _REPLICAS] = None,
    max_replicas: Annotated[int | None, _MOST_REPLICAS] = None,
    log_url: Annotated[
        str, typer.Option(help="On KServe: s3:// bucket that its logger writes to, not the collector.")
    ] = "",
    storage_uri: Annotated[
        str, typer.Option(help="On KServe: where the model is; by default a copy in the server's bucket.")
    ] = "",
    manifest_only: Annotated[
        bool, typer.Option("--manifest-only", help="On KServe: print the YAML, and apply nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is running.")] = True,
    as_json: Json = False,
) -> None:
    """Serve a version of a model, here or by KServe on Kubernetes."""
    client = connect(context)
    given = {
        "namespace": namespace,
        "runtime": runtime,
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
        "log_url": log_url,
        "storage_uri": storage_uri,
        "manifest_only": manifest_only,
    }
    # 0 replicas is something that was given.
    options = {field: value for field, value in given.items() if value or type(value) is int}
    if backend is kserve.Backend.KSERVE:
        kserve.create(
            client, name, model, version, {"logging": logging, **options}, wait=wait, as_json=as_json
        )
        return
    kserve.check_unused(options)
    made = client.deployments.create(name, model, version, logging=logging)
    show(_settled(client, made, wait=wait), as_json=as_json)


@app.command()
def register(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the new deployment.")],
    model: Annotated[str, typer.Option(help="Its model, where it is one of the models here.")] = "",
    version: Annotated[int, typer.Option(help="Version of the model.")] = 0,
    classes: Annotated[
        str,
        typer.Option(help="Names of its answers, by commas, in the order of the scores; none: a regression."),
    ] = "",
    service: Annotated[str, _SERVICE] = "",
    namespace: Annotated[str, _NAMESPACE] = "",
    predict_url: Annotated[str, _PREDICT_URL] = "",
    sampling: Annotated[float, _SAMPLING] = 1.0,
    keep_days: Annotated[str | None, _KEEP_DAYS] = None,
    keep_bytes: Annotated[str | None, _KEEP_BYTES] = None,
    as_json: Json = False,
) -> None:
    """Add a deployment that another server has: it is nothing but the events that are sent."""
    client = connect(context)
    made = client.deployments.register(
        name,
        model=model,
        version=version,
        classes=_listed(classes),
        service=service,
        namespace=namespace,
        predict_url=predict_url,
        sampling=sampling,
        keep_days=_bound("keep_days", keep_days),
        keep_bytes=_bound("keep_bytes", keep_bytes),
    )
    show(made, as_json=as_json)
    if not as_json:
        say(
            f"Send its events to {client.deployments.events_url(made)} with a token of: "
            f"tidegauge deployment token create {made.name} NAME"
        )


@app.command()
def update(
    context: typer.Context,
    name: Name,
    version: Annotated[int | None, typer.Option(help="Serve this version from now on.")] = None,
    logging: Annotated[bool | None, typer.Option(help="Log every request and response.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names of its answers, by commas.")] = None,
    service: Annotated[str | None, _SERVICE] = None,
    namespace: Annotated[str | None, _NAMESPACE] = None,
    predict_url: Annotated[str | None, _PREDICT_URL] = None,
    sampling: Annotated[float | None, _SAMPLING] = None,
    keep_days: Annotated[str | None, _KEEP_DAYS] = None,
    keep_bytes: Annotated[str | None, _KEEP_BYTES] = None,
    min_replicas: Annotated[int | None, _REPLICAS] = None,
    max_replicas: Annotated[int | None, _MOST_REPLICAS] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is running.")] = True,
    as_json: Json = False,
) -> None:
    """Serve another version, switch the log on or off, say how long it is kept or what an external one is."""
    given = {
        "version": version,
        "logging": logging,
        "classes": None if classes is None else _listed(classes),
        "service": service,
        "namespace": namespace,
        "predict_url": predict_url,
        "sampling": sampling,
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
    }
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    for key, text in (("keep_days", keep_days), ("keep_bytes", keep_bytes)):
        if text is not None:
            changes[key] = _bound(key, text)
    if not changes:
        raise InvalidInputError(
            "Nothing to change; give an option such as --version, --no-logging or --keep-days."
        )
    client = connect(context)
    changed = client.deployments.update(name, **changes)
    show(_settled(client, changed, wait=wait), as_json=as_json)


@app.command()
def start(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Start a stopped deployment."""
    client = connect(context)
    show(_settled(client, client.deployments.update(name, wanted="running"), wait=True), as_json=as_json)


@app.command()
def stop(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Stop serving; the log stays."""
    show(connect(context).deployments.update(name, wanted="stopped"), as_json=as_json)


@app.command()
def log(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Print the end of what the served process has written."""
    print_log(connect(context).deployments.log(name), as_json=as_json)


@app.command("inference-log")
def inference_log(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show how large the inference log is, how much of it was merged, and what is kept no more."""
    show(connect(context).deployments.inference_log(name), as_json=as_json)


@app.command()
def captures(
    context: typer.Context,
    name: Name,
    last: Annotated[str, typer.Option(help="How far back: minutes, hours or days (30m, 1h, 7d).")] = "24h",
    as_json: Json = False,
) -> None:
    """Compare what was served with what the log has, and say why requests are missing."""
    now = datetime.now(UTC)
    found = connect(context).deployments.captures(name, now - _span(last), now)
    if as_json:
        print_json(found)
        return
    show_list(
        list(found.senders.items()),
        [
            ("sender", lambda s: s[0]),
            ("served", lambda s: s[1].served),
            ("in the log", lambda s: s[1].captured),
            ("overflowed", lambda s: s[1].overflow),
            ("refused", lambda s: s[1].refused),
            ("never arrived", lambda s: s[1].missing),
        ],
        as_json=False,
        empty=f"Nobody numbered what was served in the last {last}.",
    )
    if found.total.served:
        say(found.total.loss() or f"All {found.total.served:,} served requests are in the log.")


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a deployment with its inference log and labels."""
    client = connect(context)
    deployment = client.deployments.get(name)
    confirm(
        f"This stops the deployment {deployment.name!r} and deletes its whole inference log and its labels."
        f"{kserve.what_goes(deployment)}",
        yes=yes,
    )
    client.deployments.delete(deployment.id)
    say(f"The deployment {deployment.name!r} is deleted.")


@app.command("delete-event")
def delete_event(
    context: typer.Context,
    name: Name,
    event_id: Annotated[list[str] | None, typer.Argument(help="Ids of events.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A file with an id on each line.", exists=True)
    ] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    wait: Annotated[bool, typer.Option(help="Wait until all of it is gone.")] = True,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete logged events from the log and from all that was made of them, for good."""
    ids = [*(event_id or []), *((file.read_text().split()) if file else [])]
    if not ids:
        raise InvalidInputError.of("event_id", "No event is named; give ids, or a file of them with --file.")
    events = f"the event {ids[0]!r}" if len(ids) == 1 else f"{len(ids)} events"
    confirm(
        f"This deletes {events} of {name!r} for good: from the log, observations, results and labels.",
        yes=yes,
    )
    deployments = connect(context).deployments
    begun = deployments.delete_events(name, ids, note)
    if wait:
        mine = {erasure.id for erasure in begun}
        begun = tuple(e for e in deployments.wait_for_erasures(name) if e.id in mine)
    if as_json:
        print_json(begun)
        return
    for erasure in begun:
        say(f"Deleted: {erasure.found}." if erasure.done_at else "The deletion has begun.")


@app.command()
def erasures(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the events that were deleted: when, by whom and why."""
    show_list(
        connect(context).deployments.erasures(name),
        [
            ("at", lambda e: e.at),
            ("by", lambda e: e.by),
            ("note", lambda e: e.note),
            ("state", lambda e: "done" if e.done_at else "under way"),
            ("found in", lambda e: e.found),
            ("digest", lambda e: e.digest[:12]),
        ],
        as_json=as_json,
        empty=f"No event was deleted; delete one with: tidegauge deployment delete-event {name} EVENT_ID",
    )


@tokens.command("create")
def create_token(
    context: typer.Context,
    name: Name,
    token: Annotated[str, typer.Argument(help="Name of the token: what it is for.")],
    as_json: Json = False,
) -> None:
    """Issue a token that reports events of the deployment; it is shown this once."""
    made = connect(context).deployments.create_token(name, token)
    if as_json:
        print_json(made)
        return
    say(f"The token {made.name!r} (shown once):")
    typer.echo(made.secret)


@tokens.command("list")
def list_tokens(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the tokens that report events of the deployment."""
    show_list(
        connect(context).deployments.tokens(name),
        [("name", lambda t: t.name), ("id", lambda t: t.id), ("created", lambda t: t.created_at)],
        as_json=as_json,
        empty=f"No token yet; make one with: tidegauge deployment token create {name} NAME",
    )


@tokens.command("revoke")
def revoke_token(
    context: typer.Context,
    name: Name,
    token: Annotated[str, typer.Argument(help="Name or id of the token.")],
    yes: Yes = False,
) -> None:
    """Revoke a token: what is sent with it is refused from now on."""
    confirm(f"Whatever reports events of {name!r} with the token {token!r} is refused from now on.", yes=yes)
    connect(context).deployments.revoke_token(name, token)
    say(f"The token {token!r} is revoked.")


@app.command()
def predict(
    context: typer.Context,
    name: Name,
    images: Annotated[list[Path], typer.Argument(help="JPEG or PNG files.", exists=True, dir_okay=False)],
    as_json: Json = False,
) -> None:
    """Send images and print what the model says of each."""
    client = connect(context)
    deployment = client.deployments.get(name)
    classes = list(deployment.classes)
    if deployment.model_name:
        version = client.models.version(deployment.model_name, deployment.model_version)
        classes = list(version.meta.get("classes", []))
    answers = []
    for path in images:
        encoded = base64.b64encode(path.read_bytes()).decode()
        answer = client.deployments.predict(deployment, {"instances": [{"b64": encoded}]})
        answers.append({"file": str(path), **read_scores(answer["predictions"][0], classes)})
    show_list(
        answers,
        [
            ("file", lambda a: a["file"]),
            ("prediction", lambda a: a["prediction"]),
            ("confidence", lambda a: a["confidence"]),
        ],
        as_json=as_json,
        empty="No image was given.",
    )


def read_scores(scores: Any, classes: Sequence[str]) -> dict[str, Any]:
    """Return the class with the highest score; without names of classes, its number.

    >>> read_scores([0.25, 0.75], ["NORMAL", "PNEUMONIA"])["prediction"]
    'PNEUMONIA'
    """
    if not isinstance(scores, list) or not all(isinstance(score, int | float) for score in scores):
        raise TidegaugeError("The model does not answer with one score per class; use its predict URL.")
    names = classes if len(classes) == len(scores) else [str(number) for number in range(len(scores))]
    best = max(range(len(scores)), key=scores.__getitem__)
    return {
        "prediction": names[best],
        "confidence": scores[best],
        "scores": dict(zip(names, scores, strict=True)),
    }


def _span(text: str) -> timedelta:
    """Return the span that a number and a unit stand for; InvalidInputError for others, and past 31 days.

    >>> _span("90m"), _span("7d")
    (datetime.timedelta(seconds=5400), datetime.timedelta(days=7))
    """
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found:
        unit = {"m": "minutes", "h": "hours", "d": "days"}[found[2]]
        span = timedelta(**{unit: int(found[1])})
        if span <= timedelta(days=31):
            return span
    raise InvalidInputError.of(
        "last",
        f"--last is {text!r}; give a number of minutes, hours or days such as 30m, 1h or 7d, 31d at most.",
    )


def _settled(client: Client, deployment: Deployment, *, wait: bool) -> Deployment:
    begins = deployment.state is DeploymentState.STARTING
    return client.deployments.wait(deployment.id) if wait and begins else deployment


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text.strip() else []


def _bound(field: str, text: str | None) -> int | None:
    """Return a bound of the log: 0 for none, None for the server's."""
    if text is None or text == "default":
        return None
    if text == "all":
        return 0
    try:
        return int(text)
    except ValueError as error:
        message = f"{field} is {text!r}; give a number, all or default."
        raise InvalidInputError.of(field, message) from error


sharing.add(app, "deployment", lambda client: client.deployments)
