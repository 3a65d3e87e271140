"""Runs of pipelines: a list, a dialog to start one, and a page that follows one with its log."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request, Response

from tidegauge.domain.catalogue import RepositoryKind
from tidegauge.domain.pipeline import PipelineRequest, PipelineRun
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.pages.choices import repositories, versions
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Changer, Everything

PATH = "/pipeline-runs"
_ROWS = 50

router = Pages(prefix=PATH)


@router.get("")
def pipeline_runs(
    caller: Caller, services: Everything, q: str = "", sort: str = "-id", cursor: str = ""
) -> Response:
    query = Query(_ROWS, cursor, sort, q)
    page = services.pipelines.page(caller, query)
    return render("pipeline_runs/list.html", user=caller, path=PATH, page=page, query=query)


@router.get("/new")
def new_run(caller: Caller, services: Everything, like: str = "") -> Response:
    """The dialog for a run, filled in as the run ``like`` was."""
    form = _form_of(services.pipelines.get(caller, like)) if like else Form()
    return render("pipeline_runs/new.html", form=form, **_choices(services, caller.name, form), user=caller)


@router.post("/new")
def start_run(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    try:
        run = services.pipelines.create(_request(form), caller.name)
    except TidegaugeError as error:
        return refuse(
            "pipeline_runs/new.html", form, error, **_choices(services, caller.name, form), user=caller
        )
    return go(request, f"{PATH}/{run.id}")


@router.get("/{run_id}")
def pipeline_run(caller: Caller, services: Everything, run_id: str) -> Response:
    run = services.pipelines.get(caller, run_id)
    made = services.pipelines.made(run)
    log = services.pipelines.log(run)
    return render("pipeline_runs/show.html", user=caller, path=PATH, run=run, made=made, log=log)


@router.get("/{run_id}/log")
def log_of_run(caller: Caller, services: Everything, run_id: str) -> Response:
    """The log alone, for a page that follows it."""
    run = services.pipelines.get(caller, run_id)
    return render("pipeline_runs/log.html", path=PATH, run=run, log=services.pipelines.log(run))


@router.get("/{run_id}/cancel")
def confirm_cancelling(caller: Changer, services: Everything, run_id: str) -> Response:
    run = services.pipelines.get(caller, run_id)
    return render("pipeline_runs/cancel.html", user=caller, path=PATH, run=run, form=Form())


@router.post("/{run_id}/cancel")
def cancel_run(request: Request, caller: Caller, services: Everything, run_id: str) -> Response:
    run = services.pipelines.get(caller, run_id)
    try:
        services.pipelines.cancel(run)
    except TidegaugeError as error:
        return refuse("pipeline_runs/cancel.html", Form(), error, user=caller, path=PATH, run=run)
    return go(request, f"{PATH}/{run.id}")


def _request(form: Form) -> PipelineRequest:
    typed = {"deployment": "", **form.nested()}
    if text := typed.pop("parameters", ""):
        typed["parameters"] = _parameters(text)
    return parse(PipelineRequest, typed)


def _parameters(text: str) -> dict[str, Any]:
    r"""Read parameters, one ``name=value`` a line, or a JSON object.

    >>> _parameters("epochs = 3\nnote=a=b"), _parameters('{"epochs": 3}')
    ({'epochs': '3', 'note': 'a=b'}, {'epochs': 3})
    """
    if text.startswith("{"):
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise InvalidInputError.of("parameters", f"parameters is not valid JSON: {error}.") from error
        return found
    pairs = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, separator, value = line.partition("=")
        if not separator:
            raise InvalidInputError.of("parameters", f"parameters has the line {line!r}; write name=value.")
        pairs[name.strip()] = value.strip()
    return pairs


def _form_of(run: PipelineRun) -> Form:
    given = {
        "code": run.code,
        "code_version": run.code_version,
        "file": run.file,
        "dataset": run.dataset,
        "dataset_version": run.dataset_version,
        "model": run.model,
        "deployment": run.deployment,
        "backend": run.backend,
        "host": run.host,
        "namespace": run.namespace,
        "secret_name": run.secret_name,
        "parameters": "\n".join(f"{name}={value}" for name, value in run.parameters.items()),
    }
    return Form({name: (str(value),) for name, value in given.items()})


def _choices(services: Services, owner: str, form: Form) -> dict[str, Any]:
    """Return what the dialog offers."""
    kinds = (RepositoryKind.CODE, RepositoryKind.DATASET, RepositoryKind.MODEL)
    names = {kind.value: repositories(services, kind, owner) for kind in kinds}
    found = {kind.value: versions(services, kind, owner, form.text(kind.value)) for kind in kinds[:2]}
    models = [("", "choose ..."), *((name, name) for name in names["model"])]
    return {"path": PATH, "names": names, "found": found, "models": models}
