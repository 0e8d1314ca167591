"""The opening handshake, from the server's side (RFC 6455, 4.2). Pure: bytes of a request in, an answer out.

`read` reads a request that is whole and plain. Any other request is parsed by uvicorn's HTTP protocol (httptools),
which hands it on in a canonical form for `parse`. `accept` checks what a handshake adds.
"""

from __future__ import annotations

import re
from collections.abc import Container
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import orjson
from websockets.utils import accept_key

from ws_edge.response_headers import LINES


class Request(NamedTuple):
    """An upgrade request."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by commas."""


class Refusal(Exception):
    """The upgrade is refused with an ordinary HTTP answer."""

    def __init__(self, status: HTTPStatus, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def encode(self, request_id: str = "") -> bytes:
        """The whole answer; the connection is closed after it."""
        body = orjson.dumps({"error": {"code": self.code, "message": self.message}})
        head = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            *LINES,
            "cache-control: no-store",
            *([f"x-request-id: {request_id}"] if request_id else []),
            *(f"{name.replace('_', '-')}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


_PLAIN: Final = re.compile(
    rb"GET (/ws(?:\?[!\"$-~]*+)?) HTTP/1\.1\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)++)\r\n"
)
"""A whole upgrade request as clients write it (RFC 9112: request line, fields, nothing folded, no body)."""
_KEY: Final = re.compile("[A-Za-z0-9+/]{22}==")
"""16 bytes in Base64."""
_MAX_PLAIN_BYTES: Final = 8 * 1024
_MAX_PLAIN_FIELDS: Final = 100
_OWN_ADDRESS: Final = re.compile(rb"/tests/[0-9a-f]{8}-[0-9a-f-]{27}(?:[/?]|\Z)")
"""A run's page, also where the public URL ends with `/tests`."""
SUBPROTOCOL: Final = "testcast.v1"
"""The name of what is spoken on the socket, for clients that insist on one."""
_SUBPROTOCOL_LINE: Final = f"\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}".encode()
_BODY: Final = {"content-length", "transfer-encoding"}


def read(data: bytes) -> Request | None:
    """The request in `data`, when it is a whole and plain one that asks for a WebSocket at `/ws`. None otherwise: that
    says nothing against it, an HTTP parser has to judge."""
    found = _PLAIN.fullmatch(data) if len(data) <= _MAX_PLAIN_BYTES else None
    if found is None or data.count(b"\n") > _MAX_PLAIN_FIELDS:
        return None
    fields = [line.partition(":") for line in found[2].decode("latin-1").split("\r\n")[:-1]]
    headers = {name.lower(): value.strip(" \t") for name, _, value in fields}
    if len(headers) < len(fields):  # some are repeated
        headers = {}
        for name, _, value in fields:
            _add(headers, name.lower(), value.strip(" \t"))
    if headers.get("upgrade", "").lower() != "websocket" or not _BODY.isdisjoint(headers):
        return None
    connection = headers.get("connection", "").lower()
    if connection != "upgrade" and "upgrade" not in [token.strip() for token in connection.split(",")]:
        return None
    path, _, query = found[1].decode("ascii").partition("?")
    return Request("GET", path, _query(query), headers)


def request_of(method: str, target: bytes, headers: dict[str, str]) -> Request:
    """The request with this target in origin form."""
    path, _, query = target.decode("ascii").partition("?")
    return Request(method, path, _query(query), headers)


def _query(query: str) -> list[tuple[str, str]]:
    if "%" in query or "+" in query:
        return parse_qsl(query, keep_blank_values=True)
    return [(name, value) for name, _, value in [each.partition("=") for each in query.split("&") if each]]


def _add(headers: dict[str, str], name: str, value: str) -> None:
    headers[name] = f"{headers[name]}, {value}" if name in headers else value


def parse(raw: bytes) -> Request:
    """Reads the request as uvicorn hands it on."""
    head = raw.decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers: dict[str, str] = {}
    for line in head[1:]:
        name, found, value = line.partition(":")
        if found:
            _add(headers, name.lower(), value.strip())
    path, _, query = target.partition("?")
    return Request(method, path, _query(query), headers)


def accept(request: Request, request_id: str = "") -> bytes:
    """The 101 answer.

    Args:
        request_id: is named in it; empty for none.

    Raises:
        Refusal: the handshake is not valid.
    """
    headers = request.headers
    if request.method != "GET":
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "bad_handshake", "a WebSocket opens with GET", allow="GET")
    if headers.get("sec-websocket-version") != "13":
        raise Refusal(
            HTTPStatus.UPGRADE_REQUIRED,
            "bad_handshake",
            "this server speaks WebSocket version 13",
            upgrade="websocket",
            sec_websocket_version="13",
        )
    key = headers.get("sec-websocket-key", "")
    if _KEY.fullmatch(key) is None:
        raise Refusal(HTTPStatus.BAD_REQUEST, "bad_handshake", "Sec-WebSocket-Key is missing or not 16 bytes")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept_key(key).encode()
        + (b"\r\nX-Request-Id: " + request_id.encode("ascii") if request_id else b"")
        + (_SUBPROTOCOL_LINE if _is_offered(headers.get("sec-websocket-protocol", "")) else b"")
        + b"\r\n\r\n"
    )


def _is_offered(protocols: str) -> bool:
    """Names of subprotocols are compared as they are, case included (RFC 6455, 4.1)."""
    return bool(protocols) and SUBPROTOCOL in [each.strip(" \t") for each in protocols.split(",")]


def without_prefix(target: bytes, prefix: bytes) -> bytes:
    """A request's target as the edge's own addresses have it.

    Args:
        target: as it came. A proxy may have removed the prefix, or passed it on.
        prefix: the path of the public URL, without a slash at its end; empty for none.
    """
    if not prefix or not target.startswith(prefix) or _OWN_ADDRESS.match(target):
        return target
    below = target[len(prefix) :]
    return below if below.startswith(b"/") else target


def origin_allowed(origin: str | None, host: str | None, allowed: Container[str]) -> bool:
    """Whether a page of `origin` may connect: the edge's own pages, and those of the origins that the operator names.

    Without an Origin header the client is no browser, and there is no page to judge.
    """
    if origin is None:
        return True
    origin = origin.lower().rstrip("/")
    if origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:  # like "http://["
        return False
    standard = {"http": ":80", "https": ":443"}.get(parts.scheme)
    if standard is None or host is None:
        return False
    return parts.netloc.removesuffix(standard) == host.lower().removesuffix(standard)
