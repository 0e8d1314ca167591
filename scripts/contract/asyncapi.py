"""The AsyncAPI 3.0 document: the subjects, streams and buckets on the broker, and an edge's WebSocket.

The NATS binding knows queues only. What it lacks stands in extensions: `x-jetstream` (the streams, consumers and
buckets as the code declares them), `x-stream` and `x-republish` of a channel, `x-roles` (who may publish what).
"""

from __future__ import annotations

from typing import Any, Final

from broker.contract import messages, subjects
from broker.contract.frames import MAX_JPEG_BYTES, SEQ_HEADER, TIME_HEADER
from broker.contract.messages import ViewerEvent
from broker.contract.roles import Role
from broker.contract.snapshot import Snapshot
from broker.jetstream import kv, stream_config
from broker.jetstream.api import EXPECTED_LAST_HEADER, MSG_ID_HEADER, TTL_HEADER
from broker.jetstream.event_log import WRITER_HEADER
from broker.jetstream.permissions import rights
from broker.jetstream.runs import Job
from broker.jetstream.snapshot_store import DELETION_HEADER, FOLDED_HEADER
from broker.jetstream.stored_headers import PREDECESSOR_HEADER, SEQUENCE_HEADER, SIZE_HEADER, STORED_HEADER
from broker.tracing import HEADER as TRACE_HEADER
from broker.version import VERSION
from contract.documents import event, known_event, viewer_event
from contract.types import Schema, schemas
from ws_edge.transport.requests import VERBS

_ID: Final = "{testId}"
_REFS: Final = "#/components/schemas/"
_JSON: Final = "application/json"
_WHOLE: Final = {"type": "string", "pattern": "^[0-9]{1,16}$"}
_ADDED_BY_STREAM: Final = {
    SEQUENCE_HEADER.decode(): _WHOLE | {"description": "Its sequence in the stream."},
    PREDECESSOR_HEADER.decode(): _WHOLE
    | {"description": "The sequence before it on its subject; it reveals missed messages."},
    STORED_HEADER.decode(): {"type": "string", "description": "When it was stored, RFC 3339."},
}
_TRACE: Final = {TRACE_HEADER: {"type": "string", "description": "W3C Trace Context."}}
_HEADERS: Final[dict[str, Schema]] = {
    "event": {
        MSG_ID_HEADER: {
            "type": "string",
            "description": "A message that is sent again with the same id is stored once.",
        },
        WRITER_HEADER: {
            "type": "string",
            "description": "`<attempt>.<nonce>` of a worker that keeps to the writers' rule.",
        },
        EXPECTED_LAST_HEADER: _WHOLE | {"description": "The run's newest sequence as the publisher knows it."},
        **_TRACE,
    },
    "storedEvent": {**_ADDED_BY_STREAM, **_TRACE},
    "picture": {
        SEQ_HEADER: _WHOLE | {"description": "Of the newest event that the publisher knows to be stored."},
        TIME_HEADER: _WHOLE | {"description": "When it was taken, ms since 1970."},
        MSG_ID_HEADER: {"type": "string"},
    },
    "storedPicture": {
        **_ADDED_BY_STREAM,
        SEQ_HEADER: _WHOLE,
        TIME_HEADER: _WHOLE,
        SIZE_HEADER.decode(): _WHOLE | {"description": "Bytes of the JPEG."},
    },
    "job": {MSG_ID_HEADER: {"type": "string"}, **_TRACE},
    "snapshot": {
        kv.OPERATION_HEADER: {"type": "string", "description": "Of a mark: `DEL`."},
        TTL_HEADER: {"type": "string", "description": "Of a mark: its lifetime."},
        FOLDED_HEADER: {"type": "string", "description": "A value without it is folded again from the events."},
        DELETION_HEADER: {"type": "string", "description": "Of a mark: `begun <epoch>` or `done <epoch>`."},
    },
}


def _message(name: str, title: str, summary: str, payload: Schema, content_type: str = _JSON) -> Schema:
    made: Schema = {"name": name, "title": title, "summary": summary, "contentType": content_type, "payload": payload}
    if name in _HEADERS:
        made["headers"] = {"type": "object", "properties": _HEADERS[name]}
    return made


def _ref(name: str) -> Schema:
    return {"$ref": f"{_REFS}{name}"}


