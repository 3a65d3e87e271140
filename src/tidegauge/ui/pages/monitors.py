"""The page of a monitor."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from tidegauge import charts
from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor import EvidenceResult, Monitor, MonitorRun
from tidegauge.domain.retraining import Retraining
from tidegauge.domain.series import series_of
from tidegauge.errors import NotFoundError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui import words
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

_SHOWN = 2000  # windows on a monitor's page
_IMAGES = 24  # of the last window on a monitor's page; the run's page has all
_RETRAININGS = 20  # on a monitor's page

router = Pages()


@router.get("/monitors/{monitor_id}")
def monitor_page(caller: Caller, services: Everything, monitor_id: str) -> Response:
    detail = services.monitors.detail(services.monitors.get(caller.name, monitor_id))
    monitor = detail.monitor
    runs = services.monitors.runs(monitor, None, None)[-_SHOWN:]
    names = _metric_names(runs)
    scores = names[MetricType.DRIFT]
    performance = [n for n in names[MetricType.PERFORMANCE] if n not in EXPECTED or n == "expected_accuracy"]
    has_evidence = any(run.evidence is not None for run in runs)
    shown = [
        "timeline",
        *(["evidence"] if has_evidence else []),
        *scores,
        *performance,
        "requests",
        "latency",
    ]
    train_data = monitor.config.drift.train_data
    return render(
        "monitor.html",
        user=caller,
        monitor=monitor,
        deployment=detail.deployment,
        alerts=detail.alerts,
        places=words.places(monitor.config),
        transitions=detail.transitions,
        events=services.monitors.alert_events(monitor, Query(20)).items,
        retrainings=retrainings(services, monitor),
        runs=runs,
        last=runs[-1] if runs else None,
        has_evidence=has_evidence,
        evidence_alpha=words.alpha_of(monitor),
        evidence=words.evidence(_result(monitor), words.alpha_of(monitor)),
        images=words.strangest_first(runs[-1])[:_IMAGES] if runs else [],
        scores=scores,
        performance=performance,
        tables={name: _table(name, runs, words.alpha_of(monitor)) for name in shown},
        heights={name: 160 if name == "timeline" else 225 for name in shown},
        # A new run is a new picture: the browser keeps the old one otherwise.
        stamp=runs[-1].id if runs else "",
        is_synthetic=words.is_synthetic(monitor.name)
        or bool(train_data and words.is_synthetic(train_data.dataset)),
    )


@router.get("/monitors/{monitor_id}/now")
def monitor_now(caller: Caller, services: Everything, monitor_id: str) -> Response:
    """The part of the page that refreshes itself: no charts and no tables for that."""
    monitor = services.monitors.get(caller.name, monitor_id)
    return render(
        "now.html",
        monitor=monitor,
        last=services.monitors.last_run(monitor),
        evidence=words.evidence(_result(monitor), words.alpha_of(monitor)),
    )


@router.get("/monitors/{monitor_id}/charts/{name}.svg")
def monitor_chart(caller: Caller, services: Everything, monitor_id: str, name: str) -> Response:
    monitor = services.monitors.get(caller.name, monitor_id)
    runs = services.monitors.runs(monitor, None, None)[-_SHOWN:]
    names = _metric_names(runs)
    if name not in {
        "timeline",
        "evidence",
        "requests",
        "latency",
        *names[MetricType.DRIFT],
        *names[MetricType.PERFORMANCE],
    }:
        raise NotFoundError(f"There is no chart {name!r} of this monitor.")
    svg = charts.to_svg(charts.draw(name, charts.View.of(monitor, series_of(runs))))
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(svg, media_type="image/svg+xml", headers=headers)


def retrainings(services: Services, monitor: Monitor) -> tuple[Retraining, ...]:
    """Return the last retrainings of a monitor, newest first."""
    return services.retrainings.page(monitor, Query(_RETRAININGS)).items


def _result(monitor: Monitor) -> EvidenceResult | None:
    return monitor.evidence.result if monitor.evidence else None


def _metric_names(runs: tuple[MonitorRun, ...]) -> dict[MetricType, list[str]]:
    """Name the metrics of the runs, in their order."""
    names: dict[MetricType, list[str]] = {kind: [] for kind in MetricType}
    for run in runs:
        for metric in run.metrics:
            if metric.name not in names[metric.type]:
                names[metric.type].append(metric.name)
    return names


def _table(name: str, runs: tuple[MonitorRun, ...], alpha: float) -> dict[str, Any]:
    """Return the numbers of a chart, newest first."""
    if name == "timeline":
        head: list[str] = ["drift", "performance", "health"]
        rows = [(run, [run.drift.value, run.performance.value, run.health.value]) for run in reversed(runs)]
        return {"columns": head, "rows": rows}
    if name == "evidence":
        words_of = [(run, [words.evidence(run.evidence, alpha) or "-"]) for run in reversed(runs)]
        return {"columns": ["evidence"], "rows": words_of}
    columns = charts.columns(name, ())
    cells = [(run, [words.metric(run.metric(column)) for column in columns]) for run in reversed(runs)]
    return {"columns": [words.plain(column) for column in columns], "rows": cells}
