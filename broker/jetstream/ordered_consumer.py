"""An ordered consumer of a stream: every message from a point on, each once, in order, across broker restarts.

nats-py's ordered consumers and KV watches lose the messages they drop, and stall for 19 s after the broker was down for
half a second. This one tracks the sequences itself, expects a heartbeat every second, and resumes where it was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from broker.contract.errors import NotPermitted, TestcastError
from broker.jetstream.api import Stored, Streams, delivery
from broker.jetstream.connection import Connection, Subscription
from broker.jetstream.parser import Message
from broker.log import RateLimited
from broker.retry import retry

_HEARTBEAT_S: Final = 1.0
_SILENCE_S: Final = 3.0
"""After three missed heartbeats the consumer is made anew."""
_log = logging.getLogger("testcast.ordered_consumer")
_limited = RateLimited(_log, per_s=5.0)
_mute = RateLimited(_log, per_s=30.0)


class OrderedConsumerStatistics(NamedTuple):
    """An ordered consumer at one moment."""

    last_seq: int
    """Stream sequence of the newest message that was delivered, 0 before the first."""
    restarts: int
    """Times the consumer was made anew: after a reconnect, a missed message or silence."""
    resets: int
    """Times the stream had been deleted and made again."""


class OrderedConsumer:
    """Delivers the newest message of each subject, then every message, of one stream and subject filter.

    Args:
        nats: the connection.
        stream: stream name.
        subject: filter.
        on_message: called with each message, in order, in the reading loop: it must neither block nor raise.
        on_current: called when everything stored at the start has been delivered, and again after each restart.
        on_reset: called before a restart from the beginning, because the stream was deleted and made again: forget
            everything.
        on_lost: called when nothing is delivered any more: the stream or the consumer is gone, or does not answer. What
            was delivered is out of date until `on_current`.
    """

    def __init__(
        self,
        nats: Connection,
        stream: str,
        subject: str,
        on_message: Callable[[Stored], None],
        on_current: Callable[[], None],
        on_reset: Callable[[], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._nats = nats
        self._streams = Streams(nats)
        self._stream = stream
        self._subject = subject
        self._on_message = on_message
        self._on_current = on_current
        self._on_reset = on_reset
        self._on_lost = on_lost
        self._epoch: str | None = None
        self._last_seq = 0
        self._consumer_seq = 0
        self._heard = 0.0
        self._mute = False
        """The consumer before this one delivered nothing, not even a heartbeat."""
        self._broken = asyncio.Event()
        self._generation = 0
        self._resets = 0
        self.denied = False
        """This user may make no consumers."""

    def __repr__(self) -> str:
        numbers = self.statistics()
        return f"<OrderedConsumer {self._stream} seq={numbers.last_seq} restarts={numbers.restarts}>"

    def statistics(self) -> OrderedConsumerStatistics:
        """Returns the consumer's position and counts."""
        return OrderedConsumerStatistics(self._last_seq, max(0, self._generation - 1), self._resets)

    async def run(self) -> None:
        """Delivers messages until cancelled."""

        def on_failure(error: Exception) -> None:
            self.denied = isinstance(error, NotPermitted)
            _limited.warning("following %s: %s", self._stream, error)
            self._on_lost()

        self._nats.on_reconnect.append(self._broken.set)
        try:
            while True:
                await retry(self._follow_once, on=(TestcastError,), source=self._nats, on_failure=on_failure)
        finally:
            self._nats.on_reconnect.remove(self._broken.set)

    async def _follow_once(self) -> None:
        loop = asyncio.get_running_loop()
        state = await self._streams.state(self._stream)
        if self._epoch is not None and (state.epoch != self._epoch or state.last_seq < self._last_seq):
            self._last_seq = 0
            self._resets += 1
            self._on_reset()
        self._epoch = state.epoch
        self._generation += 1
        self._consumer_seq = 0
        self._broken.clear()
        generation = self._generation
        inbox = self._nats.inbox()
        delivers = False

        def on_delivery(message: Message) -> None:
            nonlocal delivers
            if generation == self._generation:
                if self._mute and not delivers and pending == 0:
                    self._on_current()
                delivers = True
                self._mute = False
                self._heard = loop.time()
                self._take(message)

        pending = -1  # unknown
        subscription = await self._nats.subscribe(inbox, on_delivery)
        try:
            pending = await self._start_consumer(inbox)
            self._heard = loop.time()
            if pending == 0 and (delivers or not self._mute):
                self._on_current()
            while not self._broken.is_set():
                if loop.time() - self._heard > _SILENCE_S:
                    self._tell_silence(inbox, delivers)
                    self._on_lost()
                    return
                try:
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await self._broken.wait()
                except TimeoutError:
                    pass
        finally:
            await _close_quietly(subscription)

    def _tell_silence(self, inbox: str, delivers: bool) -> None:
        if delivers:
            _limited.info("no heartbeat from %s for %g s: restarting its consumer", self._stream, _SILENCE_S)
            return
        self._mute = True
        _mute.warning(
            "following %s: its consumer was made, and nothing arrives on %s: an account that imports the streams "
            "has to import the stream %s.> as well (TESTCAST_NATS_INBOX_PREFIX)",
            self._stream, inbox, inbox.rpartition(".")[0],
        )  # fmt: skip

    async def _start_consumer(self, inbox: str) -> int:
        name = secrets.token_hex(8)
        config: dict[str, Any] = {
            "name": name,
            "deliver_subject": inbox,
            "filter_subject": self._subject,
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "idle_heartbeat": int(_HEARTBEAT_S * 1e9),
            "inactive_threshold": int(5e9),
            "deliver_policy": "last_per_subject",
        }
        if self._last_seq:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._last_seq + 1}
        # With the filter in the subject: a user's rights can name it there.
        request = f"CONSUMER.CREATE.{self._stream}.{name}.{self._subject}"
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        answer = await self._streams.api(request, body)
        return int(answer.get("num_pending", 0))

    def _take(self, message: Message) -> None:
        if message.status is not None:
            last_consumer_seq = message.header(b"Nats-Last-Consumer")
            if message.status == b"100" and int(last_consumer_seq or 0) == self._consumer_seq:
                return
            self._broken.set()  # a message was lost on the way, or the consumer is gone
            return
        taken = delivery(message)
        if taken.number != self._consumer_seq + 1:
            self._broken.set()
            return
        self._consumer_seq = taken.number
        self._last_seq = taken.seq
        self._on_message(Stored(taken.subject, taken.seq, taken.headers, taken.data, taken.stored_ms))
        if taken.pending == 0:
            self._on_current()


async def _close_quietly(subscription: Subscription) -> None:
    try:
        await subscription.close()
    except TestcastError as error:  # the connection is closed, and the subscription with it
        _log.debug("closing a subscription: %s", error)
