"""The events of one run that the broker has not stored yet: in order, bounded, kept until they are stored."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from agent_worker.publish.run_statistics import Timings
from agent_worker.publish.writer import Writer
from broker.contract.errors import AlreadyEnded, BadInput, TestcastError
from broker.contract.events import MAX_EVENT_BYTES, Event, check
from broker.contract.ports import MAX_ATOMIC_EVENTS

MAX_PENDING_EVENTS: Final = 1_000
MAX_PENDING_BYTES: Final = 4 << 20
"""What is kept while the broker is away: several minutes of a busy agent, in little memory. Beyond it `put` waits."""
_BATCH_BYTES: Final = 1 << 20
"""What is published at once, unless the first event alone is larger."""

_log = logging.getLogger("testcast.run")


def encode(event: Event) -> bytes:
    """The event as JSON bytes that pass the check every reader makes.

    A lone surrogate, which text from a web page may contain, becomes a question mark: UTF-8 cannot carry it.

    Raises:
        BadInput: it is not a valid event, or larger than `MAX_EVENT_BYTES`.
    """
    try:
        try:
            payload = event.encode()
        except UnicodeEncodeError:
            payload = orjson.dumps(_without_surrogates(msgspec.to_builtins(event)))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"the event cannot be written as JSON: {error}") from None
    if len(payload) > MAX_EVENT_BYTES:
        raise BadInput(f"the event has {len(payload)} bytes; at most {MAX_EVENT_BYTES} are taken")
    check(payload)
    return payload


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    return value


class OutboxStatistics(NamedTuple):
    """Where an outbox stands."""

    stored: int
    """Events that the broker has acknowledged."""
    pending: int
    """Events that wait to be stored, in order."""
    pending_bytes: int


class Outbox:
    """Events on their way through one `Writer`. `send` is a task's body; the rest may be called from any task.

    `put` waits while `MAX_PENDING_EVENTS` or `MAX_PENDING_BYTES` are pending.

    Args:
        timings: counts how long each event took from `put` until it was stored.
    """

    def __init__(self, writer: Writer, timings: Timings | None = None) -> None:
        self.writer = writer
        self._timings = timings or Timings()
        self.pending_bytes = 0
        self.ended = False
        """The run's last event was put in."""
        self.error: TestcastError | None = None
        """Why nothing more can be written; None while it can, and when the last event was stored."""
        self.broken = asyncio.Event()
        """Set together with `error`."""
        self._pending: deque[tuple[bytes, float, asyncio.Future[int] | None]] = deque()
        """Each with the loop's time at which it was put in."""
        self._changed = asyncio.Condition()

    def __repr__(self) -> str:
        return f"<Outbox pending={len(self._pending)} ended={self.ended} error={self.error!r}>"

    def __len__(self) -> int:
        return len(self._pending)

    def statistics(self) -> OutboxStatistics:
        """Where the outbox stands now."""
        return OutboxStatistics(self.writer.stored, len(self._pending), self.pending_bytes)

    async def put(self, payload: bytes, *, last: bool, stored: asyncio.Future[int] | None = None) -> None:
        """Takes one event, to be stored behind those before it. Returns when it is kept, not when it is stored.

        Args:
            stored: gets its sequence once it is stored.

        Raises:
            AlreadyEnded: the last one was put in already.
            TestcastError: the value of `error`.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.error or self.ended or self._has_room(len(payload)))
            if self.error is not None:
                raise self.error
            if self.ended:
                raise AlreadyEnded("this handle has published its last event already")
            self.ended = last
            self._pending.append((payload, asyncio.get_running_loop().time(), stored))
            self.pending_bytes += len(payload)
            self._changed.notify_all()

    async def flush(self) -> None:
        """Waits until everything that was put in is stored.

        Raises:
            TestcastError: the value of `error`, when some of it will never be stored.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.error is not None or not self._pending)
        if self._pending and self.error is not None:
            raise self.error

    async def send(self) -> None:
        """Stores what is pending, in order, until the writer is fenced or the broker refuses an event.

        One publish is under way at a time. It takes all that waits, so that what has gathered while the broker was away
        is stored at once.
        """
        while self.error is None:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._pending))
            try:
                stored = await self.writer.write_next(list(self._next()))
            except TestcastError as error:  # fenced, or refused by the broker
                await self.break_off(error)
                return
            except Exception as error:
                _log.exception("an event could not be stored")
                await self.break_off(TestcastError(f"an event could not be stored: {error!r}"))
                return
            async with self._changed:
                for seq in stored:
                    self._is_stored(seq)
                self._changed.notify_all()

    def _next(self) -> Iterator[bytes]:
        """What is published at once."""
        size = 0
        for payload, _, _ in islice(self._pending, MAX_ATOMIC_EVENTS):
            size += len(payload)
            if size > max(_BATCH_BYTES, len(payload)):
                return
            yield payload

    def _is_stored(self, seq: int) -> None:
        """The first that is pending is stored."""
        payload, since, waiting = self._pending.popleft()
        self.pending_bytes -= len(payload)
        self._timings.store_s.observe(asyncio.get_running_loop().time() - since)
        if waiting is not None and not waiting.done():
            waiting.set_result(seq)

    async def break_off(self, error: TestcastError) -> None:
        """Ends the outbox: nothing more can be written. Sets no error when the last event is stored already."""
        async with self._changed:
            if self.error is None and (self._pending or not self.ended):
                self.error = error
                self.broken.set()
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        if not self._pending:
            return True
        return len(self._pending) < MAX_PENDING_EVENTS and self.pending_bytes + size <= MAX_PENDING_BYTES
