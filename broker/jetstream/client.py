"""nats-py's client with a reader of our own. The only file that imports nats, and that touches its private names.

Messages are parsed by `parser.py` in the call in which the transport delivers them: no task wakes up, no queue holds
them, and nothing is decoded before someone asks for it. nats-py reads the rest (INFO, PING, errors), and does the
handshake, the reconnecting and the writing.

`tests/unit/test_nats_py_private_api.py` compares every private name used here with the installed nats-py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import ParseResult, unquote

from nats.aio.client import Client
from nats.aio.subscription import Subscription as NatsSubscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError
from nats.protocol.parser import AWAITING_CONTROL_LINE, PERMISSIONS_ERR, Parser

from broker.jetstream.parser import Handler, Message, dispatch
from broker.log import RateLimited
from broker.retry import Backoff, retry

__all__ = ["RECONNECT_MAX_S", "NatsClient", "NatsError", "NatsSubscription", "Outgoing", "next_server"]

_PORT: Final = 4222
"""Of a server whose address names none."""
_RETRY_S: Final = 2.0
"""Between two rounds of reconnecting, when one fails in a way that nats-py does not handle."""
_RECONNECT_MIN_S: Final = 0.05
RECONNECT_MAX_S: Final = 2.0
"""A restarted broker is in use again within 3 s."""
_limited = RateLimited(logging.getLogger("testcast.nats"), per_s=5.0)


class _Parser(Parser):
    """nats-py's parser. It sees only what `dispatch` leaves over."""

    def reset(self) -> None:
        super().reset()
        self.parsing = False

    @property
    def idle(self) -> bool:
        """Whether nothing is left over from the bytes so far."""
        return not self.parsing and not self.buf and self.state == AWAITING_CONTROL_LINE

    async def parse(self, data: bytes = b"") -> None:
        self.parsing = True
        try:
            await self._parse(data)
        finally:
            self.parsing = False

    async def _parse(self, data: bytes = b"") -> None:
        if self.state != AWAITING_CONTROL_LINE:
            await super().parse(data)
            return
        buffer = bytes(self.buf) + data if self.buf else data
        client: NatsClient = self.nc
        taken = dispatch(buffer, client.handlers, client.on_handler_error)
        self.buf = bytearray(buffer[taken.upto :])
        if not taken.partial:
            await super().parse()


class _Reader(asyncio.StreamReader):
    """Dispatches whole messages as they arrive, so nats-py's reading task does not wake up for them."""

    def __init__(self, client: NatsClient, limit: int) -> None:
        super().__init__(limit=limit)
        self._client = client
        self._tail = b""
        """The beginning of a message whose end has not arrived."""

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # transports give bytes
        """Called by the transport with the bytes that have arrived."""
        client = self._client
        unread: bytearray = self._buffer  # type: ignore[attr-defined]
        if unread or not client.parser.idle:  # nats-py has earlier bytes to read first
            super().feed_data(data)
            return
        if self._tail:
            data, self._tail = self._tail + data, b""
        taken = dispatch(data, client.handlers, client.on_handler_error)
        if taken.upto == len(data):
            return
        rest = data[taken.upto :]
        if taken.partial:
            self._tail = rest
        else:
            super().feed_data(rest)


class _Tcp(TcpTransport):
    """nats-py's transport around `_Reader`."""

    def __init__(self, client: NatsClient) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._client = client

    def __bool__(self) -> bool:
        return True  # nats-py replaces a transport that is false

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        loop = asyncio.get_running_loop()
        reader = _Reader(self._client, buffer_size)
        protocol = asyncio.StreamReaderProtocol(reader)
        assert uri.hostname is not None
        async with asyncio.timeout(connect_timeout):
            transport, _ = await loop.create_connection(lambda: protocol, uri.hostname, uri.port or _PORT)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        loop = asyncio.get_running_loop()
        reader = _Reader(self._client, buffer_size)
        protocol = asyncio.StreamReaderProtocol(reader)
        protocol._over_ssl = True  # type: ignore[attr-defined]  # else each end of a connection is a warning
        host = uri if isinstance(uri, str) else uri.hostname
        assert self._io_writer is not None
        async with asyncio.timeout(connect_timeout):
            transport = await loop.start_tls(self._io_writer.transport, protocol, ssl_context, server_hostname=host)
        assert transport is not None
        self._io_reader = reader
        self._io_writer = asyncio.StreamWriter(transport, protocol, reader, loop)


class _Address(ParseResult):
    """An address whose user and password may be percent-encoded."""

    @property
    def username(self) -> str | None:
        return None if super().username is None else unquote(super().username or "")

    @property
    def password(self) -> str | None:
        return None if super().password is None else unquote(super().password or "")


class Outgoing(NamedTuple):
    """A message to send."""

    subject: str
    data: bytes
    reply: str = ""
    headers: bytes = b""
    """As they are sent: from `NATS/1.0` to the empty line."""


