"""The event log on JetStream: the stream `EVENTS`, its republished live events, direct gets and leader requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from broker import tracing
from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable
from broker.contract.ports import Ack, Heads, Interest, LiveEvent, OnLive, Page, StoredEvent, Unstored
from broker.jetstream import atomic
from broker.jetstream.api import (
    EXPECTED_LAST_HEADER,
    MSG_ID_HEADER,
    Stored,
    Streams,
    StreamState,
    ms_of,
)
from broker.jetstream.connection import Connection, Subscription
from broker.jetstream.parser import Message
from broker.jetstream.stored_headers import PREDECESSOR_HEADER, SEQUENCE_HEADER, STORED_HEADER
from broker.jetstream.survey import newest_of_all

WRITER_HEADER: Final = "Testcast-Writer"
"""`<attempt>.<nonce>` of the writer."""
_TRACE: Final = tracing.HEADER.encode()


class JetStreamLog:
    """`EventLog` over one connection to NATS."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.on_reconnect: list[Callable[[], None]] = connection.on_reconnect
        self.on_disconnect: list[Callable[[], None]] = connection.on_disconnect
        self.streams = Streams(connection)
        """The stream API of the same connection, for what is not an event: jobs, pictures, settings."""

    def __repr__(self) -> str:
        return f"<JetStreamLog {self.connection!r}>"

    @property
    def connected(self) -> bool:
        """Whether the connection is up, as far as this side knows."""
        return self.connection.connected

    async def follow(self, test_id: str | None, on_event: OnLive) -> Interest:
        """See `EventLog.follow`."""
        one_run = _one_traced_run if tracing.on else _one_run
        handler = _all_runs(on_event) if test_id is None else one_run(test_id, on_event)
        subject = subjects.ALL_LIVE if test_id is None else subjects.live(test_id)
        return _LiveInterest(self.connection, await self.connection.subscribe(subject, handler))

    async def read(self, test_id: str | None, after: int, limit: int, *, max_bytes: int = 4 << 20) -> Page:
        """See `EventLog.read`."""
        subject = subjects.ALL_EVENTS if test_id is None else subjects.events(test_id)
        page = await self.streams.read(subjects.EVENTS, subject, after, limit, max_bytes=max_bytes)
        return Page([event_in(message, test_id) for message in page.messages], page.complete)

    async def last(self, test_id: str | None, *, confirmed: bool = False) -> int:
        """See `EventLog.last`."""
        ask = self.streams.last_confirmed if confirmed else self.streams.last
        found = await ask(subjects.EVENTS, subjects.ALL_EVENTS if test_id is None else subjects.events(test_id))
        return 0 if found is None else found.seq

    async def heads(self, test_ids: Sequence[str] = ()) -> Heads:
        """See `EventLog.heads`."""
        state = await self.streams.state(subjects.EVENTS)
        if not test_ids:
            return Heads(state.epoch, state.last_seq, {})
        try:
            newest = await self.streams.newest(subjects.EVENTS, [subjects.events(test_id) for test_id in test_ids])
        except BrokerUnavailable:  # no replica answers; the leader has, and what it said counts
            return Heads(state.epoch, state.last_seq, None)
        if newest.up_to < state.last_seq:
            return Heads(state.epoch, state.last_seq, None)
        by_run = {subjects.followed_id_of(message.subject) or "": message.seq for message in newest.messages}
        bodies = {subjects.followed_id_of(message.subject) or "": message.data for message in newest.messages}
        return Heads(state.epoch, state.last_seq, by_run, bodies)

    async def state(self) -> StreamState:
        """Returns the state of the stream, from its leader.

        Raises:
            BrokerUnavailable: no leader.
        """
        return await self.streams.state(subjects.EVENTS)

    async def newest_of_all(self) -> dict[str, int]:
        """Returns the newest sequence of every run, from one replica, which may lag behind the leader.

        Raises:
            BrokerUnavailable: the answer was not whole.
        """
        found = await newest_of_all(self.streams, subjects.EVENTS, subjects.ALL_EVENTS)
        by_run = {subjects.test_id_of(subject): seq for subject, seq in found.items()}
        return {test_id: seq for test_id, seq in by_run.items() if test_id is not None}

    async def append_probe(self, probe_id: str, payload: bytes) -> Ack:
        """Stores an event of a probe.

        Raises:
            BrokerRefused: the stream does not take it.
            BrokerUnavailable: no acknowledgement; the event may be stored all the same.
        """
        return await self.streams.store(subjects.events(probe_id), payload)

    async def append(
        self,
        test_id: str,
        payload: bytes,
        *,
        msg_id: str | None = None,
        expected_last: int | None = None,
        writer: str | None = None,
    ) -> Ack:
        """See `EventLog.append`."""
        headers = None if writer is None else {WRITER_HEADER: writer}
        span = tracing.store(test_id, payload) if tracing.on else tracing.NO_SPAN
        if span.sampled:
            headers = {**(headers or {}), tracing.HEADER: span.traceparent}
        try:
            ack = await self.streams.store(
                subjects.events(test_id), payload, msg_id=msg_id, expected_last=expected_last, headers=headers
            )
        except BaseException as error:
            span.end(error)
            raise
        span.set(seq=ack.seq)
        span.end()
        return ack

    async def append_batch(
        self, test_id: str, events: Sequence[Unstored], *, expected_last: int, writer: str | None = None
    ) -> int:
        """See `EventLog.append_batch`."""
        spans = [tracing.store(test_id, each.payload) if tracing.on else tracing.NO_SPAN for each in events]
        of_writer = {} if writer is None else {WRITER_HEADER: writer}
        messages = [
            (each, of_writer | ({tracing.HEADER: span.traceparent} if span.sampled else {}))
            for each, span in zip(events, spans, strict=True)
        ]
        try:
            last = await atomic.store(self.connection, subjects.events(test_id), messages, expected_last=expected_last)
        except BaseException as error:
            for span in spans:
                span.end(error)
            raise
        self.connection.storage.stored(subjects.EVENTS)
        for seq, span in enumerate(spans, last - len(spans) + 1):
            span.set(seq=seq)
            span.end()
        return last


