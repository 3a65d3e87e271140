"""Draws a report: one HTML page without scripts and without anything from elsewhere, made for A4."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tidegauge import charts
from tidegauge.domain.metrics import MetricType
from tidegauge.domain.monitor import MonitorRun
from tidegauge.domain.report import Made, Report, Step
from tidegauge.domain.report_sentences import moved, odds, share
from tidegauge.domain.series import series_of
from tidegauge.domain.status import Status
from tidegauge.ui import words

_ROWS = 100  # of a table; the JSON has all
_EPISODES = 20
_DENSE = 150  # spans from which each has less than five pixels
_INK = "#3b4652"  # of axes: the page's grey is too faint on paper

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
_templates.filters |= {
    "clock": lambda time: f"{time:%Y-%m-%d %H:%M}",
    "number": words.number,
    "words": words.plain,
    "css": lambda text: re.sub(r"[^\w ,.:-]", " ", text),  # for a string in the style sheet
    "share": share,
    "moved": lambda found: moved(words.plain(found.feature), found.effect),
}


@dataclass(frozen=True)
class Drawn:
    """A chart: its picture, what it shows, and how to read it."""

    title: str
    alt: str
    note: str
    svg: Markup


def to_html(report: Report, made: Made) -> str:
    """Return the report as one page that needs nothing else."""
    zone = ZoneInfo(report.span.time_zone)
    return _templates.get_template("report.html").render(
        report=report,
        made=made,
        charts=list(_charts(report)) if report.series else [],
        rows=_ROWS,
        longest=sorted(
            sorted(report.episodes, key=lambda episode: -episode.windows)[:_EPISODES],
            key=lambda episode: (episode.start, episode.part),
        ),
        by_part=[
            (part.value, found)
            for part in MetricType
            if (found := [metric for metric in report.metrics if metric.type is part])
        ],
        Status=Status,
        local=lambda time: _local(time, zone),
        is_synthetic=words.is_synthetic(report.subject.name)
        or bool(
            report.subject.config.drift.train_data
            and words.is_synthetic(report.subject.config.drift.train_data.dataset)
        ),
    )


def _local(time: datetime, zone: ZoneInfo) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def _charts(report: Report) -> Iterator[Drawn]:
    """Draw the charts of the monitor's page, over the span."""
    runs = report.series
    each = "" if report.step is Step.WINDOW else f" One point is one {report.step.value}"
    pooled = f"{each}: the median of its windows, in a band from the lowest to the highest." if each else ""
    names = _names(runs)
    view = charts.View(
        series_of(runs, len(runs)),
        report.subject.thresholds,
        report.subject.false_alarms or 1.0,  # without evidence there is no chart that needs it
    )

    def draw(name: str, title: str, alt: str, note: str) -> Drawn:
        spec = charts.to_spec(charts.draw(name, view))
        return Drawn(title, alt, note.strip(), _svg(spec, len(runs), title, alt))

    yield draw(
        "timeline",
        "Status over time",
        "Status of drift, performance and health over the span",
        f"{each}, with the worst status of its windows." if each else "",
    )
    for name in names[MetricType.DRIFT]:
        bound = _bounds(report, name)
        yield draw(
            charts.key(name),
            f"Drift of the {words.plain(name)}",
            f"Score of the {words.plain(name)} over the span. {_extremes(report, name)}",
            f"0: as in the baseline, 1: as far from it as can be. {bound}{pooled}",
        )
    if report.evidence:
        yield draw(
            "evidence",
            "Evidence of drift",
            "Evidence of drift over the span, in powers of ten, against the alarm. "
            f"Highest {odds(report.evidence.highest)}.",
            "In powers of ten. Without drift it passes the dashed line with chance "
            f"{view.alpha:g} at most, ever.",
        )
    for name in names[MetricType.PERFORMANCE]:
        all_labels = f"{each}: all of its labels together. " if each else ""
        yield draw(
            name,
            words.plain(name)[:1].upper() + words.plain(name)[1:],
            f"{words.plain(name)} over the span with its 95% interval. {_extremes(report, name)}",
            f"{all_labels}The band is the 95% interval. {_bounds(report, name)}",
        )
    if "requests" in names[MetricType.HEALTH]:
        yield draw(
            "requests", "Requests", "Requests, 4xx and 5xx answers over the span",
            f"{each}: the sum of its windows." if each else "In each window.",
        )  # fmt: skip
    if any(name.startswith("latency_p") for name in names[MetricType.HEALTH]):
        yield draw(
            "latency", "Latency", "p50, p95 and p99 of the latency in milliseconds over the span",
            f"In milliseconds.{f'{each}: the median of its windows.' if each else ''}",
        )  # fmt: skip


def _names(runs: Iterable[MonitorRun]) -> dict[MetricType, list[str]]:
    """Name the metrics that have a value, in their order."""
    found: dict[MetricType, dict[str, None]] = {kind: {} for kind in MetricType}
    for run in runs:
        for metric in run.metrics:
            if metric.value is not None:
                found[metric.type][metric.name] = None
    return {kind: list(names) for kind, names in found.items()}


def _bounds(report: Report, name: str) -> str:
    threshold = report.subject.thresholds.get(name)
    if threshold is None:
        return ""
    return f"Dashed: soft threshold {threshold.soft:g} and hard threshold {threshold.hard:g}. "


def _extremes(report: Report, name: str) -> str:
    found = next((metric for metric in report.metrics if metric.name == name), None)
    if found is None:
        return ""
    return (
        f"Worst {words.number(found.worst)}, median {words.number(found.median)}, "
        f"best {words.number(found.best)}."
    )


def _svg(spec: dict[str, Any], points: int, title: str, alt: str) -> Markup:
    """Render a chart for paper: dark axes, thin lines where points are many, and a text in its place."""
    config = spec["config"]
    config["aria"] = False  # a label on every mark makes the file four times larger; the figure has one
    for part in ("axis", "legend"):
        config[part] |= {
            key: _INK
            for key in ("labelColor", "titleColor", "domainColor", "tickColor")
            if key in config[part]
        }
    charts.without_hits(spec)
    if points > _DENSE:
        _thin(spec)
    svg = str(vl_convert.vegalite_to_svg(spec))
    # One page holds many charts: the names inside one must not be those of another.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    label = Markup('role="img" aria-label="{}" ').format(alt)
    # Vega escapes every text that it draws.
    return Markup(svg.replace("<svg ", f"<svg {label}", 1))  # noqa: S704


def _thin(spec: dict[str, Any]) -> None:
    """Leave out what only blurs many points: extremes that a band of intervals hides."""
    for part in spec.get("layer", []):
        if part["mark"]["type"] == "line":
            part["mark"]["strokeWidth"] = 1
