"""Lines and events that wait to be published, between the threads that read a program and the one that publishes.

Bounded: when nothing is taken out for `PATIENCE_S`, the oldest lines make room for new ones. Whoever puts lines in is
never held up for longer, and not at all while the other side stands still.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.contract.events import Event
from testcast.recording.batches import MAX_BATCH_BYTES, MAX_BATCH_LINES, Entry

MAX_WAITING_BYTES: Final = 16 << 20
"""Some 100,000 lines: a minute of the noisiest program."""
PATIENCE_S: Final = 2.0
"""For room, in all, until something is taken out again."""
MAX_WAITED_S: Final = 60.0
"""For room, in the whole life of a queue: a slow connection must not slow a program down for good."""
_ITEM_BYTES: Final = 200
"""What an item takes beside its text."""


class Gap(NamedTuple):
    """So many lines and events were dropped here."""

    lines: int


class Waiting:
    """A queue. Every method may be called from any thread, and `put` by several at a time."""

    def __init__(self, max_bytes: int = MAX_WAITING_BYTES, patience_s: float = PATIENCE_S) -> None:
        self._items: deque[Entry | Event] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._patience_s = patience_s
        self._room = threading.Condition()
        self._dropped = 0
        """Since the last take."""
        self._phase: Event | None = None
        """The newest phase among what was dropped."""
        self._stuck = False
        """Nothing was taken out for as long as anybody waits."""
        self._waited_s = 0.0
        self._closed = False
        self.dropped = 0
        """Lines and events that made room for others, in all."""

    def __repr__(self) -> str:
        return f"<Waiting {len(self._items)} items, {self._bytes} bytes, dropped={self.dropped}>"

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_full_batch(self) -> bool:
        """There is as much as one event can have."""
        return self._bytes >= MAX_BATCH_BYTES or len(self._items) >= MAX_BATCH_LINES

    def put(self, items: Sequence[Entry | Event]) -> None:
        """Adds items at the end. Waits for room while the other side moves."""
        with self._room:
            for each in items:
                size = _size(each)
                if self._bytes + size > self._max_bytes and not self._stuck and not self._closed:
                    self._wait(size)
                self._items.append(each)
                self._bytes += size
                while self._bytes > self._max_bytes and (len(self._items) > 1 or not self._max_bytes):
                    self._drop()

    def _wait(self, size: int) -> None:
        began = time.monotonic()
        patience_s = min(self._patience_s, MAX_WAITED_S - self._waited_s)
        while self._bytes + size > self._max_bytes and not self._closed:
            left_s = began + patience_s - time.monotonic()
            if left_s <= 0:
                self._stuck = True
                break
            self._room.wait(left_s)
        self._waited_s += time.monotonic() - began

    def _drop(self) -> None:
        oldest = self._items.popleft()
        self._bytes -= _size(oldest)
        if isinstance(oldest, Event) and oldest.type == "status":
            self._phase = oldest
            return
        self._dropped += 1
        self.dropped += 1

    def take(self) -> list[Entry] | Event | Gap | None:
        """The next of what waits: as many lines as one event can have, one event, or what was dropped before them.
        None: nothing waits."""
        with self._room:
            self._stuck = False
            if self._dropped:
                gap, self._dropped = Gap(self._dropped), 0
                return gap
            if self._phase is not None:
                phase, self._phase = self._phase, None
                return phase
            taken = self._take()
            self._room.notify_all()
            return taken

    def _take(self) -> list[Entry] | Event | None:
        taken: list[Entry] = []
        size = 0
        while self._items and len(taken) < MAX_BATCH_LINES:
            item = self._items[0]
            if isinstance(item, Event):
                if taken:
                    break
                self._bytes -= _size(self._items.popleft())
                return item
            if taken and size + item.size > MAX_BATCH_BYTES:
                break
            taken.append(item)
            size += item.size
            self._bytes -= _size(self._items.popleft())
        return taken or None

    def close(self) -> None:
        """From now on nobody waits for room."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def discard(self) -> None:
        """Drops what waits, and all that comes: nothing can be published any more."""
        with self._room:
            self._max_bytes = 0
            self._closed = True
            while self._items:
                self._drop()
            self._room.notify_all()


def _size(item: Entry | Event) -> int:
    return _ITEM_BYTES + (item.size if isinstance(item, Entry) else len(item.message))
