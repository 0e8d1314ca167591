"""Encodings: how the bodies of events, and control messages, become bytes on a transport. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Encoding(Protocol):
    """One encoding. It holds no state, so one instance serves all viewers of its kind."""

    name: str

    def frame(self, bodies: Sequence[bytes]) -> bytes:
        """Events, given as the JSON that viewers get, as bytes to be written as they are."""

    def control(self, kind: str, **fields: Any) -> bytes:
        """A control message; fields that are None are left out."""
