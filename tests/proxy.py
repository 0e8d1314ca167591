"""A proxy between a browser and an edge that fails on demand, and changes requests as proxies do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, NamedTuple, Self

Mode = Literal["pass", "refuse", "stall", "drop", "strip"]
"""The behaviour of a proxy.

* pass: bytes are forwarded.
* refuse: new connections are reset.
* stall: connections stay open, but bytes are held back (half-open).
* drop: the first bytes of an answer are forwarded (for a socket, the upgrade), then the connection is reset.
* strip: a WebSocket request arrives as a plain GET, as through a proxy that knows no WebSockets.
"""


class Rewrite(NamedTuple):
    """What a proxy changes in the head of each request."""

    prefix: str = ""
    """Only addresses below it are forwarded; any other is answered with 404."""
    strip: bool = True
    """The prefix is removed."""
    host: str | None = None
    """Takes the place of the header Host; None: Host is passed on."""
    upgrades: bool = True
    """Whether Upgrade and Connection are passed on, without which there are no sockets."""
    headers: Mapping[str, str] = {}
    """Added to every request."""

    def __call__(self, head: bytes) -> bytes | None:
        """The head to forward; None for an address that is not below the prefix."""
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, version = first.split(" ")
        if not target.startswith(f"{self.prefix}/"):
            return None
        target = target.removeprefix(self.prefix) if self.strip else target
        fields = [line.partition(":")[::2] for line in lines]
        upgrade = self.upgrades and any(name.lower() == "upgrade" for name, _ in fields)
        dropped = {name.lower() for name in self.headers} | (set() if self.host is None else {"host"})
        dropped |= set() if upgrade else {"upgrade", "connection"}
        kept = [(name, value.strip()) for name, value in fields if name.lower() not in dropped]
        kept += [*self.headers.items(), *([] if self.host is None else [("Host", self.host)])]
        kept += [] if upgrade else [("Connection", "close")]  # one request for each connection: every head is seen
        return "\r\n".join([f"{method} {target} {version}", *(f"{n}: {v}" for n, v in kept), "", ""]).encode("latin-1")


class Proxy:
    """Forwards to one port of this machine. WebSockets, plain HTTP and the page's event streams have separate modes.

    An async context manager. The modes may be changed at any time. `refuse` affects new connections (`cut` resets the
    existing ones), and `stall` affects all of them. `pass` forwards the bytes that were held back.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", rewrite: Rewrite | None = None) -> None:
        self._rewrite = rewrite
        self._target = (host, port)
        self._host = host
        self._server: asyncio.Server
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self.sockets: Mode = "pass"
        self.http: Mode = "pass"
        self.streams: Mode = "pass"
        """Of requests for `/events`, as a page makes them that has no socket. Only while `http` is "pass"."""
        self.streams_asked = 0
        """Number of such requests, with any result."""
        self.port = 0
        self.upgrades = 0
        """Number of requested WebSocket upgrades, with any result."""

    def __repr__(self) -> str:
        return f"<Proxy {self.port} sockets={self.sockets} http={self.http} links={len(self._links)}>"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://{self._host}:{self.port}"

    def lead_to(self, port: int) -> None:
        """Forwards new connections to another edge, as a load balancer does. Existing connections stay."""
        self._target = (self._host, port)

    @property
    def open_sockets(self) -> int:
        """Number of open WebSocket connections."""
        return sum(link.upgrade for link in self._links)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.close()
        self.cut()
        tasks = list(self._links.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fail(self, mode: Mode) -> None:
        """Sets the mode of WebSockets and plain HTTP."""
        self.sockets = self.http = mode

    def cut(self) -> None:
        """Resets every open connection without a close frame, as a killed proxy does."""
        for link in self._links:
            link.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self._look(link, head)
            if self._mode(link) == "refuse":
                return
            changed = head if self._rewrite is None else self._rewrite(head)
            if changed is None:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                writer.close()
                return
            answers, requests = await asyncio.open_connection(*self._target)
            link.onward = requests
            await self._unstalled(link)
            requests.write(_without_upgrade(changed) if self._mode(link) == "strip" else changed)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, reader, requests))
                group.create_task(self._pump(link, answers, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ExceptionGroup):
            pass  # one side ended, so the other is closed
        finally:
            link.abort()
            del self._links[link]

    async def _pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            begun = sink is link.onward and self._look(link, data)
            await self._unstalled(link)
            if self._mode(link) == "refuse" and (begun or not link.upgrade):
                break  # a persistent connection would forward the next request in spite of the mode
            sink.write(data)
            await sink.drain()
            if self._mode(link) == "drop" and sink is link.client:
                break
        raise ConnectionResetError  # one side ended: close the other too

    async def _unstalled(self, link: _Link) -> None:
        while self._mode(link) == "stall":
            await asyncio.sleep(0.02)

    def _look(self, link: _Link, data: bytes) -> bool:
        """Whether a request for a socket or a stream begins here. A client sends it on any connection that is free."""
        if not data.startswith(b"GET "):
            return False
        stream, upgrade = b"/events?" in data.split(b"\r\n", 1)[0], b"upgrade: websocket" in data.lower()
        self.streams_asked += stream
        self.upgrades += upgrade
        link.stream |= stream
        link.upgrade |= upgrade
        return stream or upgrade

    def _mode(self, link: _Link) -> Mode:
        if link.upgrade:
            return self.sockets
        return self.streams if link.stream and self.http == "pass" else self.http


def _without_upgrade(head: bytes) -> bytes:
    return re.sub(rb"(?i)\r\n(upgrade|connection|sec-websocket-[a-z]+):[^\r]*", b"", head)


class _Link:
    """One connection: the client's side and, once connected, the edge's side."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.onward: asyncio.StreamWriter | None = None
        self.upgrade = False
        self.stream = False

    def abort(self) -> None:
        for writer in (self.client, self.onward):
            if writer is not None:
                writer.transport.abort()
