"""Batches of past events for viewers that catch up, framed once for all that read from the same point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ws_edge.encoding import Encoding
from ws_edge.fanout.ring import Entry, index_after

MAX_BATCH_BYTES: Final = 32 * 1024
"""Half the default high-water mark: a viewer's buffer never holds more than two of them."""
_MAX_CACHED: Final = 16


def batch_after(entries: Sequence[Entry], cursor: int, head: int, max_bytes: int) -> tuple[list[bytes], int]:
    """The events that a viewer at `cursor` gets next, up to `head` and about `max_bytes`.

    Returns:
        Their bodies, and the cursor after them (unchanged when there are none).
    """
    bodies: list[bytes] = []
    size = 0
    for index in range(index_after(entries, cursor), len(entries)):
        entry = entries[index]
        if size >= max_bytes or entry.seq > head:
            break
        cursor = entry.seq
        if entry.body:
            bodies.append(entry.body)
            size += len(entry.body)
    return bodies, cursor


class BatchCache:
    """The framed batches of one topic, by encoding and cursor."""

    __slots__ = ("_framed",)

    def __init__(self) -> None:
        self._framed: dict[tuple[Encoding, int], tuple[Sequence[Entry], int, bytes, int]] = {}

    def __repr__(self) -> str:
        return f"<BatchCache batches={len(self._framed)}>"

    def frame(self, encoding: Encoding, entries: Sequence[Entry], cursor: int, head: int) -> tuple[bytes, int]:
        """The next batch for a viewer at `cursor` (empty when there is none), and its cursor after that."""
        known = self._framed.get((encoding, cursor))
        if known is not None and known[0] is entries and known[1] == head:
            return known[2], known[3]
        bodies, after = batch_after(entries, cursor, head, MAX_BATCH_BYTES)
        frame = encoding.frame(bodies) if bodies else b""
        if len(self._framed) >= _MAX_CACHED:
            self._framed.clear()
        self._framed[encoding, cursor] = (entries, head, frame, after)
        return frame, after

    def clear(self) -> None:
        """The ring has changed."""
        self._framed.clear()
