"""Submitting, reading and cancelling runs. Used by edges, workers and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

import msgspec
import orjson

from broker import identity, tracing
from broker.clock import now_ms
from broker.contract import projects, subjects
from broker.contract.errors import (
    AlreadyEnded,
    BadInput,
    BrokerRefused,
    BrokerUnavailable,
    MalformedEvent,
    NotFound,
    QueueFull,
    TestcastError,
    WrongLastSequence,
)
from broker.contract.events import Event, OnMalformed, check
from broker.contract.labels import check_labels
from broker.contract.ports import EventLog
from broker.contract.snapshot import CANCELLED, Snapshot, fold
from broker.jetstream.answers import STREAM_FULL
from broker.jetstream.api import Streams
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.scan import PAGE_EVENTS, first_page, pages
from broker.retry import retry

_log = logging.getLogger("testcast.runs")

May = Callable[[Snapshot | None], None]
"""Called with a run's snapshot before the run is ended; raises to prevent it."""

MIN_BUDGET_S: Final = 5
MAX_BUDGET_S: Final = 600
DEFAULT_BUDGET_S: Final = 60
MAX_TITLE_CHARS: Final = 200

_ELECTION_S: Final = 10.0
"""A cluster elects a leader within this time. A submitter waits for it."""
_DISCONNECTED_S: Final = 2.0
"""How long a submitter waits for a connection: longer would not help where the broker is away."""
_WITHDRAW_S: Final = 5.0
_MAX_CONFLICTS: Final = 8
"""Tries to end a run that others write to: each lost race means that another event was stored in between."""


class Job(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a worker needs to play a run. It is the payload of a job, and the `data` of the run's first event."""

    game_url: str
    title: str
    budget_seconds: float = DEFAULT_BUDGET_S
    seed: int = 0
    project: str | msgspec.UnsetType = msgspec.UNSET
    """The run's project; left out where it is the default."""
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """What the submitter says about the run; left out where it is nothing."""
    allow_private: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether the game may be at a private or loopback address; left out where it may not."""
    allow_hosts: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Hosts, `host` or `host:port`, that may be private all the same; left out where there are none."""


class Run(NamedTuple):
    """A run as its events describe it."""

    snapshot: Snapshot | None
    """None when no event of a known type is stored."""
    head: int
    """Sequence of its newest stored message."""


def make_job(
    game_url: str,
    title: str | None,
    budget_seconds: float | None,
    seed: int | None,
    *,
    project: str = projects.DEFAULT,
    labels: Mapping[str, str] | None = None,
    allow_private: bool = False,
    allowed_hosts: Collection[str] = (),
) -> Job:
    """Returns a job with defaults filled in.

    Args:
        game_url: an address that `broker.contract.url_policy.check_game_url` returned.
        title: 1 to `MAX_TITLE_CHARS` characters; None: the address without its scheme.
        budget_seconds: `MIN_BUDGET_S` to `MAX_BUDGET_S`.
        seed: 0 to 2^53-1; None: a random one.
        project: the run's project, for good.
        labels: as `broker.contract.labels.check_labels` allows them.
        allow_private: the game may be at a private or loopback address.
        allowed_hosts: entries as `broker.contract.url_policy.allowed_host` returns them.

    Raises:
        BadInput: naming the field and what it may be.
    """
    if title is not None and (not title.strip() or len(title) > MAX_TITLE_CHARS):
        raise BadInput(f"title: expected 1 to {MAX_TITLE_CHARS} characters")
    budget = DEFAULT_BUDGET_S if budget_seconds is None else budget_seconds
    if not MIN_BUDGET_S <= budget <= MAX_BUDGET_S:
        raise BadInput(f"budgetSeconds: expected {MIN_BUDGET_S} to {MAX_BUDGET_S}, got {budget:g}")
    if seed is not None and not 0 <= seed < 2**53:
        raise BadInput("seed: expected a whole number from 0 to 2^53-1")
    if title is None:
        host_and_path = game_url.split("://", 1)[-1].split("?", 1)[0].rstrip("/")
        title = host_and_path[:MAX_TITLE_CHARS]
    chosen_seed = secrets.randbelow(2**31) if seed is None else seed
    private = True if allow_private else msgspec.UNSET
    named = msgspec.UNSET if projects.parse_project(project) == projects.DEFAULT else project
    hosts = tuple(sorted(allowed_hosts)) or msgspec.UNSET
    return Job(
        game_url=game_url,
        title=title.strip(),
        budget_seconds=budget,
        seed=chosen_seed,
        project=named,
        labels=check_labels(labels or {}) or msgspec.UNSET,
        allow_private=private,
        allow_hosts=hosts,
    )


async def submit(log: JetStreamLog, job: Job) -> str:
    """Stores the run's first event, then its job. Returns the test id.

    A run whose job cannot be stored does not stay queued: it is ended as failed before the error is raised. Where the
    broker is lost between the two, the reaper of the edges ends it.

    Raises:
        QueueFull: the queue is full.
        BrokerRefused: the broker does not take the job.
        BrokerUnavailable: the broker cannot be reached, or does not acknowledge the job.
    """
    test_id = identity.new_test_id()
    with tracing.span("submit", "producer", run=test_id):
        return await _submit(log, test_id, job)


async def _submit(log: JetStreamLog, test_id: str, job: Job) -> str:
    data = msgspec.to_builtins(job)
    for each in ("allowPrivate", "allowHosts"):  # what an installation allows is not for viewers
        data.pop(each, None)
    queued = Event(type="status", status="queued", message=f"Queued: {job.title}", timestamp=now_ms(), data=data)
    head = await retry(lambda: store_first(log, test_id, queued), within_s=_patience_s(log), source=log)
    try:
        await retry(lambda: store_job(log.streams, test_id, job), within_s=_ELECTION_S, source=log)
    except BrokerRefused as error:
        full = error.err_code == STREAM_FULL
        refused = QueueFull("the job queue is full: try again in a minute") if full else error
        await _withdraw(log, test_id, head, refused)
        raise refused from None
    except BrokerUnavailable as error:
        if not await _withdraw(log, test_id, head, error):
            return test_id
        raise
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DISCONNECTED_S):
                await _withdraw(log, test_id, head, TestcastError("submitting was interrupted"))
        raise
    return test_id


