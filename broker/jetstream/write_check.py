"""Finds out whether the broker still stores anything, where nothing is written for a while.

A broker whose disk is full answers reads as before. An edge that only reads would show old runs for ever and not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.log import RateLimited

KEY: Final = "write-check"
"""In the bucket `RUNS`: no run has such an id, so no reader takes it for one."""
_VALUE: Final = b" " * 4096
"""A block of a file system: a full one may still take a few bytes."""
EVERY_S: Final = 15.0
_WHILE_REFUSED_S: Final = 2.0
_FORGET_S: Final = 60.0
"""A stream that nobody writes to any more is suspected no longer than this."""
_log = logging.getLogger("testcast.storage")
# A stream at its limit may refuse and store by turns.
_beginning = RateLimited(_log, per_s=5.0)
_end = RateLimited(_log, per_s=5.0)


class WriteCheck:
    """Keeps `Connection.storage` current. What it learns is in `refusing` there."""

    def __init__(self, nats: Connection) -> None:
        self._nats = nats
        self._streams = Streams(nats)
        self._seen: dict[str, tuple[int, float]] = {}
        """Of each silent stream: its last sequence when that was noticed, and the loop time."""

    def __repr__(self) -> str:
        return f"<WriteCheck {self._nats.storage!r}>"

    async def run(self) -> None:
        """Checks until cancelled."""
        health, stored, clock = self._nats.storage, -1, asyncio.get_running_loop().time
        self._nats.on_reconnect.append(health.forget_all)
        health.on_change = self._tell
        try:
            while True:
                due = clock() + EVERY_S
                await asyncio.sleep(_WHILE_REFUSED_S)
                while not health.refusing and clock() < due:  # a refusal may be met meanwhile
                    await asyncio.sleep(_WHILE_REFUSED_S)
                if self._nats.connected and (health.refusing or health.statistics().stored == stored):
                    with contextlib.suppress(BrokerUnavailable, BrokerRefused):
                        await self.check()
                stored = health.statistics().stored
        finally:
            self._nats.on_reconnect.remove(health.forget_all)

    def _tell(self) -> None:
        """Logs the beginning and the end of a broker's refusals."""
        refusing = self._nats.storage.refusing
        if refusing:
            _beginning.log(logging.ERROR, "%s (%s)", self._nats.storage.summary, ", ".join(sorted(refusing)))
        else:
            _end.warning("the broker stores again")

    async def check(self) -> None:
        """Writes once, and forgets the refusals that do not stand any more.

        Raises:
            StorageFull: the broker has no room.
            BrokerUnavailable, BrokerRefused: the bucket does not answer.
        """
        await self._streams.kv_put(subjects.RUNS, KEY, _VALUE)
        health, now = self._nats.storage, asyncio.get_running_loop().time()
        for stream in set(health.refusing) - health.silent:
            health.forget(stream)  # there is room; a limit of the stream's own is met again by the next write
        self._seen = {stream: seen for stream, seen in self._seen.items() if stream in health.silent}
        for stream in tuple(health.silent):
            last_seq = (await self._streams.state(stream)).last_seq
            first_seq, since = self._seen.setdefault(stream, (last_seq, now))
            if last_seq > first_seq or now - since > _FORGET_S:
                health.forget(stream)
