"""The browser's only way out: a forward proxy, one per run, that judges every address before it connects.

The browser's own request hooks do not see redirects, WebSockets or the requests of a service worker, and they judge a
name that the browser then resolves a second time. The proxy resolves a name once, judges the addresses and connects to
one of exactly these, so a name whose addresses change between check and connect (DNS rebinding) gains nothing.

https and WebSockets go through a tunnel (`CONNECT`): the proxy sees host and port, not what is inside. Plain http is
parsed by h11 and written anew in both directions, so that this proxy, the browser and the game's server cannot take
the same bytes for different messages (request smuggling).
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self

import h11

from agent_worker.games.chromium.http_peer import (
    MAX_HEAD_BYTES,
    Destination,
    Peer,
    basic_credentials,
    end_to_end,
    parse_request,
)
from broker.contract.errors import NotResolved
from broker.contract.url_policy import GameUrlRefused, is_named, refuse_private
from broker.local.name_resolution import Lookups

HEAD_TIMEOUT_S: Final = 30.0
"""For the head of a request, on a connection that Chromium may have opened ahead of need."""
DNS_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 8.0
"""Less than the 15 s a page may take to load, so that the reason is known before the load times out."""
MAX_CONNECTIONS: Final = 256
"""Chromium opens at most 32 to a proxy and one per WebSocket. A page that needs more is out of control."""
TROUBLE_HEADER: Final = "x-testcast-egress"
"""Marks an answer of the proxy itself; its value is `Trouble.code`."""

_USER: Final = "testcast"
_PROXY_ASKS: Final = 407

_lookups: Final = Lookups()

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to IP addresses; raises OSError when there are none."""
Judge = Callable[[str, int, list[str]], None]
"""Host, port and what the host resolved to; raises GameUrlRefused for what may not be opened."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A request that the proxy did not carry, or whose answer it could not read.

    `code` is `url_refused`, `dns_not_found`, `connection_refused`, `connect_timeout`, `connection_lost` or
    `bad_answer`.
    """

    host: str
    port: int
    code: str
    message: str


class ProxyStatistics(NamedTuple):
    """What a proxy did since it was made."""

    open: int
    """Connections of the browser that stand now."""
    carried: int
    """Requests and tunnels for which a connection was made."""
    troubles: int
    """Requests and tunnels that became a `Trouble`."""
    malformed: int
    """Connections that were closed for what is not a proxy request."""
    strangers: int
    """Requests that did not name the secret; nothing was done for them."""


