"""``tidegauge monitor``: retraining, from collecting to the decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from tidegauge.cli.output import (
    Json,
    Yes,
    cell,
    colour,
    confirm,
    connect,
    out,
    print_json,
    read_pairs,
    read_time,
    say,
    show_list,
)
from tidegauge.domain.retraining import (
    METRICS,
    Measured,
    PairedSet,
    Promote,
    Retraining,
    RetrainingRule,
    RetrainingState,
)
from tidegauge.errors import InvalidInputError, TidegaugeError

Name = Annotated[str, typer.Argument(help="Id of the monitor, or name or id of its deployment.")]
Which = Annotated[str, typer.Option("--id", help="Id of the retraining; default: the latest.")]
Note = Annotated[str, typer.Option(help="Why; it is kept.")]
_LATEST = "latest"


def action(held_out: str | None) -> dict[str, Any]:
    """Return what an alert is to do when it fires: retrain, with the defaults."""
    return {"held_out": _read_version(held_out)} if held_out else {}


def retrain(
    context: typer.Context,
    name: Name,
    start: Annotated[
        str | None, typer.Option("--from", help="Begin of the live data; default: 30 days ago.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="End of the live data; default: now.")] = None,
    pipeline: Annotated[
        str | None, typer.Option(help="CODE[:FILE]; default: the one that trained the model last.")
    ] = None,
    code_version: Annotated[
        int | None, typer.Option(help="With --pipeline: version of the Code; default: the newest.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(help="With --pipeline: name=value, can be repeated.")
    ] = None,
    held_out: Annotated[
        str | None, typer.Option(help="DATASET:VERSION to compare on; default: as the last time.")
    ] = None,
    promote: Annotated[
        Promote, typer.Option(help="ask: a person decides; auto: the rule does.")
    ] = Promote.ASK,
    metric: Annotated[
        str, typer.Option(help=f"What the rule compares: {', '.join(METRICS)}.")
    ] = RetrainingRule.metric,
    margin: Annotated[
        float, typer.Option(help="By how much the candidate must surely not be worse.")
    ] = RetrainingRule.margin,
    note: Note = "",
    wait: Annotated[bool, typer.Option(help="Wait until a decision is needed or it has ended.")] = True,
    as_json: Json = False,
) -> None:
    """Train on labelled live data and compare the candidate with what is served."""
    if pipeline is None and (code_version is not None or parameter):
        raise InvalidInputError.of(
            "pipeline", "--pipeline is missing; give it with --code-version or --parameter."
        )
    plan: dict[str, Any] = {
        "start": read_time(start, "from") if start else None,
        "end": read_time(end, "to") if end else None,
        "pipeline": _read_pipeline(pipeline, code_version, parameter or []) if pipeline else None,
        "held_out": _read_version(held_out) if held_out else None,
        "promote": promote.value,
        "metric": metric,
        "margin": margin,
        "note": note,
    }
    retrainings = connect(context).retrainings
    begun = retrainings.begin(name, plan)
    if not wait:
        _show(begun, name, as_json=as_json)
        return
    _show(_waited(name, begun.id, retrainings.wait), name, as_json=as_json)


def retraining(context: typer.Context, name: Name, which: Which = _LATEST, as_json: Json = False) -> None:
    """Show a retraining: what was collected, the comparison, and who did what."""
    found = connect(context).retrainings.get(name, which)
    _show(found, name, as_json=as_json, check=False)


def retrainings(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the retrainings of a monitor, newest first."""
    show_list(
        connect(context).retrainings.list(name),
        [
            ("id", lambda r: r.id),
            ("begun", lambda r: r.created_at),
            ("by", lambda r: r.by),
            ("cause", lambda r: r.cause),
            ("state", lambda r: r.state),
            ("data", lambda r: r.collected.data if r.collected else None),
            ("serving", lambda r: r.serving and f"v{r.serving}"),
            ("candidate", lambda r: r.candidate and f"v{r.candidate}"),
            ("why", lambda r: r.message or r.progress or (r.comparison.reason if r.comparison else "")),
        ],
        as_json=as_json,
        empty=f"There is no retraining yet; start one with: tidegauge monitor retrain {name}",
    )


