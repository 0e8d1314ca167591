"""The event: its shape, and the check that every reader applies to it. Pure.

orjson reads the bytes: strict JSON and strict UTF-8 in every nested field, so the bytes can be spliced into a WebSocket
text frame. msgspec then checks the shape of what was read. msgspec alone would skip unknown fields without looking at
their bytes; pydantic does the same work at several times the cost per event.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import orjson

from broker.contract.errors import MalformedEvent

EventType = Literal["status", "progress", "complete", "error"]
"""The types this version knows. Events of other types pass through and change no state."""
Phase = Literal["phase1", "phase2", "phase3", "phase4"]
Status = Literal["queued", "running", "completed", "failed"]

EVENT_TYPES: Final = frozenset[str](get_args(EventType))
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

CONTROL_TYPES: Final = frozenset({"sync", "heartbeat", "tests", "goodbye"})
"""Types of an edge's own messages. An event of such a type is malformed: a client that looks at `type` before `seq`
would treat it as a control message."""

MAX_TYPE_CHARS: Final = 64
"""Types are words. A longer one would fill the log lines and labels that show it."""

MAX_EVENT_BYTES: Final = 60 * 1024
"""The largest event that testcast publishes: the stream's limit of 64 KiB less room for headers."""

MAX_DEPTH: Final = 64
"""The deepest nesting of objects and arrays. Readers and writers of JSON give up at different depths (orjson writes 254
and reads 1,024; msgspec and `repr` are limited by Python's stack): all of them can handle this one."""

_SAFE_INT: Final = 2**53 - 1
"""The largest integer that a browser's Number represents exactly."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent publishes to `test.<id>.events`. Unknown fields are not kept here; they pass through in the bytes.

    An event of a type outside `EVENT_TYPES` may lack a message or a timestamp; `check` fills in "" and 0.
    """

    type: str
    """One of `EVENT_TYPES`, or a type of another version."""
    message: str
    """One line for a person."""
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=_SAFE_INT)]
    """Milliseconds since 1970, by the publisher's clock."""
    phase: Phase | None = None
    status: Status | None = None
    data: Any = None

    @property
    def known(self) -> bool:
        """Whether this version knows the type. An event of an unknown type changes no state."""
        return self.type in EVENT_TYPES

    @property
    def urgent(self) -> bool:
        """Whether an edge sends the event immediately. Only `progress` is throttled."""
        return self.type != "progress"

    @property
    def terminal(self) -> bool:
        """Whether the event ends the run."""
        return self.end is not None

    @property
    def end(self) -> Literal["completed", "failed"] | None:
        """How this event ends the run, or None when it does not."""
        if self.type == "complete":
            return "completed"
        if self.status == "failed" and self.type in ("status", "error"):
            return "failed"
        if self.status == "completed" and self.type == "status":
            return "completed"
        return None

    def field(self, name: str) -> Any:
        """Returns `data[name]`, or None where data is no object or has no such field."""
        return self.data.get(name) if isinstance(self.data, dict) else None

    def encode(self) -> bytes:
        """Returns the JSON bytes to publish."""
        return msgspec.json.encode(self)


class Checked(msgspec.Struct, frozen=True):
    """A valid event, with the bytes it came in."""

    event: Event
    raw: bytes
    has_envelope_field: bool
    """The publisher used `testId` or `seq` itself; the edge's values replace them."""


def check(raw: bytes) -> Checked:
    """Reads one message of `test.<id>.events`.

    Raises:
        MalformedEvent: it is not an event; the message names the field and what is wrong with it.
    """
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedEvent(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise MalformedEvent(f"expected a JSON object, got {type(fields).__name__}")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and not is_shallow(fields):
        raise MalformedEvent(f"nested more than {MAX_DEPTH} deep")
    kind = fields.get("type")
    event = _of_unknown_type(kind, fields) if isinstance(kind, str) and kind not in EVENT_TYPES else _of_known(fields)
    return Checked(event, raw, "testId" in fields or "seq" in fields)


def _of_known(fields: dict[str, Any]) -> Event:
    try:
        event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        raise MalformedEvent(str(error)) from None
    if event.type == "status" and event.status is None:
        raise MalformedEvent("Object of type 'status' missing required field `status`")
    return event


def _of_unknown_type(kind: str, fields: dict[str, Any]) -> Event:
    """Another version defines the other fields: none is required, and one of an unexpected type is left out."""
    if kind in CONTROL_TYPES:
        raise MalformedEvent(f"the type {kind!r} is reserved for the messages of an edge - at `$.type`")
    if not 0 < len(kind) <= MAX_TYPE_CHARS:
        raise MalformedEvent(f"expected a type of 1 to {MAX_TYPE_CHARS} characters, got {len(kind)} - at `$.type`")
    message, timestamp = fields.get("message"), fields.get("timestamp")
    if not isinstance(timestamp, int) or isinstance(timestamp, bool) or not 0 <= timestamp <= _SAFE_INT:
        timestamp = 0
    return Event(
        type=kind,
        message=message if isinstance(message, str) else "",
        timestamp=timestamp,
        data=fields.get("data"),
    )


def is_shallow(value: Any) -> bool:
    """Returns whether objects and arrays are nested at most `MAX_DEPTH` deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        children = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return True
    return False


def for_viewer(test_id: str, seq: int, checked: Checked) -> bytes:
    """Returns the event as a viewer receives it: `testId` and `seq` first, then the publisher's bytes unchanged."""
    raw = checked.raw
    if checked.has_envelope_field:
        fields = orjson.loads(raw)
        fields.pop("testId", None)
        fields.pop("seq", None)
        raw = orjson.dumps(fields)
    start = raw.index(b"{") + 1
    return b'{"testId":"%b","seq":%d,%b' % (test_id.encode(), seq, raw[start:].strip())
