"""An HTTP server of a test behind a proxy. It writes down what arrives, and answers as slowly or as badly as asked."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Request(NamedTuple):
    """One request as it arrived."""

    first: str
    """The request line."""
    fields: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes

    def field(self, name: str) -> str | None:
        """The values of a field, joined by commas; None when it is absent."""
        found = [value for each, value in self.fields if each == name]
        return ",".join(found) if found else None


class Upstream:
    """Answers by the end of the path.

    * `readyz`: 200, or 503 when not `ready`.
    * `busy`: likewise, and it is written down.
    * `drop`: the request is read and the connection closed, as an edge does that is killed.
    * `flaky`: likewise as long as `failures` is not 0, which it then is by one less.
    * `stream`: an event stream; `say` sends an event to those who listen.
    * anything else: 200.
    """

    def __init__(self) -> None:
        self.ready = True
        self.failures = 0
        self.checks = 0
        """Number of requests for `readyz`."""
        self.requests: list[Request] = []
        """All but those for `readyz`, the newest last."""
        self._listeners: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self) -> Upstream:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Closes everything."""
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    @property
    def listening(self) -> bool:
        """Whether somebody has asked for the stream."""
        return bool(self._listeners)

    async def say(self, text: str) -> None:
        """Sends an event to everyone who listens."""
        event = f"data: {text}\n\n".encode()
        for writer in list(self._listeners):
            if writer.is_closing():
                continue
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            with contextlib.suppress(ConnectionError):
                await writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                while await self._answered(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:])]
        request = Request(head[0], fields, await _body(reader, dict(fields)))
        what = head[0].split(" ")[1].partition("?")[0].rpartition("/")[2]
        if what == "readyz":
            self.checks += 1
        else:
            self.requests.append(request)
        if what == "flaky" and self.failures:
            self.failures -= 1
            return False
        if what == "drop":
            return False
        if what == "stream":
            writer.write(_STREAM)
            await writer.drain()
            self._listeners.append(writer)
            try:
                await reader.read()  # until the listener leaves
            finally:
                self._listeners.remove(writer)
            return False
        writer.write(_OK if self.ready or what not in ("readyz", "busy") else _UNAVAILABLE)
        await writer.drain()
        return True


async def _body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    if "transfer-encoding" in fields:
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return body
    return await reader.readexactly(int(fields.get("content-length", 0)))
