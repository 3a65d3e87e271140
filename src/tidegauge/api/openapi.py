"""The OpenAPI document: what FastAPI knows of each route, and what holds for all of them, said once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from tidegauge.api.errors import MEDIA_TYPE, Problem
from tidegauge.web.access import OPEN

_NAME = "Problem"
_PROBLEM: Mapping[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{_NAME}"}}}
_ANSWER: Mapping[str, Any] = {"$ref": f"#/components/responses/{_NAME}"}
_BEARER = "token"
_FRAMEWORK = ("HTTPValidationError", "ValidationError")  # how FastAPI would tell of input that is wrong


def binary(*media_types: str) -> dict[str, Any]:
    """Return the content of a body or an answer that is bytes of one of these types."""
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types}


def raw_body(*media_types: str) -> dict[str, Any]:
    """Return what a route says (``openapi_extra``) that reads its body itself, as bytes."""
    return {"requestBody": {"required": True, "content": binary(*media_types)}}


def install(app: FastAPI) -> None:
    """Have the app's document tell how errors are answered and how callers show who they are."""
    of_routes = app.openapi
    made: dict[str, Any] | None = None

    def openapi() -> dict[str, Any]:
        nonlocal made
        if made is None:
            made = _completed(of_routes())
        return made

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in _FRAMEWORK:
        schemas.pop(name, None)
    problem = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {})
    schemas[_NAME] = problem
    components["responses"] = {
        _NAME: {
            "description": "Not done, and why: a problem document (RFC 9457). Any operation may answer 400, "
            "401, 403, 404, 409, 413, 415, 422, 429 or 503, with `errors` at the fields that are wrong.",
            "content": _PROBLEM,
        }
    }
    components["securitySchemes"] = {_BEARER: {"type": "http", "scheme": "bearer"}}
    document["security"] = [{_BEARER: []}]
    for operation in _operations(document):
        _complete(operation)
    return document


def _complete(operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    if _FRAMEWORK[0] in str(answers.get("422")):
        del answers["422"]
    for status, answer in answers.items():
        if status[0] in "45":
            answer.setdefault("content", _PROBLEM)
    for statuses in ("4XX", "5XX"):
        answers.setdefault(statuses, _ANSWER)
    if OPEN.items() <= operation.items():
        operation["security"] = []


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()
