"""The snapshot: a run folded from its events, in order of their sequence (the table in broker/PROTOCOL.md). Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.contract.events import Event, Phase, Status


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Folded state of one run, stamped with the position it was folded up to. Times are ms since 1970."""

    test_id: str
    title: str
    game_url: str
    status: Status
    phase: Phase | None
    message: str
    seq: int
    created_at: int
    updated_at: int
    attempt: int
    score: float | None = None
    metrics: Any = None
    started_at: int | None = None
    finished_at: int | None = None
    worker: str | None = None
    error: str | None = None
    stalled: bool = False
    """Never stored: an edge adds it to a run that has given no sign of life for 25 s."""

    @property
    def ended(self) -> bool:
        """Whether the run has a terminal event."""
        return self.status in ("completed", "failed")

    def encode(self) -> bytes:
        """Returns the JSON bytes that are stored, and that viewers receive."""
        return msgspec.json.encode(self)


def decode(value: bytes, test_id: str) -> Snapshot:
    """Reads the value that the bucket `RUNS` holds under the key `test_id`.

    Raises:
        msgspec.MsgspecError: it is not a snapshot, or it is one of another run.
    """
    snapshot = msgspec.json.decode(value, type=Snapshot)
    if snapshot.test_id != test_id:
        raise msgspec.ValidationError(f"`testId` is {snapshot.test_id[:80]!r}, which is not the key")
    return snapshot


def fold(before: Snapshot | None, test_id: str, seq: int, event: Event | None) -> Snapshot | None:
    """Returns the snapshot after the event stored at `seq`.

    Args:
        before: the snapshot so far, None before the first event.
        test_id: the run's id.
        seq: stream sequence of the event.
        event: the event, or None for a malformed message. A malformed message and an event of an unknown type move
            the position and change nothing else.

    Returns:
        The new snapshot; `before` itself when `seq` is not past it; None before the first event of a known type.
    """
    if before is not None and seq <= before.seq:
        return before
    if event is None or not event.known:
        return None if before is None else msgspec.structs.replace(before, seq=seq)
    if before is None:
        before = Snapshot(
            test_id=test_id,
            title=f"Test {test_id[:8]}",
            game_url="",
            status="queued",
            phase=None,
            message="",
            seq=0,
            created_at=event.timestamp,
            updated_at=event.timestamp,
            attempt=0,
        )
    if before.ended:
        return msgspec.structs.replace(before, seq=seq)
    changes: dict[str, Any] = {"seq": seq, "message": event.message, "updated_at": event.timestamp}
    if event.phase is not None:
        changes["phase"] = event.phase
    status = _status_after(before.status, event)
    changes["status"] = status
    if status == "running" and before.started_at is None:
        changes["started_at"] = event.timestamp
    if status in ("completed", "failed"):
        changes["finished_at"] = event.timestamp
    changes.update(_from_data(event))
    if event.type == "error":
        changes["error"] = event.message
    return msgspec.structs.replace(before, **changes)


def _status_after(status: Status, event: Event) -> Status:
    if event.end is not None:
        return event.end
    if event.type == "status":
        return event.status or status
    if event.type == "progress" and status == "queued":
        return "running"
    return status


def _from_data(event: Event) -> dict[str, Any]:
    """Returns what an event's `data` says about the run; a field of the wrong type is left out."""
    found: dict[str, Any] = {}
    if event.type == "status":
        for field, name in (("title", "title"), ("gameUrl", "game_url"), ("worker", "worker")):
            if isinstance(event.field(field), str):
                found[name] = event.field(field)
        attempt = event.field("attempt")
        if isinstance(attempt, int) and not isinstance(attempt, bool) and attempt >= 0:
            found["attempt"] = attempt
    elif event.type == "complete":
        score = event.field("score")
        if isinstance(score, (int, float)) and not isinstance(score, bool) and 0 <= score <= 100:
            found["score"] = score
        if event.field("metrics") is not None:
            found["metrics"] = event.field("metrics")
    return found
