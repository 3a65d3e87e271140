"""The audit log, for operators: ``/api/v1/audit``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from tidegauge.domain.audit import AuditEntry, ExportFormat
from tidegauge.storage.rows import Page
from tidegauge.storage.rows import Query as ListQuery
from tidegauge.web.access import Everything, operating
from tidegauge.web.audit import MEDIA_TYPES, Wanted, exported

router = APIRouter(prefix="/api/v1/audit", tags=["audit"], dependencies=[Depends(operating)])


@router.get("")
def list_audit_entries(
    services: Everything,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: str = "",
    q: str = "",
) -> Page[AuditEntry]:
    """List entries, newest first; ``q`` is text of the action, the subject, the credential or the address."""
    return services.auditing.page(ListQuery(limit, cursor, q=q), wanted)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {media_type: {} for media_type in MEDIA_TYPES.values()}}},
)
def export_audit_entries(
    services: Everything,
    wanted: Wanted,
    format: ExportFormat = ExportFormat.CSV,  # noqa: A002 - the name in the URL
    q: str = "",
) -> StreamingResponse:
    """Every entry, newest first: as CSV with a heading, or as a JSON object on each line."""
    return exported(services, format, q, wanted)
