"""The page of one run of a monitor: why this verdict."""

from __future__ import annotations

from fastapi import Response

from tidegauge.domain.monitor import Monitor
from tidegauge.errors import NotFoundError
from tidegauge.ui import explained, words
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

_STRIP = 24  # images beside each other below the one that is open
_CACHED = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}

_LONGEST_INDEX = 9  # digits

router = Pages()


@router.get("/monitors/{monitor_id}/runs/{run_id}")
def run_page(caller: Caller, services: Everything, monitor_id: str, run_id: str, image: str = "") -> Response:
    """``image`` is the one to open, as ``<event id>:<index>``."""
    monitor = services.monitors.get(caller, monitor_id)
    run = services.monitors.run(monitor, run_id)
    found = services.explaining.explain(monitor, run, _chosen(image) if image else None)
    begin = (found.opened.place - 1) // _STRIP * _STRIP if found.opened else 0
    moved = run.metric("image")
    order = list(explained.PARTS)
    return render(
        "runs/show.html",
        user=caller,
        monitor=monitor,
        run=run,
        found=found,
        verdict=explained.verdict(monitor, run),
        parts=explained.parts(monitor, run),
        evidence=words.evidence(run.evidence, words.alpha_of(monitor)),
        moved=words.moved(moved.detail.get("attributes", {})) if moved else [],
        strip=found.images[begin : begin + _STRIP],
        before=found.images[begin - _STRIP] if begin else None,
        after=found.images[begin + _STRIP] if begin + _STRIP < len(found.images) else None,
        begin=begin,
        metrics=sorted(run.metrics, key=lambda metric: order.index(metric.type)),
        estimates=explained.estimates(run),
        predicted=explained.predicted(run.metric("prediction")),
        features=words.features(run.metrics),
        rows=words.rows(run.metrics),
        explained=explained,
        is_alarmed=bool(monitor.evidence and monitor.evidence.alarms),
        may_accept=_may_accept(monitor),
        is_synthetic=words.is_synthetic(monitor.name)
        or any(words.is_synthetic(image.nearest) for image in run.images),
    )


@router.get("/monitors/{monitor_id}/runs/{run_id}/images/{event_id:path}/{index}.png")
def run_image(
    caller: Caller, services: Everything, monitor_id: str, run_id: str, event_id: str, index: int
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    run = services.monitors.run(monitor, run_id)
    png = services.showing.image(monitor, run, event_id, index)
    return Response(png, media_type="image/png", headers=_CACHED)


@router.get("/monitors/{monitor_id}/baselines/{number}/image.png")
def baseline_image(caller: Caller, services: Everything, monitor_id: str, number: int, name: str) -> Response:
    """An image of the baseline of one version of the configuration, as the baseline names it."""
    monitor = services.monitors.get(caller, monitor_id)
    found = services.showing.training(monitor, number, name)
    return Response(found.png, media_type="image/png", headers=_CACHED)


def _chosen(image: str) -> tuple[str, int]:
    event_id, _, index = image.rpartition(":")
    if not event_id or not index.isdecimal() or len(index) > _LONGEST_INDEX:
        raise NotFoundError(f"image is {image!r}; write <event id>:<place in the request>.")
    return event_id, int(index)


def _may_accept(monitor: Monitor) -> bool:
    """Tell whether windows of the monitor may become its baseline."""
    config = monitor.config
    return monitor.state.value in ("ready", "active") and config.drift.enabled and config.keep_images
