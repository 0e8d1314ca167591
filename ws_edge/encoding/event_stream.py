"""Server-sent events (WHATWG HTML, 9.2): an event is a message, a control message has its type as the event's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from broker.contract.position import Position

MEDIA_TYPE: Final = "text/event-stream"


class EventStreamEncoding:
    """One block for each event, as `data` alone: `EventSource` gives it to `onmessage`.

    Args:
        positions: each block has its position as `id`, which `EventSource` sends when it comes back. A stream of
            several runs has no single position.
    """

    def __init__(self, name: str, *, positions: bool) -> None:
        self.name: Final = name
        self._positions = positions

    def __repr__(self) -> str:
        return f"<EventStreamEncoding {self.name}>"

    def frame(self, bodies: Sequence[bytes], seqs: Sequence[int] = (), epoch: str = "") -> bytes:
        """A block for each event."""
        if not self._positions:
            return b"".join([b"data: %b\n\n" % one_line(body) for body in bodies])
        life = epoch.encode()
        pairs = zip(bodies, seqs, strict=True)
        return b"".join([b"id: %b.%d\ndata: %b\n\n" % (life, seq, one_line(body)) for body, seq in pairs])

    def control(self, kind: str, at: Position | None = None, /, **fields: Any) -> bytes:
        """A block whose event is the message's type; `goodbye` says in addition when to come back."""
        message = {"type": kind} | {name: value for name, value in fields.items() if value is not None}
        lines = [b"event: %b\n" % kind.encode()]
        if at is not None and self._positions:
            lines.append(b"id: %b\n" % position_text(at).encode())
        if kind == "goodbye":
            lines.append(b"retry: %d\n" % fields["retryAfterMs"])
        return b"".join((*lines, b"data: %b\n\n" % orjson.dumps(message)))


def position_text(at: Position) -> str:
    """A position as one word, as `Last-Event-ID` has it."""
    return f"{at.epoch}.{at.seq}"


def one_line(body: bytes) -> bytes:
    """A JSON object without line breaks. Those of a publisher stand between values only: a text has none (RFC 8259)."""
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\n", b" ").replace(b"\r", b" ")
    return body
