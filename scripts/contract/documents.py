"""The JSON Schema documents: event, viewer's event, snapshot, control message, client's message, job."""

from __future__ import annotations

from typing import Any

from broker.contract.events import CONTROL_TYPES, EVENT_TYPES, MAX_DEPTH, MAX_TYPE_CHARS, Event
from broker.contract.messages import CONTROLS, REQUESTS, ViewerEvent
from broker.contract.snapshot import Snapshot
from broker.jetstream.runs import Job
from contract.types import DIALECT, Schema, schemas


def known_event() -> Schema:
    """An event of a type that this version knows."""
    schema = schemas([Event], nulls=True)["Event"]
    schema["properties"]["type"] = {"enum": sorted(EVENT_TYPES)}
    schema["title"] = "KnownEvent"
    schema["description"] = "An event of a type that this version knows. Unknown fields pass through to viewers."
    schema["allOf"] = [
        {
            "if": {"properties": {"type": {"const": "status"}}},
            "then": {"required": ["status"], "properties": {"status": {"not": {"type": "null"}}}},
        }
    ]
    return schema


def event() -> Schema:
    """What an agent publishes: exactly what the strict reader takes, as far as JSON Schema can say it."""
    return _document("event", "Event") | {
        "description": (
            "What an agent publishes to `test.<id>.events`. What JSON Schema cannot say: it is UTF-8, without NaN, at "
            f"most 64 KiB with its headers, nested at most {MAX_DEPTH} deep, and a whole number is written without a "
            "fraction."
        ),
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {
                "type": "string",
                "minLength": 1,
                "maxLength": MAX_TYPE_CHARS,
                "not": {"enum": sorted(CONTROL_TYPES)},
                "description": "A known type, or one of another version, which passes through and changes no state.",
            }
        },
        "if": {"properties": {"type": {"enum": sorted(EVENT_TYPES)}}},
        "then": {"$ref": "#/$defs/KnownEvent"},
        "$defs": {"KnownEvent": known_event()},
    }


def viewer_event(refs: str = "#/$defs/") -> dict[str, Schema]:
    """An event as viewers receive it, as a component."""
    schema = schemas([ViewerEvent], refs, nulls=True)["ViewerEvent"]
    known = {"type": {"enum": sorted(EVENT_TYPES)}}
    named = {name: schema["properties"].pop(name) for name in ("message", "timestamp", "phase", "status")}
    schema["required"] = ["testId", "seq", "type"]
    schema["properties"]["type"] |= {"minLength": 1, "maxLength": MAX_TYPE_CHARS}
    schema["if"] = {"properties": known}
    schema["then"] = {"required": ["message", "timestamp"], "properties": named}
    return {"ViewerEvent": schema}


def snapshot() -> Schema:
    """A run's snapshot."""
    return _rooted("snapshot", "Snapshot", schemas([Snapshot]))


def job() -> Schema:
    """What a worker needs to play a run."""
    return _rooted("job", "Job", schemas([Job]))


def control() -> Schema:
    """What an edge says by itself, on a socket and on a stream over HTTP."""
    return _one_of("control", "ControlMessage", "What an edge says by itself.", CONTROLS)


def client_message() -> Schema:
    """What a client may say on a socket. Unknown fields are not looked at."""
    text = "What a client may say on a socket: one text message of at most 16 KiB. Unknown fields are not looked at."
    return _one_of("client-message", "ClientMessage", text, REQUESTS)


def _one_of(name: str, title: str, text: str, kinds: Any) -> Schema:
    choices = [{"$ref": f"#/$defs/{each.__name__}"} for each in kinds]
    return _document(name, title) | {"description": text, "oneOf": choices, "$defs": schemas(kinds)}


def _rooted(name: str, title: str, made: dict[str, Schema]) -> Schema:
    root = made.pop(title)
    return _document(name, title) | root | ({"$defs": made} if made else {})


def _document(name: str, title: str) -> Schema:
    return {"$schema": DIALECT, "$id": f"urn:testcast:{name}", "title": title}


def all_documents() -> dict[str, Schema]:
    """Every document by the name of its file."""
    viewer = viewer_event()["ViewerEvent"]
    return {
        "event.schema.json": event(),
        "viewer-event.schema.json": _document("viewer-event", "ViewerEvent") | viewer,
        "snapshot.schema.json": snapshot(),
        "control.schema.json": control(),
        "client-message.schema.json": client_message(),
        "job.schema.json": job(),
    }