class _Stopped(Exception):
    def __init__(self, status: int, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.status = status
        self.trouble = trouble


_GONE: Final = (OSError, EOFError, h11.ProtocolError)
"""The browser or the game's server went away, or broke the protocol, in the middle of an exchange."""


def judge_public(host: str, port: int, addresses: list[str]) -> None:
    """The rule for workers that may open public addresses only."""
    refuse_private(host, addresses, port=port)


class JudgeNamed:
    """The rule for a run with hosts that may be private (`url_policy.allowed_host`).

    What such a host leads to the first time is what it leads to for the whole run: a name that changes gains nothing.
    """

    def __init__(self, allowed_hosts: Collection[str]) -> None:
        self._allowed = frozenset(allowed_hosts)
        self._pinned: dict[str, frozenset[str]] = {}

    def __call__(self, host: str, port: int, addresses: list[str]) -> None:
        """Judges as `Judge` says."""
        refuse_private(host, addresses, port=port, allowed_hosts=self._allowed)
        if is_named(host, port, self._allowed):
            first = self._pinned.setdefault(host, frozenset(addresses))
            if not first.issuperset(addresses):
                raise GameUrlRefused("url_refused", f"{host} leads to another address than when this run began.")


def judge_any(host: str, port: int, addresses: list[str]) -> None:
    """The rule with TESTCAST_ALLOW_PRIVATE=1: every address may be opened."""


class EgressProxy:
    """A forward proxy on a loopback port of its own, alive inside `async with`.

    Leaving the block closes every connection at once.

    Args:
        on_trouble: called in the event loop, once per `Trouble`; it must not block.
        resolver: None: the system's, with at most `AT_ONCE_EACH` look-ups under way for this proxy.
        secret: what the browser has to name with each request, since every process of the machine reaches loopback;
            None: nothing.
        listening: the socket to take connections from, which is closed at the end; None: a port of loopback.
    """

    def __init__(
        self,
        judge: Judge,
        on_trouble: Callable[[Trouble], None],
        resolver: Resolver | None = None,
        *,
        secret: str | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._judge = judge
        self._on_trouble = on_trouble
        self._resolver = resolver or self._look_up
        self._secret = secret
        self._listening = listening
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.carried = 0
        """Requests and tunnels for which a connection was made; 0 before the first."""
        self._forbidden = 0
        self._troubles = self._malformed = self._strangers = 0

    def __repr__(self) -> str:
        return f"<EgressProxy {self.url if self._server else 'closed'} {self.statistics()}>"

    def statistics(self) -> ProxyStatistics:
        """The counts since this object was made."""
        return ProxyStatistics(len(self._tasks), self.carried, self._troubles, self._malformed, self._strangers)

    @property
    def turned_away(self) -> int:
        """Requests and connections that it would not carry: what asks is wrong, or the address may not be opened."""
        return self._forbidden + self._malformed + self._strangers

    @property
    def url(self) -> str:
        """The proxy's address, for the browser's settings."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def credentials(self) -> tuple[str, str]:
        """Name and password for the browser."""
        return _USER, self._secret or ""

    async def _look_up(self, host: str, port: int) -> list[str]:
        return await _lookups.addresses(host, port, f"proxy {id(self)}", DNS_TIMEOUT_S)

    def _is_mine(self, request: h11.Request) -> bool:
        """Whether the request names the secret. Takes the same time whatever it names instead."""
        given = [value for name, value in request.headers if name == b"proxy-authorization"]
        return self._secret is None or (
            len(given) == 1 and hmac.compare_digest(given[0], basic_credentials(*self.credentials))
        )

    async def __aenter__(self) -> Self:
        if self._listening is not None:
            self._server = await asyncio.start_server(self._accept, sock=self._listening, limit=MAX_HEAD_BYTES)
        else:
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
                await self._serve(Peer(h11.SERVER, reader, writer))
        except _GONE:
            pass  # the other side notices the closed connection
        except asyncio.CancelledError:
            pass  # the run is over; only __aexit__ awaits this task
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, browser: Peer) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_S):
                request = await browser.next()
            if not isinstance(request, h11.Request):
                return  # closed before it asked for anything
            if not self._is_mine(request):
                self._strangers += 1
                await browser.respond(407, [(b"Proxy-Authenticate", b'Basic realm="testcast"')])
                return
            destination = parse_request(request)
        except h11.RemoteProtocolError as error:
            self._malformed += 1
            await browser.respond(error.error_status_hint or 400)
            return
        except TimeoutError:
            return
        try:
            upstream = await self._connect(destination.host, destination.port)
        except _Stopped as stopped:
            await self._refuse(browser, stopped)
            return
        self.carried += 1
        try:
            if destination.tunnel:
                await _tunnel(browser, upstream)
            else:
                await _both(
                    _send_request(browser, upstream, request, destination),
                    self._send_response(browser, upstream, destination),
                )
        finally:
            upstream.writer.close()

    async def _send_response(self, browser: Peer, upstream: Peer, destination: Destination) -> None:
        """Carries the answer, which ends the browser's connection; an answer that does not come is a `Trouble`."""
        started = False
        try:
            while True:
                event = await upstream.next()
                if isinstance(event, h11.Response) and event.status_code == _PROXY_ASKS:
                    # The browser would take it for this proxy's word, and forget the secret.
                    raise h11.RemoteProtocolError("it answers like a proxy", 502)
                if isinstance(event, h11.Response):
                    started = True
                    headers = [*end_to_end(event.headers.raw_items(), TROUBLE_HEADER), (b"Connection", b"close")]
                    await browser.send(
                        h11.Response(status_code=event.status_code, reason=event.reason, headers=headers)
                    )
                elif isinstance(event, h11.InformationalResponse):
                    headers = end_to_end(event.headers.raw_items())
                    await browser.send(h11.InformationalResponse(status_code=event.status_code, headers=headers))
                elif isinstance(event, h11.Data):
                    await browser.send(h11.Data(data=event.data))
                elif isinstance(event, h11.EndOfMessage):
                    await browser.send(h11.EndOfMessage())
                    return
                else:
                    raise EOFError
        except _GONE as error:
            if started:
                raise
            host, port = destination.host, destination.port
            if isinstance(error, h11.RemoteProtocolError) and upstream.received:
                trouble = Trouble(host, port, "bad_answer", f"{host}:{port} does not answer in HTTP ({error})")
            else:
                trouble = Trouble(host, port, "connection_lost", f"{host}:{port} closed the connection unanswered")
            await self._refuse(browser, _Stopped(502, trouble))

    async def _refuse(self, browser: Peer, stopped: _Stopped) -> None:
        self._troubles += 1
        self._forbidden += stopped.trouble.code == "url_refused"
        self._on_trouble(stopped.trouble)
        headers = [
            (TROUBLE_HEADER.encode(), stopped.trouble.code.encode()),
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Cache-Control", b"no-store"),
        ]
        await browser.respond(stopped.status, headers, stopped.trouble.message.encode())

    async def _connect(self, host: str, port: int) -> Peer:
        def stopped(status: int, code: str, message: str) -> _Stopped:
            return _Stopped(status, Trouble(host, port, code, message))

        try:
            async with asyncio.timeout(DNS_TIMEOUT_S + 1):  # the resolver's own deadline says more
                addresses = await self._resolver(host, port)
        except (TimeoutError, NotResolved):
            raise stopped(504, "dns_not_found", f"no answer for the name {host}") from None
        except (OSError, UnicodeError):
            raise stopped(502, "dns_not_found", f"the name {host} is not known") from None
        try:
            self._judge(host, port, addresses)
        except GameUrlRefused as refused:
            raise stopped(403, refused.code, refused.message) from None
        failure: OSError | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                for address in addresses:
                    try:
                        streams = await asyncio.open_connection(address, port, limit=MAX_HEAD_BYTES)
                        return Peer(h11.CLIENT, *streams)
                    except OSError as error:
                        failure = error
        except TimeoutError:
            raise stopped(504, "connect_timeout", f"{host}:{port} did not answer") from None
        what = "connection refused" if isinstance(failure, ConnectionRefusedError) else "no connection"
        raise stopped(502, "connection_refused", f"{host} found, {what} on port {port}")


async def _send_request(browser: Peer, upstream: Peer, request: h11.Request, destination: Destination) -> None:
    """Carries the request with its body; returns when the browser closes its connection.

    There is one request per connection, since a second one could be meant for another host. The answer says so; what
    the browser sends behind the request is read and dropped.
    """
    headers = [
        (b"Host", destination.authority),
        *end_to_end(request.headers.raw_items(), "host"),
        (b"Connection", b"close"),
    ]
    with suppress(OSError):  # a server may answer before it has read the whole body: the answer counts
        await upstream.send(h11.Request(method=request.method, target=destination.path, headers=headers))
        while isinstance(event := await browser.next(), h11.Data):
            await upstream.send(h11.Data(data=event.data))
        if not isinstance(event, h11.EndOfMessage):
            return
        await upstream.send(h11.EndOfMessage())
    while await browser.reader.read(65536):
        pass


async def _tunnel(browser: Peer, upstream: Peer) -> None:
    await browser.next()  # the end of the CONNECT request, which has no body
    await browser.send(h11.Response(status_code=200, reason=b"Connection established", headers=[]))
    behind, _ = browser.http.trailing_data
    upstream.writer.write(behind)
    await _both(_pipe(browser.reader, upstream.writer), _pipe(upstream.reader, browser.writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


async def _both(up: Awaitable[None], down: Awaitable[None]) -> None:
    """Runs both directions until one ends; the other is then cancelled."""
    tasks = [asyncio.ensure_future(up), asyncio.ensure_future(down)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, *_GONE):
                await task