def promote(
    context: typer.Context,
    name: Name,
    which: Which = _LATEST,
    note: Note = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Serve the candidate and compare with its training data from now on; wait for it."""
    client = connect(context)
    found = client.retrainings.get(name, which)
    reason = found.comparison.reason if found.comparison else ""
    confirm(
        f"{name!r} will serve {found.model} v{found.candidate} in place of v{found.serving}, and evidence "
        f"begins again. {reason}",
        yes=yes,
    )
    client.retrainings.promote(name, found.id, note)
    _show(_waited(name, found.id, client.retrainings.wait), name, as_json=as_json)


def refuse(
    context: typer.Context, name: Name, which: Which = _LATEST, note: Note = "", as_json: Json = False
) -> None:
    """Leave all as it is, and end the retraining that is under way."""
    _show(connect(context).retrainings.refuse(name, which, note), name, as_json=as_json)


def _waited(name: str, id_: str, wait: Callable[..., Retraining]) -> Retraining:
    console = Console(stderr=True)
    try:
        with console.status("retraining") as line:
            return wait(name, id_, _live(line))
    except KeyboardInterrupt:
        say(f"The retraining goes on; look again with: tidegauge monitor retraining {name}")
        raise


def _live(line: Status) -> Callable[[Retraining], None]:
    """Return a watcher that prints each state once and keeps a line on what is going on."""
    seen: list[RetrainingState] = []

    def watch(found: Retraining) -> None:
        if found.state not in seen:
            seen.append(found.state)
            say(found.state.value)
        line.update(f"{found.state.value}: {found.progress}" if found.progress else found.state.value)

    return watch


def _show(found: Retraining, name: str, *, as_json: bool, check: bool = True) -> None:
    if as_json:
        print_json(found)
    else:
        _print(found, name)
    if found.state is RetrainingState.FAILED:
        failure = f"The retraining failed: {found.message}"
        if check:
            raise TidegaugeError(failure)
        say(failure, "yellow")


def _print(found: Retraining, name: str) -> None:
    out().print(f"retraining {found.id}: {colour(found.state.value)}")
    collected = found.collected
    if collected:
        left = ("unlabelled", "ambiguous", "unknown_class", "held_out", "known", "gone")
        counts = [f"{getattr(collected, part)} {part.replace('_', ' ')}" for part in left]
        say(
            f"{collected.data}: {collected.before} and {collected.added} live images "
            f"({collected.corrected} corrected); {collected.tested} kept to compare on; left out: "
            f"{', '.join(counts)}."
        )
    for one in found.comparison.sets if found.comparison else ():
        _print_set(found, one)
    if found.comparison:
        say(found.comparison.reason, "green" if found.comparison.passes else "yellow")
    if found.message and found.state is not RetrainingState.FAILED:
        say(found.message, "yellow")
    show_list(
        found.history,
        [
            ("at", lambda s: s.at),
            ("before", lambda s: s.before),
            ("after", lambda s: s.after),
            ("by", lambda s: s.by),
            ("why", lambda s: s.why),
        ],
        as_json=False,
        empty=found.progress,
    )
    if found.state is RetrainingState.WAITING:
        say(f"Decide with: tidegauge monitor promote {name}, or: tidegauge monitor refuse {name}")


def _print_set(found: Retraining, one: PairedSet) -> None:
    not_judged = "" if one.judged else "; too few for the rule"
    say(
        f"{one.name}, {one.images} images{not_judged}: {found.plan.metric.replace('_', ' ')} "
        f"{_worded(one.difference)}; {one.better} images only the candidate has right, {one.worse} only the "
        f"serving version (McNemar's exact p {cell(one.p_value)})"
    )
    show_list(
        one.metrics,
        [
            ("metric", lambda m: m.name),
            (f"v{found.serving} (serving)", lambda m: _worded(m.serving)),
            (f"v{found.candidate} (candidate)", lambda m: _worded(m.candidate)),
        ],
        as_json=False,
        empty="",
    )


def _worded(measured: Measured) -> str:
    if measured.low is None or measured.high is None:
        return cell(measured.value)
    return f"{cell(measured.value)} ({cell(measured.low)} to {cell(measured.high)})"


def _read_version(text: str) -> dict[str, Any]:
    dataset, separator, version = text.rpartition(":")
    number = version.removeprefix("v")
    if not separator or not dataset or not number.isdecimal():
        raise InvalidInputError.of(
            "held_out", f"--held-out is {text!r}; give a Dataset and its version, such as chest-xray-test:1."
        )
    return {"dataset": dataset, "version": int(number)}


def _read_pipeline(text: str, version: int | None, parameters: list[str]) -> dict[str, Any]:
    code, _, file = text.partition(":")
    found: dict[str, Any] = {"code": code, "code_version": version}
    found |= {"file": file} if file else {}
    return found | {"parameters": read_pairs(parameters, "parameter")}


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``tidegauge monitor``."""
    for command in (retrain, retraining, retrainings, promote, refuse):
        app.command(command.__name__)(command)
