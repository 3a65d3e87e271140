"""IDE: how JupyterLab is started with a Code."""

from __future__ import annotations

from fastapi import Request, Response

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.notebook import NotebookRequest
from tidegauge.errors import InvalidInputError, NotFoundError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.pages.choices import repositories
from tidegauge.ui.site import Pages, refuse, render
from tidegauge.web.access import Caller, Everything

PATH = "/ide"

router = Pages(prefix=PATH)


@router.get("")
def ide(caller: Caller) -> Response:
    return render("ide/list.html", user=caller, path=PATH)


@router.get("/new")
def new_notebook(caller: Caller, services: Everything) -> Response:
    codes = repositories(services, RepositoryKind.CODE, caller.name)
    return render("ide/new.html", user=caller, path=PATH, form=Form(), codes=codes)


@router.post("/new")
def commands(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    """Check the fields, and show how to start what they describe."""
    try:
        wanted = parse(NotebookRequest, form.nested())
        wanted.check()
        number = _newest(services, caller.name, wanted.code)
    except TidegaugeError as error:
        codes = repositories(services, RepositoryKind.CODE, caller.name)
        return refuse("ide/new.html", form, error, user=caller, path=PATH, codes=codes)
    url = str(request.base_url).rstrip("/")
    return render(
        "ide/commands.html",
        user=caller,
        path=PATH,
        wanted=wanted,
        number=number,
        by_hand=wanted.commands(number, url),
        in_image=wanted.commands_in_image(number, url),
    )


def _newest(services: Services, owner: str, name: str) -> int:
    """Return the number of the newest version of a Code; what is missing is told at its field."""
    try:
        code = services.catalogue.get(RepositoryKind.CODE, owner, name)
        return services.catalogue.version(code).number
    except NotFoundError as error:
        raise InvalidInputError.of("code", error.message) from error
