"""From event bodies to bytes on the wire. A transport names the encoding its viewers read; topics know bodies only.

A new encoding is one file in this folder and one line in `ENCODINGS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from broker.contract.position import Position
from ws_edge.encoding.event_stream import EventStreamEncoding
from ws_edge.encoding.websocket import WebSocketEncoding


class Encoding(Protocol):
    """Turns messages into bytes that many viewers get unchanged.

    Both methods are pure and are called once for all viewers of an encoding: the caller keeps the result. They must not
    raise for any valid message.
    """

    @property
    def name(self) -> str:
        """Its key in `ENCODINGS`."""

    def frame(self, bodies: Sequence[bytes], seqs: Sequence[int] = (), epoch: str = "") -> bytes:
        """One or more events, each a JSON object, in order.

        Args:
            seqs: their sequences, for an encoding that says positions besides.
            epoch: the life of the stream that these belong to.
        """

    def control(self, kind: str, at: Position | None = None, /, **fields: Any) -> bytes:
        """A control message `{"type": kind, …}`; fields that are None are left out.

        Args:
            at: the position that a viewer has with this message, for an encoding that says positions besides.
        """


ENCODINGS: Final[dict[str, Encoding]] = {
    each.name: each
    for each in (
        WebSocketEncoding(),
        EventStreamEncoding("sse", positions=True),
        EventStreamEncoding("sse of several", positions=False),
    )
}
"""Every encoding by its name."""
