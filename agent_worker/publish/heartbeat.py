"""Keeping a run: checks that the writer still owns it, renews its lease and gives signs of life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import orjson

from agent_worker.publish.writer import Writer
from broker.contract import subjects
from broker.contract.errors import Fenced, TestcastError
from broker.jetstream.connection import Connection, Subscription
from broker.jetstream.parser import Message
from broker.log import RateLimited
from broker.retry import Backoff

BEAT_S: Final = 10.0
"""Between two signs of life. A viewer's card says "stalled" after 25 s without one."""
_FIRST_RETRY_S: Final = 0.5

_limited = RateLimited(logging.getLogger("testcast.run"), per_s=5.0)

Renew = Callable[[], Awaitable[None]]


class HeartbeatStatistics(NamedTuple):
    """How often a heartbeat did what."""

    beats: int
    """Ownership checks that succeeded, each followed by a sign of life."""
    wake_ups: int
    """Messages on the run's control subject."""
    failures: int
    """Ownership checks that the broker did not answer."""


class Heartbeat:
    """Checks every `every_s`, and after each wake-up, that `writer` still owns the run.

    Args:
        worker: name of the worker, part of the sign of life.
        renew: renews the lease; called after each ownership check that succeeded. None: there is no lease.
        every_s: seconds between two checks.
    """

    def __init__(
        self,
        connection: Connection,
        writer: Writer,
        *,
        worker: str,
        renew: Renew | None = None,
        every_s: float = BEAT_S,
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._renew = renew
        self._every_s = every_s
        self._alive = orjson.dumps({"attempt": writer.id.attempt, "worker": worker})
        self._woken = asyncio.Event()
        self._wake_ups: Subscription | None = None
        self._beats = self._woken_count = self._failures = 0

    def __repr__(self) -> str:
        return f"<Heartbeat of {self._writer.test_id} every {self._every_s:g} s {self.statistics()}>"

    def statistics(self) -> HeartbeatStatistics:
        """The counts since this object was made."""
        return HeartbeatStatistics(self._beats, self._woken_count, self._failures)

    async def listen(self) -> None:
        """Subscribes to wake-ups. Call it before the attempt's first event is stored: a later cancel is then heard.

        Raises:
            BrokerUnavailable: there is no connection.
        """
        control = subjects.control(self._writer.test_id)
        self._wake_ups = await self._connection.subscribe(control, self._on_wake_up)

    async def close(self) -> None:
        """Ends the subscription. Cancel the task that runs `run` before."""
        if self._wake_ups is not None:
            await self._wake_ups.close()
            self._wake_ups = None

    async def run(self, on_fenced: Callable[[Fenced], Awaitable[None]]) -> None:
        """A task's body: beats until another worker owns the run, and calls `on_fenced`."""
        clock = asyncio.get_running_loop().time
        retries = Backoff(min(_FIRST_RETRY_S, self._every_s), self._every_s)
        delay_s = self._every_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._woken.wait()
            self._woken.clear()
            asked_at = clock()
            try:
                await self._writer.look()
                if clock() - asked_at > self._every_s:
                    # The process was stopped meanwhile: the answer is old, and the run may belong to another worker.
                    delay_s = retries.next()
                    continue
                await self._beat()
            except Fenced as fenced:
                await on_fenced(fenced)
                return
            except TestcastError as error:
                self._failures += 1
                _limited.warning("run %s: the ownership check failed: %s", self._writer.test_id, error)
                delay_s = retries.next()
            else:
                retries.reset()
                delay_s = self._every_s

    async def _beat(self) -> None:
        await self._connection.publish(subjects.alive(self._writer.test_id), self._alive)
        if self._renew is not None:
            await self._renew()
        self._beats += 1

    def _on_wake_up(self, _message: Message) -> None:
        self._woken_count += 1
        self._woken.set()
