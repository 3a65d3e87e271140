"""The dialog that puts a deployment on KServe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from tidegauge.domain.inference_service import Runtime
from tidegauge.errors import InvalidInputError, TidegaugeError
from tidegauge.services.bundle import Services
from tidegauge.services.kserve import KServeRequest
from tidegauge.ui.forms import Filled, Form, parse
from tidegauge.ui.pages import choices
from tidegauge.ui.site import Pages, go, refuse, render
from tidegauge.web.access import Caller, Everything

_NEW = "deployments/kserve.html"

router = Pages(prefix="/deployments")


@dataclass(frozen=True)
class _Typed:
    """What the dialog says; a field that is empty has its default."""

    name: str = ""
    model: str = ""
    version: int = 0
    namespace: str = ""
    runtime: Runtime = Runtime.TIDEGAUGE
    min_replicas: int = 1
    max_replicas: int = 1
    logging: bool = False
    log_url: str = ""
    storage_uri: str = ""


@router.get("/kserve")
def kserve_dialog(caller: Caller, services: Everything) -> Response:
    return render(_NEW, user=caller, form=Form(), **_choices(services, caller.name, Form()))


@router.post("/kserve")
def create_on_kserve(request: Request, caller: Caller, services: Everything, form: Filled) -> Response:
    try:
        typed = parse(_Typed, form.nested())
        if not typed.model:
            raise InvalidInputError.of("model", "model is missing; choose the model to serve.")
        if not typed.version:
            raise InvalidInputError.of("version", "version is missing; choose one.")
        placed = services.deployments.create_on_kserve(caller.name, KServeRequest(**vars(typed)))
    except TidegaugeError as error:
        return refuse(_NEW, form, error, user=caller, **_choices(services, caller.name, form))
    return go(request, f"/deployments/{placed.deployment.name}")


def _choices(services: Services, owner: str, form: Form) -> dict[str, Any]:
    return {
        "namespaces": [(name, name) for name in services.kserve.namespaces],
        "is_connected": services.kserve.is_connected,
        **choices.models(services, owner, form),
    }
