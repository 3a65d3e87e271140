"""Monitors: their list, a monitor, a run of it. Rendered on the server, stateless."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from tidegauge.domain.metrics import EXPECTED, MetricType
from tidegauge.domain.monitor import EvidenceResult, Monitor, MonitorRun, RunImage
from tidegauge.domain.retraining import Retraining
from tidegauge.errors import NotFoundError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui import charts, words
from tidegauge.ui.site import Pages, here, render
from tidegauge.web.access import Caller, Everything

_SORTS = (("-id", "newest first"), ("name", "name"), ("status", "status"), ("state", "state"))
_SHOWN = 2000  # windows on a monitor's page
_IMAGES = 24  # of the last window on a monitor's page; the run's page has all
_RETRAININGS = 20  # on a monitor's page

router = Pages()


@router.get("/")
@router.get("/monitors")
def monitors_page(
    request: Request, caller: Caller, services: Everything, q: str = "", sort: str = "-id", cursor: str = ""
) -> Response:
    page = services.monitors.page(caller.name, Query(50, cursor, sort, q))
    rows = [(monitor, services.monitors.last_run(monitor)) for monitor in page.items]
    return render(
        "monitors.html",
        user=caller,
        rows=rows,
        cursor=page.cursor,
        q=q,
        sort=sort,
        sorts=_SORTS,
        here=here(request),
    )


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
        evidence_alpha=_alpha(monitor),
        evidence=words.evidence(_result(monitor), _alpha(monitor)),
        images=_strangest_first(runs[-1])[:_IMAGES] if runs else [],
        scores=scores,
        performance=performance,
        tables={name: _table(name, runs, _alpha(monitor)) for name in shown},
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
        evidence=words.evidence(_result(monitor), _alpha(monitor)),
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
    svg = charts.to_svg(charts.draw(name, runs, dict(monitor.thresholds), _alpha(monitor)))
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(svg, media_type="image/svg+xml", headers=headers)


@router.get("/monitors/{monitor_id}/runs/{run_id}")
def run_page(caller: Caller, services: Everything, monitor_id: str, run_id: str) -> Response:
    monitor = services.monitors.get(caller.name, monitor_id)
    run = services.monitors.run(monitor, run_id)
    image = run.metric("image")
    return render(
        "run.html",
        user=caller,
        monitor=monitor,
        run=run,
        evidence=words.evidence(run.evidence, _alpha(monitor)),
        moved=words.moved(image.detail.get("attributes", {})) if image else [],
        images=_strangest_first(run),
        features=words.features(run.metrics),
        rows=words.rows(run.metrics),
        is_synthetic=words.is_synthetic(monitor.name)
        or any(words.is_synthetic(image.nearest) for image in run.images),
    )


@router.get("/monitors/{monitor_id}/runs/{run_id}/images/{event_id:path}/{index}.png")
def run_image(
    caller: Caller, services: Everything, monitor_id: str, run_id: str, event_id: str, index: int
) -> Response:
    monitor = services.monitors.get(caller.name, monitor_id)
    png = services.runs.image(monitor, services.monitors.run(monitor, run_id), event_id, index)
    headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(png, media_type="image/png", headers=headers)


def retrainings(services: Services, monitor: Monitor) -> tuple[Retraining, ...]:
    """Return the last retrainings of a monitor, newest first."""
    return services.retrainings.page(monitor, Query(_RETRAININGS)).items


def _result(monitor: Monitor) -> EvidenceResult | None:
    return monitor.evidence.result if monitor.evidence else None


def _alpha(monitor: Monitor) -> float:
    return monitor.evidence.alpha if monitor.evidence else monitor.config.evidence.alpha


def _strangest_first(run: MonitorRun) -> list[RunImage]:
    return sorted(run.images, key=lambda image: -image.strangeness)


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
    columns = charts.columns(name)
    cells = [(run, [words.metric(run.metric(column)) for column in columns]) for run in reversed(runs)]
    return {"columns": [words.plain(column) for column in columns], "rows": cells}
