"""``/api/v1/schemas``: the JSON Schemas of files, open, since editors fetch them without a token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from tidegauge.domain.monitor_config.published import PATH, monitor_schema
from tidegauge.web.access import OPEN

router = APIRouter(tags=["schemas"])


@router.get(PATH, openapi_extra=OPEN)
def show_monitor_schema() -> dict[str, Any]:
    """What ``tidegauge monitor apply`` reads."""
    return monitor_schema()
