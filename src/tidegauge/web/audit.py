"""What both doors to the audit log share: which entries are wanted, and their export."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends
from starlette.responses import StreamingResponse

from tidegauge.domain.audit import ExportFormat, Outcome
from tidegauge.domain.windows import in_utc
from tidegauge.services.auditing import AuditFilter
from tidegauge.services.bundle import Services

MEDIA_TYPES = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.JSONL: "application/jsonl"}


def audit_filter(
    who: str = "",
    outcome: Outcome | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> AuditFilter:
    """Read which entries are wanted: of a person, with an outcome, of [start, end), in UTC without a zone."""
    return AuditFilter(
        who, outcome, in_utc("start", start) if start else None, in_utc("end", end) if end else None
    )


def exported(services: Services, form: ExportFormat, q: str, wanted: AuditFilter) -> StreamingResponse:
    """Return the entries as a file, which is read from the database while it is sent."""
    headers = {
        "Content-Disposition": f'attachment; filename="audit.{form.value}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    content = services.auditing.export(form, q, wanted)
    return StreamingResponse(content, media_type=MEDIA_TYPES[form], headers=headers)


Wanted = Annotated[AuditFilter, Depends(audit_filter)]
