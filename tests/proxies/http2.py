"""As much of HTTP/2 as a WebSocket on a stream needs (RFC 8441), with header fields spelt out."""

from __future__ import annotations

import asyncio
import struct
from typing import Final, NamedTuple

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 4, 6, 8
_ACK, _END_HEADERS = 1, 4
_ENABLE_CONNECT_PROTOCOL: Final = 8
_STATUS_200: Final = 0x88
"""`:status: 200` in the table of HPACK (RFC 7541, appendix A)."""
_STREAM: Final = 1


class _Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Http2Connection:
    """A connection with one stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.connect_protocol = False
        """Whether the server offers WebSockets on streams. Known after `begin`."""

    async def begin(self) -> None:
        """Greets the server and reads its settings."""
        self._writer.write(_PREFACE + _frame(_SETTINGS))
        await self._frame_of(_SETTINGS)

    async def upgrade(self, path: str, authority: str) -> None:
        """Asks for a WebSocket.

        Raises:
            AssertionError: the answer is not 200.
        """
        fields = {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": "https",
            ":path": path,
            ":authority": authority,
            "sec-websocket-version": "13",
        }
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
        self._writer.write(_frame(_HEADERS, _END_HEADERS, _STREAM, block))
        answer = await self._frame_of(_HEADERS)
        assert answer.payload[0] == _STATUS_200, answer

    async def data(self) -> bytes:
        """The next bytes of the stream."""
        return (await self._frame_of(_DATA)).payload

    def close(self) -> None:
        """Closes the connection."""
        self._writer.close()

    async def _frame_of(self, kind: int) -> _Frame:
        while True:
            async with asyncio.timeout(30):
                head = await self._reader.readexactly(9)
                length = int.from_bytes(head[:3], "big")
                stream = int.from_bytes(head[5:], "big")
                frame = _Frame(head[3], head[4], stream, await self._reader.readexactly(length))
            if frame.kind == _SETTINGS and not frame.flags & _ACK:
                pairs = struct.iter_unpack(">HI", frame.payload)
                self.connect_protocol |= (_ENABLE_CONNECT_PROTOCOL, 1) in list(pairs)
                self._writer.write(_frame(_SETTINGS, _ACK))
            if frame.kind == _PING and not frame.flags & _ACK:
                self._writer.write(_frame(_PING, _ACK, 0, frame.payload))
            if frame.kind == kind and not (kind == _SETTINGS and frame.flags & _ACK):
                return frame


def _frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: str) -> bytes:
    assert len(text) < 127, "longer ones are spelt otherwise"
    return bytes((len(text),)) + text.encode()
