"""The one file that imports nats: nats-py's client with our reading in place of its own.

What comes from the broker is taken apart by `wire.py` in the very call in which it arrives: no task is woken for it, no
queue holds it, nothing is decoded that nobody asks for. nats-py sees what is no message of ours (INFO, PING, errors),
and does the rest: handshake, reconnecting, writing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final
from urllib.parse import ParseResult

from nats.aio.client import Client
from nats.aio.subscription import Subscription as NatsSubscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from broker.jetstream.parser import Handler, Message, dispatch
from broker.log import RateLimited

__all__ = ["NatsClient", "NatsError", "NatsSubscription"]

_PORT: Final = 4222
_RETRY_S: Final = 2.0
_limited = RateLimited(logging.getLogger("testcast.nats"), per_s=5.0)


class _Parser(Parser):
    """nats-py's parser, which sees only what is no whole message of ours."""

    def reset(self) -> None:
        super().reset()
        self.parsing = False

    @property
    def idle(self) -> bool:
        """It has nothing under way."""
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
    """Takes whole messages out of what arrives, before nats-py's reading task has to wake up for them."""

    def __init__(self, client: NatsClient, limit: int) -> None:
        super().__init__(limit=limit)
        self._client = client
        self._tail = b""
        """The beginning of a message."""

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # transports give bytes
        """Called by the transport with what has arrived."""
        client = self._client
        unread: bytearray = self._buffer  # type: ignore[attr-defined]
        if unread or not client.parser.idle:  # nats-py has not read all that came before
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
    """nats-py's transport around our reader; what goes through TLS is read by nats-py's own."""

    def __init__(self, client: NatsClient) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._client = client

    def __bool__(self) -> bool:
        return True  # or nats-py would put its own in this one's place

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


class NatsClient(Client):
    """nats-py's client with our dispatch in place of its queues."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = self._ps = _Parser(self)
        self.handlers: dict[bytes, Handler] = {}
        """By subscription id, as its digits."""
        self.dropped = 0

    async def _connect_to_server(self, s: Any) -> None:
        if s.uri.scheme in ("nats", "tls") and not isinstance(self._transport, _Tcp):
            self._transport = _Tcp(self)
        await super()._connect_to_server(s)

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        """What is pending goes first: nats-py's ping overtakes it, and so the answer would come before the interest
        stands that `flush` was to wait for."""
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
        """A message that could not be handled must not end the reading of the others."""
        self.dropped += 1
        _limited.warning("dropped a message on %r: %r", message.subject, error, exc_info=True)

    async def _attempt_reconnect(self) -> None:
        while True:
            try:
                return await super()._attempt_reconnect()
            except Exception as error:  # nothing that happens on the way back may end the way back
                _limited.warning("reconnect failed in an unexpected way: %r", error)
                await asyncio.sleep(_RETRY_S)
