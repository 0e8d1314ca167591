"""What a viewer is handed, whichever way it came: events, resets, and the state of the connection. Pure."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import msgspec
import orjson

from broker.contract import events as messages
from broker.contract.errors import MalformedEvent
from broker.contract.events import EventType, Phase, Status
from broker.contract.position import Reason

Verdict = Literal["completed", "failed"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a run.

    Attributes:
        test_id: the run.
        seq: its position in the stream; grows within a run, with holes.
        type: "status", "progress", "complete" or "error".
        message: one line for a person.
        timestamp: milliseconds since 1970, by the publisher's clock.
        phase: "phase1" to "phase4", None when the event names none.
        status: "queued", "running", "completed", "failed"; None when the event changes none.
        data: whatever the agent added; an object, if anything.
        raw: the JSON object as viewers get it, with `testId` and `seq`, fields unknown to us included.
    """

    test_id: str
    seq: int
    type: EventType
    message: str
    timestamp: int
    phase: Phase | None = None
    status: Status | None = None
    data: Any = None
    raw: bytes = b""

    @property
    def ends(self) -> Verdict | None:
        """How this event ends its run, None when it does not."""
        return messages.Event(type=self.type, message=self.message, timestamp=self.timestamp, status=self.status).end

    def field(self, name: str) -> Any:
        """`data[name]`, or None where data is no object or has no such field."""
        return self.data.get(name) if isinstance(self.data, dict) else None


class Reset(NamedTuple):
    """The feed starts anew at the oldest retained event: what was shown before does not join on to what follows.

    Attributes:
        reason: "expired" (events after the position are no longer kept, or it never was one of this run's), "ahead"
            (the position is past all that is stored), "epoch" (the broker's history was replaced).
    """

    test_id: str | None
    reason: Reason
    epoch: str | None = None

    @property
    def raw(self) -> bytes:
        """As a JSON object, for a reader of lines."""
        given = {"type": "reset", "testId": self.test_id, "reason": self.reason, "epoch": self.epoch}
        return orjson.dumps({name: value for name, value in given.items() if value is not None})


Item = Event | Reset


class State(NamedTuple):
    """How the connection is; told whenever it changes, and about once a second while waiting.

    Attributes:
        kind: "live"; "waiting" (away, trying again); "polling" (away, asked over HTTP meanwhile).
        detail: what is wrong, in a few words; empty when live.
        waited_s: how long nothing has come, seconds.
        attempt: which attempt is next, 0 where they are not counted.
        retry_in_s: when it is made, seconds.
    """

    kind: Literal["live", "waiting", "polling"]
    detail: str = ""
    waited_s: float = 0.0
    attempt: int = 0
    retry_in_s: float = 0.0


def from_stored(test_id: str, seq: int, data: bytes) -> Event | None:
    """The event in a message of the stream; None when it is malformed or of an unknown type: seen, and not shown."""
    try:
        checked = messages.check(data)
    except MalformedEvent:
        return None
    if not checked.event.known:
        return None
    return _made(test_id, seq, checked.event, messages.for_viewer(test_id, seq, checked))


def from_edge(raw: bytes) -> Event | None:
    """The event in a viewer's JSON object; None when it is of a kind that this version does not know."""
    fields = orjson.loads(raw)
    try:
        event = messages.check(raw).event
    except MalformedEvent:
        return None
    if not event.known:
        return None
    return _made(fields["testId"], fields["seq"], event, raw)


def _made(test_id: str, seq: int, event: messages.Event, raw: bytes) -> Event:
    return Event(
        test_id=test_id,
        seq=seq,
        type=cast(EventType, event.type),  # it is known
        message=event.message,
        timestamp=event.timestamp,
        phase=event.phase,
        status=event.status,
        data=event.data,
        raw=raw,
    )
