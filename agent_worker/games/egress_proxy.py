"""The browser's only way out: a forward proxy, one per run, that looks at every address before it connects.

Why a proxy and not the browser's own request hooks: those see neither redirect hops nor web sockets nor what
a service worker asks for, and they judge a *name* that the browser then resolves a second time. The gate
resolves once, judges what came out and connects to exactly that, so a name that changes its mind between
the look and the connect (DNS rebinding) gains nothing. https goes through as a tunnel: the gate sees host
and port, never what is inside.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from broker.contract.url_policy import GameUrlRefused, refuse_private

DNS_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 8.0
"""Less than the 15 s a page may take to load, so that the reason is known before the patience ends."""
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 256
"""Chromium opens at most 32 towards a proxy and one per web socket; more than this is a runaway page."""
TROUBLE_HEADER: Final = "x-testcast-gate"

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to IP addresses; raises OSError when there are none."""
Judge = Callable[[str, int, list[str]], None]
"""Host, port and what the host resolved to; raises GameUrlRefused for what may not be opened."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that the gate did not carry.

    `code` is `url_refused`, `dns_not_found`, `connection_refused`, `connect_timeout` or `connection_lost`.
    """

    host: str
    port: int
    code: str
    message: str


class _Stopped(Exception):
    def __init__(self, status: str, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.status = status
        self.trouble = trouble


def judge_public(host: str, port: int, addresses: list[str]) -> None:
    """The rule for workers that may open public addresses only."""
    refuse_private(host, addresses)


def judge_any(host: str, port: int, addresses: list[str]) -> None:
    """The rule with TESTCAST_AGENT_ALLOW_PRIVATE=1: every address may be opened."""


async def resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says, in its order, each address once."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Gate:
    """A forward proxy on a loopback port of its own, alive inside `async with`.

    `on_trouble` is called in the event loop, once per request that was not carried; it must not block.
    Leaving the block closes every connection at once.
    """

    def __init__(self, judge: Judge, on_trouble: Callable[[Trouble], None], resolver: Resolver = resolve) -> None:
        self._judge = judge
        self._on_trouble = on_trouble
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.carried = 0
        """Requests and tunnels that were let through; 0 before the first."""

    def __repr__(self) -> str:
        return f"<Gate {self.url if self._server else 'closed'} open={len(self._tasks)} carried={self.carried}>"

    @property
    def url(self) -> str:
        """The proxy's address, for the browser's settings."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) <= MAX_CONNECTIONS:
                await self._serve(reader, writer)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass  # the browser or the game's server went away in the middle: theirs to notice
        except asyncio.CancelledError:
            pass  # the run is over; nobody awaits this task but __aexit__
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        tunnel = method == "CONNECT"
        parts = urlsplit(f"//{target}" if tunnel else target)
        host, port = parts.hostname, parts.port or 80
        if not host or (not tunnel and parts.scheme != "http"):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            return
        try:
            upstream_reader, upstream = await self._connect(host, port)
        except _Stopped as stopped:
            self._on_trouble(stopped.trouble)
            writer.write(_refusal(stopped))
            await writer.drain()
            return
        self.carried += 1
        try:
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _both(_pipe(reader, upstream), _pipe(upstream_reader, writer))
            else:
                # One request per connection: a second one on it could be meant for another host.
                path = target.split("/", 3)[3:] or [""]
                upstream.write(_head(f"{method} /{path[0]} HTTP/1.1", headers))
                await _both(
                    _send_body(reader, upstream, headers),
                    self._answer(upstream_reader, writer, host, port),
                )
        finally:
            upstream.close()

    async def _answer(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        started = False
        try:
            while True:
                head = await upstream.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                started = True
                interim = lines[0].split(" ")[1:2][0].startswith("1")
                writer.write(_head(lines[0], _fields(lines[1:])))
                if not interim:
                    break
            await _pipe(upstream, writer)
        except (OSError, EOFError, asyncio.LimitOverrunError, IndexError):
            if started:
                raise
            trouble = Trouble(host, port, "connection_lost", f"{host}:{port} closed the connection unanswered")
            self._on_trouble(trouble)
            writer.write(_refusal(_Stopped("502 Bad Gateway", trouble)))

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        def stopped(status: str, code: str, message: str) -> _Stopped:
            return _Stopped(status, Trouble(host, port, code, message))

        try:
            addresses = await asyncio.wait_for(self._resolver(host, port), DNS_TIMEOUT_S)
        except (OSError, UnicodeError):
            raise stopped("502 Bad Gateway", "dns_not_found", f"the name {host} is not known") from None
        except TimeoutError:
            raise stopped("504 Gateway Timeout", "dns_not_found", f"no answer for the name {host}") from None
        try:
            self._judge(host, port, addresses)
        except GameUrlRefused as refused:
            raise stopped("403 Forbidden", refused.code, refused.message) from None
        failure: OSError | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                for address in addresses:
                    try:
                        return await asyncio.open_connection(address, port, limit=MAX_HEAD_BYTES)
                    except OSError as error:
                        failure = error
        except TimeoutError:
            raise stopped("504 Gateway Timeout", "connect_timeout", f"{host}:{port} did not answer") from None
        what = "connection refused" if isinstance(failure, ConnectionRefusedError) else "no connection"
        raise stopped("502 Bad Gateway", "connection_refused", f"{host} found, {what} on port {port}")


_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te"})


def _parse_head(head: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    lines = head.decode("latin-1").split("\r\n")
    method, target, _version = lines[0].split(" ", 2)
    return method, target, _fields(lines[1:])


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in lines if line)
    return [(name, value.strip()) for name, _, value in pairs]


def _head(first: str, headers: list[tuple[str, str]]) -> bytes:
    kept = [f"{name}: {value}" for name, value in headers if name.lower() not in _HOP_BY_HOP]
    return "\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1")


def _refusal(stopped: _Stopped) -> bytes:
    body = stopped.trouble.message.encode()
    return (
        f"HTTP/1.1 {stopped.status}\r\n{TROUBLE_HEADER}: {stopped.trouble.code}\r\nContent-Type: text/plain\r\n"
        f"Cache-Control: no-store\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


async def _send_body(
    reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, headers: list[tuple[str, str]]
) -> None:
    left = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    while left > 0 and (chunk := await reader.read(min(left, 65536))):
        left -= len(chunk)
        upstream.write(chunk)
        await upstream.drain()
    await reader.read(1)  # returns when the browser gives the request up (or, against the rules, goes on)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


async def _both(up: Awaitable[None], down: Awaitable[None]) -> None:
    """Runs both ways until one ends; the other is then given up."""
    tasks = [asyncio.ensure_future(up), asyncio.ensure_future(down)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                await task