def _messages() -> dict[str, Schema]:
    jpeg = {"type": "string", "format": "binary", "maxLength": MAX_JPEG_BYTES}
    alive = {
        "type": "object",
        "properties": {"attempt": {"type": "integer"}, "worker": {"type": "string"}},
        "required": ["attempt", "worker"],
    }
    pin = {"type": "object", "properties": {"by": {"type": "string"}, "atMs": {"type": "integer"}}}
    return {
        "event": _message("event", "Event", "What an agent publishes.", _ref("Event")),
        "storedEvent": _message("storedEvent", "Stored event", "An event that the stream has stored.", _ref("Event")),
        "picture": _message("picture", "Picture", "A picture of what is tested.", jpeg, "image/jpeg"),
        "storedPicture": _message("storedPicture", "Stored picture", "Its headers, without it.", {"type": "null"}),
        "job": _message("job", "Job", "What a worker needs to play a run.", _ref("Job")),
        "alive": _message("alive", "Sign of life", "Every 10 s while an agent works; it may be empty.", alive),
        "wakeUp": _message("wakeUp", "Wake-up", "Read the stream now, for example after a cancel.", {"type": "null"}),
        "snapshot": _message("snapshot", "Snapshot", "The fold of a run's events.", _ref("Snapshot")),
        "pin": _message("pin", "Pin", "Somebody keeps the run for good.", pin),
        "access": _message(
            "access", "Access", "What all edges must know of access; opaque to others.", {"type": "object"}
        ),
        "hook": _message("hook", "Webhook", "An end of a run for one webhook; opaque to others.", {"type": "object"}),
        "viewerEvent": _message(
            "viewerEvent", "Viewer's event", "An event as viewers receive it.", _ref("ViewerEvent")
        ),
        "viewerEvents": _message(
            *("viewerEvents", "Several events", "Events that are sent together."),
            {"type": "array", "minItems": 2, "items": _ref("ViewerEvent")},
        ),
        **{
            f"control-{each.__struct_config__.tag}": _message(
                f"control-{each.__struct_config__.tag}", each.__name__, _first(each), _ref(each.__name__)
            )
            for each in messages.CONTROLS
        },
        **{
            f"client-{each.__name__}": _message(
                f"client-{each.__name__}", each.__name__, _first(each), _ref(each.__name__)
            )
            for each in messages.REQUESTS
        },
    }


def _first(kind: type) -> str:
    return " ".join((kind.__doc__ or "").split())


_SUBJECTS: Final[tuple[tuple[str, str, str, str, str], ...]] = (
    ("events", subjects.events(_ID), "event", subjects.EVENTS, "What agents publish, stored for good."),
    ("live", subjects.live(_ID), "storedEvent", "", "Only what was stored, in order. Subscribe here."),
    ("frames", subjects.frames(_ID), "picture", subjects.FRAMES, "Pictures of what is tested."),
    ("frame", subjects.stored_frame(_ID), "storedPicture", "", "The headers of pictures that were stored."),
    ("control", subjects.control(_ID), "wakeUp", "", "Wake-ups for the worker that plays the run; not stored."),
    ("alive", subjects.alive(_ID), "alive", "", "Signs of life; not stored."),
    ("jobs", subjects.job(_ID), "job", subjects.JOBS, "The work queue."),
    ("runs", kv.subject(subjects.RUNS, _ID), "snapshot", kv.stream(subjects.RUNS), "The bucket of snapshots."),
    ("pins", kv.subject(subjects.PINS, _ID), "pin", kv.stream(subjects.PINS), "The bucket of runs that are kept."),
    (
        *("access", kv.subject(subjects.ACCESS, "{key}"), "access", kv.stream(subjects.ACCESS)),
        "The bucket of what was revoked and shared.",
    ),
    (
        *("hooks", kv.subject(subjects.HOOKS, "{key}"), "hook", kv.stream(subjects.HOOKS)),
        "The bucket of the ends of runs that webhooks are to be told of, or were.",
    ),
)
"""Channels of the broker: name, subject, message, the stream that stores it, what it is for."""
_PUBLISHERS: Final = {
    **dict.fromkeys(("events", "frames", "alive"), "publish"),
    **dict.fromkeys(("control", "jobs", "runs", "pins", "access", "hooks"), "store"),
}


