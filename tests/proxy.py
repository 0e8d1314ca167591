"""A TCP proxy that stands between a browser and an edge, and fails on demand."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Literal, Self

Mode = Literal["pass", "refuse", "stall", "drop"]
"""pass: forward; refuse: a new connection is reset; stall: bytes are held, the connection stays (half-open); drop: the
first bytes of an answer (of a socket: the upgrade) come through, then the connection is reset."""


class Proxy:
    """Forwards to one port of this machine. WebSockets and plain HTTP can fail apart from each other.

    Use as an async context manager. The modes may be changed at any time: `refuse` concerns new connections (see `cut`
    for those that stand), `stall` all of them, and what was held goes on with `pass`.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._host = host
        self._server: asyncio.Server
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self.sockets: Mode = "pass"
        self.http: Mode = "pass"
        self.port = 0
        self.upgrades = 0
        """WebSocket upgrades that were asked for, whatever became of them."""

    def __repr__(self) -> str:
        return f"<Proxy {self.port} sockets={self.sockets} http={self.http} links={len(self._links)}>"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`."""
        return f"http://{self._host}:{self.port}"

    def lead_to(self, port: int) -> None:
        """To another edge from now on, as a load balancer does; what stands stays where it is."""
        self._target = (self._host, port)

    @property
    def open_sockets(self) -> int:
        """WebSocket connections that stand."""
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
        """Both kinds at once."""
        self.sockets = self.http = mode

    def cut(self) -> None:
        """Resets every connection that stands, as a pulled cable or a killed proxy does: no close frame."""
        for link in self._links:
            link.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        task = asyncio.current_task()
        assert task is not None
        self._links[link] = task
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            link.upgrade = b"upgrade: websocket" in head.lower()
            self.upgrades += link.upgrade
            if self._mode(link) == "refuse":
                return
            answers, requests = await asyncio.open_connection(*self._target)
            link.onward = requests
            await self._unstalled(link)
            requests.write(head)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, reader, requests))
                group.create_task(self._pump(link, answers, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ExceptionGroup):
            pass  # either side is gone: so is the other
        finally:
            link.abort()
            del self._links[link]

    async def _pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            await self._unstalled(link)
            if self._mode(link) == "refuse" and not link.upgrade:
                break  # a kept-alive connection would carry the next request past the mode
            sink.write(data)
            await sink.drain()
            if self._mode(link) == "drop" and sink is link.client:
                break
        raise ConnectionResetError  # one side has ended: the other ends with it

    async def _unstalled(self, link: _Link) -> None:
        while self._mode(link) == "stall":
            await asyncio.sleep(0.02)

    def _mode(self, link: _Link) -> Mode:
        return self.sockets if link.upgrade else self.http


class _Link:
    """One connection: the client's side and, once it stands, the edge's."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.onward: asyncio.StreamWriter | None = None
        self.upgrade = False

    def abort(self) -> None:
        for writer in (self.client, self.onward):
            if writer is not None:
                writer.transport.abort()
