"""The head of an HTTP/1.1 request, read strictly (RFC 9112), and where its body ends. Pure.

httptools accepts what other parsers read differently: two Host fields, `gzip, chunked`, trailers, chunk extensions of
any length. Two parsers that disagree about where a request ends can be made to disagree about whose request it is. Here
every request is read once, anything ambiguous is refused, and httptools is given a head in one canonical form and a
body that ends where this module says.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final, NamedTuple

from ws_edge.transport.handshake import Refusal

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_LINE_BYTES: Final = 8 * 1024
"""Of the request line: RFC 9112, 3 recommends 8,000 at least."""
MAX_FIELDS: Final = 100
MAX_BODY_BYTES: Final = 8 << 20
"""Of any request. What a method takes is far less, and it says so itself."""
_MAX_CHUNK_LINE_BYTES: Final = 10
"""Eight digits of a size and the line's end. Nobody sends chunk extensions, and they are refused."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_LINE: Final = re.compile(_TOKEN + rb"{1,20} ([!-~]++) HTTP/1\.[01]\r\n")
_HEAD: Final = re.compile(
    rb"(" + _TOKEN + rb"{1,20}) ([!-~]++) HTTP/1\.([01])\r\n((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([/?].*)?", re.IGNORECASE)
_SINGLE: Final = (
    b"authorization",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"expect",
    b"host",
    b"origin",
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"transfer-encoding",
)
"""Fields that must not be repeated: which of two counts is a matter of taste."""
_CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,8}")


