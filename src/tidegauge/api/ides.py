"""IDEs: ``/api/v1/ides``."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from tidegauge.domain.ide import Ide, IdeRequest
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Everything, Listing

router = APIRouter(prefix="/api/v1/ides", tags=["ides"], dependencies=CLOSED)


@router.get("")
def list_ides(caller: Caller, services: Everything, query: Listing) -> Page[Ide]:
    """List your IDEs; an operator sees everybody's."""
    return services.ides.page(caller, query)


@router.post("", status_code=201)
def create_ide(caller: Caller, services: Everything, body: IdeRequest) -> Ide:
    """Make a JupyterLab with the newest version of a Code, and start it."""
    return services.ides.create(caller, body)


@router.get("/{ide_id}")
def show_ide(caller: Caller, services: Everything, ide_id: str) -> Ide:
    return services.ides.get(caller, ide_id)


@router.post("/{ide_id}/start")
def start_ide(caller: Caller, services: Everything, ide_id: str) -> Ide:
    """Start one that is stopped, with the files that it has."""
    return services.ides.run(caller, services.ides.get(caller, ide_id))


@router.post("/{ide_id}/stop")
def stop_ide(caller: Caller, services: Everything, ide_id: str) -> Ide:
    """Stop one with its kernels; its files stay. An operator may stop anybody's, by its id."""
    return services.ides.halt(services.ides.get_to_stop(caller, ide_id), by=caller)


@router.delete("/{ide_id}", status_code=204)
def delete_ide(caller: Caller, services: Everything, ide_id: str) -> None:
    """Stop one, and delete it with the files of its workspace."""
    services.ides.delete(services.ides.get(caller, ide_id))


@router.get("/{ide_id}/log", response_class=PlainTextResponse)
def ide_log(caller: Caller, services: Everything, ide_id: str) -> str:
    """Return the end of what its JupyterLab has written."""
    return services.ides.log(services.ides.get(caller, ide_id))
