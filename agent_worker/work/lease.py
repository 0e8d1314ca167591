"""A worker's right to a job, from its delivery to the answer that the queue gets."""

from __future__ import annotations

from typing import Final

from agent_worker.publish.run import TestRun
from agent_worker.work.outcome import End
from broker.contract import subjects
from broker.contract.errors import TestcastError
from broker.jetstream.api import Delivery
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pull_consumer import ack, ack_soon, in_progress, nak, term

AGAIN_DELAY_S: Final = 1.0
"""Before a job that failed here is delivered again, so that another worker may take it first."""


class Lease:
    """The delivery that a worker answers for. A redelivery of the same job replaces it.

    A lease ends with one call of `answer`, `hand_back` or `remove`. Without one it runs out on the broker, which then
    delivers the job again. Every method that talks to the broker raises `BrokerUnavailable` when it is away.
    """

    def __init__(self, log: JetStreamLog, delivery: Delivery) -> None:
        self._log = log
        self.delivery = delivery
        """The newest delivery of the job: the only one that the broker takes an answer for."""
        self.run: TestRun | None = None
        """The run while it is played under this lease."""

    def __repr__(self) -> str:
        return f"<Lease {self.delivery.subject!r} delivered={self.delivery.delivered} run={self.run!r}>"

    @property
    def holds(self) -> bool:
        """The run is being played here, and this worker may still write to it."""
        return self.run is not None and self.run.over is None

    def redelivered(self, delivery: Delivery) -> None:
        """The lease ran out while this process was stopped or cut off, and the job came back to it."""
        self.delivery = delivery

    async def renew(self) -> None:
        """Asks for another whole lease."""
        await in_progress(self._log.connection, self.delivery)

    async def answer(self, end: End) -> None:
        """Tells the queue how the job ended; safe to call again after `BrokerUnavailable`.

        A job whose terminal event is stored by this worker is confirmed to be gone. A job that another writer ended is
        acknowledged without waiting: a second delivery of it does no harm. A fenced worker says nothing, because the
        job belongs to another one.
        """
        nats = self._log.connection
        if end is End.STORED:
            await ack(self._log.streams, self.delivery)
        elif end is End.ENDED:
            await ack_soon(nats, [self.delivery])
        elif end is End.HANDED_ON:
            await nak(nats, self.delivery)
            await nats.flush()
        elif end is End.AGAIN:
            await self.hand_back()

    async def is_gone(self) -> bool:
        """Whether the queue does not hold the job any more: it was acknowledged, or the queue was deleted."""
        try:
            held = await self._log.streams.last(subjects.JOBS, self.delivery.subject)
        except TestcastError:
            return False
        return held is None or held.seq != self.delivery.seq

    async def hand_back(self) -> None:
        """Gives the job back, to be delivered again in `AGAIN_DELAY_S`."""
        await nak(self._log.connection, self.delivery, delay_s=AGAIN_DELAY_S)

    async def remove(self) -> None:
        """Takes the job out of the queue for good: no worker can play it."""
        await term(self._log.connection, self.delivery)
