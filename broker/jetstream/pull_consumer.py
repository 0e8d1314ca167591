"""Pulling from a durable consumer: jobs from the work queue, hints for the projector."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from broker.contract.errors import BrokerUnavailable, NotThere
from broker.jetstream.api import Delivery, Streams, delivery
from broker.jetstream.connection import Connection, Subscription, to_json
from broker.jetstream.parser import Message

_ACK: Final = b"+ACK"
_NAK: Final = b"-NAK"
_IN_PROGRESS: Final = b"+WPI"
_TERM: Final = b"+TERM"
_GRACE_S: Final = 2.0
"""How much later than asked for the broker may answer that nothing came."""
_REST_S: Final = 0.5
"""How long the pending messages may take to arrive after the first; later ones are left to the next pull."""


class PullConsumerStatistics(NamedTuple):
    """A pull consumer at one moment."""

    pulls: int
    """Requests sent."""
    delivered: int
    """Messages that arrived."""
    waiting: int
    """Messages that arrived and were not taken yet."""


class PullConsumer:
    """One reader of a durable consumer. Only one task may pull at a time.

    A message that arrives after its pull was cancelled is kept. The next pull returns it, or `close` hands it back: the
    broker counts it as delivered, and delivers it to no other reader before its `ack_wait` has passed.
    """

    def __init__(self, nats: Connection, stream: str, consumer: str) -> None:
        self._nats = nats
        self._request = f"{nats.api_prefix}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._name = f"{stream}/{consumer}"
        self.asked_at = 0.0
        """Loop time. What the last pull returned was asked for then or later."""
        self._unanswered = False
        """Nothing has come for the last request: what was sent for it may still lie in the socket."""
        self._inbox = nats.inbox()
        self._count = 0
        self._delivered = 0
        self._arrived: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._ended: Message | None = None
        self._lost = False
        self._subscription: Subscription | None = None
        nats.on_disconnect.append(self._on_disconnect)

    def __repr__(self) -> str:
        return f"<PullConsumer {self._name} delivered={self._delivered} waiting={len(self._arrived)}>"

    def statistics(self) -> PullConsumerStatistics:
        """Returns the consumer's counts."""
        return PullConsumerStatistics(self._count, self._delivered, len(self._arrived))

    async def pull(self, batch: int, *, expires_s: float) -> list[Delivery]:
        """Returns up to `batch` messages as soon as there is one; none when none came within `expires_s`.

        The first request is for one message, the second for those pending after it. A request for more than there are
        would stay open, and the broker would send each new message by itself the moment it is stored.

        A consumer that is not there is declared again; the next pull finds it.

        Raises:
            NotThere: no such consumer, or it has no leader.
            BrokerUnavailable: no connection.
        """
        begun = asyncio.get_running_loop().time()
        if self._unanswered:  # in a process that was stopped meanwhile, timers come before what lies in its socket
            await self._nats.flush()
        if not self._arrived:
            self.asked_at = begun
            await self._ask({"batch": 1, "expires": int(expires_s * 1e9)})
            if not await self._until_arrived(1, expires_s + _GRACE_S):
                raise BrokerUnavailable(f"{self._name} does not answer")
        if self._arrived:
            rest = min(batch - len(self._arrived), self._arrived[-1].pending)
            if rest > 0:
                await self._ask({"batch": rest, "no_wait": True})
                await self._until_arrived(len(self._arrived) + rest, _REST_S, to_the_last=True)
            return self._take(batch)
        if self._lost:
            raise BrokerUnavailable(f"lost the broker while waiting for {self._name}")
        if self._ended is not None and self._is_gone(self._ended):
            await self._nats.mend()
            raise NotThere(f"{self._name}: {self._ended.description or 'nobody answers'}", certain=False)
        if self._ended is not None and self._ended.status not in (b"404", b"408"):
            raise BrokerUnavailable(f"{self._name}: {self._ended.status!r} {self._ended.description}")
        return []

    async def _ask(self, query: dict[str, Any]) -> None:
        if self._subscription is None:
            self._subscription = await self._nats.subscribe(f"{self._inbox}.*", self._on_message)
        self._count += 1
        self._ended, self._lost, self._unanswered = None, False, True
        await self._nats.publish(self._request, to_json(query), reply=f"{self._inbox}.{self._count}")

    async def _until_arrived(self, count: int, within_s: float, *, to_the_last: bool = False) -> bool:
        """Returns whether `count` messages arrived within that time, or the broker has said that they will not.

        Args:
            to_the_last: stop at a message with nothing pending after it: another reader took some of them.
        """
        try:
            async with asyncio.timeout(within_s):
                while len(self._arrived) < count and self._ended is None and not self._lost:
                    if to_the_last and not self._arrived[-1].pending:
                        break
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:  # of a process that was stopped, the time may be over before what has arrived is looked at
            return len(self._arrived) >= count or self._ended is not None or self._lost
        return True

    @staticmethod
    def _is_gone(ended: Message) -> bool:
        """Whether there is no such consumer, or it was deleted while the pull stood."""
        return ended.status == b"503" or (ended.status == b"409" and "deleted" in str(ended.description).lower())

    async def close(self) -> None:
        """Unsubscribes and hands back the messages that were not taken."""
        self._nats.on_disconnect.remove(self._on_disconnect)
        if self._subscription is not None:
            await self._subscription.close()
        for left in self._take(len(self._arrived)):
            await nak(self._nats, left)

    def _take(self, batch: int) -> list[Delivery]:
        return [self._arrived.popleft() for _ in range(min(batch, len(self._arrived)))]

    def _on_message(self, message: Message) -> None:
        if message.reply.startswith(b"$JS.ACK."):
            self._arrived.append(delivery(message))
            self._delivered += 1
        elif message.status == b"100" or not message.subject.endswith(b".%d" % self._count):
            return
        else:
            self._ended = message
        self._unanswered = False
        self._changed.set()

    def _on_disconnect(self) -> None:
        self._lost = True
        self._changed.set()


async def ack(streams: Streams, delivered: Delivery) -> None:
    """Acknowledges a message, and returns once the broker has confirmed it.

    Raises:
        BrokerUnavailable: no confirmation; the message may be delivered again.
    """
    await streams.nats.request(delivered.reply, _ACK)


async def ack_soon(nats: Connection, delivered: Sequence[Delivery]) -> None:
    """Acknowledges messages without confirmation, where a second delivery does no harm."""
    await nats.publish_many([(each.reply, _ACK) for each in delivered])


async def nak(nats: Connection, delivered: Delivery, *, delay_s: float = 0.0) -> None:
    """Hands a message back, to be delivered again after `delay_s`."""
    payload = _NAK if not delay_s else _NAK + b" " + to_json({"delay": int(delay_s * 1e9)})
    await nats.publish(delivered.reply, payload)


async def in_progress(nats: Connection, delivered: Delivery) -> None:
    """Renews the lease for another `ack_wait`."""
    await nats.publish(delivered.reply, _IN_PROGRESS)


async def term(nats: Connection, delivered: Delivery) -> None:
    """Removes a message that no reader can handle: it is not delivered again."""
    await nats.publish(delivered.reply, _TERM)
