"""A connection to the broker that does not die, lie or stall: what the rest of the house knows of NATS.

What nats-py 2.16 does on its own, and what stands here instead (`FACTS` of the project, tried on the real thing):

* its read loop ends without a word on an unexpected exception (one message on a non-UTF-8 subject is enough): messages
  are dispatched by `client.py`, bytes for bytes, and nothing that a handler raises gets farther; a watchdog does the
  rest;
* it gives up reconnecting after 60 tries, in lockstep with everybody else: here for ever, with jitter;
* it makes a task and a bounded queue per subscription and drops what does not fit: here handlers are plain functions,
  called as a message arrives (`wire.py`), so nothing is queued and nothing is dropped on this side;
* `request` while disconnected waits in a buffer and is sent much later: here it fails at once with `BrokerUnavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from broker.config import DEFAULT_NATS_URL, redacted
from broker.contract.errors import BrokerUnavailable, InvalidSetting, TestcastError
from broker.jetstream.client import NatsClient, NatsError, NatsSubscription
from broker.jetstream.parser import Handler, Message
from broker.log import RateLimited

_PING_INTERVAL_S: Final = 5  # two unanswered pings: a dead link is found in 10 to 15 s instead of 6 minutes
_RECONNECT_MIN_S: Final = 0.05
_RECONNECT_MAX_S: Final = 2.0  # a restarted broker is wanted back within 3 s
_WATCHDOG_S: Final = 1.0
_NO_RESPONDERS: Final = b"503"

_log = logging.getLogger("testcast.nats")
_limited = RateLimited(_log, per_s=5.0)


class Subscription:
    """Interest in one subject. `close()` ends it; no handler call follows."""

    __slots__ = ("_nats", "_subscription")

    def __init__(self, nats: Connection, subscription: NatsSubscription) -> None:
        self._nats = nats
        self._subscription = subscription

    async def close(self) -> None:
        """Gives the interest up; harmless when closed already or disconnected."""
        self._nats._client.handlers.pop(_sid(self._subscription), None)
        with contextlib.suppress(NatsError, OSError):
            await self._subscription.unsubscribe()


class Connection:
    """One connection to the broker, kept up for ever.

    Methods may be called from the loop that connected it only. `BrokerUnavailable` means "not now": nothing is known
    about whether a request was carried out. After `close()` every call raises it.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self.address = redacted(url)
        """Where the broker is, without credentials: the only form that may be logged or shown."""
        self.name = name
        self.on_reconnect: list[Callable[[], None]] = []
        """Called after each reconnect, when the subscriptions stand again."""
        self.on_disconnect: list[Callable[[], None]] = []
        self._client = NatsClient()
        self._replies: dict[bytes, Handler] = {}
        self._waiting: set[asyncio.Future[list[Message]]] = set()
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._tokens = 0
        self._rng = random.Random()
        self._open = False
        """The first connection has been made."""
        self._closing = False
        self._watchdog: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "connected" if self.connected else "disconnected"
        return f"<Connection {self.name} {self.address} {state} dropped={self._client.dropped}>"

    @classmethod
    async def connect(cls, url: str, *, name: str, timeout_s: float | None = 5.0) -> Connection:
        """Connects, trying again with jitter until `timeout_s` have passed (None: for ever).

        Args:
            url: `nats://host:port`, several separated by commas.
            name: how the connection is called in the broker's monitoring.

        Raises:
            BrokerUnavailable: nothing answered in time.
            InvalidSetting: the address is not one.
        """
        nats = cls(url, name)
        try:
            async with asyncio.timeout(timeout_s):
                await nats._connect(url.split(","))
        except TimeoutError:
            with contextlib.suppress(Exception):
                await nats._client.close()
            raise BrokerUnavailable(f"no NATS server answers at {nats.address} (tried for {timeout_s:g} s)") from None
        nats._watchdog = asyncio.create_task(nats._watch(), name=f"{name}-nats-watchdog")
        return nats

    @classmethod
    def dial(cls, url: str, *, name: str) -> Connection:
        """Starts connecting, for as long as it takes, and returns at once; until `connected`, nothing is available."""
        nats = cls(url, name)
        nats._watchdog = asyncio.create_task(nats._dial(), name=f"{name}-nats-watchdog")
        return nats

    async def _dial(self) -> None:
        while True:
            try:
                await self._connect(self._url.split(","))
                break
            except TestcastError as error:  # a server that refuses us may be told to take us
                _log.error("%s", error)
                self._client = NatsClient()
                await asyncio.sleep(_RECONNECT_MAX_S)
        self._notify(self.on_reconnect)
        await self._watch()

    async def _connect(self, servers: Sequence[str]) -> None:
        async def on_error(error: Exception) -> None:
            _limited.info("broker connection %s: %s", self.name, error or repr(error))

        async def on_disconnected() -> None:
            if self._closing:
                return
            _log.warning("lost the broker at %s", self.address)
            for waiting in self._waiting:  # their answers went with the connection: no use in waiting for them
                if not waiting.done():
                    waiting.set_exception(BrokerUnavailable(f"lost the broker at {self.address}"))
            self._notify(self.on_disconnect)

        async def on_reconnected() -> None:
            _log.info("the broker at %s is back", self.address)
            self._notify(self.on_reconnect)

        def next_server(servers: list[Any], _info: Mapping[str, Any]) -> tuple[Any, float]:
            server = min(servers, key=lambda each: (each.reconnects, self._rng.random()))
            longest = min(_RECONNECT_MAX_S, _RECONNECT_MIN_S * 2 ** min(server.reconnects, 10))
            return server, self._rng.uniform(longest / 2, longest)

        try:
            await self._client.connect(
                servers=list(servers),
                name=self.name,
                error_cb=on_error,
                disconnected_cb=on_disconnected,
                reconnected_cb=on_reconnected,
                reconnect_to_server_handler=next_server,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                connect_timeout=2,
                ping_interval=_PING_INTERVAL_S,
                max_outstanding_pings=2,
            )
        except ValueError:  # its text may quote any part of the address, the password among them
            raise InvalidSetting(
                f"cannot connect to {self.address!r}: not an address like {DEFAULT_NATS_URL}"
            ) from None
        except NatsError as error:
            raise InvalidSetting(f"cannot connect to {self.address!r}: {error or repr(error)}") from None
        await self._subscribe(f"{self._inbox}.*", self._on_reply)
        self._open = True

    @property
    def connected(self) -> bool:
        """The link to the broker is up, as far as this side knows."""
        return self._open and bool(self._client.is_connected)

    @property
    def dropped(self) -> int:
        """Messages whose handler raised, or that nats-py could not decode."""
        return self._client.dropped

    async def publish(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """Sends and forgets: nobody says whether it arrived.

        Raises:
            BrokerUnavailable: there is no connection.
        """
        await self._guard(lambda: self._client.publish(subject, payload, reply=reply))

    async def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Sends several (subject, payload) in one write, and forgets.

        Raises:
            BrokerUnavailable: there is no connection.
        """
        commands = [b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(data), data) for subject, data in messages]

        async def send() -> None:
            await self._client._send_command(b"".join(commands))
            await self._client._flush_pending()

        if commands:
            await self._guard(send)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Message:
        """Sends and waits for one reply.

        Raises:
            BrokerUnavailable: no connection, nobody listens, or no reply in time.
        """
        replies = await self.collect(subject, payload, lambda _reply: True, headers=headers, timeout_s=timeout_s)
        return replies[-1]

    async def collect(
        self,
        subject: str,
        payload: bytes,
        is_last: Callable[[Message], bool],
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> list[Message]:
        """Sends and gathers replies until `is_last` says so of one; that one is the list's last.

        Raises:
            BrokerUnavailable: no connection, nobody listens, or not all in time.
        """
        done: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        replies: list[Message] = []

        def on_reply(message: Message) -> None:
            if done.done():
                return
            replies.append(message)
            if message.status == _NO_RESPONDERS and not message.data:
                done.set_exception(BrokerUnavailable(f"nobody answers on {subject}: no leader, or no such stream"))
            elif is_last(message):
                done.set_result(replies)

        self._tokens += 1
        token = b"%x" % self._tokens
        self._replies[token] = on_reply
        self._waiting.add(done)
        try:
            await self._guard(
                lambda: self._client.publish(subject, payload, reply=f"{self._inbox}.{token.decode()}", headers=headers)
            )
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            raise BrokerUnavailable(f"no answer on {subject} within {timeout_s:g} s") from None
        finally:
            self._waiting.discard(done)
            self._replies.pop(token, None)

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """Registers interest; it outlives reconnects. Returns when the command is written; `flush()` makes sure.

        Raises:
            BrokerUnavailable: the connection is closed (while it is merely down, it stands after the reconnect).
        """
        if not self._open:
            raise BrokerUnavailable(f"not connected to the broker at {self.address} yet")
        return await self._subscribe(subject, handler)

    async def _subscribe(self, subject: str, handler: Handler) -> Subscription:
        try:
            subscription = await self._client.subscribe(subject)
        except (NatsError, OSError) as error:
            raise BrokerUnavailable(f"cannot subscribe to {subject}: {error or repr(error)}") from None
        self._client.handlers[_sid(subscription)] = handler
        while not subscription._pending_queue.empty():  # came between the command and the line above
            early = subscription._pending_queue.get_nowait()
            handler(Message(early.subject.encode(), early.reply.encode(), _raw_headers(early.headers), early.data))
        return Subscription(self, subscription)

    async def flush(self, timeout_s: int = 5) -> None:
        """Waits until the broker has taken in all that was sent before.

        Raises:
            BrokerUnavailable: it did not say so in time.
        """
        await self._guard(lambda: self._client.flush(timeout=timeout_s))

    async def close(self) -> None:
        """Ends the connection. What was published is sent first, within a second."""
        self._closing = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        with contextlib.suppress(Exception):
            if self.connected:
                await self._client.flush(timeout=1)
        with contextlib.suppress(Exception):
            await self._client.close()

    async def _guard(self, call: Callable[[], Awaitable[None]]) -> None:
        if not self.connected:
            raise BrokerUnavailable(f"not connected to the broker at {self.address}")
        try:
            await call()
        except (NatsError, OSError) as error:
            raise BrokerUnavailable(f"the broker at {self.address} is out of reach: {error or repr(error)}") from None

    def _on_reply(self, message: Message) -> None:
        handler = self._replies.get(message.subject[len(self._inbox) + 1 :])
        if handler is not None:
            handler(message)

    def _notify(self, callbacks: list[Callable[[], None]]) -> None:
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _log.exception("a connection callback failed")

    async def _watch(self) -> None:
        """Finds a read loop that has ended while the client still calls itself connected."""
        while True:
            await asyncio.sleep(_WATCHDOG_S)
            reading = self._client._reading_task
            if self._client.is_connected and reading is not None and reading.done():
                _log.error("the broker connection's reading task has ended: reconnecting")
                await self._client.force_reconnect()


def _sid(subscription: NatsSubscription) -> bytes:
    return b"%d" % subscription._id


def _raw_headers(headers: dict[str, str] | None) -> bytes:
    if not headers:
        return b""
    return b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n"


def to_json(value: object) -> bytes:
    """A request to the broker's API, whose field names stay as they are."""
    return orjson.dumps(value)
