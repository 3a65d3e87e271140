"""The example: it is asked for at the first visit, and followed until its drift is found."""

from __future__ import annotations

from fastapi import Request, Response

from tidegauge.errors import TidegaugeError
from tidegauge.ui.forms import Form
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

PATH = "/example"

router = Pages(prefix=PATH)


@router.get("")
def example(caller: Caller, services: Everything) -> Response:
    """How far it is."""
    status = services.examples.status(caller.name)
    return render("tour/example.html", user=caller, path=PATH, example=status)


@router.get("/now")
def example_now(caller: Caller, services: Everything) -> Response:
    """The part of the page that changes."""
    status = services.examples.status(caller.name)
    return render("tour/example_now.html", user=caller, path=PATH, example=status)


@router.get("/new")
def new_example(caller: Caller, services: Everything) -> Response:
    missing = services.examples.missing()
    return render("tour/new_example.html", user=caller, path=PATH, missing=missing, form=Form())


@router.post("/new")
def create_example(request: Request, caller: Caller, services: Everything) -> Response:
    try:
        services.examples.create(caller.name)
    except TidegaugeError as error:
        missing = services.examples.missing()
        return refuse("tour/new_example.html", Form(), error, user=caller, path=PATH, missing=missing)
    return go(request, PATH)


@router.get("/cancel")
def confirm_cancelling(caller: Changer) -> Response:
    return render("tour/cancel.html", user=caller, path=PATH, form=Form())


@router.post("/cancel")
def cancel_example(request: Request, caller: Caller, services: Everything) -> Response:
    try:
        services.examples.cancel(caller.name)
    except TidegaugeError as error:
        return refuse("tour/cancel.html", Form(), error, user=caller, path=PATH)
    return go(request, PATH)
