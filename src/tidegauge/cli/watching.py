"""``tidegauge monitor``: backfill, due windows, alarms, maintenance, labels and what could not be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from tidegauge.cli.output import (
    Json,
    Yes,
    cell,
    confirm,
    connect,
    print_json,
    progress_bar,
    read_time,
    say,
    show,
    show_list,
)
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.tables import read_table
from tidegauge.errors import InvalidInputError

Name = Annotated[str, typer.Argument(help="Id of the monitor, or name or id of its deployment.")]
From = Annotated[str, typer.Option("--from", help="Begin of the span, ISO 8601; without a zone UTC.")]
To = Annotated[str, typer.Option("--to", help="End of the span, not part of it.")]
Size = Annotated[int | None, typer.Option(help="Images of a window; default: as seen so far.")]
Note = Annotated[str, typer.Option(help="Why; it is kept.")]

_TOLD = 5  # faults of a file that are told one by one


def backfill(context: typer.Context, name: Name, start: From, end: To, as_json: Json = False) -> None:
    """Look at every window of a span, in the background."""
    count = connect(context).monitors.backfill(name, read_time(start, "from"), read_time(end, "to"))
    if as_json:
        print_json({"windows": count})
    else:
        say(f"{count} windows are due; see them go with: tidegauge monitor due {name}")


def due(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the windows that wait to be looked at."""
    show_list(
        connect(context).monitors.due(name),
        [
            ("from", lambda d: d.start),
            ("to", lambda d: d.end),
            ("why", lambda d: d.cause),
            ("due", lambda d: d.due_at),
            ("worker", lambda d: d.claimed_by),
            ("tries", lambda d: d.tries),
            ("error", lambda d: d.error),
        ],
        as_json=as_json,
        empty="No window waits.",
    )


def acknowledge(context: typer.Context, name: Name, note: Note = "", as_json: Json = False) -> None:
    """Acknowledge a drift alarm: evidence begins again, and spends a further share of false alarms."""
    done = connect(context).monitors.acknowledge(name, note)
    if as_json:
        print_json(done)
    else:
        say(f"Acknowledged. The chance of any false alarm so far is at most {done.spent:g}.")


def accept(
    context: typer.Context,
    name: Name,
    start: From,
    end: To,
    note: Note = "",
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make what was observed in a span the baseline, and wait for it."""
    client = connect(context)
    first, last = read_time(start, "from"), read_time(end, "to")
    confirm(
        f"The monitor of {name!r} will compare with what was observed from {cell(first)} to {cell(last)}.",
        yes=yes,
    )
    client.monitors.accept(name, first, last, note)
    with progress_bar("baseline") as report:

        def watch(now: Monitor) -> None:
            done, _, rest = now.progress.removeprefix("accepted window: ").partition(" of ")
            if done.isdecimal() and rest.split():
                report("images", int(done), int(rest.split()[0]))

        monitor = client.monitors.wait_idle(name, watch)
    show(monitor, as_json=as_json)


def acknowledgements(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the alarms that were acknowledged and the windows that were accepted."""
    show_list(
        connect(context).monitors.acknowledgements(name),
        [
            ("at", lambda a: a.at),
            ("by", lambda a: a.by),
            ("note", lambda a: a.note),
            ("false alarms at most", lambda a: a.spent),
        ],
        as_json=as_json,
        empty="No alarm was acknowledged.",
    )


def suggest_thresholds(
    context: typer.Context,
    name: Name,
    size: Size = None,
    soft_per_week: Annotated[float, typer.Option(help="How often soft may be passed on clean data.")] = 1.0,
    hard_per_year: Annotated[float, typer.Option(help="How often hard may be passed on clean data.")] = 1.0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: print.")
    ] = None,
) -> None:
    """Suggest thresholds that clean windows pass as rarely as wished, as a thresholds file."""
    found = connect(context).monitors.suggest_thresholds(name, size, soft_per_week, hard_per_year)
    text = json.dumps(found["thresholds"], indent=2)
    if output:
        output.write_text(f"{text}\n")
    else:
        typer.echo(text)
    for sentence in (*found["sentences"], *found["notes"]):
        say(sentence)


