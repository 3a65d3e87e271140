"""The playground of a deployment: drop an image, or fill in a row, and see what the model makes of it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from tidegauge.domain.deployment import Deployment
from tidegauge.domain.users import Principal
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.services.playground import ImageAnswer, Plan, RowAnswer
from tidegauge.ui import explained, words
from tidegauge.ui.forms import Form, form_of
from tidegauge.ui.site import HEADERS, Pages, render
from tidegauge.web.access import Caller, Changer, Everything
from tidegauge.web.bodies import allow
from tidegauge.web.errors import status_of

_MOST_FILES = 12
_MOST_BYTES = 64 << 20  # of all files together
_FIELD = "column."  # before the names of columns: they are any
#: How the model sees an image stands in the page itself, since nothing is stored that could have an address.
_POLICY = HEADERS["Content-Security-Policy"].replace("img-src 'self'", "img-src 'self' data:")

router = Pages()


class _InMemory(MultiPartParser):
    """Reads files without putting them on a disk."""

    spool_max_size = _MOST_BYTES


@router.get("/deployments/{name}/playground")
def playground(caller: Changer, services: Everything, name: str) -> Response:
    deployment = services.deployments.get(caller, name)
    try:
        plan = services.playground.plan(deployment)
    except TidegaugeError as error:
        return _page(caller, deployment, None, Form(message=error.message))
    return _page(caller, deployment, plan, Form())


@router.post("/deployments/{name}/playground")
async def ask(request: Request, caller: Caller, services: Everything, name: str) -> Response:
    deployment = await run_in_threadpool(services.deployments.get, caller, name)
    try:
        form, files = await _sent(request)
    except TidegaugeError as error:
        return await run_in_threadpool(_refused, services, caller, deployment, Form(), error)
    return await run_in_threadpool(_answered, services, caller, deployment, form, files)


def _answered(
    services: Services,
    caller: Principal,
    deployment: Deployment,
    form: Form,
    files: Sequence[tuple[str, bytes]],
) -> Response:
    """Ask, and show the answers below the form; what was typed stays."""
    fields = {name.removeprefix(_FIELD): form.text(name) for name in form.values if name.startswith(_FIELD)}
    try:
        if fields:
            plan, row = services.playground.row(deployment, fields)
            return _page(caller, deployment, plan, form, row=row)
        if not files:
            raise InvalidInputError.of("image", "Choose an image first.")
        plan, answers = services.playground.images(deployment, files)
    except TidegaugeError as error:
        return _refused(services, caller, deployment, form, error)
    status = 200 if any(answer.reply for answer in answers) else 422
    return _page(caller, deployment, plan, form, status, answers=answers)


def _refused(
    services: Services, caller: Principal, deployment: Deployment, form: Form, error: TidegaugeError
) -> Response:
    """Show the form again with what is wrong."""
    status, _ = status_of(error)
    prefixed = {f"{_FIELD}{item.field}": item.message for item in error.errors}
    try:
        plan = services.playground.plan(deployment)
    except TidegaugeError as unable:
        return _page(caller, deployment, None, Form(message=unable.message), status)
    placed = {name: text for name, text in prefixed.items() if name in form.values}
    failed = Form(form.values, errors=placed, message="" if placed else error.message)
    return _page(caller, deployment, plan, failed, status)


def _page(
    caller: Principal,
    deployment: Deployment,
    plan: Plan | None,
    form: Form,
    status: int = 200,
    *,
    answers: Sequence[ImageAnswer] = (),
    row: RowAnswer | None = None,
) -> Response:
    values: dict[str, Any] = {"answers": answers, "row": row, "most": _MOST_FILES, "field": _FIELD}
    page = render(
        "playground/show.html",
        status,
        user=caller,
        deployment=deployment,
        plan=plan,
        form=form,
        explained=explained,
        inline=_inline,
        is_synthetic=words.is_synthetic(deployment.name),
        **values,
    )
    page.headers["Content-Security-Policy"] = _POLICY
    return page


def _inline(png: bytes) -> str:
    """Return an image as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


async def _sent(request: Request) -> tuple[Form, list[tuple[str, bytes]]]:
    """Read a form with its files, all in memory."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidInputError("The form came without files; send it as multipart/form-data.")
    allow(request, _MOST_BYTES, "drop fewer images at a time")
    try:
        sent = await _InMemory(request.headers, request.stream(), max_files=_MOST_FILES).parse()
    except MultiPartException as error:
        if "files" in error.message:
            raise InvalidInputError(f"Drop at most {_MOST_FILES} images at a time.") from error
        raise InvalidInputError(f"The form cannot be read: {error.message}") from error
    files = [
        (value.filename, await value.read())
        for _, value in sent.multi_items()
        if isinstance(value, UploadFile) and value.filename
    ]
    await sent.close()
    return Form(form_of(sent).values), files
