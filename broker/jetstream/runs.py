"""What can be done to a run from outside: submit, read, cancel. Shared by edge, command and worker."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import orjson

from broker.contract import subjects
from broker.contract.errors import (
    AlreadyEnded,
    BadInput,
    BrokerRefused,
    BrokerUnavailable,
    MalformedEvent,
    NotFound,
    QueueFull,
    WrongLastSequence,
)
from broker.contract.events import Event, check, now_ms
from broker.contract.snapshot import Snapshot, fold
from broker.jetstream.api import STREAM_FULL, Streams
from broker.jetstream.connection import Connection

May = Callable[[Snapshot | None], None]

MIN_BUDGET_S: Final = 5
MAX_BUDGET_S: Final = 600
DEFAULT_BUDGET_S: Final = 60
MAX_TITLE_CHARS: Final = 200

_PAGE: Final = 500
_PAGE_BYTES: Final = 512 * 1024
"""Live events wait behind such a page on their way to an edge."""
_TRIES: Final = 8


class Job(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a worker needs to play a run; the payload of a job, and the `data` of the run's first event."""

    game_url: str
    title: str
    budget_seconds: float = DEFAULT_BUDGET_S
    seed: int = 0


class Run(NamedTuple):
    """A run as its events tell it."""

    snapshot: Snapshot | None
    """None when only malformed messages are stored."""
    head: int
    """Sequence of its newest stored message."""


def make_job(game_url: str, title: str | None, budget_seconds: float | None, seed: int | None) -> Job:
    """A job with its defaults filled in. The address has to be checked before (`broker.gameurl`).

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
    return Job(game_url=game_url, title=title.strip(), budget_seconds=budget, seed=chosen_seed)


async def submit(streams: Streams, job: Job) -> str:
    """Stores the run's first event, then its job. Returns the test id.

    Raises:
        QueueFull: the run was stored and then ended as failed; nothing will play it.
        BrokerUnavailable: the broker is away; where the first event was stored, the run stays queued.
    """
    test_id = subjects.new_test_id()
    queued = Event(
        type="status",
        status="queued",
        message=f"Queued: {job.title}",
        timestamp=now_ms(),
        data=msgspec.to_builtins(job),
    )
    head = await _store_first(streams, test_id, queued)
    payload = msgspec.json.encode(job)
    for attempt in range(_TRIES):
        try:
            await streams.store(subjects.job(test_id), payload, msg_id=f"{test_id}.job")
            return test_id
        except BrokerRefused as error:
            if error.err_code == STREAM_FULL and "per subject" in str(error):
                return test_id  # an earlier try was stored after all
            full = QueueFull("the job queue is full: try again in a minute")
            ended = Event(
                type="error",
                status="failed",
                message=full.message
                if error.err_code == STREAM_FULL
                else f"The job could not be queued: {error.public_message}",
                timestamp=now_ms(),
                data={"code": full.code if error.err_code == STREAM_FULL else error.code},
            )
            await streams.store(subjects.events(test_id), ended.encode(), expected_last=head)
            raise (full if error.err_code == STREAM_FULL else error) from None
        except BrokerUnavailable:
            if attempt == _TRIES - 1:
                raise
            await asyncio.sleep(0.25)
    return test_id


async def _store_first(streams: Streams, test_id: str, queued: Event) -> int:
    """Stores a new run's first event, trying again while the broker elects; the id is ours, and so is what is there."""
    for attempt in range(_TRIES):
        try:
            ack = await streams.store(
                subjects.events(test_id), queued.encode(), msg_id=f"{test_id}.submit.1", expected_last=0
            )
            return ack.seq
        except WrongLastSequence as error:
            if error.last:
                return error.last
        except BrokerUnavailable:
            if attempt == _TRIES - 1:
                raise
        await asyncio.sleep(0.25)
    raise BrokerUnavailable("the run could not be stored: the broker keeps electing a leader")