def preview_thresholds(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="JSON file of thresholds.", exists=True, dir_okay=False)],
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Say how often thresholds would cry on clean data; nothing is saved."""
    found = connect(context).monitors.preview_thresholds(name, file.read_bytes(), size)
    if as_json:
        print_json(found)
    else:
        for sentence in found["sentences"]:
            typer.echo(sentence)


def maintenance(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the spans in which no alert is told."""
    show_list(
        connect(context).monitors.maintenances(name),
        [
            ("id", lambda m: m.id),
            ("from", lambda m: m.start),
            ("to", lambda m: m.end),
            ("reason", lambda m: m.reason),
            ("by", lambda m: m.by),
        ],
        as_json=as_json,
        empty=f"No maintenance; plan it with: tidegauge monitor add-maintenance {name} --from T --to T",
    )


def add_maintenance(
    context: typer.Context,
    name: Name,
    start: From,
    end: To,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Tell nothing of any alert about windows of a span."""
    monitors = connect(context).monitors
    made = monitors.add_maintenance(name, read_time(start, "from"), read_time(end, "to"), reason)
    show(made, as_json=as_json)


def remove_maintenance(
    context: typer.Context,
    name: Name,
    maintenance_id: Annotated[str, typer.Argument(help="Id of the maintenance.")],
    yes: Yes = False,
) -> None:
    """Tell of alerts again in a span of maintenance."""
    confirm(f"This removes the maintenance {maintenance_id} of {name!r}.", yes=yes)
    connect(context).monitors.delete_maintenance(name, maintenance_id)
    say("The maintenance is removed.")


def dead_letters(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """List the events and labels that could not be used, and why."""
    show_list(
        connect(context).monitors.dead_letters(name),
        [
            ("noticed", lambda d: d.noticed_at),
            ("kind", lambda d: d.kind),
            ("event", lambda d: d.event_id),
            ("source", lambda d: d.source),
            ("reason", lambda d: d.reason),
        ],
        as_json=as_json,
        empty="Everything could be used.",
    )


def labels(
    context: typer.Context,
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet with event_id, label and perhaps index.", exists=True, dir_okay=False
        ),
    ],
    as_json: Json = False,
) -> None:
    """Send true answers by event id; the windows that they touch are looked at again."""
    receipt = connect(context).monitors.post_labels(name, _read_labels(file))
    if as_json:
        print_json(receipt)
        return
    say(f"{receipt['accepted']} labels are in, {receipt['corrected']} of them corrections.")
    if receipt["unknown"]:
        shown = ", ".join(receipt["unknown"][:5])
        say(
            f"{len(receipt['unknown'])} events are unknown: {shown}; see tidegauge monitor dead-letters.",
            "yellow",
        )
    if receipt["empty"]:
        say(f"{receipt['empty']} have no label or no event id; see tidegauge monitor dead-letters.", "yellow")


def _read_labels(file: Path) -> list[dict[str, object]]:
    frame = read_table(file.read_bytes(), file.name, as_text=True)
    missing = [repr(column) for column in ("event_id", "label") if column not in frame.columns]
    if missing:
        raise InvalidInputError.of(
            "file",
            f"{file} has no column {' and no column '.join(missing)}, but {', '.join(frame.columns)}; "
            "name it so in the first line.",
        )
    if frame.is_empty():
        raise InvalidInputError.of("file", f"{file} has no row; give a row for each label.")
    if "index" not in frame.columns:
        frame = frame.with_columns(index=pl.lit("0"))
    index = frame.get_column("index").str.strip_chars()
    places = index.cast(pl.Int64, strict=False)
    faults = [
        f"index is {index[row]!r} in row {row + 1} of {file}; write the place of the answer, from 0."
        for row in (places.is_null() & (index.fill_null("") != "")).arg_true()
    ]
    if faults:
        rest = len(faults) - _TOLD
        told = " ".join([*faults[:_TOLD], *([f"So it is in {rest} more rows."] if rest > 0 else [])])
        raise InvalidInputError.of("index", told)
    cells = frame.select(pl.col("event_id").fill_null(""), "label", index=places.fill_null(0))
    return cells.to_dicts()


def register(app: typer.Typer) -> None:
    """Add the commands to those of ``tidegauge monitor``."""
    for command in (
        backfill,
        due,
        acknowledge,
        accept,
        acknowledgements,
        suggest_thresholds,
        preview_thresholds,
        maintenance,
        add_maintenance,
        remove_maintenance,
        dead_letters,
        labels,
    ):
        app.command(command.__name__.replace("_", "-"))(command)
