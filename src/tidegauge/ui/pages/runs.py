"""The page of one run of a monitor: why this verdict."""

from __future__ import annotations

from fastapi import Response

from tidegauge.ui import words
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Caller, Everything

router = Pages()


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
        evidence=words.evidence(run.evidence, words.alpha_of(monitor)),
        moved=words.moved(image.detail.get("attributes", {})) if image else [],
        images=words.strangest_first(run),
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
