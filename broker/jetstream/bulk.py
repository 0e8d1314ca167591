"""Reading and writing for many runs at once: one request, or one write to the socket, in place of hundreds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, TestcastError
from broker.contract.ports import StoredEvent
from broker.jetstream.answers import read_answer
from broker.jetstream.api import EXPECTED_LAST_HEADER, is_status, stored_in, stream_of
from broker.jetstream.client import Outgoing
from broker.jetstream.connection import Connection, Subscription, to_json
from broker.jetstream.event_log import event_in
from broker.jetstream.parser import Message

_READ_S: Final = 2.0
_ANSWER_S: Final = 3.0
_CONDITION: Final = EXPECTED_LAST_HEADER.encode()


async def consecutive(nats: Connection, first: int, limit: int, max_bytes: int) -> list[StoredEvent]:
    """Returns the events of all runs from sequence `first` on, at most `limit` and about `max_bytes`, by direct get:
    none is missing between them. Where `first` is not retained, they begin with the next one, or there are none. Empty
    also where the answering replica does not have it yet.

    It costs the broker a fifth of a read with a wildcard, for which it counts what is pending.

    Raises:
        BrokerUnavailable: no replica answered in time. BrokerRefused: another answer.
    """
    subject = f"{nats.api_prefix}.DIRECT.GET.{subjects.EVENTS}"
    query = to_json({"seq": first, "batch": limit, "max_bytes": max_bytes})
    replies = await nats.collect(subject, query, is_status, timeout_s=_READ_S)
    end = replies[-1]
    if end.status not in (b"204", b"404"):
        raise BrokerRefused(f"direct get on {subjects.EVENTS}: {end.status!r} {end.description}")
    return [_with_proof(message) for message in replies[:-1]]


def _with_proof(message: Message) -> StoredEvent:
    """The event. It keeps `expected_last` only where the broker has certainly checked it, and on its own subject: the
    header stands there once, and no other one begins with its name."""
    event = event_in(stored_in(message), None)
    if event.expected_last is not None and message.headers.count(_CONDITION) != 1:
        return event._replace(expected_last=None)
    return event


class Write(NamedTuple):
    """A message to store."""

    subject: str
    payload: bytes
    expected_last: int
    """The subject's newest sequence, 0 for "none yet"."""
    headers: bytes = b""
    """Further headers, each line with its end."""


class BulkWriter:
    """Stores many messages of a stream in one write to the socket. Holds one subscription, from the first call on."""

    def __init__(self, nats: Connection) -> None:
        self._nats = nats
        self._inbox = nats.inbox()
        self._subscription: Subscription | None = None
        self._subscribing = asyncio.Lock()
        self._batches: dict[bytes, _Batch] = {}
        """By number."""
        self._count = 0
        nats.on_disconnect.append(self._on_disconnect)

    def __repr__(self) -> str:
        return f"<BulkWriter batches={self._count} open={len(self._batches)}>"

    async def store(self, writes: Sequence[Write]) -> list[int | None]:
        """Stores the messages, which need not be stored in their order. Returns the sequence of each.

        None: the broker refused this one, or did not answer in time. It may be stored all the same. Only a write by
        itself (`Streams.store`) says why.

        Raises:
            BrokerUnavailable: no connection, or it was lost before every answer had come.
        """
        async with self._subscribing:
            if self._subscription is None:
                self._subscription = await self._nats.subscribe(f"{self._inbox}.*.*", self._on_reply)
        self._count += 1
        number = b"%x" % self._count
        batch = self._batches[number] = _Batch(len(writes))
        through, inbox = self._nats.bucket_prefix, f"{self._inbox}.{number.decode()}"
        outgoing = [
            Outgoing(
                through + each.subject if each.subject.startswith("$KV.") else each.subject,
                each.payload,
                f"{inbox}.{index}",
                b"NATS/1.0\r\n%b%b: %d\r\n\r\n" % (each.headers, _CONDITION, each.expected_last),
            )
            for index, each in enumerate(writes)
        ]
        try:
            await self._nats.publish_many(outgoing)
            async with asyncio.timeout(_ANSWER_S):
                await batch.done.wait()
        except TimeoutError:
            pass
        finally:
            del self._batches[number]
        if batch.lost:
            raise BrokerUnavailable(f"lost the broker at {self._nats.address}")
        if any(batch.stored):
            self._nats.storage.stored(stream_of(writes[0].subject))
        return batch.stored

    def _on_reply(self, message: Message) -> None:
        _, number, index = message.subject.rsplit(b".", 2)
        batch = self._batches.get(number)
        if batch is not None:
            batch.take(int(index), message)

    def _on_disconnect(self) -> None:
        for batch in self._batches.values():
            batch.lose()


class _Batch:
    """What is known of the messages of one write."""

    def __init__(self, size: int) -> None:
        self.stored: list[int | None] = [None] * size
        self.lost = False
        self.done = asyncio.Event()
        self._open = set(range(size))

    def take(self, index: int, message: Message) -> None:
        if index not in self._open:
            return
        self._open.remove(index)
        with contextlib.suppress(TestcastError, ValueError, KeyError):  # an empty answer: nobody listens there
            self.stored[index] = int(read_answer(message.data, "")["seq"])
        if not self._open:
            self.done.set()

    def lose(self) -> None:
        self.lost = bool(self._open)
        self.done.set()
