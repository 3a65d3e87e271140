"""The audit log, for operators."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Response

from tidegauge.domain.audit import ExportFormat, Outcome
from tidegauge.errors import TidegaugeError
from tidegauge.services.auditing import AuditFilter
from tidegauge.storage.rows import Query
from tidegauge.ui.forms import Form, check_known
from tidegauge.ui.ranges import moment
from tidegauge.ui.site import Pages, render
from tidegauge.web.access import Everything, Operator
from tidegauge.web.audit import exported
from tidegauge.web.errors import status_of

PATH = "/audit"
_ROWS = 100

router = Pages(prefix=PATH)


@router.get("")
def audit_page(
    caller: Operator,
    services: Everything,
    q: str = "",
    who: str = "",
    outcome: str = "",
    start: str = "",
    end: str = "",
    cursor: str = "",
) -> Response:
    given = {"q": q, "who": who, "outcome": outcome, "start": start, "end": end}
    form, status, wanted = Form(), 200, AuditFilter()
    try:
        wanted = _filter(given)
    except TidegaugeError as error:
        form, status = form.refused(error), status_of(error)[0]
    return render(
        "operator/audit.html",
        status,
        user=caller,
        path=PATH,
        form=form,
        given=given,
        link=lambda **more: f"?{urlencode({k: v for k, v in {**given, **more}.items() if v})}",
        outcomes=list(Outcome),
        page=services.auditing.page(Query(_ROWS, cursor, q=q), wanted),
        cursor=cursor,
    )


@router.get("/export")
def export_audit_log(
    caller: Operator,  # noqa: ARG001 - for operators
    services: Everything,
    format: ExportFormat = ExportFormat.CSV,  # noqa: A002 - the name in the URL
    q: str = "",
    who: str = "",
    outcome: str = "",
    start: str = "",
    end: str = "",
) -> Response:
    wanted = _filter({"who": who, "outcome": outcome, "start": start, "end": end})
    return exported(services, format, q, wanted)


def _filter(given: dict[str, str]) -> AuditFilter:
    """Read the filter of the form, in which everything may be empty."""
    outcome = given["outcome"]
    start, end = (moment(name, given[name]) for name in ("start", "end"))
    known = [one.value for one in Outcome]
    if outcome:
        check_known("outcome", outcome, known)
    return AuditFilter(given["who"].strip(), Outcome(outcome) if outcome else None, start, end)