class Head(NamedTuple):
    """A request without its body."""

    method: str
    target: bytes
    """In origin form: a path, possibly with a query."""
    authorities: tuple[str, ...]
    """How the request names the server: Host, and the target's own authority where it has one."""
    minor: int
    """Of the version HTTP/1.x."""
    fields: dict[bytes, bytes]
    """Names in lower case; repeated ones joined by ", "."""

    def header(self, name: str) -> str | None:
        """A header by its lower-case name."""
        value = self.fields.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    def headers(self) -> dict[str, str]:
        """All of them, by their lower-case names."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.fields.items()}

    @property
    def is_upgrade(self) -> bool:
        """It asks for a WebSocket (RFC 6455, 4.2.1). Any other upgrade is left out, as RFC 9110, 7.8 permits."""
        upgrade = self.fields.get(b"upgrade", b"").lower() == b"websocket"
        return upgrade and self.minor == 1 and b"upgrade" in self.connection

    @property
    def connection(self) -> list[bytes]:
        """The options of Connection, in lower case."""
        return [each.strip().lower() for each in self.fields.get(b"connection", b"").split(b",")]

    def canonical(self, target: bytes) -> bytes:
        """The head as httptools gets it: without an upgrade, and with Host as the request means it."""
        wanted = [each for each in self.connection if each in (b"close", b"keep-alive")]
        fields = self.fields | {b"host": self.authorities[-1].encode("latin-1")}
        fields.pop(b"upgrade", None)
        fields.pop(b"connection", None)
        if wanted:
            fields[b"connection"] = b"close" if b"close" in wanted else b"keep-alive"
        lines = b"".join(b"%b: %b\r\n" % field for field in fields.items())
        return b"%b %b HTTP/1.%d\r\n%b\r\n" % (self.method.encode("ascii"), target, self.minor, lines)


def split(received: bytes | bytearray, max_bytes: int = MAX_HEAD_BYTES) -> tuple[int, int] | None:
    """Where the first head in `received` begins and ends. None: more has to come.

    Raises:
        Refusal: it is too large, or it can become no head any more.
    """
    start = 2 if received.startswith(b"\r\n") else 0  # RFC 9112, 2.2: an empty line before the request is ignored
    end = received.find(b"\r\n\r\n", start)
    size = (len(received) if end < 0 else end + 4) - start
    line = received.find(b"\n", start, start + MAX_LINE_BYTES + 1)
    if line < 0 and size > MAX_LINE_BYTES:
        text = f"the request line is longer than {MAX_LINE_BYTES} bytes"
        raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", text)
    if size > max_bytes:
        text = f"the head of the request is longer than {max_bytes} bytes (TESTCAST_EDGE_MAX_HEAD_BYTES)"
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", text)
    if end >= 0:
        return start, end + 4
    if line >= 0 and not _LINE.match(received, start):
        raise bad("the request line is malformed")
    if _BARE_LF.search(received, max(start, len(received) - size)):
        raise bad("a line ends without a carriage return")
    return None


def read(head: bytes) -> Head:
    """Reads a whole head.

    Raises:
        Refusal: it is malformed, or has a form that is not served.
    """
    if head.count(b"\r\n") > MAX_FIELDS + 2:
        text = f"the request has more than {MAX_FIELDS} header fields"
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", text)
    found = _HEAD.fullmatch(head)
    if found is None:
        raise bad("a line of the request's head is malformed")
    fields: dict[bytes, bytes] = {}
    for line in found[4].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name in fields:
            if name in _SINGLE:
                raise bad(f"{name.decode('ascii')} is given more than once")
            value = fields[name] + b", " + value
        fields[name] = value
    if b"host" not in fields:
        raise bad("the header Host is missing")
    if found[1] == b"CONNECT":
        raise bad("this server is no proxy")
    target, authority = _target(found[2])
    authorities = [each.decode("latin-1") for each in (fields[b"host"], authority) if each is not None]
    return Head(found[1].decode("ascii"), target, tuple(authorities), int(found[3]), fields)


def _target(target: bytes) -> tuple[bytes, bytes | None]:
    """The target in origin form, and its authority where it has one (RFC 9112, 3.2)."""
    if b"#" in target:
        raise bad("an address in a request has no fragment")
    if target.startswith(b"/"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise bad("the request's target is neither a path nor an http address")
    path = absolute[2] or b"/"
    return path if path.startswith(b"/") else b"/" + path, absolute[1]


def body_of(head: Head) -> Body | None:
    """How the request's body is framed. None: it has none.

    Raises:
        Refusal: its length is ambiguous or too large, or it is compressed.
    """
    length, coding = head.fields.get(b"content-length"), head.fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise bad("Transfer-Encoding and Content-Length are both given")
        if head.minor == 0 or coding.lower() != b"chunked":
            raise bad("the only transfer coding is chunked, and only in HTTP/1.1")
    if length is not None and not (length.isdigit() and len(length) <= 18):
        raise bad("Content-Length is not a number")
    if length is not None and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    if coding is None and not int(length or 0):
        return None
    if head.fields.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
        text = "a request's body must not be compressed"
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", text, accept_encoding="identity")
    return Body(None if length is None else int(length))


class Body:
    """Finds the end of one body, byte by byte as it arrives.

    Args:
        length: how many bytes it has; None where it comes in chunks.
    """

    __slots__ = ("_chunked", "_left", "_line", "_size", "finished")

    def __init__(self, length: int | None) -> None:
        self._chunked = length is None
        self._left = length or 0
        """Bytes to come of the body, or of the chunk under way with the line's end behind it."""
        self._line = b""
        self._size = 0
        self.finished = False

    def __repr__(self) -> str:
        return f"<Body {'chunked ' if self._chunked else ''}{'whole' if self.finished else 'under way'}>"

    def ends_within(self, limit: int) -> bool:
        """Whether it is known that no more than `limit` bytes are to come."""
        return not self._chunked and self._left <= limit

    def take(self, received: bytes | bytearray) -> int:
        """How many of these bytes belong to the body; it is `finished` when the last one is among them.

        Raises:
            Refusal: a chunk is malformed, or the body too large.
        """
        if not self._chunked:
            taken = min(self._left, len(received))
            self._left -= taken
            self.finished = not self._left
            return taken
        at = 0
        while at < len(received) and not self.finished:
            if self._left > 2:  # the data of a chunk; its line's end is read as a line
                taken = min(self._left - 2, len(received) - at)
                self._left -= taken
                at += taken
            else:
                at += self._take_line(received, at)
        return at

    def _take_line(self, received: bytes | bytearray, at: int) -> int:
        end = received.find(b"\n", at, at + _MAX_CHUNK_LINE_BYTES)
        piece = bytes(received[at : end + 1 if end >= 0 else at + _MAX_CHUNK_LINE_BYTES])
        self._line += piece
        if len(self._line) > _MAX_CHUNK_LINE_BYTES or (end < 0 and len(self._line) == _MAX_CHUNK_LINE_BYTES):
            raise bad("a chunk has an extension, or no valid size")
        if end < 0:
            return len(piece)
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise bad("a line of a chunk ends without a carriage return")
        self._on_line(line[:-2])
        return len(piece)

    def _on_line(self, line: bytes) -> None:
        if self._left == 2:  # the end of a chunk's data
            if line:
                raise bad("a chunk is longer than its size")
            self._left = 0
        elif self._left == 1:  # the end of the last chunk
            if line:
                raise bad("a body has no trailers")
            self.finished = True
        else:
            if not _CHUNK_SIZE.fullmatch(line):
                raise bad("a chunk has an extension, or no valid size")
            size = int(line, 16)
            self._size += size
            if self._size > MAX_BODY_BYTES:
                raise _too_large()
            self._left = size + 2 if size else 1


def _too_large() -> Refusal:
    text = f"the body is longer than {MAX_BODY_BYTES} bytes"
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", text)


def bad(message: str) -> Refusal:
    """A request that is not answered because nobody can be sure what it means."""
    return Refusal(HTTPStatus.BAD_REQUEST, "malformed_request", message)
