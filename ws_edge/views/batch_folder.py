"""Folding many runs at once: their events are read from the stream side by side, and their snapshots are written in one
go. Whatever cannot be told or written that way is left to the projector, which folds it by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from broker.contract import snapshot as snapshots
from broker.contract.errors import MalformedEvent, TestcastError
from broker.contract.events import OnMalformed, check
from broker.contract.ports import StoredEvent
from broker.contract.snapshot import Snapshot
from ws_edge.views.event_window import EventWindow

FEW: Final = 24
"""Fewer hints, or runs that they are of, are not worth reading the stream for."""
_SPARSE: Final = 8
"""How many events are read for one that is wanted, where the window begins. The others are of runs that other edges
fold, or this one holds in memory. To read an event among others costs the broker a hundredth of a read for one run."""
_GAP: Final = 4_000
"""The window is read on over as many events, whoever folds them: what it has of runs that wait for their round is worth
more than that. Beyond, it begins anew."""
_PAGE: Final = 500
_PAGE_BYTES: Final = 512 * 1024
"""Live events of the same connection wait while a page is received."""
_LOOK_S: Final = 0.3
"""Hints are not pulled meanwhile."""
_AGAIN_S: Final = 5.0
"""From a look that no replica answered in time until the next one. One that is cut off after a page is gone on with."""
_log = logging.getLogger("testcast.projector")

Consecutive = Callable[[int, int, int], Awaitable[list[StoredEvent]]]
"""Reads the events of all runs from a sequence on: at most so many, and about so many bytes."""
FoldHere = Callable[[str, Snapshot, int], Snapshot | None]
"""A run's snapshot at a sequence from events that this node holds for viewers; None: it does not hold them."""


class Snapshots(Protocol):
    """The snapshots as this node knows them."""

    doubted: set[str]
    """Runs whose stored snapshot cannot be right."""

    def stored(self, test_id: str) -> tuple[Snapshot, int] | None:
        """The snapshot as it is stored, and its revision."""


class PutMany(Protocol):
    """Writes snapshots."""

    async def put_many(self, changes: Sequence[tuple[Snapshot, int]], /) -> list[int | None]:
        """See `SnapshotStore.put_many`."""


class BatchStatistics(NamedTuple):
    """Counts since the start of the node."""

    written: int
    """Snapshots that were written with others."""
    read: int
    """Events that were read with those of other runs."""


class BatchFolder:
    """One node's reading and writing for many runs at once."""

    def __init__(
        self,
        read: Consecutive,
        store: PutMany,
        catalogue: Snapshots,
        fold_here: FoldHere,
        on_malformed: OnMalformed,
    ) -> None:
        self._read = read
        self._store = store
        self._catalogue = catalogue
        self._fold_here = fold_here
        self._on_malformed = on_malformed
        self._window = EventWindow()
        self._epoch = ""
        self._looks_at = 0.0
        """Not before then, loop time."""
        self._written = self._events_read = 0

    def __repr__(self) -> str:
        return f"<BatchFolder {self._window!r} written={self._written}>"

    def statistics(self) -> BatchStatistics:
        """The figures of this moment."""
        return BatchStatistics(self._written, self._events_read)

    def forget(self) -> None:
        """The stream may be another one: nothing that was read counts any more."""
        self._window.begin(0)
        self._epoch = ""

    async def look(self, seqs: Iterable[int], epoch: str) -> None:
        """Reads the stream up to the newest of these events, where they lie close together. Never raises for want of a
        broker: what is not read is read for each run. Where it is cut off, the window has the pages that came."""
        if epoch != self._epoch:
            self.forget()
            self._epoch = epoch
        now, up_to = asyncio.get_running_loop().time(), self._window.up_to
        wanted = sorted(seq for seq in seqs if seq > up_to)
        if not epoch or len(wanted) < FEW or now < self._looks_at:
            return
        first, last, most = wanted[0], wanted[-1], _SPARSE * len(wanted)
        after, read = up_to, self._events_read
        if last - up_to > (_GAP if up_to else most):
            if last - first >= most:
                return
            after = first - 1
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._read_on(after, last, epoch)
        except (TestcastError, TimeoutError) as error:
            if self._events_read == read:
                self._looks_at = asyncio.get_running_loop().time() + _AGAIN_S
            _log.debug("reading the stream of events: %s", error or "no answer in time")

    async def _read_on(self, after: int, last: int, epoch: str) -> None:
        """Reads what lies behind `after`. Where the window ends elsewhere, it begins anew there with the first page."""
        window = self._window
        while after < last:
            up_to = window.up_to
            events = await self._read(after + 1, min(_PAGE, last - after), _PAGE_BYTES)
            if up_to != window.up_to or epoch != self._epoch:  # it was begun anew meanwhile
                return
            if not events:  # the replica lags
                return
            self._events_read += len(events)
            if after != up_to:
                window.begin(after)
            window.add(events)
            after = window.up_to

    async def fold(self, wanted: Mapping[str, int], epoch: str) -> set[str]:
        """Folds and writes what can be.

        Args:
            wanted: by run, the sequence up to which its snapshot is wanted at least.
            epoch: this life of the stream of events.

        Returns:
            The runs whose snapshots are stored up to there.

        Raises:
            BrokerUnavailable: no connection, or it was lost. Some of them may be written.
        """
        done: set[str] = set()
        writes: list[tuple[Snapshot, int]] = []
        for test_id, seq in wanted.items():
            known = self._catalogue.stored(test_id)
            if known is None or not known[1] or known[0].epoch != epoch or test_id in self._catalogue.doubted:
                continue
            before, revision = known
            if before.seq >= seq:
                done.add(test_id)
                self._window.forget(test_id, before.seq)
            elif (after := self._after(before, seq, epoch)) is not None:
                writes.append((after, revision))
        if not writes:
            return done
        for (after, _), stored in zip(writes, await self._store.put_many(writes), strict=True):
            if stored is not None:
                done.add(after.test_id)
                self._written += 1
                self._window.forget(after.test_id, after.seq)
        return done

    def _after(self, before: Snapshot, seq: int, epoch: str) -> Snapshot | None:
        """The snapshot at `seq` at least; None where it has to be read by itself."""
        try:
            after = self._fold_here(before.test_id, before, seq)
            if after is not None or epoch != self._epoch:
                return after
            events = self._window.since(before.test_id, before.seq)
            return None if not events or events[-1].seq < seq else self._folded(before, events)
        except Exception:  # the projector meets it again, and says what it is
            _log.debug("test %s cannot be folded with others", before.test_id, exc_info=True)
            return None

    def _folded(self, before: Snapshot, events: Sequence[StoredEvent]) -> Snapshot | None:
        after: Snapshot | None = before
        for stored in events:
            try:
                event = check(stored.data).event
            except MalformedEvent as error:
                event = None
                self._on_malformed(before.test_id, stored.seq, error)
            after = snapshots.fold(after, before.test_id, stored.seq, event, stored.stored_ms)
        return after
