"""Watches the disk of an embedded nats-server: says when it is full, and restarts the server once there is room.

A nats-server that has met a full disk answers no write to the stream concerned until it is restarted, with or without
space. Its log may be on the same disk, and then has no line about it, so the free space is looked at as well.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

LOOK_S: Final = 1.0
FULL_BYTES: Final = 256 * 1024
"""With less space than this, the next event of the largest size may not be stored."""
ROOM_BYTES: Final = 8 << 20
"""With this much the server can be started again and go on for a while."""
_SIGNS: Final = (b"no space left on device", b"critical write error", b"disk quota exceeded")
_log = logging.getLogger("testcast.broker")


class DiskWatchStatistics(NamedTuple):
    """What a watch has seen."""

    full: bool
    restarts: int
    """Times the server was restarted because there was room again."""


class DiskWatch:
    """The disk of one server.

    Args:
        store: where the server keeps its streams.
        log: the server's own log.
        restart: stops the server and starts it again; returns once it accepts connections.
        free_bytes: the free space of the disk that a path is on.
    """

    def __init__(
        self,
        store: Path,
        log: Path,
        restart: Callable[[], Awaitable[None]],
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._store = store
        self._log_file = log
        self._restart = restart
        self._free_bytes = free_bytes
        self._read_to = log.stat().st_size if log.exists() else 0
        self._full = False
        self._restarts = 0
        self.last_free_bytes: int | None = None
        """Free space when the disk was last looked at; None before."""

    def __repr__(self) -> str:
        return f"<DiskWatch {self._store} {'full' if self._full else 'room'} restarts={self._restarts}>"

    def statistics(self) -> DiskWatchStatistics:
        """The figures of this moment."""
        return DiskWatchStatistics(self._full, self._restarts)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except OSError as error:
                _log.error("the disk of the broker cannot be watched: %s", error)

    async def look(self) -> None:
        """Looks once."""
        free = self.last_free_bytes = self._free_bytes(self._store)
        if not self._full and (free < FULL_BYTES or self._log_says_so()):
            self._full = True
            _log.error(
                "the broker's disk is full (%s): nothing is stored until there is room, %d MiB at least. "
                "The broker is restarted then",
                self._store,
                ROOM_BYTES >> 20,
            )
        elif self._full and free >= ROOM_BYTES:
            _log.warning("the broker's disk has room again: restarting the broker, which is stuck otherwise")
            await self._restart()
            self._log_says_so()  # what it said until now is settled
            self._full = False
            self._restarts += 1

    def _log_says_so(self) -> bool:
        with self._log_file.open("rb") as log:
            log.seek(self._read_to)
            new = log.read()
        self._read_to += len(new)
        return any(sign in new.lower() for sign in _SIGNS)
