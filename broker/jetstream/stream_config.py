"""The streams, buckets and consumers on the broker: how they are made, and what of a stream that stands may be changed.

Pure. `topology.py` carries it out.

What an operator has set on a stream that stands stays: retention, sizes, replicas, storage, compression. Only what
testcast cannot work without is added to it; `EVENTS` is also made to take atomic batches, once. Nothing is changed of a
stream that a newer version has declared.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, NamedTuple

from broker.config import DEFAULT_MAX_AGE_S, StreamSettings
from broker.contract import subjects
from broker.jetstream import kv

DAY_S: Final = 24 * 3600
RETENTION_S: Final = 7 * DAY_S
LEASE_S: Final = 30
MAX_EVENT_MESSAGE_BYTES: Final = 64 * 1024
MAX_EVENTS_PER_RUN: Final = 20_000
MAX_QUEUED_JOBS: Final = 10_000
MAX_FRAME_MESSAGE_BYTES: Final = 65 * 1024
"""A picture of 64 KiB, with room for headers."""
_LEAST_FRAMES_BYTES: Final = 4 * 2**20
_FEW_FRAMES: Final = 256
"""16 MiB at most."""
MAX_PIN_BYTES: Final = 1024
MAX_ACCESS_BYTES: Final = 4 * 1024
MAX_HOOK_BYTES: Final = 1024

VERSION: Final = 4
"""It rises when a version of testcast declares a stream differently."""
VERSION_KEY: Final = "testcast-topology"
"""In a stream's metadata."""
AGE_KEY: Final = "testcast-age-s"
"""In the metadata of `EVENTS`: how long edges keep runs, seconds; 0: for ever."""
_AGE: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,3})?", re.ASCII)
_AGELESS: Final = 3
"""The version from which on streams are made without an age."""
_NS: Final = 1_000_000_000
_WINDOW_S: Final = 120

_BATCHING: Final = 4
"""The version from which on the stream of events is made to take atomic batches."""

_RUNS_STREAM: Final = kv.stream(subjects.RUNS)
_ACCESS_STREAM: Final = kv.stream(subjects.ACCESS)
_PINS_STREAM: Final = kv.stream(subjects.PINS)
_HOOKS_STREAM: Final = kv.stream(subjects.HOOKS)
_MUST: Final = {
    subjects.EVENTS: ("subjects", "allow_direct", "republish"),
    subjects.JOBS: ("subjects", "discard", "max_msgs_per_subject", "discard_new_per_subject"),
    _RUNS_STREAM: ("subjects", "allow_direct", "allow_msg_ttl"),
    subjects.FRAMES: ("subjects", "allow_direct", "republish"),
    _PINS_STREAM: ("subjects", "allow_direct"),
    _ACCESS_STREAM: ("subjects", "allow_direct", "allow_msg_ttl"),
    _HOOKS_STREAM: ("subjects", "allow_direct", "allow_msg_ttl"),
}
"""What testcast cannot work without. A stream that lacks one of them is changed."""
_HAD_AN_AGE: Final = (subjects.EVENTS, _RUNS_STREAM)
_NEVER: Final = ("allow_rollup_hdrs",)
"""What no stream may allow: one message with the header `Nats-Rollup` would remove every other one of a stream."""
_TOLD: Final = {
    "max_age": "TESTCAST_RETENTION",
    "max_bytes": "TESTCAST_EVENTS_MAX_BYTES",
    "num_replicas": "TESTCAST_NATS_REPLICAS",
}
_TOLD_OF_FRAMES: Final = _TOLD | {
    "max_bytes": "TESTCAST_FRAMES_MAX_BYTES",
    "max_msgs_per_subject": "TESTCAST_FRAMES_PER_RUN",
}
"""What a setting names and a standing stream may have otherwise: the stream keeps what it has."""


class Change(NamedTuple):
    """A field of a stream's configuration that becomes another."""

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field} {shown(self.field, self.old)} -> {shown(self.field, self.new)}"


def _plain(age_s: float) -> str:
    """Seconds, to a thousandth."""
    return f"{age_s:.3f}".rstrip("0").rstrip(".")


