"""What each role may do on the broker. Pure: derived from the requests that the code sends.

NATS checks the subject that a user publishes on, and not the reply subject of a request. The broker would send its
answer, for example a stored event, to any subject that a user names: into the bucket of snapshots or the queue. Agents
and readers are therefore users of accounts of their own, which take single requests from the account of the streams. An
answer to such a request stays in the account of the one who asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from broker.contract import subjects
from broker.contract.roles import Rights, Role
from broker.jetstream import kv

ACCOUNT: Final = "TESTCAST"
"""Holds the streams. Edges and operators are its users."""
API_PREFIX: Final = "testcast.API"
"""What requests to JetStream begin with in the accounts of agents and readers: `$JS.API` means their own there."""

_API: Final = "$JS.API"
_RUNS, _PINS, _ACCESS = map(kv.stream, (subjects.RUNS, subjects.PINS, subjects.ACCESS))
_HOOKS: Final = kv.stream(subjects.HOOKS)
_SHOTS: Final = kv.stream(subjects.SHOTS)
"""Where it stands still: edges read it, and agents of earlier versions look for it."""
_PROJECTOR: Final = f"{subjects.EVENTS}.{subjects.PROJECTOR}"
_WORKERS: Final = f"{subjects.JOBS}.{subjects.WORKERS}"
_WEBHOOKS: Final = f"{_HOOKS}.{subjects.WEBHOOKS}"
_WHO_AM_I: Final = "$SYS.REQ.USER.INFO"
_ALL_CONTROL: Final = subjects.control("*")
_REPUBLISHED: Final = (subjects.ALL_LIVE, subjects.ALL_STORED_FRAMES)
_VIEWED: Final = (subjects.RUNS, subjects.PINS, subjects.ACCESS)
"""Buckets that edges make consumers of."""


def rights(role: Role) -> Rights:
    """Returns what a role may do. Nobody may publish live events, or that there is a new picture: the server does."""
    if role is Role.EDGE:
        return _edge()
    if role is Role.AGENT:
        return _apart(role, _AGENT_REQUESTS, _AGENT_HEARS)
    if role is Role.READER:
        return _apart(role, _READER_REQUESTS, _READER_HEARS)
    return Rights((">",), _REPUBLISHED, (">",), ACCOUNT)


def _edge() -> Rights:
    own = (
        *(subjects.ALL_EVENTS, subjects.ALL_FRAMES, _ALL_CONTROL, subjects.ALL_JOBS),
        *(kv.subject(subjects.RUNS, "*"), kv.subject(subjects.PINS, "*"), "$KV.ACCESS.>", "$KV.HOOKS.>"),
        *_of("STREAM.INFO", subjects.EVENTS, subjects.JOBS, subjects.FRAMES, _RUNS, _PINS, _ACCESS, _HOOKS, _SHOTS),
        *_of("STREAM.MSG.GET", subjects.EVENTS, subjects.JOBS, subjects.FRAMES, _RUNS, _PINS, _ACCESS, _HOOKS),
        *_of("DIRECT.GET", subjects.EVENTS, subjects.FRAMES, _RUNS, _PINS, _ACCESS, _SHOTS),
        *_of("STREAM.MSG.DELETE", subjects.JOBS),  # the job of a run that was cancelled
        *_of("STREAM.PURGE", subjects.EVENTS, subjects.FRAMES, _RUNS, _SHOTS),  # a run that is deleted
        *_of("CONSUMER.INFO", _PROJECTOR, _WORKERS, _WEBHOOKS),
        *_of("CONSUMER.MSG.NEXT", _PROJECTOR, _WEBHOOKS),
        *(f"$JS.ACK.{each}.>" for each in (_PROJECTOR, _WEBHOOKS)),
        # Consumers of the views: with their filter in the subject, so that it cannot be another one.
        f"{_API}.CONSUMER.CREATE.{subjects.EVENTS}.*.{subjects.ALL_EVENTS}",
        f"{_API}.CONSUMER.CREATE.{subjects.FRAMES}.*.{subjects.ALL_FRAMES}",
        *(f"{_API}.CONSUMER.CREATE.{kv.stream(each)}.*.{kv.subject(each, '>')}" for each in _VIEWED),
        *_of("CONSUMER.DELETE", *(f"{each}.*" for each in (subjects.EVENTS, subjects.FRAMES, _RUNS, _PINS, _ACCESS))),
        _WHO_AM_I,
    )
    never = (
        *_REPUBLISHED,
        f"{_API}.CONSUMER.CREATE.{_PROJECTOR}.>",
        f"{_API}.CONSUMER.DELETE.{_PROJECTOR}",
    )
    hears = (subjects.ALL_LIVE, subjects.ALL_STORED_FRAMES, subjects.ALL_ALIVE)
    return Rights(own, never, (f"{Role.EDGE.inbox_prefix}.>", *hears), ACCOUNT)


def _of(request: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{_API}.{request}.{name}" for name in names)


_AGENT_REQUESTS: Final = (
    subjects.ALL_EVENTS,
    subjects.ALL_ALIVE,
    subjects.ALL_FRAMES,
    *_of("STREAM.INFO", subjects.EVENTS, subjects.JOBS, subjects.FRAMES, _SHOTS),
    *_of("STREAM.MSG.GET", subjects.EVENTS, subjects.JOBS),
    *_of("DIRECT.GET", subjects.EVENTS),
    *_of("CONSUMER.INFO", _WORKERS),
    *_of("CONSUMER.MSG.NEXT", _WORKERS),
    f"$JS.ACK.{_WORKERS}.>",
)
_AGENT_HEARS: Final = (_ALL_CONTROL,)
_READER_REQUESTS: Final = (
    *_of("STREAM.INFO", subjects.EVENTS, subjects.JOBS, subjects.FRAMES, _RUNS, _PINS, _SHOTS),
    *_of("STREAM.MSG.GET", subjects.EVENTS, _RUNS, _PINS),
    *_of("DIRECT.GET", subjects.EVENTS, subjects.FRAMES, _RUNS, _PINS, _SHOTS),
    *_of("CONSUMER.INFO", _PROJECTOR, _WORKERS),
)
_READER_HEARS: Final = (subjects.ALL_LIVE, subjects.ALL_EVENTS)


def _apart(role: Role, requests: Iterable[str], hears: tuple[str, ...]) -> Rights:
    """The rights of a role whose account holds no streams."""
    taken = tuple((each, _here(each), ".GET." in each or ".NEXT." in each) for each in requests)
    publish = (*(here for _there, here, _several in taken), _WHO_AM_I)
    subscribe = (f"{role.inbox_prefix}.>", *hears)
    account = f"{ACCOUNT}_{role.name}S"
    return Rights(publish, _REPUBLISHED, subscribe, account, taken, hears, API_PREFIX)


def _here(subject: str) -> str:
    """The subject in an account without streams."""
    if subject.startswith(f"{_API}."):
        return API_PREFIX + subject.removeprefix(_API)
    return f"{API_PREFIX}.{subject}" if kv.is_entry(subject) else subject