class _LiveInterest:
    def __init__(self, connection: Connection, subscription: Subscription) -> None:
        self._connection = connection
        self._subscription = subscription

    async def confirm(self) -> None:
        await self._connection.flush()

    async def close(self) -> None:
        await self._subscription.close()


def _one_run(test_id: str, on_event: OnLive) -> Callable[[Message], None]:
    def on_message(message: Message) -> None:
        seq, predecessor = message.header(SEQUENCE_HEADER) or b"", message.header(PREDECESSOR_HEADER) or b""
        if seq.isdigit() and predecessor.isdigit():  # without them it was published by a client, not by the stream
            stored_ms = ms_of(message.header(STORED_HEADER))
            on_event(test_id, LiveEvent(int(seq), int(predecessor), message.data, stored_ms))

    return on_message


def _one_traced_run(test_id: str, on_event: OnLive) -> Callable[[Message], None]:
    """Like `_one_run`, with the publisher's `traceparent`."""

    def on_message(message: Message) -> None:
        seq, predecessor = message.header(SEQUENCE_HEADER) or b"", message.header(PREDECESSOR_HEADER) or b""
        if seq.isdigit() and predecessor.isdigit():
            stored_ms, trace = ms_of(message.header(STORED_HEADER)), message.header(_TRACE)
            on_event(test_id, LiveEvent(int(seq), int(predecessor), message.data, stored_ms, trace))

    return on_message


def _all_runs(on_event: OnLive) -> Callable[[Message], None]:
    def on_message(message: Message) -> None:
        test_id = subjects.test_id_of(message.subject)
        if test_id is not None:
            _one_run(test_id, on_event)(message)

    return on_message


def event_in(message: Stored, test_id: str | None) -> StoredEvent:
    """Reads a message of the stream of events, of any run where `test_id` is None."""
    if test_id is None:
        test_id = subjects.test_id_of(message.subject) or ""
    writer, msg_id = message.header(WRITER_HEADER), message.header(MSG_ID_HEADER)
    expected_last = _number(message, EXPECTED_LAST_HEADER)
    if (_number(message, atomic.NUMBER_HEADER) or 0) > 1:  # a batch is one run's, and only its first message names one
        expected_last = message.seq - 1
    return StoredEvent(test_id, message.seq, message.data, writer, msg_id, message.stored_ms, expected_last)


def _number(message: Stored, header: str) -> int | None:
    given = message.header(header) or ""
    return int(given) if given.isascii() and given.isdigit() and len(given) < 20 else None
