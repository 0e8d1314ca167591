"""From event bodies to bytes on the wire. A transport names the encoding its viewers read; topics know bodies only.

A new encoding is one file in this folder and one line in `ENCODINGS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from ws_edge.encoding.websocket import WebSocketEncoding


class Encoding(Protocol):
    """Turns messages into bytes that many viewers get unchanged.

    Both methods are pure and are called once for all viewers of an encoding: the caller keeps the result. They must not
    raise for any valid message.
    """

    @property
    def name(self) -> str:
        """Its key in `ENCODINGS`."""

    def frame(self, bodies: Sequence[bytes]) -> bytes:
        """One or more events, each a JSON object, in order."""

    def control(self, kind: str, **fields: Any) -> bytes:
        """A control message `{"type": kind, …}`; fields that are None are left out."""


ENCODINGS: Final[dict[str, Encoding]] = {each.name: each for each in (WebSocketEncoding(),)}
"""Every encoding by its name."""
