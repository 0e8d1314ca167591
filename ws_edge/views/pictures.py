"""The newest picture of each run, read once for all who look at it at the same moment."""

from __future__ import annotations

import asyncio
from typing import Final

from broker.jetstream.api import Streams
from broker.jetstream.picture_store import Picture, PictureStore

_FRESH_S: Final = 0.9
"""Agents publish at most one picture a second, and pages ask for one as often."""
_MAX_KEPT: Final = 256
"""At 64 KiB each that is 16 MiB at the most."""


class Shots:
    """The pictures of one edge. Any replica's answer will do: a picture may be a moment old."""

    def __init__(self, streams: Streams) -> None:
        self._store = PictureStore(streams)
        self._kept: dict[str, tuple[float, asyncio.Task[Picture | None]]] = {}
        self.reads = 0

    async def newest(self, test_id: str) -> Picture | None:
        """The newest picture of a run, None while there is none.

        Raises:
            BrokerUnavailable: it could not be read.
        """
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(test_id)
        if kept is None or now - kept[0] > _FRESH_S or (kept[1].done() and kept[1].exception() is not None):
            self._forget(now)
            kept = self._kept[test_id] = (now, asyncio.create_task(self._read(test_id)))
        return await asyncio.shield(kept[1])

    async def _read(self, test_id: str) -> Picture | None:
        self.reads += 1
        return await self._store.newest(test_id)

    def _forget(self, now: float) -> None:
        """Drops what is stale once there are many."""
        if len(self._kept) >= _MAX_KEPT:
            self._kept = {key: kept for key, kept in self._kept.items() if now - kept[0] <= _FRESH_S}
