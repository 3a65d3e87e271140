"""``tidegauge monitor report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegauge.cli.output import connect, progress_bar, read_time, say
from tidegauge.errors import InvalidInputError

_FORMATS = {".html": "html", ".pdf": "pdf", ".json": "json"}


def register(app: typer.Typer) -> None:
    """Add the command to those of ``tidegauge monitor``."""
    app.command("report")(report)


def report(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Id of the monitor, or name or id of its deployment.")],
    start: Annotated[str, typer.Option("--from", help="Begin of the span, ISO 8601; without a zone UTC.")],
    end: Annotated[str, typer.Option("--to", help="End of the span, not part of it.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .html, .pdf or .json.", dir_okay=False)
    ],
    images: Annotated[
        bool, typer.Option("--images", help="Put the strangest images in; without it no image leaves.")
    ] = False,
) -> None:
    """Write a report on a span of time: one self-contained file to keep."""
    form = _FORMATS.get(output.suffix.lower())
    if form is None:
        raise InvalidInputError.of("output", f"--output is {output}; end it in .html, .pdf or .json.")
    if not output.absolute().parent.is_dir():
        raise InvalidInputError.of(
            "output", f"--output is {output}, but there is no folder {output.parent}; make it first."
        )
    monitors = connect(context).monitors
    with progress_bar("report") as progress:
        progress("gathering and drawing", 0, 0)
        content = monitors.report(name, read_time(start, "from"), read_time(end, "to"), form, images=images)
    # As a whole or not at all: what is filed must not be the half of a report.
    part = output.with_name(f".{output.name}.part")
    try:
        part.write_bytes(content)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    say(f"{output} is written: {len(content) / 1024:,.0f} KB.")
