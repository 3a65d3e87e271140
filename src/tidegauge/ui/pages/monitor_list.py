"""The list of monitors: a tab of the deployments, with what can be done to the chosen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from tidegauge.domain.monitor import Monitor, MonitorState
from tidegauge.domain.status import ORDER
from tidegauge.domain.users import Principal
from tidegauge.errors import TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.services.history import Glance
from tidegauge.ui import glances
from tidegauge.ui.forms import Filled, Form, check_known
from tidegauge.ui.site import Pages, go, render
from tidegauge.web.access import Caller, Changer, Everything

_LIST, _DELETE = "monitors/list.html", "monitors/delete.html"


def _when(glance: Glance) -> float:
    return glance.start.timestamp() if glance.start else 0.0


#: What a heading sorts by.
_KEYS: Mapping[str, Callable[[Glance], Any]] = {
    "id": lambda glance: glance.id,  # in the order of their making
    "name": lambda glance: glance.name,
    "status": lambda glance: (ORDER.index(glance.status), glance.alarm, glance.firing),
    "state": lambda glance: list(MonitorState).index(glance.state),
    "drift": lambda glance: ORDER.index(glance.drift),
    "performance": lambda glance: ORDER.index(glance.performance),
    "health": lambda glance: ORDER.index(glance.health),
    "score": lambda glance: -1.0 if glance.score is None else glance.score,
    "window": _when,
}


@dataclass(frozen=True)
class View:
    """Which monitors are shown, and in which order: it stands in the URL."""

    q: str = ""
    sort: str = "-id"
    status: str = ""
    state: str = ""
    page: int = 1

    def link(self, **changes: Any) -> str:
        """Return the path of this view with some changes."""
        values = {**vars(self), "page": 1, **changes}
        given = {name: value for name, value in values.items() if value not in ("", 1, "-id")}
        return f"/monitors?{urlencode(given)}" if given else "/monitors"

    def check(self) -> None:
        """Raise InvalidInputError for what no list can be filtered or sorted by."""
        glances.check(self.status, self.state)
        check_known("sort", self.sort.removeprefix("-"), _KEYS)

    def of(self, monitors: Sequence[Glance]) -> list[Glance]:
        """Return the monitors of this view, all pages of it."""
        found = glances.matching(monitors, self.q, self.status, self.state)
        key = _KEYS[self.sort.removeprefix("-")]
        return sorted(found, key=key, reverse=self.sort.startswith("-"))


def _view(
    q: str = "",
    sort: str = "-id",
    status: str = "",
    state: str = "",
    page: Annotated[int, Query(ge=1)] = 1,
) -> View:
    return View(q.strip(), sort or "-id", status, state, page)


Shown = Annotated[View, Depends(_view)]

router = Pages(prefix="/monitors")


@router.get("")
def monitors_page(caller: Caller, services: Everything, view: Shown) -> Response:
    return _list(caller, services, view)


@router.get("/delete")
def confirm_deletion(
    request: Request,
    caller: Changer,
    services: Everything,
    ids: Annotated[tuple[str, ...], Query(alias="id")] = (),
) -> Response:
    """Ask before the chosen monitors are deleted."""
    if not ids:
        return go(request, "/monitors")
    monitors = [services.monitors.get(caller, key) for key in ids]
    return render(_DELETE, user=caller, form=Form(), **deletion(services, monitors))


@router.post("/delete")
def delete_chosen(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    told, left = _each(caller, services, form, services.monitors.delete)
    if not told:
        return go(request, "/monitors")
    monitors = [services.monitors.get(caller, key) for key in left]
    return render(_DELETE, 409, user=caller, form=Form(), told=told, **deletion(services, monitors))


@router.post("/start")
def start_chosen(caller: Caller, services: Everything, form: Filled) -> Response:
    told, left = _each(caller, services, form, lambda monitor: services.monitors.start(monitor, caller.name))
    return _done(caller, services, form, told, left)


@router.post("/stop")
def stop_chosen(caller: Caller, services: Everything, form: Filled) -> Response:
    told, left = _each(caller, services, form, lambda monitor: services.monitors.stop(monitor, caller.name))
    return _done(caller, services, form, told, left)


def deletion(services: Services, monitors: Sequence[Monitor]) -> dict[str, Any]:
    """Return what the question before a deletion names."""
    return {"monitors": [(monitor, len(services.monitors.alerts(monitor))) for monitor in monitors]}


def _each(
    caller: Principal, services: Services, form: Form, act: Callable[[Monitor], Any]
) -> tuple[list[str], list[str]]:
    """Do something to each chosen monitor; return what was refused, in sentences, and of which."""
    told, left = [], []
    for key in form.all("id"):
        try:
            monitor = services.monitors.get(caller, key)
        except TidegaugeError as error:
            told.append(error.message)
            continue
        try:
            act(monitor)
        except TidegaugeError as error:
            told.append(f"{monitor.name}: {error.message}")
            left.append(monitor.id)
    return told, left


def _done(
    caller: Principal, services: Services, form: Form, told: Sequence[str], left: Sequence[str]
) -> Response:
    """Show the list as it was seen, with what was refused above it."""
    number = form.text("page")
    view = View(
        form.text("q"), form.text("sort") or "-id", form.text("status"), form.text("state"),
        int(number) if number.isdecimal() else 1,
    )  # fmt: skip
    return _list(caller, services, view, told, left)


def _list(
    caller: Principal, services: Services, view: View, told: Sequence[str] = (), chosen: Sequence[str] = ()
) -> Response:
    view.check()
    monitors = services.history.glances(caller.name, everything=caller.is_operator)
    part = glances.Part.of(view.of(monitors), view.page)
    return render(
        _LIST,
        409 if told else 200,
        user=caller,
        view=view,
        total=len(monitors),
        part=part,
        statuses=list(reversed(ORDER)),
        states=list(MonitorState),
        told=told,
        chosen=chosen,
    )
