"""The event: its shape, and the check that every reader applies to it. Pure.

orjson reads the bytes: strict JSON and strict UTF-8 in every nested field, so the bytes can be spliced into a WebSocket
text frame. msgspec then checks the shape of what was read. msgspec alone would skip unknown fields without looking at
their bytes; pydantic does the same work at several times the cost per event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import orjson

from broker.contract.errors import MalformedEvent

EventType = Literal["status", "progress", "complete", "error"]
"""The types this version knows. Events of other types pass through and change no state."""
Phase = Literal["phase1", "phase2", "phase3", "phase4"]
Status = Literal["queued", "running", "completed", "failed"]

OnMalformed = Callable[[str, int, MalformedEvent], None]
"""Called with the test id, the sequence and the error of a stored message that is not an event. It must not raise."""

EVENT_TYPES: Final = frozenset[str](get_args(EventType))
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
STATUSES: Final[tuple[Status, ...]] = get_args(Status)

CONTROL_TYPES: Final = frozenset({"sync", "heartbeat", "tests", "goodbye", "unreadable"})
"""Types of an edge's own messages. An event of such a type is malformed: a client that looks at `type` before `seq`
would treat it as a control message."""

MAX_TYPE_CHARS: Final = 64
"""Types are words. A longer one would fill the log lines and labels that show it."""

MAX_EVENT_BYTES: Final = 60 * 1024
"""The largest event that testcast publishes: the stream's limit of 64 KiB less room for headers."""

MAX_DEPTH: Final = 64
"""The deepest nesting of objects and arrays. Readers and writers of JSON give up at different depths (orjson writes 254
and reads 1,024; msgspec and `repr` are limited by Python's stack): all of them can handle this one."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors and libraries put it before a text. It is skipped: RFC 8259, section 8.1, allows that."""
_JSON_NAMES: Final = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
_MAX_SHOWN_CHARS: Final = 40
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

    A byte order mark before it is skipped.

    Raises:
        MalformedEvent: it is not an event; the message names the field and what is wrong with it.
    """
    raw = raw.removeprefix(_BYTE_ORDER_MARK)
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _not_json(raw, error) from None
    if not isinstance(fields, dict):
        raise MalformedEvent("it is not a JSON object", f"it is {_JSON_NAMES[type(fields)]}")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and not is_shallow(fields):
        raise MalformedEvent(f"it is nested more than {MAX_DEPTH} deep")
    kind = fields.get("type")
    event = _of_unknown_type(kind, fields) if isinstance(kind, str) and kind not in EVENT_TYPES else _of_known(fields)
    return Checked(event, raw, "testId" in fields or "seq" in fields)


def _of_known(fields: dict[str, Any]) -> Event:
    try:
        event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        raise _misshapen(fields, str(error)) from None
    if event.type == "status" and event.status is None:
        raise MalformedEvent("`status` is missing")
    return event


def _not_json(raw: bytes, error: orjson.JSONDecodeError) -> MalformedEvent:
    if not raw.strip():
        return MalformedEvent("it is empty")
    try:
        raw.decode()
    except UnicodeDecodeError as undecodable:
        return MalformedEvent("it is not UTF-8", str(undecodable))
    return MalformedEvent("it is not JSON", str(error))


def _misshapen(fields: dict[str, Any], otherwise: str) -> MalformedEvent:
    """What is wrong with an event of a known type, by its first wrong field."""
    for name in ("type", "message", "timestamp"):
        if name not in fields:
            return MalformedEvent(f"`{name}` is missing")
    for name in ("type", "message"):
        if not isinstance(fields[name], str):
            return MalformedEvent(f"`{name}` is not a string", f"it is {_shown(fields[name])}")
    timestamp = fields["timestamp"]
    if not isinstance(timestamp, int) or isinstance(timestamp, bool):
        return MalformedEvent("`timestamp` is not a whole number of milliseconds", f"it is {_shown(timestamp)}")
    if not 0 <= timestamp <= _SAFE_INT:
        return MalformedEvent("`timestamp` is not between 0 and 2^53-1", f"it is {timestamp}")
    for name, allowed in (("phase", PHASES), ("status", STATUSES)):
        if fields.get(name) is not None and fields[name] not in allowed:
            words = "phase1 … phase4" if name == "phase" else ", ".join(allowed)
            return MalformedEvent(f"`{name}` is not one of {words}", f"it is {_shown(fields[name])}")
    return MalformedEvent("it is not of an event's shape", otherwise)


def _shown(value: Any) -> str:
    """A wrong value for a log line: itself where it is short and plain, else what it is."""
    plain = value is None or isinstance(value, bool | int | float | str)
    text = orjson.dumps(value).decode() if plain else ""
    return text if 0 < len(text) <= _MAX_SHOWN_CHARS else _JSON_NAMES[type(value)]


def _of_unknown_type(kind: str, fields: dict[str, Any]) -> Event:
    """Another version defines the other fields: none is required, and one of an unexpected type is left out."""
    if kind in CONTROL_TYPES:
        raise MalformedEvent("`type` is reserved for the messages of an edge", f"it is {kind!r}")
    if not 0 < len(kind) <= MAX_TYPE_CHARS:
        raise MalformedEvent(f"`type` is not of 1 to {MAX_TYPE_CHARS} characters", f"it has {len(kind)}")
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
