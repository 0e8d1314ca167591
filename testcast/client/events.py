"""What a client delivers, over NATS or through an edge: events, resets, and the state of the connection. Pure."""

from __future__ import annotations

from collections.abc import Mapping
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
        seq: its position in the stream. It grows within a run; numbers may be missing.
        type: "status", "progress", "complete" or "error".
        message: one line for a person.
        timestamp: milliseconds since 1970, by the publisher's clock.
        phase: "phase1" to "phase4", None when the event names none.
        status: "queued", "running", "completed", "failed"; None when the event changes none.
        data: what the agent added, usually an object.
        raw: the JSON object as viewers receive it, with `testId`, `seq` and every field that the publisher sent.
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
        return self.published.end

    @property
    def published(self) -> messages.Event:
        """The event as its agent has published it, without the run and the position."""
        return messages.Event(
            type=self.type,
            message=self.message,
            timestamp=self.timestamp,
            phase=self.phase,
            status=self.status,
            data=self.data,
        )

    def field(self, name: str) -> Any:
        """`data[name]`, or None when `data` is not an object or has no such field."""
        return self.data.get(name) if isinstance(self.data, dict) else None


class Reset(NamedTuple):
    """Events are missing here: delivery starts again at the oldest retained event.

    Attributes:
        test_id: the run, None for all runs.
        reason: "expired" (events after the position are no longer retained, or the position is not one of this run),
            "ahead" (the position is after the newest event), "epoch" (the broker's history was replaced).
        epoch: the epoch of the events that follow.
    """

    test_id: str | None
    reason: Reason
    epoch: str | None = None

    @property
    def raw(self) -> bytes:
        """The reset as a JSON object."""
        given = {"type": "reset", "testId": self.test_id, "reason": self.reason, "epoch": self.epoch}
        return orjson.dumps({name: value for name, value in given.items() if value is not None})


Item = Event | Reset


class Unreadable(msgspec.Struct, frozen=True):
    """Messages of a run that are no events, and that every viewer passes over: its agent publishes something wrong.

    Attributes:
        test_id: the run.
        seq: position of the newest of them.
        count: how many were passed over since the last time this was told.
        reasons: how many of them by what is wrong.
    """

    test_id: str
    seq: int
    count: int
    reasons: Mapping[str, int]


class State(NamedTuple):
    """The state of the connection, reported when it changes and about once a second while there is none.

    Attributes:
        kind: "live" (connected), "waiting" (not connected, trying again), "polling" (not connected, polled over HTTP).
        detail: what is wrong, in a few words; empty when live.
        waited_s: how long nothing was received, seconds.
        attempt: number of the next attempt, 0 where attempts are not counted.
        retry_in_s: seconds until that attempt.
        refused: something between here and the edge refuses WebSockets; they are tried again every 30 s.
    """

    kind: Literal["live", "waiting", "polling"]
    detail: str = ""
    waited_s: float = 0.0
    attempt: int = 0
    retry_in_s: float = 0.0
    refused: bool = False


def from_stored(test_id: str, seq: int, data: bytes) -> Event | None:
    """The event in a message of the stream. None when it is malformed or of an unknown type: it is skipped."""
    try:
        checked = messages.check(data)
    except MalformedEvent:
        return None
    if not checked.event.known:
        return None
    return _made(test_id, seq, checked.event, messages.for_viewer(test_id, seq, checked))


def from_edge(raw: bytes) -> Event | None:
    """The event in a JSON object from an edge. None when this version does not know its form: it is skipped."""
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
