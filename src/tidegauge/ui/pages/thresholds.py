"""The thresholds of a monitor: choose a file, view what it would do, submit; or have them suggested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import orjson
from fastapi import Request, Response
from pydantic import Field

from tidegauge.domain.metrics import larger_is_worse
from tidegauge.domain.monitor import Monitor
from tidegauge.domain.thresholds import Threshold, parse_thresholds
from tidegauge.errors import FieldError, InvalidInputError, TidegaugeError, TooLargeError
from tidegauge.services.advice import Preview
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form, check_known, parse, seen
from tidegauge.ui.site import HEADERS, Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

_LIMIT = 2**20  # bytes of a file

router = Pages(prefix="/monitors/{monitor_id}/thresholds")

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Wish:
    """How rarely clean data may pass what is suggested, in windows of ``size`` images or rows."""

    size: int | None = None
    soft_per_week: Annotated[float, Field(gt=0)] = 1.0
    hard_per_year: Annotated[float, Field(gt=0)] = 1.0


@router.get("")
def show_thresholds(
    caller: Caller, services: Everything, monitor_id: str, q: str = "", sort: str = "name"
) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    sort = sort or "name"
    check_known("sort", sort.removeprefix("-"), ("name", "type"))
    last = services.monitors.last_run(monitor)
    found = [t for t in monitor.thresholds.values() if q.lower() in t.name.lower()]
    found.sort(key=lambda t: str(getattr(t, sort.removeprefix("-"))), reverse=sort.startswith("-"))
    return render(
        "thresholds/show.html",
        user=caller,
        query=Query(q=q, sort=sort),
        thresholds=[
            (t, larger_is_worse(t.name, t.type), last.metric(t.name) if last else None) for t in found
        ],
        **_shared(monitor),
    )


@router.get("/threshold.json")
def download(caller: Caller, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    text = orjson.dumps(_document(monitor.thresholds), option=orjson.OPT_INDENT_2)
    attached = {"Content-Disposition": 'attachment; filename="threshold.json"'}
    return Response(text, media_type="application/json", headers={**HEADERS, **attached})


@router.get("/upload")
def upload_form(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return render("thresholds/upload.html", user=caller, form=Form(), **_shared(monitor))


@router.post("/upload")
def upload(caller: Caller, services: Everything, monitor_id: str, form: Filled) -> Response:
    """Read a file and show what it says and would do; nothing is saved."""
    monitor = services.monitors.get(caller, monitor_id)
    typed = form
    try:
        text = _content(form)
        typed = replace(form, values={**form.values, "json": (text,)})
        document = _document(parse_thresholds(text))
        preview, note = _preview(services, monitor, document, None)
    except TidegaugeError as error:
        return refuse("thresholds/upload.html", typed, error, user=caller, **_shared(monitor))
    return _view(caller, monitor, _as_form(document), preview, note)


@router.get("/suggest")
def suggest_form(caller: Changer, services: Everything, monitor_id: str) -> Response:
    monitor = services.monitors.get(caller, monitor_id)
    return render("thresholds/suggest.html", user=caller, form=Form(), **_shared(monitor))


@router.post("/suggest")
def suggest(caller: Caller, services: Everything, monitor_id: str, form: Filled) -> Response:
    """Show suggested thresholds in place of the ones that hold now; the others stay in the view."""
    monitor = services.monitors.get(caller, monitor_id)
    try:
        wish = parse(Wish, form.nested())
        found = services.advice.suggest(monitor, wish.size, wish.soft_per_week, wish.hard_per_year)
    except TidegaugeError as error:
        return refuse("thresholds/suggest.html", form, error, user=caller, **_shared(monitor))
    document = {**_document(monitor.thresholds), **found.thresholds}
    suggested = _as_form(document, "" if wish.size is None else str(wish.size))
    return _view(caller, monitor, suggested, found, "")


@router.get("/edit")
def edit(caller: Changer, services: Everything, monitor_id: str) -> Response:
    """Show the thresholds that hold now, to be changed by hand."""
    monitor = services.monitors.get(caller, monitor_id)
    document = _document(monitor.thresholds)
    if not document:
        return render("thresholds/upload.html", user=caller, form=Form(), **_shared(monitor))
    form = _as_form(document)
    try:
        preview, note = _preview(services, monitor, document, None)
    except TidegaugeError as error:
        return _view(caller, monitor, form.refused(error), None, "")
    return _view(caller, monitor, form, preview, note)


@router.post("/view")
def view(request: Request, caller: Caller, services: Everything, monitor_id: str, form: Filled) -> Response:
    """Save what the view shows, or show what it would do after a change by hand."""
    monitor = services.monitors.get(caller, monitor_id)
    again = "again" in form.values
    try:
        document = _typed(form)
        if not again:
            form.check_seen(seen(monitor.thresholds))
            services.monitors.set_thresholds(monitor, document)
            return go(request, f"/monitors/{monitor.id}/thresholds")
        preview, note = _preview(services, monitor, document, parse(Wish, form.nested("window.")).size)
    except TidegaugeError as error:
        wrong = type(error)(error.message, tuple(_placed(form, item) for item in error.errors))
        return refuse("thresholds/view.html", form, wrong, user=caller, **_about(monitor, form, None, ""))
    return _view(caller, monitor, form, preview, note)


def _view(caller: Any, monitor: Monitor, form: Form, preview: Preview | None, note: str) -> Response:
    return render("thresholds/view.html", user=caller, form=form, **_about(monitor, form, preview, note))


def _about(monitor: Monitor, form: Form, preview: Preview | None, note: str) -> dict[str, Any]:
    names = {form.text(f"row.{key}.name") for key in form.all("row")}
    return {
        **_shared(monitor),
        "seen": seen(monitor.thresholds),
        "preview": preview,
        "says": _says(preview) if preview else {},
        "note": note,
        "dropped": [name for name in monitor.thresholds if name not in names],
    }


def _shared(monitor: Monitor) -> dict[str, Any]:
    path = f"/monitors/{monitor.id}/thresholds"
    things = "images" if monitor.config.input_data_type == "image" else "rows"
    return {"section": "deployments", "monitor": monitor, "path": path, "things": things}


def _content(form: Form) -> str:
    """Return what was uploaded, or what was pasted where no file was chosen."""
    file = form.files.get("file")
    if file is None:
        text = form.text("json")
        if not text:
            raise InvalidInputError.of("file", "file is missing; choose a JSON file, or paste its content.")
        return text
    data = file.file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise TooLargeError.of("file", f"file is larger than {_LIMIT} bytes; choose a smaller one.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError.of("file", "file is no UTF-8 text; choose a JSON file.") from error


def _document(thresholds: Mapping[str, Threshold]) -> dict[str, Any]:
    return {t.name: {"type": t.type.value, "soft": t.soft, "hard": t.hard} for t in thresholds.values()}


def _as_form(document: Document, size: str = "") -> Form:
    """Return the view's form: a row for each threshold."""
    values: dict[str, tuple[str, ...]] = {
        "row": tuple(str(key) for key in range(len(document))),
        "window.size": (size,),
    }
    for key, (name, bounds) in enumerate(document.items()):
        row = f"row.{key}."
        values |= {f"{row}name": (name,), f"{row}type": (bounds["type"],), f"{row}keep": ("true",)}
        values |= {f"{row}{side}": (f"{bounds[side]:.15g}",) for side in ("soft", "hard")}
    return Form(values)


