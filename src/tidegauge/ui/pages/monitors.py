"""The page of a monitor: how it stands, and everything that it has found, over a range of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse

from tidegauge.domain.monitor import Monitor, MonitorRun
from tidegauge.domain.retraining import Retraining
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui import words
from tidegauge.ui.deeds import changes, deeds
from tidegauge.ui.forms import Form
from tidegauge.ui.monitor_view import PageView, look
from tidegauge.ui.ranges import PRESETS, Range, chosen, moment
from tidegauge.ui.site import HEADERS, Pages, render
from tidegauge.ui.verdict import Verdict, begun, turned, verdict, waiting, with_inputs
from tidegauge.web.access import Caller, Everything
from tidegauge.web.errors import status_of

_IMAGES = 6  # of the last window; the run's page has all
_RETRAININGS = 20
_EVENTS = 20  # of alerts
_DEEDS = 50
_VERSIONS = 20  # of the configuration
_RECENT = timedelta(days=30)  # in which the beginning of a status is looked for
_DAY = timedelta(days=1)  # no window is longer
_ALL = 10**6  # windows, each a span of its own
_FIELDS = ("range", "start", "end", "feature", "metric", "at")

router = Pages()


@dataclass(frozen=True)
class Standing:
    """How a monitor stands, and the newest window that had inputs to look at."""

    verdict: Verdict
    seen: MonitorRun


def asked(request: Request) -> Form:
    """Read which view the address names; an empty form shows the usual one."""
    given = {name: (value,) for name, value in request.query_params.items() if name in _FIELDS and value}
    return Form(given)


Asked = Annotated[Form, Depends(asked)]


@router.get("/monitors/{monitor_id}")
def monitor_page(caller: Caller, services: Everything, monitor_id: str, form: Asked) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    last = services.monitors.last_run(monitor)
    status = 200
    try:
        if form.text("at"):
            run_id = _window_at(services, monitor, form.text("at"))
            return RedirectResponse(f"/monitors/{monitor.id}/runs/{run_id}", 303, headers=HEADERS)
        view = _view(monitor, form, last)
    except TidegaugeError as error:
        form, status = form.refused(error), status_of(error)[0]
        view = _view(monitor, Form(), last)
    standing = _standing(services, monitor, last) if last else None
    detail = services.monitors.detail(monitor)
    versions = services.monitors.configs(monitor, Query(_VERSIONS + 1)).items
    train_data = monitor.config.drift.train_data
    return render(
        "monitor.html",
        status,
        user=caller,
        monitor=monitor,
        deployment=detail.deployment,
        alerts=detail.alerts,
        events=services.monitors.alert_events(monitor, Query(_EVENTS)).items,
        places=words.places(monitor.config),
        last=last,
        now=standing.verdict if standing else None,
        waiting=waiting(monitor, last, datetime.now(UTC)),
        away=services.importing.away(detail.deployment),
        seen=standing.seen if standing else None,
        images=words.strangest_first(standing.seen)[:_IMAGES] if standing else [],
        form=form,
        presets=PRESETS,
        view=view,
        retrainings=retrainings(services, monitor),
        versions=changes(versions),
        deeds=deeds(
            detail.transitions,
            services.monitors.acknowledgements(monitor, Query(_DEEDS)).items,
            versions,
            services.monitors.maintenances(monitor, Query(_DEEDS)).items,
        )[:_DEEDS],
        is_synthetic=words.is_synthetic(monitor.name)
        or bool(train_data and words.is_synthetic(train_data.dataset)),
    )


def retrainings(services: Services, monitor: Monitor) -> tuple[Retraining, ...]:
    """Return the last retrainings of a monitor, newest first."""
    return services.retrainings.page(monitor, Query(_RETRAININGS)).items


def _view(monitor: Monitor, form: Form, last: MonitorRun | None) -> PageView:
    span: Range = chosen(form.text("range"), form.text("start"), form.text("end"), last.end if last else None)
    return look(monitor, span, form.text("feature"), form.text("metric"), last)


def _standing(services: Services, monitor: Monitor, last: MonitorRun) -> Standing:
    """Look up since when the status of the newest window lasts, but for short breaks long ago."""
    recent = services.history.series(monitor, last.start - _RECENT)
    other = turned(recent, last.status)
    if other is None:
        since = recent.spans[0].start if recent.spans else None
    else:
        near = services.history.series(monitor, other.start, other.end, _ALL)
        later = [span.start for span in recent.spans if span.start >= other.end]
        since = begun(near, last.status) or (later[0] if later else None)
    span = with_inputs(recent)
    seen = services.monitors.run(monitor, span.run_id) if span and not last.images else last
    return Standing(verdict(monitor, last, seen, since, recent), seen)


def _window_at(services: Services, monitor: Monitor, text: str) -> str:
    """Return the run of the window that holds a time; InvalidInputError at ``at`` where there is none."""
    at = moment("at", text) or datetime.now(UTC)
    before = services.history.series(monitor, at - _DAY, at + timedelta(microseconds=1), _ALL).spans
    if before and before[-1].end > at:
        return before[-1].run_id
    nearest = f" The last one before began at {words.utc(before[-1].start)}." if before else ""
    message = f"at is {words.utc(at)}, and no window was looked at that holds it.{nearest}"
    raise InvalidInputError.of("at", message)