class NatsClient(Client):
    """nats-py's client with `dispatch` in place of its queues."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = self._ps = _Parser(self)
        self.handlers: dict[bytes, Handler] = {}
        """By subscription id in decimal digits."""
        self.dropped = 0
        """Messages whose handler raised, or that nats-py could not decode."""

    def __repr__(self) -> str:
        return f"<NatsClient subscriptions={len(self.handlers)} dropped={self.dropped}>"

    @property
    def reading_has_ended(self) -> bool:
        """Whether the read loop has ended although the client calls itself connected. It does not recover by itself."""
        reading = self._reading_task
        return bool(self.is_connected and reading is not None and reading.done())

    async def listen(self, subject: str, handler: Handler) -> NatsSubscription:
        """Subscribes; `handler` is called with each message as it arrives.

        Raises:
            NatsError, OSError: the client is closed.
        """
        subscription = await self.subscribe(subject)
        self.handlers[_sid(subscription)] = handler
        while not subscription._pending_queue.empty():  # arrived between the SUB and the line above
            early = subscription._pending_queue.get_nowait()
            handler(Message(early.subject.encode(), early.reply.encode(), raw_headers(early.headers), early.data))
        return subscription

    async def unlisten(self, subscription: NatsSubscription) -> None:
        """Ends a subscription; no handler call follows. Harmless when it is closed, or the connection is down."""
        self.handlers.pop(_sid(subscription), None)
        with contextlib.suppress(NatsError, OSError):
            await subscription.unsubscribe()

    async def publish_many(self, messages: Sequence[tuple[str, bytes] | Outgoing]) -> None:
        """Sends several messages in one write.

        Raises:
            NatsError, OSError: there is no connection.
        """
        commands = [_command(*message) for message in messages]
        if commands:
            await self._send_command(b"".join(commands))
            await self._flush_pending()

    # -- in place of nats-py's -----------------------------------------------------------------------------------

    @staticmethod
    def _parse_server_uri(connect_url: str) -> ParseResult:
        return _Address(*Client._parse_server_uri(connect_url))

    def _connect_command(self) -> bytes:
        """Called before user and password are sent: they go nowhere in the clear where TLS was asked for."""
        asked = "tls" in self.options or (self._current_server is not None and self._current_server.uri.scheme == "tls")
        if asked and not self._server_info.get("tls_required"):
            raise NatsError("nats: the server offers no TLS, which tls:// or a certificate in the settings asks for")
        return super()._connect_command()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if info.get("tls_available") and "tls" in self.options:
            info["tls_required"] = True  # not to the server, but to this side
        await super()._process_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        """nats-py closes the connection for good at most errors: when the user is changed, or its login expires."""
        if self.is_connected and PERMISSIONS_ERR not in err_msg:
            error = NatsError(f"nats: {err_msg}")
            await self._error_cb(error)
            await self._process_op_err(error)
            return
        await super()._process_err(err_msg)

    async def _connect_to_server(self, s: Any) -> None:
        if s.uri.scheme in ("nats", "tls") and not isinstance(self._transport, _Tcp):
            self._transport = _Tcp(self)
        await super()._connect_to_server(s)

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        """Writes what is pending first: nats-py's PING overtakes it, and `flush` would return before the broker knows
        the subscriptions that it is called for."""
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        if pending and self._transport is not None:
            self._transport.writelines(pending)
        await super()._send_ping(future)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        message = Message(bytes(subject), bytes(reply), headers or b"", data)
        handler = self.handlers.get(b"%d" % sid)
        try:
            if handler is not None:
                handler(message)
            else:
                await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]  # None without headers
        except Exception as error:
            self.on_handler_error(message, error)

    def on_handler_error(self, message: Message, error: Exception) -> None:
        """Counts and logs a message whose handler raised; reading continues."""
        self.dropped += 1
        _limited.warning("dropped a message on %r: %r", message.subject, error, exc_info=True)

    async def _attempt_reconnect(self) -> None:
        def on_failure(error: Exception) -> None:
            _limited.warning("reconnect failed in an unexpected way: %r", error)

        attempt = super()._attempt_reconnect  # whatever it raises, another round follows
        await retry(attempt, on=(Exception,), backoff=Backoff(_RETRY_S, _RETRY_S), on_failure=on_failure)


def next_server(rng: random.Random) -> Callable[[list[Any], Mapping[str, Any]], tuple[Any, float]]:
    """Returns what chooses the server of a reconnect and the pause before it: the one that has failed least."""

    def choose(servers: list[Any], _info: Mapping[str, Any]) -> tuple[Any, float]:
        server = min(servers, key=lambda each: (each.reconnects, rng.random()))
        longest = min(RECONNECT_MAX_S, _RECONNECT_MIN_S * 2 ** min(server.reconnects, 10))
        return server, rng.uniform(longest / 2, longest)

    return choose


def _command(subject: str, data: bytes, reply: str = "", headers: bytes = b"") -> bytes:
    """What the broker is sent for a message."""
    if not headers:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(data), data)
    sizes = (len(headers), len(headers) + len(data))
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), reply.encode(), *sizes, headers, data)


def _sid(subscription: NatsSubscription) -> bytes:
    return b"%d" % subscription._id


def raw_headers(headers: Mapping[str, str] | None) -> bytes:
    """The headers as they are sent; empty for none."""
    if not headers:
        return b""
    return b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n"
