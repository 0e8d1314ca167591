"""The snapshot: a run folded from its events, in order of their sequence (the table in broker/PROTOCOL.md). Pure."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
import orjson

from broker.contract.events import PHASES, Event, Phase, Status, is_shallow
from broker.contract.labels import labels_of
from broker.contract.projects import DEFAULT as DEFAULT_PROJECT
from broker.contract.projects import named_by

CANCELLED: Final = "cancelled"
"""`error_code` of a run that a person has ended."""
ListStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
"""What a list counts and filters by. A run that a person has ended is `cancelled` there, and not `failed`."""
LIST_STATUSES: Final[tuple[ListStatus, ...]] = get_args(ListStatus)

MAX_TITLE_CHARS: Final = 200
MAX_MESSAGE_CHARS: Final = 2000
"""Also of an error. A card shows one line, and the feed has the whole text."""
MAX_WORKER_CHARS: Final = 200
MAX_URL_CHARS: Final = 2048
MAX_CODE_CHARS: Final = 64
MAX_METRICS_BYTES: Final = 32 * 1024
"""As JSON. With every other field at its limit, a snapshot is below 80 KiB: the bucket takes 256 KiB."""
MAX_PHASE_CHARS: Final = 60
MAX_ATTEMPT: Final = 2**31 - 1

_CLOCKS_DIFFER_MS: Final = 60_000
"""How far apart the clocks of a cluster's servers may be: each stream's leader stamps with its own."""
_SAFE_INT: Final = 2**53 - 1
_Count = Annotated[int, msgspec.Meta(ge=0, le=_SAFE_INT)]
_ELLIPSIS: Final = "…"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Folded state of one run, stamped with the position it was folded up to.

    Times are ms since 1970 by the broker's clock: when it stored the event in question. 0: not known.
    """

    test_id: str
    title: str
    game_url: str
    status: Status
    phase: Phase | None
    message: str
    seq: _Count
    created_at: _Count
    updated_at: _Count
    attempt: _Count
    score: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    metrics: Any = None
    started_at: _Count | None = None
    finished_at: _Count | None = None
    worker: str | None = None
    error: str | None = None
    error_code: str | None = None
    """`data.code` of the event that set `error`."""
    epoch: str | None = None
    """The life of the stream that `seq` belongs to. Absent: stored by a version that took its times from publishers."""
    project: str = DEFAULT_PROJECT
    """Fixed by the run's first event of a known type. Absent: `default`. Empty: not known; shown to who may see every
    project."""
    labels: dict[str, str] | None = None
    """Fixed by the run's first event of a known type, sorted by name. Absent: it has none."""
    phases: list[str] | None = None
    """Titles of the run's phases, as its publisher names them; there may be more to come. Absent: it names none."""
    queue_place: int | None = None
    """Never stored: an edge adds it to the first runs of the queue, which may be its project's. 1 is the next."""
    no_agent: bool = False
    """Never stored: an edge adds it to a queued run while no agent is running."""
    pinned: bool = False
    """Never stored here: an edge adds it to a run that somebody keeps for good."""
    stalled: bool = False
    """Never stored: an edge adds it to a run that had begun and has given no sign of life for 25 s."""

    @property
    def ended(self) -> bool:
        """Whether the run has a terminal event."""
        return self.status in ("completed", "failed")

    @property
    def list_status(self) -> ListStatus:
        """What a list counts the run as. A run that a person has ended has the status `failed`, and is `cancelled`."""
        return "cancelled" if self.status == "failed" and self.error_code == CANCELLED else self.status

    def encode(self) -> bytes:
        """Returns the JSON bytes that are stored, and that viewers receive."""
        return msgspec.json.encode(self)


def decode(value: bytes, test_id: str, stored_ms: int = 0) -> Snapshot:
    """Reads the value that the bucket `RUNS` holds under the key `test_id`.

    Any client of the broker may have written it. What the limits of the fold do not allow is cut or left out, and so is
    what an edge adds.

    Args:
        stored_ms: when the broker stored the value. A time in it cannot be later. 0: not known.

    Raises:
        msgspec.MsgspecError: it is not a snapshot, or it is one of another run.
    """
    try:
        snapshot = msgspec.convert(orjson.loads(value), Snapshot)
    except orjson.JSONDecodeError as error:
        raise msgspec.ValidationError(f"not JSON: {error}") from None
    if snapshot.test_id != test_id:
        raise msgspec.ValidationError(f"`testId` is {snapshot.test_id[:80]!r}, which is not the key")

    def believable(given_ms: int) -> int:
        return given_ms if not stored_ms or given_ms <= stored_ms + _CLOCKS_DIFFER_MS else stored_ms

    return msgspec.structs.replace(
        snapshot,
        title=_cut(snapshot.title, MAX_TITLE_CHARS),
        message=_cut(snapshot.message, MAX_MESSAGE_CHARS),
        game_url=snapshot.game_url if len(snapshot.game_url) <= MAX_URL_CHARS else "",
        worker=_cut_if_any(snapshot.worker, MAX_WORKER_CHARS),
        error=_cut_if_any(snapshot.error, MAX_MESSAGE_CHARS),
        error_code=_code(snapshot.error_code),
        epoch=_code(snapshot.epoch),
        project=named_by(snapshot.project),
        labels=labels_of(snapshot.labels),
        pinned=False,
        attempt=min(snapshot.attempt, MAX_ATTEMPT),
        metrics=_metrics(snapshot.metrics),
        phases=_phases(snapshot.phases),
        created_at=believable(snapshot.created_at),
        updated_at=believable(snapshot.updated_at),
        started_at=None if snapshot.started_at is None else believable(snapshot.started_at),
        finished_at=None if snapshot.finished_at is None else believable(snapshot.finished_at),
        stalled=False,
        queue_place=None,
        no_agent=False,
    )


