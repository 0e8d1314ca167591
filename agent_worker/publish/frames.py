"""The pictures of one run on their way to the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from agent_worker.publish.outbox import Outbox
from broker.clock import now_ms
from broker.contract.errors import TestcastError
from broker.contract.frames import MAX_FRAMES_PER_S, MalformedFrame, check_jpeg
from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore
from broker.log import RateLimited

SEND_EVERY_S: Final = 1 / MAX_FRAMES_PER_S
LAST_PATIENCE_S: Final = 1.0
"""How long the end of a run waits for its last picture."""
EVIDENCE_PATIENCE_S: Final = 2.0
"""How long a picture that belongs to one event is waited for: an agent's time is bounded."""

_log = logging.getLogger("testcast.run")
_limited = RateLimited(_log, per_s=5.0)


class FrameStatistics(NamedTuple):
    """What became of the pictures that were offered."""

    stored: int
    """The broker has acknowledged them."""
    refused: int
    """No JPEG, or larger than 64 KiB."""
    failed: int
    """The broker did not take them."""


class _Waiting(NamedTuple):
    jpeg: bytes
    seq: int
    time_ms: int
    msg_id: str
    """The broker stores it once, however often it is sent."""
    on_lost: Callable[[], None] | None


class Frames:
    """Stores the newest picture at most twice a second, and each that belongs to one event (`keep`). Whatever fails is
    dropped: the next one replaces it.

    `send` is a task's body. `offer` never blocks and never raises. Nothing is stored once `box` is broken off: the run
    belongs to another worker then, or has ended.
    """

    def __init__(self, streams: Streams, box: Outbox) -> None:
        self._store = FrameStore(streams)
        self._box = box
        self._newest: _Waiting | None = None
        self._came = asyncio.Event()
        self._turn = asyncio.Lock()
        self._told: set[str] = set()
        self._offered = self._stored = self._refused = self._failed = 0

    def __repr__(self) -> str:
        return f"<Frames of {self._box.writer.test_id} {self.statistics()}>"

    def statistics(self) -> FrameStatistics:
        """The counts since this object was made."""
        return FrameStatistics(self._stored, self._refused, self._failed)

    def offer(self, jpeg: bytes, on_lost: Callable[[], None] | None = None) -> None:
        """Replaces the picture that waits to be stored. It belongs to this moment, and to the newest event that is
        known to be stored. What is not a JPEG of at most 64 KiB is counted and dropped, and logged once for a reason.

        Args:
            on_lost: called when the broker has not taken it.
        """
        waiting = self._checked(jpeg, self._box.writer.head, on_lost)
        if waiting is not None:
            self._newest = waiting
            self._came.set()

    async def keep(self, jpeg: bytes, seq: int) -> None:
        """Stores a picture that belongs to one event, at once, and behind the one that waits: a picture with a lower
        sequence than one before it is not shown. Drops what is no JPEG of at most 64 KiB, and what the broker does not
        take."""
        waiting = self._checked(jpeg, seq, None)
        if waiting is not None:
            await self._send_newest()
            async with self._turn:
                await self._put(waiting)

    def _checked(self, jpeg: bytes, seq: int, on_lost: Callable[[], None] | None) -> _Waiting | None:
        writer = self._box.writer
        try:
            checked = check_jpeg(_bytes(jpeg))
        except MalformedFrame as error:
            self._refuse(error.message)
            return None
        self._offered += 1
        return _Waiting(checked, seq, now_ms(), f"{writer.test_id}.{writer.id.nonce}.f{self._offered}", on_lost)

    def _refuse(self, reason: str) -> None:
        self._refused += 1
        kind = re.sub(r"\d+", "", reason)  # sizes differ
        if kind not in self._told:
            self._told.add(kind)
            _log.warning("run %s: %s; it is not stored, nor are others like it", self._box.writer.test_id, reason)

    async def send(self) -> None:
        """Stores what is offered, at most two a second, until cancelled."""
        while True:
            await self._came.wait()
            await self._send_newest()
            await asyncio.sleep(SEND_EVERY_S)

    async def send_last(self) -> None:
        """Stores the picture that waits or is on its way, if any; gives up after a second."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_PATIENCE_S):
                await self._send_newest()

    async def _send_newest(self) -> None:
        async with self._turn:
            waiting, self._newest = self._newest, None
            self._came.clear()
            try:
                await self._put(waiting)
            except asyncio.CancelledError:
                self._newest = self._newest or waiting  # it may be the run's last
                raise

    async def _put(self, waiting: _Waiting | None) -> None:
        if waiting is None or self._box.error is not None:
            return
        test_id, jpeg, msg_id = self._box.writer.test_id, waiting.jpeg, waiting.msg_id
        try:
            await self._store.put(test_id, jpeg, seq=waiting.seq, time_ms=waiting.time_ms, msg_id=msg_id)
            self._stored += 1
        except TestcastError as error:
            self._failed += 1
            _limited.info("run %s: a picture was not stored: %s", test_id, error)
            if waiting.on_lost is not None:
                waiting.on_lost()


def _bytes(given: object) -> bytes:
    if not isinstance(given, bytes | bytearray | memoryview):
        raise MalformedFrame(f"the picture is a {type(given).__name__}, and not bytes")
    return bytes(given)
