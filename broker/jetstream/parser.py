"""Parses what the broker sends: whole messages out of a buffer of bytes. Pure.

nats-py matches every line against eight patterns in turn, collects each message in a growing array and awaits its own
dispatch: 10 µs and more per message. This parser finds the end of the line, splits it and calls the handler: about
1.5 µs. It parses messages only; everything else (INFO, PING, errors, malformed input) is left to nats-py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple


class Message(NamedTuple):
    """A message as it arrived. Nothing is decoded: a subject need not be UTF-8, and headers are parsed on demand."""

    subject: bytes
    reply: bytes
    headers: bytes
    data: bytes

    def header(self, name: bytes) -> bytes | None:
        """Returns the value of the last header `name`, or None. The broker's own headers follow the publisher's."""
        return header_value(self.headers, name)

    @property
    def status(self) -> bytes | None:
        """The three digits of an inline status ("204", "503", …); None on an ordinary message."""
        head = self.headers[:12]
        return head[9:12] if len(head) == 12 and head[8:9] == b" " and head[9:12].isdigit() else None

    @property
    def description(self) -> str:
        """The text after the status."""
        return self.headers[12 : self.headers.find(b"\r\n")].strip().decode("utf-8", "replace")


Handler = Callable[[Message], None]
"""Called in the reading loop. It must not block or raise; an exception is logged and the message dropped."""

_M: Final = ord("M")
_H: Final = ord("H")
_END: Final = b"\r\n"


def header_value(headers: bytes, name: bytes) -> bytes | None:
    """Returns the value of the last header `name` in a raw NATS header block, or None."""
    start = headers.rfind(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    return headers[start : headers.find(_END, start)].strip()


class Taken(NamedTuple):
    """How far a buffer was parsed."""

    upto: int
    """Bytes parsed."""
    partial: bool
    """The rest is empty, or the beginning of a message: more bytes are needed. Otherwise the rest is for nats-py."""


def dispatch(buffer: bytes, handlers: Mapping[bytes, Handler], on_error: Callable[[Message, Exception], None]) -> Taken:
    """Calls the handler of each whole message at the beginning of `buffer`, in order.

    Args:
        handlers: by subscription id in decimal digits. Parsing stops at a message of any other subscription.
        on_error: called with a message and what its handler raised.
    """
    at, size = 0, len(buffer)
    while at < size:
        first = buffer[at]
        if first != _M and first != _H:
            return Taken(at, False)
        line_end = buffer.find(_END, at)
        if line_end < 0:
            return Taken(at, True)
        words = buffer[at:line_end].split()
        count = len(words)
        try:
            if first == _M:
                if count not in (4, 5) or words[0] != b"MSG":
                    return Taken(at, False)
                reply, in_headers, length = (words[3] if count == 5 else b""), 0, int(words[-1])
            else:
                if count not in (5, 6) or words[0] != b"HMSG":
                    return Taken(at, False)
                reply, in_headers, length = (words[3] if count == 6 else b""), int(words[-2]), int(words[-1])
        except ValueError:
            return Taken(at, False)
        begin = line_end + 2
        end = begin + length
        if end + 2 > size:
            return Taken(at, True)
        handler = handlers.get(words[2])
        if handler is None or not 0 <= in_headers <= length:
            return Taken(at, False)
        split = begin + in_headers
        message = Message(words[1], reply, buffer[begin:split], buffer[split:end])
        try:
            handler(message)
        except Exception as error:
            on_error(message, error)
        at = end + 2
    return Taken(at, True)
