"""IDEs: the list, the dialogs that add and delete one, and the page of each with its log."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.ide import FRAMEWORK_VERSION, IMAGE, IdeRequest
from tidegauge.errors import TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.pages.choices import repositories
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

PATH = "/ide"
_ROWS = 50
_NEW, _DELETE = "ide/new.html", "ide/delete.html"

router = Pages(prefix=PATH)


@router.get("")
def ides(caller: Caller, services: Everything, q: str = "", sort: str = "-id", cursor: str = "") -> Response:
    query = Query(_ROWS, cursor, sort, q)
    page = services.ides.page(caller, query)
    missing = services.ides.missing()
    return render("ide/list.html", user=caller, path=PATH, page=page, query=query, missing=missing)


@router.get("/new")
def new_ide(caller: Changer, services: Everything) -> Response:
    return render(_NEW, user=caller, form=Form(), **_choices(services, caller.name))


@router.post("/new")
def create_ide(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    try:
        ide = services.ides.create(caller, parse(IdeRequest, form.nested()))
    except TidegaugeError as error:
        return refuse(_NEW, form, error, user=caller, **_choices(services, caller.name))
    return go(request, f"{PATH}/{ide.name}")


@router.get("/{ide_id}")
def ide_page(request: Request, caller: Caller, services: Everything, ide_id: str) -> Response:
    ide = services.ides.get(caller, ide_id)
    url = str(request.base_url).rstrip("/")
    return render(
        "ide/show.html",
        user=caller,
        path=PATH,
        ide=ide,
        note=services.ides.note(ide),
        log=services.ides.log(ide),
        by_hand=ide.request.commands(ide.code_version, url),
        in_image=ide.request.commands_in_image(ide.code_version, url),
    )


@router.get("/{ide_id}/log")
def log_of_ide(caller: Caller, services: Everything, ide_id: str) -> Response:
    """The log alone, for a page that follows it."""
    return render("ide/log.html", log=services.ides.log(services.ides.get(caller, ide_id)))


@router.post("/{ide_id}/start")
def start_ide(request: Request, caller: Caller, services: Everything, ide_id: str) -> Response:
    ide = services.ides.run(caller, services.ides.get(caller, ide_id))
    return go(request, f"{PATH}/{ide.name}")


@router.post("/{ide_id}/stop")
def stop_ide(request: Request, caller: Caller, services: Everything, ide_id: str) -> Response:
    ide = services.ides.halt(services.ides.get_to_stop(caller, ide_id), by=caller)
    return go(request, f"{PATH}/{ide.name}" if ide.owner == caller.name else PATH)


@router.get("/{ide_id}/delete")
def confirm_deletion(caller: Changer, services: Everything, ide_id: str) -> Response:
    ide = services.ides.get(caller, ide_id)
    return render(_DELETE, user=caller, path=PATH, ide=ide, form=Form())


@router.post("/{ide_id}/delete")
def delete_ide(request: Request, caller: Caller, services: Everything, ide_id: str) -> Response:
    services.ides.delete(services.ides.get(caller, ide_id))
    return go(request, PATH)


def _choices(services: Services, owner: str) -> dict[str, Any]:
    """Return what the dialog offers."""
    return {
        "path": PATH,
        "codes": repositories(services, RepositoryKind.CODE, owner),
        "missing": services.ides.missing(),
        "framework_version": FRAMEWORK_VERSION,
        "image": IMAGE,
    }
