"""Batches of past events for viewers that catch up, framed once for all that read from the same point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from broker.contract.position import Position
from ws_edge.encoding import Encoding
from ws_edge.fanout.ring import Entry, index_after
from ws_edge.fanout.unreadable import told

MAX_BATCH_BYTES: Final = 32 * 1024
"""Half the default high-water mark: a viewer's buffer never holds more than two of them."""
_MAX_CACHED: Final = 16


def framed(test_id: str, encoding: Encoding, entries: Sequence[Entry], epoch: str = "") -> bytes:
    """Entries as a viewer gets them: the events joined, then a word about those that cannot be read."""
    bodies = [entry.body for entry in entries if entry.body]
    frame = encoding.frame(bodies, [entry.seq for entry in entries if entry.body], epoch) if bodies else b""
    passed_over = told(entries) if len(bodies) < len(entries) else None
    if passed_over is not None:
        frame += encoding.control("unreadable", Position(epoch, entries[-1].seq), testId=test_id, **passed_over)
    return frame


def count_of(entries: Sequence[Entry]) -> int:
    """How many events they are: what cannot be read is none."""
    return len([entry for entry in entries if entry.body])


def batch_after(entries: Sequence[Entry], cursor: int, head: int, max_bytes: int) -> Sequence[Entry]:
    """The entries that a viewer at `cursor` gets next, up to `head` and about `max_bytes`."""
    size, start = 0, index_after(entries, cursor)
    end = start
    while end < len(entries) and size < max_bytes and entries[end].seq <= head:
        size += len(entries[end].body)
        end += 1
    return entries[start:end]


class BatchCache:
    """The framed batches of one topic, by encoding and cursor."""

    __slots__ = ("_framed", "_test_id")

    def __init__(self, test_id: str) -> None:
        self._test_id = test_id
        self._framed: dict[tuple[Encoding, int], tuple[Sequence[Entry], int, bytes, int, int]] = {}

    def __repr__(self) -> str:
        return f"<BatchCache batches={len(self._framed)}>"

    def frame(
        self, encoding: Encoding, entries: Sequence[Entry], cursor: int, head: int, epoch: str = ""
    ) -> tuple[bytes, int, int]:
        """The next batch for a viewer at `cursor` (empty when there is none), its cursor after that, and how many
        events it holds."""
        known = self._framed.get((encoding, cursor))
        if known is not None and known[0] is entries and known[1] == head:
            return known[2], known[3], known[4]
        batch = batch_after(entries, cursor, head, MAX_BATCH_BYTES)
        frame, after = framed(self._test_id, encoding, batch, epoch), batch[-1].seq if batch else cursor
        if len(self._framed) >= _MAX_CACHED:
            self._framed.clear()
        self._framed[encoding, cursor] = (entries, head, frame, after, count_of(batch))
        return frame, after, count_of(batch)

    def clear(self) -> None:
        """The ring has changed."""
        self._framed.clear()
