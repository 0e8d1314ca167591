"""WebSocket frames (RFC 6455, section 5.2): one text message is one event, an array of events, or a control message."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final

import orjson

from broker.contract.position import Position

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
MAX_MESSAGE_BYTES: Final = 128 * 1024
"""A message joins at most about this much, so that a client never parses one of many megabytes."""


class WebSocketEncoding:
    """Unfragmented, unmasked text frames. Several events are one message, a JSON array."""

    name: Final = "websocket"

    def __repr__(self) -> str:
        return "<WebSocketEncoding>"

    def frame(self, bodies: Sequence[bytes], seqs: Sequence[int] = (), epoch: str = "") -> bytes:
        """One text frame, or several where the events are large. A single event stands by itself."""
        if len(bodies) == 1:
            return text_frame(bodies[0])
        frames: list[bytes] = []
        batch: list[bytes] = []
        size = 0
        for body in bodies:
            if batch and size + len(body) > MAX_MESSAGE_BYTES:
                frames.append(_array(batch))
                batch, size = [], 0
            batch.append(body)
            size += len(body) + 1
        if batch:
            frames.append(_array(batch))
        return b"".join(frames)

    def control(self, kind: str, at: Position | None = None, /, **fields: Any) -> bytes:
        """A control message as one text frame; fields that are None are left out."""
        message = {"type": kind} | {name: value for name, value in fields.items() if value is not None}
        return text_frame(orjson.dumps(message))


def text_frame(payload: bytes) -> bytes:
    """One unfragmented, unmasked text frame."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", _TEXT, 126, size) + payload
    return struct.pack("!BBQ", _TEXT, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to what fits (123 bytes)."""
    text = reason.encode()[:123].decode("utf-8", "ignore").encode()
    return bytes((_CLOSE, 2 + len(text))) + struct.pack("!H", code) + text


def wire_size(size: int) -> int:
    """Bytes that a client's frame with a payload of `size` takes: header, mask and payload."""
    return size + (6 if size < 126 else 8 if size < 65536 else 14)


def _array(bodies: Sequence[bytes]) -> bytes:
    return text_frame(bodies[0] if len(bodies) == 1 else b"[" + b",".join(bodies) + b"]")