class Lift(NamedTuple):
    """How a stream of an earlier version loses its age."""

    changes: list[Change]
    metadata: dict[str, str]


def streams(replicas: int, settings: StreamSettings | None = None) -> list[dict[str, Any]]:
    """Returns the configurations of the streams, as the broker's API takes them to make one."""
    settings = settings or StreamSettings()
    made = [
        {
            "name": subjects.EVENTS,
            "subjects": [subjects.ALL_EVENTS],
            "retention": "limits",
            "storage": "file",
            "allow_direct": True,
            "max_age": 0,  # edges delete what is old: each project has an age, and what is pinned has none
            "max_bytes": settings.max_bytes or -1,
            "max_msgs_per_subject": MAX_EVENTS_PER_RUN,
            "max_msg_size": MAX_EVENT_MESSAGE_BYTES,
            "discard": "old",
            "duplicate_window": _WINDOW_S * _NS,
            "allow_atomic": True,  # a publisher's backlog is stored at once; without, one event after the other
            "republish": {"src": subjects.ALL_EVENTS, "dest": "test.{{wildcard(1)}}.live"},
        },
        {
            "name": subjects.JOBS,
            "subjects": [subjects.ALL_JOBS],
            "retention": "workqueue",
            "storage": "file",
            "max_msgs": MAX_QUEUED_JOBS,
            "max_msgs_per_subject": 1,
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msg_size": MAX_EVENT_MESSAGE_BYTES,
        },
        # The marks of runs that were deleted have lifetimes of their own.
        _bucket(subjects.RUNS, max_value_bytes=256 * 1024) | {"allow_msg_ttl": True},
        _frames(settings),
        _bucket(subjects.PINS, max_value_bytes=MAX_PIN_BYTES),
        # Each entry has a lifetime of its own: that of the token, share link or ticket that it is about.
        _bucket(subjects.ACCESS, max_value_bytes=MAX_ACCESS_BYTES) | {"allow_msg_ttl": True},
        _bucket(subjects.HOOKS, max_value_bytes=MAX_HOOK_BYTES) | {"allow_msg_ttl": True},
    ]
    common = {**dict.fromkeys(_NEVER, False), "num_replicas": replicas, "metadata": {VERSION_KEY: str(VERSION)}}
    return [config | common for config in made]


def _frames(settings: StreamSettings) -> dict[str, Any]:
    return {
        "name": subjects.FRAMES,
        "subjects": [subjects.ALL_FRAMES],
        "retention": "limits",
        "storage": "file",
        "allow_direct": True,
        "max_age": 0,
        "max_bytes": settings.frames_max_bytes or -1,
        "max_msgs_per_subject": settings.frames_per_run,
        "max_msg_size": MAX_FRAME_MESSAGE_BYTES,
        "discard": "old",
        "duplicate_window": _WINDOW_S * _NS,
        # Whoever shows pictures learns that there is a new one, and fetches it if it is looked at.
        "republish": {"src": subjects.ALL_FRAMES, "dest": "test.{{wildcard(1)}}.frame", "headers_only": True},
    }


class Ask(NamedTuple):
    """One try to make a stream."""

    made: dict[str, Any]
    """What the broker is asked for."""
    kept: dict[str, Any]
    """What the stream is then changed to."""


