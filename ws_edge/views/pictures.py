"""The newest picture of each run: one read of the broker for all viewers who ask at the same moment."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from broker.jetstream.api import Streams
from broker.jetstream.frame_store import FrameStore, Picture

_FRESH_S: Final = 0.9
"""Agents publish at most two pictures a second, and pages ask for one a second."""
_MAX_HELD: Final = 256
"""At most 64 KiB each: 16 MiB."""


class PicturesStatistics(NamedTuple):
    """What is held at one moment, and the reads since the start of the node."""

    held: int
    reads: int


class Pictures:
    """The pictures of one edge. They are read from any replica: a picture may be a moment old."""

    def __init__(self, streams: Streams) -> None:
        self._store = FrameStore(streams)
        self._held: dict[str, tuple[float, asyncio.Task[Picture | None]]] = {}
        """By test id: when the read began, loop time, and the read."""
        self._reads = 0

    def __repr__(self) -> str:
        return f"<Pictures held={len(self._held)} reads={self._reads}>"

    def statistics(self) -> PicturesStatistics:
        """The figures of this moment."""
        return PicturesStatistics(len(self._held), self._reads)

    async def newest(self, test_id: str) -> Picture | None:
        """The newest picture of a run, None while there is none.

        Raises:
            BrokerUnavailable: it could not be read.
        """
        now = asyncio.get_running_loop().time()
        held = self._held.get(test_id)
        if held is None or now - held[0] > _FRESH_S or _has_failed(held[1]):
            self._forget_stale(now)
            held = self._held[test_id] = (now, asyncio.create_task(self._read(test_id), name=f"picture-{test_id}"))
        return await asyncio.shield(held[1])  # a viewer that leaves does not end the read for the others

    async def _read(self, test_id: str) -> Picture | None:
        self._reads += 1
        return await self._store.newest(test_id)

    def _forget_stale(self, now: float) -> None:
        if len(self._held) >= _MAX_HELD:
            self._held = {test_id: held for test_id, held in self._held.items() if now - held[0] <= _FRESH_S}


def _has_failed(read: asyncio.Task[Picture | None]) -> bool:
    return read.done() and (read.cancelled() or read.exception() is not None)
