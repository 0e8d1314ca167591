"""One side of the egress proxy: an h11 connection over a pair of streams, and what a forward proxy reads and keeps."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import h11

MAX_HEAD_BYTES: Final = 64 * 1024
"""For the head of a request or an answer; browsers and servers keep theirs below 16 KiB."""

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    }
)
"""RFC 9110, section 7.6.1, and `Trailer`, as trailers are not carried. `Transfer-Encoding` is missing: it tells h11
how to frame the body that it writes."""

Header = tuple[bytes, bytes]


class Destination(NamedTuple):
    """Where a proxy request wants to go."""

    host: str
    """A name or an address, IPv6 without brackets."""
    port: int
    tunnel: bool
    """The request was a CONNECT."""
    authority: bytes
    """Host and port as the request wrote them: the `Host` header of the request that is sent on."""
    path: bytes
    """Path and query that are asked of the server; empty for a tunnel."""


def parse_request(request: h11.Request) -> Destination:
    """Reads the target of a proxy request: an absolute http address, or host and port of a tunnel.

    Raises:
        h11.RemoteProtocolError: it is neither; or its version is not HTTP/1; or its framing is ambiguous, with both
            Content-Length and Transfer-Encoding, which no browser sends and two servers may understand differently.
    """
    if request.http_version not in (b"1.0", b"1.1"):
        raise h11.RemoteProtocolError("only HTTP/1.0 and HTTP/1.1 are spoken here", 505)
    names = {name for name, _ in request.headers}
    framing = names & {b"content-length", b"transfer-encoding"}
    tunnel = request.method == b"CONNECT"
    if len(framing) > 1 or (tunnel and framing):
        raise h11.RemoteProtocolError("the length of the body is ambiguous", 400)
    target = request.target.decode("ascii")
    try:
        parts = urlsplit(f"//{target}" if tunnel else target)
        port = parts.port
    except ValueError as error:
        raise h11.RemoteProtocolError(f"the target cannot be read: {error}", 400) from None
    host, authority = parts.hostname, parts.netloc.rpartition("@")[2]
    if not host or port == 0:
        raise h11.RemoteProtocolError("the target names no host", 400)
    if tunnel:
        if port is None or authority != target:
            raise h11.RemoteProtocolError("CONNECT takes a host and a port", 400)
        return Destination(host, port, True, authority.encode(), b"")
    if parts.scheme != "http":
        raise h11.RemoteProtocolError("only http addresses and tunnels are carried", 400)
    path = target[len("http://") + len(parts.netloc) :]
    if not path.startswith("/"):
        path = "/" + path
    return Destination(host, port or 80, False, authority.encode(), path.encode())


def end_to_end(headers: Iterable[Header], *without: str) -> list[Header]:
    """`headers` without those that are for one connection only, those that `Connection` names, and `without`."""
    fields = [(name.decode("ascii").lower(), name, value) for name, value in headers]
    dropped = _HOP_BY_HOP.union(without)
    for lower, _, value in fields:
        if lower == "connection":
            dropped = dropped.union(each.strip().lower() for each in value.decode("latin-1").split(","))
    # A message could otherwise have its framing removed by "Connection: content-length".
    dropped -= {"content-length", "transfer-encoding"}
    return [(name, value) for lower, name, value in fields if lower not in dropped]


def basic_credentials(name: str, password: str) -> bytes:
    """The value of an `Authorization` header (RFC 7617)."""
    return b"Basic " + base64.b64encode(f"{name}:{password}".encode())


class Peer:
    """The browser or the game's server, as seen by the proxy.

    Args:
        role: the proxy's role: `h11.SERVER` towards the browser, `h11.CLIENT` towards the game's server.
    """

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.http = h11.Connection(role, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.reader = reader
        self.writer = writer
        self.received = 0
        """Bytes that were read by `next`."""
        self._head_only = False

    def __repr__(self) -> str:
        return f"<Peer {self.http.their_role} {self.http.their_state} received={self.received}>"

    async def next(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event of the other side, read as needed; never `NEED_DATA`.

        Raises:
            h11.RemoteProtocolError: it breaks the protocol, or ends in the middle of a message.
        """
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Request):
                self._head_only = event.method == b"HEAD"
            if event is not h11.NEED_DATA:
                return event
            chunk = await self.reader.read(65536)
            self.received += len(chunk)
            self.http.receive_data(chunk)

    async def send(self, event: h11.Event) -> None:
        """Writes an event, and waits while the other side takes no more."""
        if data := self.http.send(event):
            self.writer.write(data)
        await self.writer.drain()

    async def respond(self, status: int, headers: Iterable[Header] = (), body: bytes = b"") -> None:
        """Answers the browser in the proxy's own name; the connection ends with it."""
        fields = [*headers, (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
        reason = HTTPStatus(status).phrase.encode()
        await self.send(h11.Response(status_code=status, reason=reason, headers=fields))
        if body and not self._head_only:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())
