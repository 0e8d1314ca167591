"""Who may write to a run, and how what is written gets stored exactly once (DESIGN 3 "Writers", I1 and I2).

Pure: `History`, `remember`, `judge`. With I/O: `read_history` and `Writer`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import secrets
from collections.abc import AsyncIterator, Iterable
from typing import Final, NamedTuple

from broker.contract import subjects
from broker.contract.errors import BrokerUnavailable, Fenced, WrongLastSequence
from broker.contract.events import MSG_ID_HEADER, WRITER_HEADER
from broker.jetstream import runs
from broker.jetstream.api import Stored, Streams
from broker.log import RateLimited

_PAGE: Final = 500
_STALE_TRIES: Final = 20
_STALE_WAIT_S: Final = 0.1  # a replica is behind its leader by milliseconds, at worst by half a second
_RETRY_MIN_S: Final = 0.05
_RETRY_MAX_S: Final = 2.0
_WRITER = re.compile(r"(\d{1,9})\.([0-9A-Za-z_-]{1,64})", re.ASCII)

_log = logging.getLogger("testcast.run")
_limited = RateLimited(_log, per_s=5.0)


class WriterId(NamedTuple):
    """One attempt's writer, as `Testcast-Writer` names it."""

    attempt: int
    nonce: str

    def __str__(self) -> str:
        return f"{self.attempt}.{self.nonce}"


class History(NamedTuple):
    """What a run's events say about the attempts at it, up to and including the one at `head`."""

    head: int = 0
    """0 when nothing is stored."""
    ended: bool = False
    attempts: frozenset[int] = frozenset()
    handed_on: frozenset[int] = frozenset()

    @property
    def next_attempt(self) -> int:
        """The number of the attempt that would come now."""
        return max(self.attempts, default=0) + 1

    @property
    def lost(self) -> int:
        """Attempts that ended neither with the run nor by handing it on, provided that none is still going on."""
        return len(self.attempts - self.handed_on)

    @property
    def last_handed_on(self) -> bool:
        """The newest attempt was given up in good order."""
        return bool(self.attempts) and max(self.attempts) in self.handed_on


def writer_of(message: Stored) -> WriterId | None:
    """The writer that `message` names; None for an agent of another kind, which need not name one."""
    found = _WRITER.fullmatch(message.header(WRITER_HEADER) or "")
    return WriterId(int(found[1]), found[2]) if found else None


def remember(history: History, message: Stored) -> History:
    """`history` with one more message. Only writers that name themselves count as attempts: nobody else is fenced."""
    event, writer = runs.parse(message.data), writer_of(message)
    history = history._replace(head=message.seq, ended=history.ended or (event is not None and event.terminal))
    if writer is None:
        return history
    attempts, handed_on = history.attempts | {writer.attempt}, history.handed_on
    if event is not None and event.field("handover") is True:
        handed_on |= {writer.attempt}
    return history._replace(attempts=attempts, handed_on=handed_on)


def judge(messages: Iterable[Stored], own: WriterId, msg_id: str | None) -> int | None:
    """What a writer does about messages that were stored behind the head it knew, in order.

    Args:
        own: the writer that asks.
        msg_id: the publish that was refused, None when nothing was.

    Returns:
        The sequence under which `msg_id` is stored, or None: only strangers wrote, go on from the new head.

    Raises:
        Fenced: the run has ended, or another worker owns it.
    """
    for message in messages:
        writer = writer_of(message)
        if writer is not None and writer.nonce == own.nonce:
            if msg_id is not None and message.header(MSG_ID_HEADER) == msg_id:
                return message.seq
            continue
        if writer is not None and writer.attempt >= own.attempt:
            raise Fenced(f"another worker has taken the run over (attempt {writer.attempt})", "attempt")
        event = runs.parse(message.data)
        if event is not None and event.terminal:
            raise Fenced(f"the run has ended: {event.message}", "ended")
    return None


async def _stored(streams: Streams, test_id: str, after: int, up_to: int) -> AsyncIterator[Stored]:
    """The run's messages behind `after`, surely as far as `up_to`: direct gets may be stale, so it asks again."""
    subject, stale = subjects.events(test_id), 0
    while after < up_to:
        page = await streams.read(subjects.EVENTS, subject, after, _PAGE)
        for message in page.messages:
            yield message
            after = message.seq
        if page.complete and after < up_to:
            stale += 1
            if stale > _STALE_TRIES:
                raise BrokerUnavailable(f"the replicas lag behind the leader of {subjects.EVENTS}")
            await asyncio.sleep(_STALE_WAIT_S)


