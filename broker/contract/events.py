"""The event: its shape, and the door at which it is checked. Pure.

orjson reads (strict JSON, strict UTF-8, in every nested field, so that what is spliced into a WebSocket text frame is
always sound); msgspec checks the shape of what was read. msgspec alone would skip unknown fields without looking at
their bytes; pydantic does the same job at several times the cost per event.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import orjson

from broker.contract.errors import MalformedEvent

EventType = Literal["status", "progress", "complete", "error"]
Phase = Literal["phase1", "phase2", "phase3", "phase4"]
Status = Literal["queued", "running", "completed", "failed"]

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
MAX_EVENT_BYTES: Final = 60 * 1024
"""What we publish at most: the stream's 64 KiB less room for headers."""


MAX_DEPTH: Final = 64
"""Objects and arrays within each other. Readers and writers of JSON give up at different depths (orjson writes 254 and
reads 1,024, msgspec and `repr` end with Python's stack): an event that one of ours reads must suit all of them."""

_SAFE_INT = 2**53 - 1  # what a browser's Number can carry


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent publishes to `test.<id>.events` (DESIGN 3). Unknown extra fields pass through in the raw bytes."""

    type: EventType
    message: str
    timestamp: Annotated[int, msgspec.Meta(ge=0, le=_SAFE_INT)]
    """Milliseconds since 1970, by the publisher's clock."""
    phase: Phase | None = None
    status: Status | None = None
    data: Any = None

    @property
    def urgent(self) -> bool:
        """Goes out at once; everything but `progress` does (DESIGN 3, Rate limit)."""
        return self.type != "progress"

    @property
    def terminal(self) -> bool:
        """Ends the run."""
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
        """`data[name]`, or None where data is no object or has no such field."""
        return self.data.get(name) if isinstance(self.data, dict) else None

    def encode(self) -> bytes:
        """The JSON bytes that go on the subject."""
        return msgspec.json.encode(self)


class Checked(msgspec.Struct, frozen=True):
    """An event that passed the door, with the bytes it came in."""

    event: Event
    raw: bytes
    has_envelope_field: bool
    """The publisher used `testId` or `seq` itself; ours have to replace them."""


def now_ms() -> int:
    """Wall clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def check(raw: bytes) -> Checked:
    """Reads one message of `test.<id>.events`.

    Raises:
        MalformedEvent: with a sentence that names the field and what is wrong with it.
    """
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedEvent(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise MalformedEvent(f"expected a JSON object, got {type(fields).__name__}")
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and not _is_shallow(fields):
        raise MalformedEvent(f"nested more than {MAX_DEPTH} deep")
    try:
        event = msgspec.convert(fields, Event)
    except msgspec.ValidationError as error:
        raise MalformedEvent(str(error)) from None
    if event.type == "status" and event.status is None:
        raise MalformedEvent("Object of type 'status' missing required field `status`")
    return Checked(event, raw, "testId" in fields or "seq" in fields)


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        children = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return True
    return False


def for_viewer(test_id: str, seq: int, checked: Checked) -> bytes:
    """The event as a viewer gets it: `testId` and `seq` in front, the publisher's bytes otherwise untouched."""
    raw = checked.raw
    if checked.has_envelope_field:
        fields = orjson.loads(raw)
        fields.pop("testId", None)
        fields.pop("seq", None)
        raw = orjson.dumps(fields)
    start = raw.index(b"{") + 1
    return b'{"testId":"%b","seq":%d,%b' % (test_id.encode(), seq, raw[start:].strip())