def _channels(streams: dict[str, dict[str, Any]]) -> dict[str, Schema]:
    republished = {each["republish"]["dest"]: each for each in streams.values() if "republish" in each}
    channels: dict[str, Schema] = {}
    for name, subject, message, stream, text in _SUBJECTS:
        parameter = "key" if "{key}" in subject else "testId"
        said = "A test id: a UUID in canonical lower case." if parameter == "testId" else "See PROTOCOL.md, The broker."
        channel = channels[name] = {
            "address": subject,
            "servers": [{"$ref": "#/servers/broker"}],
            "description": text,
            "parameters": {parameter: {"description": said}},
            "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        }
        if stream:
            channel["x-stream"] = stream
        origin = republished.get(subject.replace(_ID, "{{wildcard(1)}}"))
        if origin is not None:
            headers_only = bool(origin["republish"].get("headers_only"))
            channel["x-republish"] = {"stream": origin["name"], "headersOnly": headers_only}
    channels["socket"] = _socket()
    return channels


def _socket() -> Schema:
    told = ["viewerEvent", "viewerEvents", *(f"control-{each.__struct_config__.tag}" for each in messages.CONTROLS)]
    asked = [f"client-{each.__name__}" for each in messages.REQUESTS]
    query = {
        "type": "object",
        "properties": {
            "testId": {"type": "array", "items": {"type": "string"}, "description": "Runs to follow from the start."},
            "after": {"type": "integer", "minimum": 0, "description": "The position of all of them."},
            "epoch": {"type": "string", "maxLength": 64},
        },
    }
    return {
        "address": "/ws",
        "servers": [{"$ref": "#/servers/edge"}],
        "description": "Text frames without compression: one JSON object, or an array of events.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in (*told, *asked)},
        "bindings": {"ws": {"method": "GET", "query": query}},
        "x-subprotocol": "testcast.v1",
        "x-close-codes": [
            {"codes": list(codes), "meaning": meaning, "client": advice}
            for codes, meaning, advice in messages.CLOSE_CODES
        ],
        "x-error-codes": list(messages.SOCKET_ERRORS),
        "x-actions": {verb: None if action is None else action.value for verb, action in VERBS.items()},
    }


def _operations() -> dict[str, Schema]:
    """What a program that joins sends (`send`), and what it receives."""
    found: dict[str, Schema] = {}
    for name, _subject, message, stream, text in _SUBJECTS:
        ref = {
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{message}"}],
        }
        if name in _PUBLISHERS:
            found[f"{_PUBLISHERS[name]}-{name}"] = {"action": "send", "summary": text, **ref}
        if name not in _PUBLISHERS or stream or name in ("alive", "control"):
            found[f"receive-{name}"] = {"action": "receive", "summary": text, **ref}
    socket = _socket()["messages"]
    sent = [name for name in socket if name.startswith("client-")]
    for key, action, names in (
        ("ask", "send", sent),
        ("watch", "receive", [name for name in socket if name not in sent]),
    ):
        refs = [{"$ref": f"#/channels/socket/messages/{name}"} for name in names]
        found[key] = {"action": action, "channel": {"$ref": "#/channels/socket"}, "messages": refs}
    return found


def asyncapi() -> Schema:
    """The document."""
    declared = {each["name"]: each for each in stream_config.streams(1)}
    made = schemas([Snapshot, Job, ViewerEvent, *messages.CONTROLS, *messages.REQUESTS], _REFS) | viewer_event(_REFS)
    published = {name: each for name, each in event().items() if not name.startswith("$")}
    made |= {"Event": published | {"then": _ref("KnownEvent")}, "KnownEvent": known_event()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "testcast",
            "version": VERSION,
            "description": "What crosses the broker, and an edge's WebSocket. What an edge serves over HTTP is in the "
            "OpenAPI document. Streams and buckets have the settings that testcast makes them with; operators may set "
            "others.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _JSON,
        "servers": {
            "broker": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "NATS with JetStream, 2.12 or newer.",
            },
            "edge": {"host": "127.0.0.1:8080", "protocol": "ws", "description": "An edge; wss behind TLS."},
        },
        "channels": _channels(declared),
        "operations": _operations(),
        "components": {"schemas": dict(sorted(made.items())), "messages": _messages()},
        "x-jetstream": {
            "streams": [each for each in declared.values() if not each["name"].startswith("KV_")],
            "buckets": [each for each in declared.values() if each["name"].startswith("KV_")],
            "consumers": [{"stream": stream} | config for stream, config in stream_config.consumers()],
        },
        "x-roles": {role.value: _role(role) for role in Role},
    }


def _role(role: Role) -> Schema:
    found = rights(role)
    sides = {"publish": found.publish, "neverPublish": found.never_publish, "subscribe": found.subscribe}
    return {"account": found.account, **{name: list(each) for name, each in sides.items()}}
