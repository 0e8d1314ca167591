"""Events as the edge holds them: checked once, encoded once."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from broker.contract.errors import MalformedEvent
from broker.contract.events import check, for_viewer
from broker.log import RateLimited
from ws_edge.encoding import websocket as frames
from ws_edge.fanout.throttle import Kind

_malformed_log = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)
_BY_SEQ: Final = attrgetter("seq")
_CHUNK_BYTES: Final = 32 * 1024
"""A replay is written in pieces of about this much, so that the high-water mark means something."""
_MAX_STRETCHES: Final = 16
"""CachedResponse of one topic, while somebody catches up."""


class Entry(NamedTuple):
    """One stored event."""

    seq: int
    body: bytes
    """JSON as viewers get it; empty for a malformed one, which is never forwarded but counts as seen."""
    kind: Kind


def entry_of(test_id: str, seq: int, raw: bytes) -> Entry:
    """Checks and encodes what is stored at `seq`."""
    try:
        checked = check(raw)
    except MalformedEvent as error:
        _malformed_log.warning("malformed event %d of test %s, not forwarded: %s", seq, test_id, error)
        return Entry(seq, b"", "silent")
    return Entry(seq, for_viewer(test_id, seq, checked), "urgent" if checked.event.urgent else "progress")


def after(entries: Sequence[Entry], cursor: int) -> int:
    """Index of the first entry behind `cursor` in a sequence ordered by seq."""
    return bisect_right(entries, cursor, key=_BY_SEQ)


def stretch(entries: Sequence[Entry], cursor: int, head: int, max_bytes: int) -> tuple[list[bytes], int]:
    """What a viewer at `cursor` gets next, up to `head` and about `max_bytes`.

    Returns:
        The bodies, and the cursor after them (unchanged when there is nothing).
    """
    bodies: list[bytes] = []
    size = 0
    for index in range(after(entries, cursor), len(entries)):
        entry = entries[index]
        if size >= max_bytes or entry.seq > head:
            break
        cursor = entry.seq
        if entry.body:
            bodies.append(entry.body)
            size += len(entry.body)
    return bodies, cursor


class Stretches:
    """Frames of stretches, built once for all viewers that catch up from the same point to the same head."""

    __slots__ = ("_built",)

    def __init__(self) -> None:
        self._built: dict[int, tuple[Sequence[Entry], int, bytes, int]] = {}

    def frame(self, entries: Sequence[Entry], cursor: int, head: int) -> tuple[bytes, int]:
        """What a viewer at `cursor` gets next, as a frame (empty when there is nothing), and its cursor after that."""
        known = self._built.get(cursor)
        if known is not None and known[0] is entries and known[1] == head:
            return known[2], known[3]
        bodies, after_it = stretch(entries, cursor, head, _CHUNK_BYTES)
        frame = frames.joined(bodies) if bodies else b""
        if len(self._built) >= _MAX_STRETCHES:
            self._built.clear()
        self._built[cursor] = (entries, head, frame, after_it)
        return frame, after_it

    def clear(self) -> None:
        """The ring has changed."""
        self._built.clear()


class Ring:
    """The latest events of a topic: everything in (`after`, newest], bounded in bytes and count."""

    __slots__ = ("_bytes", "_max_bytes", "_max_entries", "after", "entries")

    def __init__(self, start: int, max_bytes: int = 256 * 1024, max_entries: int = 2048) -> None:
        self.after = start
        self.entries: list[Entry] = []
        self._bytes = 0
        self._max_bytes = max_bytes
        self._max_entries = max_entries

    def extend(self, entries: Sequence[Entry]) -> None:
        """Adds what follows; the oldest make room, a quarter at a time so that a long life costs little."""
        self.entries.extend(entries)
        self._bytes += sum(len(entry.body) for entry in entries)
        if self._bytes > self._max_bytes or len(self.entries) > self._max_entries:
            self._trim()

    def since(self, cursor: int) -> list[Entry]:
        """What is behind `cursor`."""
        return self.entries[after(self.entries, cursor) :]

    def _trim(self) -> None:
        keep_bytes, keep_entries = self._max_bytes * 3 // 4, self._max_entries * 3 // 4
        cut = max(0, len(self.entries) - keep_entries)
        size = self._bytes - sum(len(entry.body) for entry in self.entries[:cut])
        while cut < len(self.entries) and size > keep_bytes:
            size -= len(self.entries[cut].body)
            cut += 1
        if cut:
            self.after = self.entries[cut - 1].seq
            del self.entries[:cut]
            self._bytes = size

    def clear(self, start: int) -> None:
        """Forgets everything; the next event follows `start`."""
        self.entries.clear()
        self.after, self._bytes = start, 0
