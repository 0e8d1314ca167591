"""What an edge serves beside the RPC and the streams: pictures, exports, the badge, health, and these documents."""

from __future__ import annotations

from typing import Any, Final

from contract.errors import REFS, problems
from contract.streams import test_id
from contract.types import Schema

_WATCH: Final = (
    *("invalid_test_id", "unauthenticated", "forbidden", "not_found", "method_not_allowed", "too_many_requests"),
    *("internal", "broker_refused", "broker_unavailable"),
)
_LIST: Final = tuple(code for code in _WATCH if code != "invalid_test_id")
_TEXT: Final = {"schema": {"type": "string"}}
_OBJECT: Final = {"schema": {"type": "object"}}


def _json(name: str, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": f"{REFS}{name}"}}}}


def _picture() -> Schema:
    number = {
        "name": "number",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "Its number, also with `.jpg` behind it.",
    }
    jpeg = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
    headers = {"ETag": _TEXT, "Cache-Control": _TEXT}
    refused = problems(("malformed_frame",))["400"] | {"description": "A picture that is kept and not shown."}
    return {
        "operationId": "getPicture",
        "tags": ["Files"],
        "summary": "One picture of a run. It never changes.",
        "x-action": "watch",
        "parameters": [test_id(), number],
        "responses": {
            "200": {"description": "The JPEG.", "headers": headers, "content": jpeg},
            "304": {"description": "The same as the answer that `If-None-Match` names."},
            "422": refused,
            **problems(_WATCH),
        },
    }


def _export() -> Schema:
    form = {"type": "string", "enum": ["html", "json", "junit"], "default": "html"}
    whole = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
    return {
        "operationId": "exportRun",
        "tags": ["Files"],
        "summary": "A run as a file. The answer is made while it is sent: one that is cut off lacks its last chunk.",
        "x-action": "watch",
        "parameters": [
            test_id(),
            {"name": "format", "in": "query", "required": False, "schema": form},
            {"name": "from", "in": "query", "required": False, "schema": whole, "description": "The first event."},
            {"name": "to", "in": "query", "required": False, "schema": whole, "description": "The last event."},
        ],
        "responses": {
            "200": {
                "description": "The file.",
                "headers": {"Content-Disposition": _TEXT, "x-testcast-export": _TEXT},
                "content": {
                    "text/html": _TEXT,
                    "application/json": {"schema": {"type": "object"}},
                    "application/xml": _TEXT,
                },
            },
            **problems((*_WATCH, "invalid_params", "busy")),
        },
    }


def _badge() -> Schema:
    text = "The game's address, its title in any case, or its title with `-` for everything but letters and digits."
    label = {"type": "string", "minLength": 1, "maxLength": 40, "default": "testcast"}
    project = {"type": "string", "maxLength": 64}
    return {
        "operationId": "badge",
        "tags": ["Files"],
        "summary": "How a game's newest run has ended, as a small picture for pages elsewhere.",
        "x-action": "list",
        "parameters": [
            {"name": "game", "in": "path", "required": True, "schema": {"type": "string"}, "description": text},
            {"name": "label", "in": "query", "required": False, "schema": label},
            {"name": "project", "in": "query", "required": False, "schema": project},
        ],
        "responses": {
            "200": {
                "description": "The picture.",
                "headers": {"ETag": _TEXT, "Cache-Control": _TEXT},
                "content": {"image/svg+xml": _TEXT},
            },
            "304": {"description": "The same as the answer that `If-None-Match` names."},
            **problems((*_LIST, "invalid_params", "invalid_project")),
        },
    }


def _get(name: str, tag: str, summary: str, responses: dict[str, Schema], codes: tuple[str, ...] = ()) -> Schema:
    return {
        "get": {
            "operationId": name,
            "tags": [tag],
            "summary": summary,
            "security": [{}],
            "responses": responses | problems(("method_not_allowed", "internal", *codes)),
        }
    }


def places() -> dict[str, Any]:
    """The paths."""
    ready = _json("Readiness", "Viewers may be sent here.")
    document = {"description": "The document.", "content": {"application/json": _OBJECT}}
    page = {"description": "The page.", "content": {"text/html": _TEXT}}
    same = {"description": "The same as the answer that `If-None-Match` names."}
    return {
        "/tests/{testId}/frames/{number}": {"get": _picture()},
        "/tests/{testId}/export": {"get": _export()},
        "/badge/{game}.svg": {"get": _badge()},
        "/healthz": _get("healthz", "Health", "The process runs.", {"200": _json("Alive", "It does.")}),
        "/readyz": _get(
            "readyz",
            "Health",
            "Whether viewers may be sent to this edge.",
            {"200": ready, "503": _json("Readiness", "They may not.")},
        ),
        "/openapi.json": _get("openapi", "RPC", "This document.", {"200": document, "304": same}),
        "/api": _get("api", "RPC", "This document as a page.", {"200": page, "304": same}),
    }