def asks(wanted: dict[str, Any]) -> list[Ask]:
    """Returns how to make a stream, one try after the other while the broker has no room for it.

    A broker sets `max_bytes` of its disk aside for a stream, and refuses the stream where it has less. Pictures then
    get half of what it has left at most: events need room, too. The last try sets nothing aside, and limits their
    number instead.
    """
    found = [Ask(wanted, wanted)]
    if wanted["name"] != subjects.FRAMES or wanted["max_bytes"] <= 0:
        return found
    size = wanted["max_bytes"] // 2
    while size >= _LEAST_FRAMES_BYTES:
        found.append(Ask(wanted | {"max_bytes": size}, wanted | {"max_bytes": size // 2}))
        size //= 2
    few = wanted | {"max_bytes": -1, "max_msgs": _FEW_FRAMES}
    return [*found, Ask(few, few)]


def is_left_over(info: dict[str, Any]) -> bool:
    """Whether a stream, as `STREAM.INFO` describes it, holds nothing, and nothing was stored in it for a day."""
    state, now_ms = info["state"], ms_of(info["ts"])
    since_ms = max(ms_of(info["created"]), ms_of(state["last_ts"]))
    return state["messages"] == 0 and now_ms - since_ms > DAY_S * 1000


def _bucket(name: str, max_value_bytes: int) -> dict[str, Any]:
    return {
        "name": kv.stream(name),
        "subjects": [kv.subject(name, ">")],
        "retention": "limits",
        "storage": "file",
        "max_msgs_per_subject": 1,
        "max_msg_size": max_value_bytes,
        "max_age": 0,
        "discard": "new",
        "allow_direct": True,
        "deny_delete": True,
    }


def consumers() -> list[tuple[str, dict[str, Any]]]:
    """Returns the durable pull consumers as (stream, configuration)."""
    return [
        (
            subjects.EVENTS,
            {
                "durable_name": subjects.PROJECTOR,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": 10 * _NS,
                "max_ack_pending": 20_000,
                "headers_only": True,  # an event is a hint that a snapshot is out of date; its data is read elsewhere
            },
        ),
        (
            subjects.JOBS,
            {
                "durable_name": subjects.WORKERS,
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": LEASE_S * _NS,
                "max_deliver": 20,  # a safety net: attempts are counted in the run's own events
                "max_ack_pending": 10_000,
            },
        ),
        (
            _HOOKS_STREAM,
            {
                "durable_name": subjects.WEBHOOKS,
                "filter_subject": kv.subject(subjects.HOOKS, "*.*.*"),
                "deliver_policy": "all",
                "ack_policy": "explicit",
                "ack_wait": 60 * _NS,  # a try takes 15 s at most
                "max_ack_pending": 20_000,  # what waits to be tried again counts as well
            },
        ),
    ]


def lease(lease_s: float) -> dict[str, Any]:
    """Returns the change of the consumer `workers` that gives its jobs another lease."""
    return {"ack_wait": int(lease_s * _NS)}


def ms_of(timestamp: str) -> int:
    """Returns a time of the broker's API (RFC 3339) as ms since 1970; 0 where there is none."""
    try:
        return max(int(datetime.fromisoformat(timestamp).timestamp() * 1000), 0)
    except ValueError:
        return 0


def seconds(duration: float) -> float:
    """Returns a duration of the broker's API in seconds."""
    return float(duration) / _NS


def problem_of_stream(standing: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Returns why a standing stream cannot be used and cannot be changed; None when it can."""
    name = wanted["name"]
    if standing.get("retention") != wanted["retention"]:
        return (
            f"the stream {name} has the retention {standing.get('retention')!r}, and testcast needs "
            f"{wanted['retention']!r}, which cannot be changed: rename or delete that stream"
        )
    if standing.get("mirror") or standing.get("sealed"):
        what = "a mirror" if standing.get("mirror") else "sealed"
        return f"the stream {name} is {what}, so nothing can be stored in it: rename or delete that stream"
    return None


def problem_of_consumer(stream: str, standing: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Returns why a standing consumer cannot be used; None when it can."""
    name = wanted["durable_name"]
    if standing.get("deliver_subject"):
        return f"the consumer {name} of {stream} is a push consumer, and testcast pulls from it: delete that consumer"
    if standing.get("ack_policy") != wanted["ack_policy"]:
        return (
            f"the consumer {name} of {stream} has the ack policy {standing.get('ack_policy')!r}: delete that consumer"
        )
    return None


def _version(standing: dict[str, Any]) -> int:
    """The version of testcast's topology that has declared the stream; 0: none has."""
    given = str((standing.get("metadata") or {}).get(VERSION_KEY, ""))
    return int(given) if given.isdecimal() else 0


def is_newer(standing: dict[str, Any]) -> bool:
    """Whether a newer version of testcast has declared the stream."""
    return _version(standing) > VERSION


def changes(standing: dict[str, Any], wanted: dict[str, Any]) -> list[Change]:
    """Returns what must be changed in a standing stream. None of it takes back what an operator has set."""
    if is_newer(standing):
        return []
    found = []
    for field in _MUST[wanted["name"]]:
        old, new = standing.get(field), wanted[field]
        if field == "subjects":
            old = old or []
            new = [*old, *(each for each in new if each not in old)]
        if old != new:
            found.append(Change(field, old, new))
    return found + [Change(field, True, False) for field in _NEVER if standing.get(field)]


def improvements(standing: dict[str, Any], wanted: dict[str, Any]) -> list[Change]:
    """Returns what a stream of an earlier version gets although testcast works without it. It gets it once: an operator
    may take it back."""
    if wanted.get("allow_atomic") and not standing.get("allow_atomic") and 0 < _version(standing) < _BATCHING:
        return [Change("allow_atomic", False, True)]
    return []


def first(wanted: dict[str, Any], settings: StreamSettings) -> dict[str, Any]:
    """Returns the configuration that a stream is made with: the one of events remembers how long runs are kept."""
    if wanted["name"] != subjects.EVENTS:
        return wanted
    return wanted | {"metadata": wanted["metadata"] | {AGE_KEY: _plain(settings.max_age_s)}}


def age_s(standing: dict[str, Any]) -> float:
    """Returns how long the stream of events says that runs are kept, seconds. 0: it does not say, and they are kept
    until the stream's own age removes them, if it has one."""
    given = str((standing.get("metadata") or {}).get(AGE_KEY, ""))
    return float(given) if _AGE.fullmatch(given) else 0.0


def lifted(standing: dict[str, Any], settings: StreamSettings) -> Lift | None:
    """Returns what becomes of the age of a stream of events or snapshots that an earlier version has declared. None:
    that is settled.

    Those versions gave streams one age for everything, which removes also what is pinned. An age that they chose by
    themselves goes, and the stream remembers it: edges keep runs for exactly as long. Any other age was set by an
    operator, and stays.
    """
    age = standing.get("max_age") or 0
    if standing["name"] not in _HAD_AN_AGE or not 0 < _version(standing) < _AGELESS:
        return None
    if age not in {int(each * _NS) for each in (DEFAULT_MAX_AGE_S, settings.max_age_s) if each}:
        return Lift([], {})
    remembered = {AGE_KEY: _plain(seconds(age))} if standing["name"] == subjects.EVENTS else {}
    return Lift([Change("max_age", age, 0)], remembered)


def kept(
    standing: dict[str, Any], wanted: dict[str, Any], settings: StreamSettings | None = None
) -> list[tuple[Change, str]]:
    """Returns what a standing stream has otherwise than the settings say, and the setting's name. It stays."""
    found = []
    told = _TOLD_OF_FRAMES if wanted["name"] == subjects.FRAMES else _TOLD
    for field, setting in told.items():
        old, new = standing.get(field), wanted.get(field)
        if new is not None and (old or 0) != new and not (field == "max_bytes" and {old, new} <= {0, -1, None}):
            found.append((Change(field, old, new), setting))
    remembered = (standing.get("metadata") or {}).get(AGE_KEY)
    if settings is not None and remembered is not None and age_s(standing) != settings.max_age_s:
        found.append((Change(AGE_KEY, remembered, _plain(settings.max_age_s)), "TESTCAST_EVENTS_MAX_AGE_S"))
    return found


def told_of(change: Change, setting: str) -> str:
    """Returns what the log says of a field that a standing stream keeps."""
    old, new = shown(change.field, change.old), shown(change.field, change.new)
    if change.field == "max_age":
        return f"{change.field} of {old}: pins and {setting} keep nothing for longer"
    return f"{change.field} of {old}; {setting} says {new}"


def shown(field: str, value: Any) -> str:
    """Returns a configuration's value as a person reads it."""
    if value in (None, [], "", {}):
        return "none"
    if field in ("max_age", "ack_wait", "duplicate_window"):
        return f"{seconds(value):g} s" if value else "unlimited"
    if field in ("max_bytes", "max_msgs") and value <= 0:
        return "unlimited"
    if field == "republish":
        return f"{value.get('src')} to {value.get('dest')}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
