"""Pipeline runs: ``/api/v1/pipeline-runs``."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from tidegauge.domain.pipeline import PipelineRequest, PipelineRun
from tidegauge.storage.rows import Page
from tidegauge.web.access import CLOSED, Caller, Everything, Listing

router = APIRouter(prefix="/api/v1/pipeline-runs", tags=["pipeline runs"], dependencies=CLOSED)


@router.get("")
def list_pipeline_runs(caller: Caller, services: Everything, query: Listing) -> Page[PipelineRun]:
    return services.pipelines.page(caller, query)


@router.post("", status_code=202)
def create_pipeline_run(caller: Caller, services: Everything, body: PipelineRequest) -> PipelineRun:
    return services.pipelines.create(body, caller.name)


@router.get("/{run_id}")
def show_pipeline_run(caller: Caller, services: Everything, run_id: str) -> PipelineRun:
    return services.pipelines.get(caller, run_id)


@router.get("/{run_id}/log", response_class=PlainTextResponse)
def pipeline_run_log(caller: Caller, services: Everything, run_id: str) -> str:
    return services.pipelines.log(services.pipelines.get(caller, run_id))


@router.post("/{run_id}/cancel")
def cancel_pipeline_run(caller: Caller, services: Everything, run_id: str) -> PipelineRun:
    return services.pipelines.cancel(services.pipelines.get(caller, run_id))
