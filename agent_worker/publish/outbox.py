"""What an agent has told and the broker has not stored yet: in order, bounded, and kept until it is (I1)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any, Final

import msgspec
import orjson

from agent_worker.publish.writer import Writer
from broker.contract.errors import AlreadyEnded, BadInput, TestcastError
from broker.contract.events import MAX_EVENT_BYTES, Event, check
from broker.jetstream.api import Streams
from broker.jetstream.picture_store import PictureStore
from broker.jetstream.topology import MAX_SHOT_BYTES
from broker.log import RateLimited

MAX_PENDING_EVENTS: Final = 1_000
MAX_PENDING_BYTES: Final = 4 << 20
"""What is kept while the broker is away: minutes of a talkative agent, and little memory. Beyond it an agent waits."""
SHOT_EVERY_S: Final = 1.0
_LAST_SHOT_PATIENCE_S: Final = 1.0

_log = logging.getLogger("testcast.run")
_limited = RateLimited(_log, per_s=5.0)


def encode(event: Event) -> bytes:
    """The event's bytes, after the door that every reader will check them at.

    Half a surrogate pair, which a game's own messages may contain, becomes a question mark: no UTF-8 can carry it.

    Raises:
        BadInput: it is no sound event, or larger than `MAX_EVENT_BYTES`.
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


class Outbox:
    """Events on their way through one `Writer`. `send` is a task's body; the rest may be called from any task.

    Bounded: `put` waits while `MAX_PENDING_EVENTS` or `MAX_PENDING_BYTES` are pending.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.pending_bytes = 0
        self.ended = False
        """The last event was put in."""
        self.error: TestcastError | None = None
        """Why nothing more can be written, though the last event was not stored."""
        self.broken = asyncio.Event()
        """Set together with `error`."""
        self._pending: deque[bytes] = deque()
        self._changed = asyncio.Condition()

    def __repr__(self) -> str:
        return f"<Outbox pending={len(self._pending)} ended={self.ended} error={self.error!r}>"

    def __len__(self) -> int:
        return len(self._pending)

    async def put(self, payload: bytes, *, last: bool) -> None:
        """Takes one event over, to be stored behind those before it; returns when it is kept, not when it is stored.

        Raises:
            AlreadyEnded: the last one was put in already.
            TestcastError: `error`, as it stands.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.error or self.ended or self._has_room(len(payload)))
            if self.error is not None:
                raise self.error
            if self.ended:
                raise AlreadyEnded("this handle has told its last event already")
            self.ended = last
            self._pending.append(payload)
            self.pending_bytes += len(payload)
            self._changed.notify_all()

    async def flush(self) -> None:
        """Waits until all that was put in is stored.

        Raises:
            TestcastError: `error`, when some of it never will be.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self.error is not None or not self._pending)
        if self._pending and self.error is not None:
            raise self.error

    async def send(self) -> None:
        """Stores what is pending, one after the other, until something is in the way for good."""
        while self.error is None:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._pending))
            try:
                await self.writer.write(self._pending[0])
            except TestcastError as error:  # fenced, or refused by the broker
                await self.break_off(error)
                return
            except Exception as error:
                _log.exception("an event could not be stored")
                await self.break_off(TestcastError(f"an event could not be stored: {error!r}"))
                return
            async with self._changed:
                self.pending_bytes -= len(self._pending.popleft())
                self._changed.notify_all()

    async def break_off(self, error: TestcastError) -> None:
        """Nothing more can be written; no error when the last event is stored already."""
        async with self._changed:
            if self.error is None and (self._pending or not self.ended):
                self.error = error
                self.broken.set()
            self._changed.notify_all()

    def _has_room(self, size: int) -> bool:
        if not self._pending:
            return True
        return len(self._pending) < MAX_PENDING_EVENTS and self.pending_bytes + size <= MAX_PENDING_BYTES


class Shots:
    """The pictures of one run: of several within a second the newest is stored; what fails is dropped."""

    def __init__(self, streams: Streams, test_id: str) -> None:
        self.stored = 0
        self._pictures = PictureStore(streams)
        self._test_id = test_id
        self._newest: bytes | None = None
        self._came = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Shots of {self._test_id} stored={self.stored}>"

    def offer(self, jpeg: bytes) -> None:
        """Takes the newest picture; what is no JPEG of at most `MAX_SHOT_BYTES` is dropped, with a line in the log."""
        if not jpeg.startswith(b"\xff\xd8") or len(jpeg) > MAX_SHOT_BYTES:
            _limited.warning("run %s: dropped a picture of %d bytes that is no small JPEG", self._test_id, len(jpeg))
            return
        self._newest = jpeg
        self._came.set()

    async def send(self) -> None:
        """A task's body: stores what comes, at most one a second."""
        while True:
            await self._came.wait()
            await self._store()
            await asyncio.sleep(SHOT_EVERY_S)

    async def send_last(self) -> None:
        """Stores the picture that the run ended with, if that is quickly done."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SHOT_PATIENCE_S):
                await self._store()

    async def _store(self) -> None:
        jpeg, self._newest = self._newest, None
        self._came.clear()
        if jpeg is None:
            return
        try:
            await self._pictures.put(self._test_id, jpeg)
            self.stored += 1
        except TestcastError as error:
            _limited.info("run %s: a picture was not stored: %s", self._test_id, error)
