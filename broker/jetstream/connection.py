"""The NATS connection that every other module uses. Requests fail immediately while it is disconnected.

It differs from nats-py 2.16, on which it is built, in four points:

* nats-py's read loop ends silently on an unexpected exception, for example on a non-UTF-8 subject. Here messages are
  dispatched as bytes by `client.py`, no handler's exception reaches the loop, and a watchdog reconnects if it ends.
* nats-py gives up reconnecting after 60 tries, and all clients try at once. Here it never ends, with jitter.
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
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import orjson

from broker import config, login
from broker.config import DEFAULT_NATS_URL
from broker.contract.errors import (
    BrokerUnavailable,
    InvalidSetting,
    LoginRefused,
    NoAnswer,
    NotPermitted,
    NotThere,
    TestcastError,
)
from broker.jetstream.client import RECONNECT_MAX_S, NatsClient, NatsError, Outgoing, next_server
from broker.jetstream.denials import Denials
from broker.jetstream.parser import Handler, Message
from broker.jetstream.storage_health import StorageHealth
from broker.jetstream.subscription import ConnectionStatistics, Subscription
from broker.log import RateLimited
from broker.login import NatsSettings
from broker.retry import Backoff, retry

__all__ = ["Connection", "ConnectionStatistics", "Subscription", "to_json"]

_PING_INTERVAL_S: Final = 5
"""A connection ends after two unanswered pings: a dead link is found in 10 to 15 s (with nats-py's own in 6 min)."""
_API_PREFIX: Final = "$JS.API"
_WATCHDOG_S: Final = 1.0
_NO_RESPONDERS: Final = b"503"
_log = logging.getLogger("testcast.nats")
_limited = RateLimited(_log, per_s=5.0)


class Connection:
    """One connection to the broker. It reconnects for as long as it is open.

    Call its methods only from the loop that connected it. `BrokerUnavailable` means "not now": whether a request was
    carried out is unknown. After `close()` every method raises it.
    """

    def __init__(self, url: str, name: str, settings: NatsSettings | None = None) -> None:
        self._servers = [each.strip() for each in url.split(",")]
        for server in self._servers:
            if server.startswith(("ws://", "wss://")):
                config.check_scheme(server)
        settings = config.nats() if settings is None else settings
        self.api_prefix = settings.api_prefix or (f"$JS.{settings.domain}.API" if settings.domain else _API_PREFIX)
        """What every request to JetStream begins with, without the last dot."""
        self.bucket_prefix = "" if self.api_prefix == _API_PREFIX else f"{self.api_prefix}."
        """What comes before the subject of a bucket's key: another domain takes them under the prefix of its API."""
        self._login = login.options(settings, self._servers)
        self.address = config.redacted(url)
        """The broker's address without credentials: the only form that may be logged or shown."""
        self.name = name
        self.on_reconnect: list[Callable[[], None]] = []
        """Called after each reconnect, when the subscriptions are restored."""
        self.denials = Denials()  # what this user may not do
        self.on_disconnect: list[Callable[[], None]] = [self.denials.forget_all]
        """Called when the connection is lost."""
        self.storage = StorageHealth()  # what became of the writes on this connection
        self.mend_with: Callable[[], Awaitable[bool]] | None = None
        """Declares the streams, buckets and consumers again and returns whether they stand; None: not by this one."""
        self._client = NatsClient()
        self._replies: dict[bytes, Handler] = {}
        self._waiting: dict[asyncio.Future[list[Message]], str] = {}
        """Requests whose replies have not all arrived, and their subjects."""
        self._inbox_prefix = settings.inbox_prefix
        self._inbox = self.inbox()
        self._tokens, self._rng = 0, random.Random()
        self._refusal: str | None = None  # why no server lets this client in; None while one does or says nothing
        self._open = False  # the first connection has been made
        self._reconnects = 0
        self._closing = False
        self._watchdog: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "connected" if self.connected else "disconnected"
        return f"<Connection {self.name} {self.address} {state} reconnects={self._reconnects} dropped={self.dropped}>"

    def statistics(self) -> ConnectionStatistics:
        """Returns the connection's state and counts."""
        counts = (self._reconnects, self.dropped, len(self._client.handlers), len(self._waiting))
        return ConnectionStatistics(self.connected, *counts)

    @classmethod
    async def connect(
        cls, url: str, *, name: str, timeout_s: float | None = 5.0, settings: NatsSettings | None = None
    ) -> Connection:
        """Connects, with retries.

        Args:
            url: `nats://host:port`, or several separated by commas.
            name: the connection's name in the broker's monitoring.
            timeout_s: how long to try; None: forever.
            settings: how to log in; None: from the environment.

        Raises:
            LoginRefused: a server answers, and does not let this client in.
            BrokerUnavailable: no server answered in time.
            InvalidSetting: the address or a setting is malformed.
        """
        nats = cls(url, name, settings)
        try:
            async with asyncio.timeout(timeout_s):
                await nats._connect()
        except (TimeoutError, LoginRefused):
            with contextlib.suppress(Exception):
                await nats._client.close()
            if nats._refusal is not None:
                raise nats._refused() from None
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
            _limited.warning("%s", error)
            self._client = NatsClient()

        await retry(
            self._connect,
            on=(TestcastError,),  # an operator may change a server that refuses this client
            backoff=Backoff(RECONNECT_MAX_S, RECONNECT_MAX_S, self._rng),
            on_failure=on_failure,
        )
        self._notify(self.on_reconnect)
        await self._watch()

    def _refused(self) -> LoginRefused:
        return LoginRefused(f"the NATS server at {self.address}: {self._refusal}")

    def _on_error(self, error: Exception) -> None:
        """Called with whatever goes wrong with the connection, and with what the server refuses on it."""
        denied = login.denied(error)
        if denied is not None:
            self.denials.add(str(error))
            for waiting, subject in self._waiting.items():
                if subject.lower() == denied and not waiting.done():
                    waiting.set_exception(NotPermitted(f"this user may not publish on {subject}"))
            return
        refusal = login.refusal(error)
        if refusal is None:
            _limited.info("broker connection %s: %s", self.name, error or repr(error))
        else:
            self._refusal = refusal
            _limited.warning("%s", self._refused())

    async def _connect(self) -> None:
        refused = asyncio.Event()

        async def on_error(error: Exception) -> None:
            self._on_error(error)
            if self._refusal is not None and len(self._servers) == 1:
                refused.set()

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
            self._refusal = None
            self._reconnects += 1
            self._notify(self.on_reconnect)

        connecting = asyncio.ensure_future(
            self._client.connect(
                servers=self._servers,
                name=self.name,
                error_cb=on_error,
                disconnected_cb=on_disconnected,
                reconnected_cb=on_reconnected,
                reconnect_to_server_handler=next_server(self._rng),
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                connect_timeout=2,
                ping_interval=_PING_INTERVAL_S,
                max_outstanding_pings=2,
                **self._login,
            )
        )
        try:
            await self._until_connected(connecting, refused)
        except ValueError:  # its text may quote any part of the address, including the password
            what = f"not an address like {DEFAULT_NATS_URL}; are user and password percent-encoded?"
            raise InvalidSetting(f"cannot connect to {self.address!r}: {what}") from None
        except NatsError as error:
            what = f"{error or repr(error)}; are user and password percent-encoded?"
            raise InvalidSetting(f"cannot connect to {self.address!r}: {what}") from None
        self._refusal = None
        await self._subscribe(f"{self._inbox}.*", self._on_reply)
        self._open = True

    async def _until_connected(self, connecting: asyncio.Future[None], refused: asyncio.Event) -> None:
        stopped = asyncio.ensure_future(refused.wait())
        both: set[asyncio.Future[Any]] = {connecting, stopped}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise self._refused()
            await connecting
        finally:
            stopped.cancel()
            connecting.cancel()

    def inbox(self) -> str:
        """Returns a new subject for answers."""
        return f"{self._inbox_prefix}.{secrets.token_hex(11)}"

    @property
    def connected(self) -> bool:
        """Whether it is up, as far as this side knows."""
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

    async def publish_many(self, messages: Sequence[tuple[str, bytes] | Outgoing]) -> None:
        """Sends several messages, (subject, payload) or more, in one write. Delivery is not confirmed.

        Raises:
            BrokerUnavailable: there is no connection.
        """
        await self._guard(lambda: self._client.publish_many(messages))

    async def request(
        self, subject: str, payload: bytes = b"", *, headers: dict[str, str] | None = None, timeout_s: float = 5.0
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
        self._waiting[done] = subject
        try:
            await self._guard(
                lambda: self._client.publish(subject, payload, reply=f"{self._inbox}.{token.decode()}", headers=headers)
            )
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            raise NoAnswer(f"no answer on {subject} within {timeout_s:g} s") from None
        finally:
            self._waiting.pop(done, None)
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
