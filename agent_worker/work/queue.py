"""Taking jobs from the queue: one at a time, and only with a free slot."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from broker import tracing
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable, TestcastError
from broker.jetstream.api import Delivery
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pull_consumer import PullConsumer
from broker.log import RateLimited, bound
from broker.retry import Backoff, pause

_PULL_S: Final = 5.0
"""How long one pull stands at the broker; half a lease where that is shorter."""
_FIRST_RETRY_S: Final = 0.25
_LONGEST_RETRY_S: Final = 1.0

_log = logging.getLogger("testcast.worker")
_limited = RateLimited(_log, per_s=5.0)

Take = Callable[[Delivery], Coroutine[Any, Any, None]]
"""Works on one job, from its delivery to the answer. Must not raise."""


def backoff() -> Backoff:
    """The pauses of a worker that waits for the broker."""
    return Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S, random.Random())


class QueueStatistics(NamedTuple):
    """What a queue reader did since it was made."""

    slots: int
    """Jobs at the same time."""
    busy: int
    """Slots whose job is being worked on."""
    taken: int
    """Jobs that were delivered and taken."""
    left: int
    """Jobs that were delivered while this process was paused, and left to expire and be redelivered."""


class JobQueue:
    """Pulls jobs while there is a free slot, and works on each in a task of its own.

    A job that waited here would wait on a running lease, so none is asked for without a slot.

    Args:
        take: works on one job.
        slots: how many jobs at the same time.
    """

    def __init__(self, log: JetStreamLog, take: Take, *, slots: int) -> None:
        self._log = log
        self._take = take
        self._count = slots
        self._slots = asyncio.Semaphore(slots)
        self._jobs: set[asyncio.Task[None]] = set()
        self._taken = self._left = 0
        self.not_pulling = "it has not begun to take jobs"
        """Why no job can arrive at the moment; empty while one can, or would with a free slot."""

    def __repr__(self) -> str:
        return f"<JobQueue {self.statistics()}>"

    def statistics(self) -> QueueStatistics:
        """The counts since this object was made."""
        return QueueStatistics(self._count, len(self._jobs), self._taken, self._left)

    async def pull(self, lease_s: float) -> None:
        """Takes jobs until cancelled; the jobs that were taken continue.

        Args:
            lease_s: how long the broker leaves a job that is not renewed with its worker.
        """
        consumer = PullConsumer(self._log.connection, subjects.JOBS, subjects.WORKERS)
        pauses = backoff()
        self.not_pulling = ""
        try:
            while True:
                await self._slots.acquire()
                delivery = None
                try:
                    delivery = await self._pull_one(consumer, lease_s)
                    pauses.reset()
                    self.not_pulling = ""
                except TestcastError as error:
                    self.not_pulling = f"no jobs at the moment: {error.public_message}"
                    _limited.warning("no jobs at the moment: %s", error)
                    await pause(pauses.next(), self._log)
                finally:
                    if delivery is None:
                        self._slots.release()
                if delivery is not None:
                    self._start(delivery)
        finally:
            self.not_pulling = "it takes no more jobs"
            with contextlib.suppress(BrokerUnavailable):
                await consumer.close()

    async def _pull_one(self, consumer: PullConsumer, lease_s: float) -> Delivery | None:
        deliveries = await consumer.pull(1, expires_s=min(_PULL_S, lease_s / 2))
        if not deliveries:
            return None
        age_s = asyncio.get_running_loop().time() - consumer.asked_at
        if age_s > lease_s:
            # The process was stopped. What lay in its socket may have been delivered to another worker since.
            _log.warning("process paused for %.0f s; the job is left to expire and be redelivered", age_s)
            self._left += 1
            return None
        return deliveries[0]

    def _start(self, delivery: Delivery) -> None:
        self._taken += 1
        run, trace = subjects.test_id_of(delivery.subject), delivery.header(tracing.HEADER.encode())
        with bound(run=run), tracing.queued(trace, delivery.stored_ms, run=run, delivered=delivery.delivered):
            job = asyncio.create_task(self._take(delivery), name=delivery.subject)
        self._jobs.add(job)
        job.add_done_callback(self._done)

    def _done(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        self._slots.release()

    async def drain(self, within_s: float) -> None:
        """Waits until the jobs that were taken have ended; returns after `within_s` even if some have not."""
        if self._jobs:
            await asyncio.wait(self._jobs, timeout=within_s)

    async def abandon(self) -> None:
        """Cancels the jobs that are left, and waits until they have let go."""
        left = list(self._jobs)
        for job in left:
            job.cancel()
        await asyncio.gather(*left, return_exceptions=True)