class _HasBegun(Exception):
    """A worker has the run: its job was stored, and the acknowledgement was lost."""


async def _withdraw(log: JetStreamLog, test_id: str, head: int, reason: TestcastError) -> bool:
    """Ends a run whose job could not be stored. Returns False when a worker has begun it all the same.

    Args:
        head: sequence of its first event.
    """

    def unless_begun(found: Snapshot | None) -> None:
        if found is not None and found.seq > head:
            raise _HasBegun

    full = isinstance(reason, QueueFull)
    message = reason.message if full else f"The job could not be queued: {reason.public_message}"
    failure = _failed(message, reason.code if full else "not_queued")
    try:
        await retry(lambda: end(log, test_id, failure, may=unless_begun), within_s=_WITHDRAW_S, source=log)
        await drop_job(log.streams, test_id)
    except _HasBegun:
        return False
    except (AlreadyEnded, NotFound):
        pass
    except TestcastError as error:
        _log.warning("run %s has no job, and could not be ended yet: %s", test_id, error)
    return True


def _patience_s(log: EventLog) -> float:
    return _ELECTION_S if log.connected else _DISCONNECTED_S


async def store_first(log: EventLog, test_id: str, queued: Event) -> int:
    """Stores a new run's first event, once. The id is new: anything already stored under it is this event."""
    try:
        ack = await log.append(test_id, queued.encode(), msg_id=f"{test_id}.submit.1", expected_last=0)
    except WrongLastSequence as error:  # an earlier try was stored, and its acknowledgement lost
        return error.last or await log.last(test_id)
    return ack.seq


async def store_job(streams: Streams, test_id: str, job: Job, *, again: bool = False) -> None:
    """Stores a run's job. Harmless when the queue holds it already.

    Args:
        again: it was stored before, and is gone. The broker would take it for a duplicate of that one.

    Raises:
        BrokerRefused: the queue is full. BrokerUnavailable: no acknowledgement.
    """
    try:
        msg_id = None if again else f"{test_id}.job"
        payload, headers = msgspec.json.encode(job), tracing.headers()
        await streams.store(subjects.job(test_id), payload, msg_id=msg_id, headers=headers or None)
    except BrokerRefused as error:
        if error.err_code != STREAM_FULL or "per subject" not in str(error):
            raise
        # The queue holds one job per run: an earlier try was stored.


def _failed(message: str, code: str) -> Event:
    return Event(type="error", status="failed", message=message, timestamp=now_ms(), data={"code": code})


async def read(
    log: EventLog,
    test_id: str,
    since: Snapshot | None = None,
    *,
    known_last: int | None = None,
    on_malformed: OnMalformed | None = None,
) -> Run:
    """Reads a run by folding its events, up to its newest one.

    Args:
        since: a snapshot to start from; only the events after it are read.
        known_last: the sequence of an event that is known to be stored. The run is read at least up to it, and the
            leader is not asked.
        on_malformed: called with each message that is not an event.

    Raises:
        NotFound: nothing is stored under this id.
        BrokerUnavailable: no leader, or the replicas lag behind it for `scan.MAX_LAG_S`.
    """
    if known_last is None:
        known_last = await log.last(test_id)
        if not known_last:
            raise NotFound(test_id)
    snapshot, seen, beginning_is_gone = since, since.seq if since is not None else 0, False
    async for page in pages(log, test_id, seen, known_last):
        for event in page.events:
            try:
                parsed = check(event.data).event
            except MalformedEvent as error:
                parsed = None
                if on_malformed is not None:
                    on_malformed(test_id, event.seq, error)
            beginning_is_gone = beginning_is_gone if seen else bool(event.expected_last)
            had, snapshot = snapshot, fold(snapshot, test_id, event.seq, parsed, event.stored_ms)
            if had is None and snapshot is not None and parsed is not None and beginning_is_gone:
                snapshot = _without_beginning(snapshot, parsed)
            seen = event.seq
    if not seen or (since is not None and seen < known_last and not await log.last(test_id, confirmed=True)):
        raise NotFound(test_id)  # purged while it was read
    return Run(snapshot, seen)


