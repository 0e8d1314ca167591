"""Reading retained events for viewers that are behind: many viewers at one position, one read of the stream.

Pages begin at multiples of `_BLOCK`, so that viewers with slightly different positions share one. A page holds more
events than a block has sequence numbers, so every page reaches beyond its block.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from broker.contract.errors import TestcastError
from broker.contract.events import OnMalformed
from broker.contract.ports import EventLog
from broker.log import RateLimited
from broker.retry import Backoff, retry
from ws_edge.fanout.ring import Entry, entry_of, index_after, no_note

_BLOCK: Final = 512
PAGE: Final = 2 * _BLOCK
"""Events that one read asks for."""
_CACHE_BYTES: Final = 8 << 20
_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 0.5
_limited = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)


class ReplayPage(NamedTuple):
    """A run's retained events from sequence `start` on, in order, none missing up to the last of them."""

    start: int
    entries: list[Entry]
    complete: bool
    """The run went no further when it was read; otherwise the page is full."""

    def holds(self, seq: int) -> bool:
        """The event at `seq` itself is in it, so it was still retained."""
        index = index_after(self.entries, seq - 1)
        return index < len(self.entries) and self.entries[index].seq == seq

    @property
    def last(self) -> int:
        """Sequence of its last event, 0 when it has none."""
        return self.entries[-1].seq if self.entries else 0


class ReplayStatistics(NamedTuple):
    """The replay of one node in numbers."""

    reads: int
    """Reads of the stream since the start."""
    pages: int
    bytes: int
    """What the pages hold."""
    waiting: int
    """Reads under way."""


class Replay:
    """The pages of one edge. All calls from the loop; nothing blocks.

    Args:
        note: called with each malformed event that is read.
    """

    def __init__(self, log: EventLog, note: OnMalformed = no_note) -> None:
        self._log = log
        self._note = note
        self._pages: OrderedDict[tuple[str, int], ReplayPage] = OrderedDict()
        self._starts: dict[str, set[int]] = {}
        """Where each run's pages begin: a run among many others spans many blocks."""
        self._bytes = 0
        self._waiting: dict[tuple[str, int], list[tuple[int, Callable[[ReplayPage], None]]]] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self.reads = 0

    def __repr__(self) -> str:
        return f"<Replay reads={self.reads} pages={len(self._pages)} bytes={self._bytes} waiting={len(self._waiting)}>"

    def statistics(self) -> ReplayStatistics:
        """The replay as it is now."""
        return ReplayStatistics(self.reads, len(self._pages), self._bytes, len(self._waiting))

    def cached(self, test_id: str, cursor: int) -> ReplayPage | None:
        """A page at hand that has something after `cursor`, or None."""
        found: ReplayPage | None = None
        for start in self._starts.get(test_id, ()):
            if start <= cursor and (found is None or start > found.start):
                page = self._pages[test_id, start]
                if page.entries and page.entries[-1].seq > cursor:
                    found = page
        if found is not None:
            self._pages.move_to_end((test_id, found.start))
        return found

    def request(self, test_id: str, cursor: int, on_page: Callable[[ReplayPage], None]) -> None:
        """Reads the page around `cursor`; calls `on_page` when it is read; concurrent requests share one read.

        `on_page` may find nothing after the cursor in it: then the replica that answered lags, or nothing is retained.
        While the broker is away the read is tried again for ever.
        """
        start = _aligned(cursor)
        known = self._pages.get((test_id, start))
        if known is not None and known.last <= cursor and not known.complete:
            start = cursor  # large events: the page's bytes ran out before the cursor
        key = (test_id, start)
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append((cursor, on_page))
            return
        self._waiting[key] = [(cursor, on_page)]
        self._tasks[key] = asyncio.get_running_loop().create_task(self._read(key))

    def forget(self, test_id: str, up_to: int | None = None) -> None:
        """Drops a run's pages.

        Args:
            up_to: the events up to here are gone, and the pages that begin with them. None: the topic is gone, or the
                stream is another one, so reads under way are given up too, and waiting sessions must request again.
        """
        for key, page in list(self._pages.items()):
            if key[0] == test_id and (up_to is None or not page.entries or page.entries[0].seq <= up_to):
                self._forget(key)
        if up_to is None:
            for key in [key for key in self._waiting if key[0] == test_id]:
                del self._waiting[key]
                self._tasks.pop(key).cancel()

    def close(self) -> None:
        """Gives up every read."""
        for task in self._tasks.values():
            task.cancel()

    async def _read(self, key: tuple[str, int]) -> None:
        test_id, start = key
        # Also after an unexpected error: otherwise sessions waiting for this page never resume.
        page = await retry(
            partial(self._read_page, test_id, start),
            on=(Exception,),
            backoff=Backoff(_RETRY_S, _LONGEST_RETRY_S),
            source=self._log,
            on_failure=partial(_report, test_id),
        )
        self.reads += 1
        del self._tasks[key]
        self._keep(key, page)
        for cursor, on_page in self._waiting.pop(key):
            if page.last <= cursor and start < cursor and not page.complete:
                self.request(test_id, cursor, on_page)
            else:
                on_page(page)

    async def _read_page(self, test_id: str, start: int) -> ReplayPage:
        read = await self._log.read(test_id, max(0, start - 1), PAGE)
        entries = [entry_of(test_id, each.seq, each.data, each.stored_ms, self._note) for each in read.events]
        return ReplayPage(start, entries, read.complete)

    def _keep(self, key: tuple[str, int], page: ReplayPage) -> None:
        self._forget(key)
        self._pages[key] = page
        self._starts.setdefault(key[0], set()).add(key[1])
        self._bytes += _size(page)
        while self._bytes > _CACHE_BYTES and len(self._pages) > 1:
            self._forget(next(iter(self._pages)))

    def _forget(self, key: tuple[str, int]) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._bytes -= _size(page)
            starts = self._starts[key[0]]
            starts.discard(key[1])
            if not starts:
                del self._starts[key[0]]


def _report(test_id: str, error: Exception) -> None:
    _limited.warning("replay of test %s: %s", test_id, error, exc_info=not isinstance(error, TestcastError))


def _aligned(cursor: int) -> int:
    return cursor // _BLOCK * _BLOCK


def _size(page: ReplayPage) -> int:
    return sum(len(entry.body) + 64 for entry in page.entries)
