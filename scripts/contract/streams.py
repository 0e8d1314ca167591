"""Streams over plain HTTP in the OpenAPI document: `/tests/{id}/events`, `/events` and `/ds/tests/{id}`."""

from __future__ import annotations

from typing import Any, Final

from contract.errors import REFS, problems
from contract.types import Schema

_CODES: Final = (
    *("invalid_test_id", "invalid_params", "unauthenticated", "forbidden", "not_found", "method_not_allowed"),
    *("too_many_requests", "internal", "broker_refused", "broker_unavailable"),
)
_VIEWERS: Final = ("node_full", "address_full", "too_fast", "restarting", "foreign_origin", "too_many_tests")
"""Who waits is a viewer, and refused as one is."""
_SSE: Final = (
    "Server-sent events. An event of a run is `id: <epoch>.<seq>` and `data: <the JSON object>`; control messages are "
    "`event: sync|heartbeat|goodbye|error` with the same JSON as on the socket. `goodbye` comes with `retry: <ms>`."
)


def test_id() -> Schema:
    """The run in the path."""
    schema = {"type": "string", "format": "uuid"}
    return {"name": "testId", "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: Schema, text: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _messages(*names: str) -> Schema:
    item = {"oneOf": [{"$ref": f"{REFS}{name}"} for name in names]}
    return {"text/event-stream": {"schema": {"type": "string"}, "x-data": item}}


def stream_paths() -> dict[str, Any]:
    """The paths of the streams."""
    position = [
        _query("after", {"type": "integer", "minimum": 0}, "The last sequence that was applied."),
        _query("epoch", {"type": "string", "maxLength": 64}, "The word that came with that position."),
    ]
    wait = _query("wait", {"type": "number", "minimum": 0, "maximum": 30}, "How long to wait for an event, s.")
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many events at most.")
    last = {
        "name": "Last-Event-ID",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "`<epoch>.<seq>`; it wins over `after` and `epoch`.",
    }
    events = {
        "operationId": "streamEvents",
        "tags": ["Streams"],
        "summary": "A run's events after a position: as server-sent events, or as JSON with long polling.",
        "x-action": "watch",
        "parameters": [test_id(), *position, wait, limit, last],
        "responses": {
            "200": {
                "description": f"JSON, or with `Accept: text/event-stream`: {_SSE}",
                "content": {
                    "application/json": {"schema": {"$ref": f"{REFS}EventPage"}},
                    **_messages("ViewerEvent", "Sync", "Heartbeat", "Unreadable", "Goodbye", "Refusal"),
                },
            },
            "204": {"description": "A resume at the end of a run that has ended: a browser's EventSource stops."},
            "304": {"description": "The same as the answer that `If-None-Match` names."},
            **problems((*_CODES, *_VIEWERS)),
        },
    }
    return {
        "/tests/{testId}/events": {"get": events},
        "/events": {"get": _several()},
        "/ds/tests/{testId}": {"get": _durable()},
    }


def _several() -> Schema:
    """Several runs on one stream."""
    watch = _query(
        "watch", {"type": "array", "items": {"type": "string"}}, "`<id>` or `<id>:<epoch>.<seq>`; any number of times."
    )
    channel = _query("channel", {"type": "string", "enum": ["tests"]}, "Also the list of runs.")
    return {
        "operationId": "streamSeveral",
        "tags": ["Streams"],
        "summary": "Several runs, and the list, on one stream of server-sent events. Resume by naming positions.",
        "x-action": "watch",
        "parameters": [watch, channel],
        "responses": {
            "200": {"description": _SSE, "content": _messages("ViewerEvent", "Sync", "Heartbeat", "Tests", "Refusal")},
            **problems((*_CODES, *_VIEWERS, "not_acceptable")),
        },
    }


def _durable() -> Schema:
    """The read side of Durable Streams."""
    said = {
        "Stream-Next-Offset": "The offset to ask on from.",
        "Stream-Up-To-Date": "`true`: there is no more for now.",
        "Stream-Closed": "`true`: the run has ended and nothing follows.",
        "Stream-Cursor": "With `live`.",
    }
    headers = {name: {"schema": {"type": "string"}, "description": text} for name, text in said.items()}
    live = {"type": "string", "enum": ["long-poll", "sse"]}
    return {
        "operationId": "readDurableStream",
        "tags": ["Streams"],
        "summary": "A run as a stream of the Durable Streams protocol, for readers.",
        "x-action": "watch",
        "parameters": [
            test_id(),
            _query("offset", {"type": "string"}, "`-1` (also when absent), `now`, or one of `Stream-Next-Offset`."),
            _query("live", live, "It needs an offset."),
            _query("cursor", {"type": "string"}, "Of the answer before."),
        ],
        "responses": {
            "200": {
                "description": "A JSON array of events, or with `live=sse` server-sent events.",
                "headers": headers,
                "content": {
                    "application/json": {"schema": {"type": "array", "items": {"$ref": f"{REFS}ViewerEvent"}}},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            },
            "204": {"description": "Nothing came while a long poll waited.", "headers": headers},
            "304": {"description": "The same as the answer that `If-None-Match` names."},
            **problems((*_CODES, *_VIEWERS, "offset_gone")),
        },
    }