async def read_history(streams: Streams, test_id: str) -> History:
    """Reads all of the run's events, up to what the leader says is the last.

    Raises:
        BrokerUnavailable: no leader, or the replicas stay behind it for seconds.
    """
    last = await streams.last(subjects.EVENTS, subjects.events(test_id))
    history = History()
    if last is not None:
        async for message in _stored(streams, test_id, 0, last.seq):
            history = remember(history, message)
    return history


class Writer:
    """Writes one attempt's events, one at a time, each stored once and in order, until it is fenced.

    `write` is for one task at a time; `look` may be called beside it. What has fenced a writer stays in the stream, so
    `Fenced` once is `Fenced` for good.

    Args:
        attempt: one more than the highest in the run's events; 1 on a new run.
        head: sequence of the run's newest event that is known, 0 when there is none.
    """

    def __init__(self, streams: Streams, test_id: str, attempt: int, head: int) -> None:
        self.id = WriterId(attempt, secrets.token_hex(6))
        self.head = head
        """The run's newest event as far as writing has shown."""
        self.stored = 0
        """How many events this writer has stored."""
        self._streams = streams
        self._test_id = test_id
        self._subject = subjects.events(test_id)
        self._seen = head  # looked at and judged harmless
        self._count = 0
        self._rng = random.Random()

    def __repr__(self) -> str:
        return f"<Writer {self.id} of {self._test_id} head={self.head} stored={self.stored}>"

    async def write(self, payload: bytes) -> int:
        """Publishes until it is stored, however long the broker is away. Returns its sequence.

        Raises:
            Fenced: this writer may not write any more.
            BrokerRefused: the broker will never take it.
        """
        self._count += 1
        msg_id = f"{self._test_id}.{self.id.nonce}.{self._count}"
        tries = 0
        while True:
            try:
                seq = await self._try(payload, msg_id)
            except BrokerUnavailable as error:
                _limited.warning("run %s: event %d is not stored yet: %s", self._test_id, self._count, error)
                longest = min(_RETRY_MAX_S, _RETRY_MIN_S * 2 ** min(tries, 10))
                reconnected = await self._pause(self._rng.uniform(longest / 2, longest))
                tries = 0 if reconnected else tries + 1
                continue
            if seq is not None:
                self.head = seq
                self.stored += 1
                return seq

    async def _pause(self, delay_s: float) -> bool:
        """Waits, but no longer than until the broker is back. Returns whether it came back."""
        nats, back = self._streams.nats, asyncio.Event()
        nats.on_reconnect.append(back.set)
        try:
            async with asyncio.timeout(delay_s):
                return await back.wait()
        except TimeoutError:
            return False
        finally:
            nats.on_reconnect.remove(back.set)

    async def _try(self, payload: bytes, msg_id: str) -> int | None:
        """One publish; None when a stranger's event came first and the head was moved to it."""
        try:
            ack = await self._streams.store(
                self._subject,
                payload,
                msg_id=msg_id,
                expected_last=self.head,
                headers={WRITER_HEADER: str(self.id)},
            )
            return ack.seq  # whether new or a duplicate: it is stored
        except WrongLastSequence as refusal:
            last = refusal.last
        if last is None:
            newest = await self._streams.last(subjects.EVENTS, self._subject)
            last = newest.seq if newest is not None else 0
        since = [message async for message in _stored(self._streams, self._test_id, self.head, last)]
        stored_at = judge(since, self.id, msg_id)
        # Below our head when the stream has lost events (a wiped store): then the rest is told there.
        self.head = stored_at or last
        return stored_at

    async def look(self) -> None:
        """Asks the leader whether this writer still owns the run.

        Raises:
            Fenced: it does not.
            BrokerUnavailable: nobody knows at the moment.
        """
        newest = await self._streams.last(subjects.EVENTS, self._subject)
        after = max(self.head, self._seen)
        if newest is not None and newest.seq > after:
            since = [message async for message in _stored(self._streams, self._test_id, after, newest.seq)]
            judge(since, self.id, None)
            self._seen = newest.seq
