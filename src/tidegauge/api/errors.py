"""Errors become RFC 9457 problem documents here and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tidegauge.errors import FieldError, TidegaugeError
from tidegauge.web.errors import UNEXPECTED, headers_of, status_of

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    503: {"Retry-After": "1"},
}


@dataclass(frozen=True)
class Problem:
    """What is answered in place of what was asked for; ``errors`` stand at their fields."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...]


def problem(status: int, title: str, detail: str, errors: tuple[FieldError, ...] = ()) -> JSONResponse:
    """Build a problem document; ``errors`` stand at their fields."""
    content = asdict(Problem("about:blank", title, status, detail, errors))
    return JSONResponse(content, status, media_type=MEDIA_TYPE, headers=dict(_HEADERS.get(status, {})))


async def _on_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, TidegaugeError):
        _log.error("unexpected error", exc_info=error)
        return problem(500, "Internal server error", UNEXPECTED)
    answer = problem(*status_of(error), error.message, error.errors)
    answer.headers.update(headers_of(error))
    return answer


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    answer = problem(error.status_code, str(error.detail), f"{error.detail}.")
    answer.headers.update(error.headers or {})
    return answer


async def _on_gone(_request: Request, _error: Exception) -> JSONResponse:
    """Answer a caller who left before the end of the body: nobody reads it, and nothing is wrong here."""
    return problem(400, "Bad request", "The body has not come whole; send it again.")


async def _on_validation(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = tuple(
        FieldError(
            _field(item["loc"]), f"{_field(item['loc'])}: {item['msg']} (got {_short(item.get('input'))})."
        )
        for item in error.errors()
    )
    return problem(422, "Invalid input", " ".join(item.message for item in errors), errors)


def _field(location: tuple[int | str, ...]) -> str:
    inner = location[1:] if location and location[0] in ("body", "query", "path", "header") else location
    return ".".join(str(part) for part in inner) or "body"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(TidegaugeError, _on_error)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(Exception, _on_error)