def _typed(form: Form) -> dict[str, Any]:
    """Return the thresholds as they stand in the view; what is no number is refused with all else."""
    found = {
        form.text(f"row.{key}.name"): {
            "type": form.text(f"row.{key}.type"),
            **{side: _number(form.text(f"row.{key}.{side}")) for side in ("soft", "hard")},
        }
        for key in form.all("row")
        if form.flag(f"row.{key}.keep")
    }
    if not found:
        raise InvalidInputError("No threshold is kept; keep one or more.")
    return found


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _placed(form: Form, error: FieldError) -> FieldError:
    """Return an error whose field is that of the view, which knows thresholds by row."""
    if error.field == "size":
        return FieldError("window.size", error.message)
    for key in form.all("row"):
        name = form.text(f"row.{key}.name")
        for side in ("soft", "hard", "type"):
            if error.field == f"{name}.{side}":
                return FieldError(f"row.{key}.{side}", error.message)
        if error.field == name:
            return FieldError(f"row.{key}.name", error.message)
    return error


def _preview(
    services: Services, monitor: Monitor, document: Document, size: int | None
) -> tuple[Preview | None, str]:
    """Return what thresholds would do, or why that cannot be said before somebody says a window's size."""
    try:
        return services.advice.preview(monitor, document, size), ""
    except InvalidInputError as error:
        if size is None and [item.field for item in error.errors] == ["size"]:
            return None, error.message
        raise


def _says(preview: Preview) -> dict[str, str]:
    """Return by threshold how often it would cry."""
    pairs = zip(preview.alerts, preview.sentences, strict=True)
    return {name: text.removeprefix(f"{name}: ").removeprefix("on clean data ") for name, text in pairs}