async def read(streams: Streams, test_id: str, since: Snapshot | None = None, *, known_last: int | None = None) -> Run:
    """Folds the run's events behind `since` (None: all of them), up to what the leader says is the last.

    Args:
        known_last: an event that is known to be stored: to there is far enough, and the leader need not be asked.

    Raises:
        NotFound: nothing is stored under this id.
        BrokerUnavailable: no leader, or the replicas stay behind it for seconds.
    """
    subject = subjects.events(test_id)
    if known_last is None:
        known_last = await _last(streams, test_id)
    snapshot, seen = since, since.seq if since is not None else 0
    fruitless = 0
    while fruitless < _TRIES:
        if seen >= known_last:
            return Run(snapshot, seen)
        page = await streams.read(subjects.EVENTS, subject, seen, _PAGE, max_bytes=_PAGE_BYTES)
        for message in page.messages:
            snapshot = fold(snapshot, test_id, message.seq, parse(message.data))
            seen = message.seq
        if page.complete and seen < known_last:
            fruitless += 1
            await asyncio.sleep(0.1)  # this replica has not caught up with its leader yet
            known_last = await _last(streams, test_id)  # or what was known to be stored is not retained any more
    raise BrokerUnavailable(f"the replicas lag behind the leader of {subjects.EVENTS}")


async def _last(streams: Streams, test_id: str) -> int:
    last = await streams.last(subjects.EVENTS, subjects.events(test_id))
    if last is None:
        raise NotFound(test_id)
    return last.seq


def parse(raw: bytes) -> Event | None:
    """The event in `raw`, None when it is malformed."""
    try:
        return check(raw).event
    except MalformedEvent:
        return None


async def end(
    streams: Streams,
    test_id: str,
    event: Event,
    *,
    since: Snapshot | None = None,
    may: May | None = None,
) -> Snapshot:
    """Writes a terminal event at the run's current head, as one who does not own the run (cancel, reaper).

    Args:
        may: called with the snapshot at the head before each try; may raise to give up.

    Returns:
        The snapshot after it.

    Raises:
        NotFound, AlreadyEnded, BrokerUnavailable.
    """
    nonce = secrets.token_hex(4)
    for _ in range(_TRIES):
        run = await read(streams, test_id, since)
        if run.snapshot is not None and run.snapshot.ended:
            raise AlreadyEnded(f"test {test_id} has {run.snapshot.status} already")
        if may is not None:
            may(run.snapshot)
        try:
            ack = await streams.store(
                subjects.events(test_id),
                event.encode(),
                msg_id=f"{test_id}.{nonce}.1",
                expected_last=run.head,
            )
        except WrongLastSequence:
            continue
        after = fold(run.snapshot, test_id, ack.seq, event)
        assert after is not None
        return after
    raise BrokerUnavailable(f"test {test_id} is being written to too quickly to end it")


async def cancel(nats: Connection, streams: Streams, test_id: str) -> Snapshot:
    """Ends a run as cancelled, takes its job out of the queue and nudges the worker that plays it.

    Raises:
        NotFound, AlreadyEnded, BrokerUnavailable.
    """
    cancelled = Event(
        type="error", status="failed", message="Cancelled", timestamp=now_ms(), data={"code": "cancelled"}
    )
    snapshot = await end(streams, test_id, cancelled)
    with contextlib.suppress(BrokerUnavailable):  # the event is what counts; the rest only hurries
        await nats.publish(subjects.control(test_id), orjson.dumps({"reason": "cancelled"}))
        await drop_job(streams, test_id)
    return snapshot


async def drop_job(streams: Streams, test_id: str) -> None:
    """Takes a run's job out of the queue, wherever it stands; harmless when there is none."""
    job = await streams.last(subjects.JOBS, subjects.job(test_id))
    if job is not None:
        await streams.delete(subjects.JOBS, job.seq)
