"""The NATS connection that every other module uses. Requests fail immediately while it is disconnected.

It differs from nats-py 2.16, on which it is built, in four points:

* nats-py's read loop ends silently on an unexpected exception; one message on a non-UTF-8 subject is enough. Here
  messages are dispatched as bytes by `client.py`, no handler's exception reaches the loop, and a watchdog reconnects
  should it end all the same.
* nats-py gives up reconnecting after 60 tries, and all clients try in lockstep. Here reconnecting never ends, with
  jitter.
* nats-py runs a task and a bounded queue per subscription and drops what does not fit. Here handlers are plain
  functions, called as a message arrives (`parser.py`): nothing is queued or dropped on this side.
* nats-py buffers a request made while disconnected and sends it much later. Here it raises `BrokerUnavailable`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from broker.config import DEFAULT_NATS_URL, redacted
from broker.contract.errors import BrokerUnavailable, InvalidSetting, NotThere, TestcastError
from broker.jetstream.client import NatsClient, NatsError, NatsSubscription
from broker.jetstream.parser import Handler, Message
from broker.jetstream.storage_health import StorageHealth
from broker.log import RateLimited
from broker.retry import Backoff, retry

_PING_INTERVAL_S: Final = 5
"""A connection ends after two unanswered pings, so a dead link is found in 10 to 15 s. nats-py's default takes 6
minutes."""
_RECONNECT_MIN_S: Final = 0.05
_RECONNECT_MAX_S: Final = 2.0
"""A restarted broker is in use again within 3 s."""
_WATCHDOG_S: Final = 1.0
_NO_RESPONDERS: Final = b"503"

_log = logging.getLogger("testcast.nats")
_limited = RateLimited(_log, per_s=5.0)


class NoAnswer(BrokerUnavailable):
    """The connection is up, and no reply came in time."""


class Subscription:
    """Interest in one subject."""

    __slots__ = ("_client", "_subscription")

    def __init__(self, client: NatsClient, subscription: NatsSubscription) -> None:
        self._client = client
        self._subscription = subscription

    def __repr__(self) -> str:
        return f"<Subscription {self._subscription.subject}>"

    async def close(self) -> None:
        """Ends the interest; no handler call follows. Harmless when it is closed already, or disconnected."""
        await self._client.unlisten(self._subscription)


class ConnectionStatistics(NamedTuple):
    """A connection at one moment."""

    connected: bool
    reconnects: int
    """Times the connection came back after it was lost."""
    dropped: int
    """Messages whose handler raised, or that nats-py could not decode."""
    subscriptions: int
    waiting_requests: int
    """Requests whose replies have not all arrived."""


class Connection:
    """One connection to the broker. It reconnects for as long as it is open.

    Call its methods only from the loop that connected it. `BrokerUnavailable` means "not now": whether a request was
    carried out is unknown. After `close()` every method raises it.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self.address = redacted(url)
        """The broker's address without credentials: the only form that may be logged or shown."""
        self.name = name
        self.on_reconnect: list[Callable[[], None]] = []
        """Called after each reconnect, when the subscriptions are restored."""
        self.on_disconnect: list[Callable[[], None]] = []
        """Called when the connection is lost."""
        self.storage = StorageHealth()
        """What became of the writes on this connection."""
        self.mend_with: Callable[[], Awaitable[bool]] | None = None
        """Declares the streams, buckets and consumers again and returns whether they stand; None: not by this one."""
        self._client = NatsClient()
        self._replies: dict[bytes, Handler] = {}
        self._waiting: set[asyncio.Future[list[Message]]] = set()
        self._inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._tokens = 0
        self._rng = random.Random()
        self._open = False
        """The first connection has been made."""
        self._reconnects = 0
        self._closing = False
        self._watchdog: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "connected" if self.connected else "disconnected"
        return f"<Connection {self.name} {self.address} {state} reconnects={self._reconnects} dropped={self.dropped}>"

    def statistics(self) -> ConnectionStatistics:
        """Returns the connection's state and counts."""
        client = self._client
        return ConnectionStatistics(
            self.connected, self._reconnects, client.dropped, len(client.handlers), len(self._waiting)
        )

    @classmethod
    async def connect(cls, url: str, *, name: str, timeout_s: float | None = 5.0) -> Connection:
        """Connects, with retries.

        Args:
            url: `nats://host:port`, or several separated by commas.
            name: the connection's name in the broker's monitoring.
            timeout_s: how long to try; None: forever.

        Raises:
            BrokerUnavailable: no server answered in time.
            InvalidSetting: the address is malformed, or the server refused the connection.
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
        """Returns immediately and connects in the background, forever. Until `connected`, every method raises."""
        nats = cls(url, name)
        nats._watchdog = asyncio.create_task(nats._dial(), name=f"{name}-nats-watchdog")
        return nats

    async def _dial(self) -> None:
        def on_failure(error: Exception) -> None:
            _log.error("%s", error)
            self._client = NatsClient()

        await retry(
            lambda: self._connect(self._url.split(",")),
            on=(TestcastError,),  # an operator may change a server that refuses this client
            backoff=Backoff(_RECONNECT_MAX_S, _RECONNECT_MAX_S, self._rng),
            on_failure=on_failure,
        )
        self._notify(self.on_reconnect)
        await self._watch()

    async def _connect(self, servers: Sequence[str]) -> None:
        async def on_error(error: Exception) -> None:
            _limited.info("broker connection %s: %s", self.name, error or repr(error))

        async def on_disconnected() -> None:
            if self._closing:
                return
            _log.warning("lost the broker at %s", self.address)
            for waiting in self._waiting:  # their replies are lost with the connection
                if not waiting.done():
                    waiting.set_exception(BrokerUnavailable(f"lost the broker at {self.address}"))
            self._notify(self.on_disconnect)

        async def on_reconnected() -> None:
            _log.info("reconnected to the broker at %s", self.address)
            self._reconnects += 1
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
        except ValueError:  # its text may quote any part of the address, including the password
            raise InvalidSetting(
                f"cannot connect to {self.address!r}: not an address like {DEFAULT_NATS_URL}"
            ) from None
        except NatsError as error:
            raise InvalidSetting(f"cannot connect to {self.address!r}: {error or repr(error)}") from None
        await self._subscribe(f"{self._inbox}.*", self._on_reply)
        self._open = True

    @property
    def connected(self) -> bool:
        """Whether the connection is up, as far as this side knows."""
        return self._open and bool(self._client.is_connected)

    @property
    def dropped(self) -> int:
        """Messages whose handler raised, or that nats-py could not decode."""
        return self._client.dropped

    async def publish(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """Sends a message. Delivery is not confirmed.

        Raises:
            BrokerUnavailable: there is no connection.
        """
        await self._guard(lambda: self._client.publish(subject, payload, reply=reply))

    async def publish_many(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """Sends several (subject, payload) in one write. Delivery is not confirmed.

        Raises:
            BrokerUnavailable: there is no connection.
        """
        await self._guard(lambda: self._client.publish_many(messages))

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Message:
        """Sends a request and returns its one reply.

        Raises:
            BrokerUnavailable: no connection, no subscriber, or no reply in time.
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
        """Sends a request and returns its replies, up to and including the first for which `is_last` is true.

        Raises:
            BrokerUnavailable: no connection, no subscriber, or not all replies in time (`NoAnswer`).
        """
        done: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        replies: list[Message] = []

        def on_reply(message: Message) -> None:
            if done.done():
                return
            replies.append(message)
            if message.status == _NO_RESPONDERS and not message.data:
                nobody = f"nobody answers on {subject}: no leader, or no such stream"
                done.set_exception(NotThere(nobody, certain=False))
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
            raise NoAnswer(f"no answer on {subject} within {timeout_s:g} s") from None
        finally:
            self._waiting.discard(done)
            self._replies.pop(token, None)

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """Subscribes. The subscription survives reconnects. Call `flush` to be sure that the broker has taken it in.

        Raises:
            BrokerUnavailable: the connection is closed, or was never made. While it is down this succeeds, and the
                subscription takes effect with the reconnect.
        """
        if not self._open:
            raise BrokerUnavailable(f"not connected to the broker at {self.address} yet")
        return await self._subscribe(subject, handler)

    async def _subscribe(self, subject: str, handler: Handler) -> Subscription:
        client = self._client
        try:
            return Subscription(client, await client.listen(subject, handler))
        except (NatsError, OSError) as error:
            raise BrokerUnavailable(f"cannot subscribe to {subject}: {error or repr(error)}") from None

    async def mend(self) -> bool:
        """Called by whoever meets a stream, bucket or consumer that is not there. It is declared again, once for all
        who call at the same time. Returns whether it is worth trying once more; never raises."""
        return self.mend_with is not None and await self.mend_with()

    async def flush(self, timeout_s: int = 5) -> None:
        """Returns once the broker has processed everything sent before.

        Raises:
            BrokerUnavailable: no answer in time.
        """
        await self._guard(lambda: self._client.flush(timeout=timeout_s))

    async def close(self) -> None:
        """Closes the connection. Published messages are sent first, for at most 1 s."""
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
        """Reconnects when the read loop has ended and the client has not noticed."""
        while True:
            await asyncio.sleep(_WATCHDOG_S)
            if self._client.reading_has_ended:
                _log.error("the broker connection's reading task has ended: reconnecting")
                await self._client.force_reconnect()


def to_json(value: object) -> bytes:
    """Returns the body of a request to the broker's API."""
    return orjson.dumps(value)