def fold(before: Snapshot | None, test_id: str, seq: int, event: Event | None, stored_ms: int) -> Snapshot | None:
    """Returns the snapshot after the event stored at `seq`.

    Args:
        before: the snapshot so far, None before the first event.
        test_id: the run's id.
        seq: stream sequence of the event.
        event: the event, or None for a malformed message. A malformed message and an event of an unknown type move
            the position and change nothing else.
        stored_ms: when the broker stored the event, ms since 1970. 0: not known, and no time changes.

    Returns:
        The new snapshot; `before` itself when `seq` is not past it; None before the first event of a known type.
    """
    if before is not None and seq <= before.seq:
        return before
    if event is None or not event.known:
        return None if before is None else msgspec.structs.replace(before, seq=seq)
    if before is None:
        before = _new(test_id, event, stored_ms)
    if before.ended:
        return msgspec.structs.replace(before, seq=seq)
    status = _status_after(before.status, event)
    changes: dict[str, Any] = {"seq": seq, "message": _said(event), "status": status}
    if event.phase is not None:
        changes["phase"] = event.phase
    if stored_ms:
        stored_ms = max(stored_ms, before.updated_at)  # the broker's clock was set back, or another server leads
        changes["updated_at"] = stored_ms
        if status == "running" and before.started_at is None:
            changes["started_at"] = stored_ms
        if status in ("completed", "failed"):
            changes["finished_at"] = stored_ms
    changes.update(_from_data(event))
    if event.type == "error":
        changes["error"] = _cut(event.message, MAX_MESSAGE_CHARS)
        changes["error_code"] = _code(event.field("code"))
    return msgspec.structs.replace(before, **changes)


def with_beginning(after: Snapshot, stored: Snapshot | None) -> Snapshot:
    """A run that is folded from its retained events may have lost the first of them, which named it. The snapshot that
    is replaced still knows."""
    if stored is None:
        return after
    if stored.project and stored.epoch is not None and 0 < stored.created_at < after.created_at:
        after = msgspec.structs.replace(after, project=stored.project, labels=stored.labels)
    if after.game_url or not stored.game_url:
        return after
    worker, attempt = after.worker or stored.worker, max(after.attempt, stored.attempt)
    return msgspec.structs.replace(after, title=stored.title, game_url=stored.game_url, worker=worker, attempt=attempt)


def _new(test_id: str, event: Event, stored_ms: int) -> Snapshot:
    """What a run is before its first event of a known type is folded, with what that event fixes for good."""
    return Snapshot(
        test_id=test_id,
        title=f"Test {test_id[:8]}",
        game_url="",
        status="queued",
        phase=None,
        message="",
        seq=0,
        created_at=stored_ms,
        updated_at=stored_ms,
        attempt=0,
        project=named_by(event.field("project")),
        labels=labels_of(event.field("labels")),
    )


def _status_after(status: Status, event: Event) -> Status:
    if event.end is not None:
        return event.end
    if event.type == "status":
        return event.status or status
    if event.type == "progress" and status == "queued":
        return "running"
    return status


def _from_data(event: Event) -> dict[str, Any]:
    """Returns what an event's `data` says about the run; a field of the wrong type or size is left out."""
    found: dict[str, Any] = {}
    if event.type == "status":
        for field, limit in (("title", MAX_TITLE_CHARS), ("worker", MAX_WORKER_CHARS)):
            if isinstance(event.field(field), str):
                found[field] = _cut(event.field(field), limit)
        if (phases := _phases(event.field("phases"))) is not None:
            found["phases"] = phases
        url = event.field("gameUrl")
        if isinstance(url, str) and len(url) <= MAX_URL_CHARS:
            found["game_url"] = url
        attempt = event.field("attempt")
        if isinstance(attempt, int) and not isinstance(attempt, bool) and 0 <= attempt <= MAX_ATTEMPT:
            found["attempt"] = attempt
    elif event.type == "complete":
        score = event.field("score")
        if isinstance(score, (int, float)) and not isinstance(score, bool) and 0 <= score <= 100:
            found["score"] = score
        metrics = _metrics(event.field("metrics"))
        if metrics is not None:
            found["metrics"] = metrics
    return found


def _said(event: Event) -> str:
    """The message of the snapshot: the event's, of a program's output its last line with a text."""
    text = event.message
    if isinstance(event.field("stream"), str):
        text = text.rstrip("\n").rpartition("\n")[2]
    return _cut(text, MAX_MESSAGE_CHARS)


def _phases(given: Any) -> list[str] | None:
    """Titles of phases, None where it is no list of them."""
    if not isinstance(given, list) or not 1 <= len(given) <= len(PHASES):
        return None
    return [_cut(each, MAX_PHASE_CHARS) for each in given] if all(isinstance(each, str) for each in given) else None


def _cut(text: str, limit: int) -> str:
    """Returns at most `limit` characters (code points). A text that was cut ends with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS


def _cut_if_any(text: str | None, limit: int) -> str | None:
    return None if text is None else _cut(text, limit)


def _code(given: Any) -> str | None:
    """Returns a word for programs, None where it is none: a part of it would mean something else."""
    return given if isinstance(given, str) and len(given) <= MAX_CODE_CHARS else None


def _metrics(given: Any) -> Any:
    if given is None or not is_shallow([given]) or len(orjson.dumps(given)) > MAX_METRICS_BYTES:
        return None
    return given
