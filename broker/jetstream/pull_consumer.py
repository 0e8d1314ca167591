"""Pulling from a durable consumer: the work queue's jobs, the projector's hints."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from broker.contract.errors import BrokerUnavailable
from broker.jetstream.api import Delivery, Streams, delivery
from broker.jetstream.connection import Connection, Subscription, to_json
from broker.jetstream.parser import Message

_GRACE_S: Final = 2.0
"""How much longer than asked for the broker's "nothing came" may take."""
_REST_S: Final = 0.5
"""For what was pending to arrive behind the first message; what comes later is the next pull's."""


class PullConsumer:
    """One reader of a pull consumer. Not for two tasks at once.

    A message that arrives after its pull was given up is kept and handed out by the next one, or handed back by
    `close`: the broker has counted it as delivered, and would hand it to nobody else before its `ack_wait` is over.
    """

    def __init__(self, nats: Connection, stream: str, consumer: str) -> None:
        self._nats = nats
        self._request = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._name = f"{stream}/{consumer}"
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._count = 0
        self._arrived: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._ended: Message | None = None
        self._lost = False
        self._subscription: Subscription | None = None
        nats.on_disconnect.append(self._on_disconnect)

    async def pull(self, batch: int, *, expires_s: float) -> list[Delivery]:
        """Up to `batch` messages, as soon as there is one; empty when none came within `expires_s`.

        One is asked for first, and then what is pending behind it: a request for more than there is would stand, and
        have the broker send each new message by itself the moment it is stored.

        Raises:
            BrokerUnavailable: no connection, no such consumer, or it has no leader.
        """
        if not self._arrived:
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
        if self._ended is not None and self._ended.status not in (b"404", b"408"):
            raise BrokerUnavailable(f"{self._name}: {self._ended.status!r} {self._ended.description}")
        return []

    async def _ask(self, query: dict[str, Any]) -> None:
        if self._subscription is None:
            self._subscription = await self._nats.subscribe(f"{self._inbox}.*", self._on_message)
        self._count += 1
        self._ended, self._lost = None, False
        await self._nats.publish(self._request, to_json(query), reply=f"{self._inbox}.{self._count}")

    async def _until_arrived(self, count: int, within_s: float, *, to_the_last: bool = False) -> bool:
        """Whether so many are here within that time, or it is known that they will not come.

        Args:
            to_the_last: a message with nothing pending behind it is the last: another reader took some of them.
        """
        try:
            async with asyncio.timeout(within_s):
                while len(self._arrived) < count and self._ended is None and not self._lost:
                    if to_the_last and not self._arrived[-1].pending:
                        break
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends the interest and hands back what nobody took."""
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
        elif message.status == b"100" or not message.subject.endswith(b".%d" % self._count):
            return
        else:
            self._ended = message
        self._changed.set()

    def _on_disconnect(self) -> None:
        self._lost = True
        self._changed.set()


async def ack(streams: Streams, delivered: Delivery) -> None:
    """Says "done", and waits until the broker has heard it.

    Raises:
        BrokerUnavailable: it may not have.
    """
    await streams.nats.request(delivered.reply, b"+ACK")


async def ack_soon(nats: Connection, delivered: Sequence[Delivery]) -> None:
    """Says "done" without waiting: where a second delivery does no harm."""
    await nats.publish_many([(each.reply, b"+ACK") for each in delivered])


async def nak(nats: Connection, delivered: Delivery, *, delay_s: float = 0.0) -> None:
    """Hands it back, to be delivered again after `delay_s`."""
    payload = b"-NAK" if not delay_s else b"-NAK " + to_json({"delay": int(delay_s * 1e9)})
    await nats.publish(delivered.reply, payload)


async def in_progress(nats: Connection, delivered: Delivery) -> None:
    """Renews the lease for another `ack_wait`."""
    await nats.publish(delivered.reply, b"+WPI")