def _without_beginning(snapshot: Snapshot, first: Event) -> Snapshot:
    """The snapshot after a retained event that is not the run's first. Writers name the project in each attempt's
    event; where this one does not, the run is in none, so that it is shown to nobody who might not see it."""
    named = projects.UNKNOWN if first.field("project") is None else snapshot.project
    return msgspec.structs.replace(snapshot, project=named)


async def project_of(log: EventLog, test_id: str) -> str | None:
    """Returns a run's project from its events, with the same requests whether or not there is such a run.

    Returns:
        The project, `projects.UNKNOWN` where it is not known; None when nothing is stored under this id.

    Raises:
        BrokerUnavailable: no leader, or the replicas lag behind it.
    """
    last = await log.last(test_id, confirmed=True)
    beginning_is_gone, seen = False, 0
    for limit in (1, PAGE_EVENTS):  # a run begins with an event of a known type, unless a stranger was there first
        for stored in await first_page(log, test_id, seen, last, limit=limit):
            beginning_is_gone = beginning_is_gone if seen else bool(stored.expected_last)
            seen, event = stored.seq, parse(stored.data)
            if event is None or not event.known:
                continue
            named = event.field("project")
            return projects.UNKNOWN if named is None and beginning_is_gone else projects.named_by(named)
        if not last or seen >= last:
            break
    return projects.UNKNOWN if last else None


def parse(raw: bytes) -> Event | None:
    """Returns the event in `raw`, None when it is malformed."""
    try:
        return check(raw).event
    except MalformedEvent:
        return None


async def end(
    log: EventLog,
    test_id: str,
    event: Event,
    *,
    since: Snapshot | None = None,
    may: May | None = None,
) -> Snapshot:
    """Stores a terminal event after the run's newest one, for a caller that does not own the run (cancel, reaper).

    Args:
        event: the terminal event.
        since: a snapshot to start reading from.
        may: called with the newest snapshot before each try; what it raises is raised.

    Returns:
        The snapshot after the event. Its times do not include the event: only a reader learns when it was stored.

    Raises:
        NotFound: there is no such run.
        AlreadyEnded: it has a terminal event.
        BrokerUnavailable: no leader, or other publishers were first `_MAX_CONFLICTS` times in a row.
    """
    nonce = secrets.token_hex(4)
    for _ in range(_MAX_CONFLICTS):
        run = await read(log, test_id, since)
        if run.snapshot is not None and run.snapshot.ended:
            how = run.snapshot.list_status
            raise AlreadyEnded(f"test {test_id} {'was' if how == CANCELLED else 'has'} {how} already")
        if may is not None:
            may(run.snapshot)
        try:
            ack = await log.append(test_id, event.encode(), msg_id=f"{test_id}.{nonce}.1", expected_last=run.head)
        except WrongLastSequence:
            continue
        after = fold(run.snapshot, test_id, ack.seq, event, 0)
        assert after is not None
        return after
    raise BrokerUnavailable(f"test {test_id} has too many other writers at the moment to be ended")


async def cancel(log: JetStreamLog, test_id: str) -> Snapshot:
    """Ends a run as cancelled, removes its job from the queue and wakes the worker that plays it.

    Raises:
        NotFound, AlreadyEnded, BrokerUnavailable: see `end`.
    """
    snapshot = await end(log, test_id, _failed("Cancelled", "cancelled"))
    with contextlib.suppress(BrokerUnavailable):  # the stored event decides; the rest only speeds it up
        await log.connection.publish(subjects.control(test_id), orjson.dumps({"reason": "cancelled"}))
        await drop_job(log.streams, test_id)
    return snapshot


async def drop_job(streams: Streams, test_id: str) -> None:
    """Removes a run's job from the queue. Harmless when there is none."""
    job = await streams.last(subjects.JOBS, subjects.job(test_id))
    if job is not None:
        await streams.delete(subjects.JOBS, job.seq)


async def waiting_workers(streams: Streams) -> int:
    """Returns how many requests for a job wait at the queue: those of workers that are idle.

    Raises:
        BrokerUnavailable: no leader. BrokerRefused: there is no queue.
    """
    info = await streams.api(f"CONSUMER.INFO.{subjects.JOBS}.{subjects.WORKERS}", timeout_s=2.0)
    return int(info.get("num_waiting", 0))
