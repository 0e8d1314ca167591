"""All runs over NATS: the snapshots that edges have stored, brought up to date from the events.

Edges fold the events of each run into its snapshot. Where no edge runs, snapshots stay behind or are missing. A reader
then folds what is behind by itself, within limits, and says so when it had to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from broker.contract.errors import NotFound, NotThere
from broker.contract.ports import StoredEvent
from broker.contract.snapshot import Snapshot, fold
from broker.jetstream import runs
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.folded import folded_up_to, stored_runs
from broker.jetstream.ordered_consumer import OrderedConsumer
from broker.jetstream.scan import first_page, pages
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore
from testcast.client.errors import ConnectionLost

MAX_EVENTS: Final = 50_000
"""Events that one refresh folds, in a second or two. Edges that run leave fewer than a hundred."""
MAX_RUNS: Final = 500
"""Runs without a snapshot that one refresh reads whole."""
_SNAPSHOTS_TIMEOUT_S: Final = 5.0


class Behind(NamedTuple):
    """What a refresh did not reach."""

    since_ms: int
    """When the oldest event that is not folded was stored, ms since 1970; 0: not known."""


class KnownRuns:
    """The runs that a broker has. Call `refresh`, then `snapshots`.

    Args:
        log: the event log, on a connection that the caller closes.
        address: the broker's address, without credentials, for error messages.
    """

    def __init__(self, log: JetStreamLog, address: str, *, max_events: int = MAX_EVENTS) -> None:
        self.behind: Behind | None = None
        """Set when the newest refresh met a limit: some runs are shown as they were before."""
        self._log = log
        self._address = address
        self._max_events = max_events
        self._stored: dict[str, Snapshot] = {}
        """Snapshots as the bucket has them."""
        self._folded: dict[str, Snapshot] = {}
        """Snapshots that were folded here, ahead of those in the bucket when they were made."""
        self._read_to = 0
        """Stream sequence up to which the events were folded here."""
        self._epoch: str | None = None
        self._following: asyncio.Task[None] | None = None
        self._filled = asyncio.Event()
        self._watch: OrderedConsumer | None = None
        self._asks = False
        """This user may make no consumers, so the bucket is read instead of followed."""
        self._revision = 0

    def __repr__(self) -> str:
        return f"<KnownRuns stored={len(self._stored)} folded={len(self._folded)} read_to={self._read_to}>"

    def snapshots(self) -> Iterable[Snapshot]:
        """Every run's newest known snapshot, in no order."""
        return [found for test_id in {*self._stored, *self._folded} if (found := self._newest(test_id)) is not None]

    def _newest(self, test_id: str) -> Snapshot | None:
        known = [each for each in (self._stored.get(test_id), self._folded.get(test_id)) if each is not None]
        current = [each for each in known if each.epoch in (None, self._epoch)]  # others are of another event stream
        return max(current, key=lambda each: each.seq, default=None)

    async def refresh(self) -> None:
        """Reads what has changed since the last time.

        Raises:
            ConnectionLost: the broker has no events, because neither an edge nor an agent has ever used it.
            BrokerUnavailable: the broker does not answer.
        """
        try:
            heads = await self._log.heads()
            if heads.epoch != self._epoch:
                self._epoch, self._read_to = heads.epoch, 0
                self._folded.clear()
            folded = await folded_up_to(self._log.streams)
            await self._read_bucket()
            known = await stored_runs(self._log.streams)
        except NotThere as error:
            if not error.certain:
                raise
            raise ConnectionLost(
                f"the broker at {self._address} holds no runs yet: start an edge or an agent that uses it"
            ) from None
        self.behind = None
        for gone in self._folded.keys() - known:
            del self._folded[gone]
        await self._fold_events(max(self._read_to, folded), heads.last_seq)
        await self._read_whole([test_id for test_id in sorted(known) if self._newest(test_id) is None])

    async def close(self) -> None:
        """Ends following the bucket."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None

    async def _read_bucket(self) -> None:
        """The first time, waits until all stored snapshots have come. A bucket that is gone counts as empty."""
        store = SnapshotStore(self._log.connection)
        if self._asks:
            await self._ask(store)
            return
        if self._following is None:
            watch: OrderedConsumer = store.watch(
                self._on_snapshot,
                self._filled.set,
                self._stored.clear,
                lambda: self._filled.set() if watch.denied else None,
            )
            self._watch = watch
            self._following = asyncio.create_task(watch.run(), name="known-runs")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SNAPSHOTS_TIMEOUT_S):
                await self._filled.wait()
        if self._watch is not None and self._watch.denied:
            await self.close()
            self._asks = True
            await self._ask(store)

    async def _ask(self, store: SnapshotStore) -> None:
        """Reads what has changed, as a user who may make no consumers."""
        for change in await store.every(self._revision):
            self._revision = change.revision
            self._on_snapshot(change)

    def _on_snapshot(self, change: SnapshotChange) -> None:
        if change.snapshot is not None:
            self._stored[change.test_id] = change.snapshot
        else:
            self._stored.pop(change.test_id, None)
            if change.kind != "removed":
                self._folded.pop(change.test_id, None)

    async def _fold_events(self, after: int, last: int) -> None:
        """Folds the events after `after` into the snapshots."""
        self._read_to = after
        begun: dict[str, int] = {}
        """Runs that had no snapshot, and the first event that was read of each."""
        count = 0
        async with contextlib.aclosing(pages(self._log, None, after, last)) as found:
            async for page in found:
                for event in page.events:
                    self._read_to = event.seq
                    self._fold_one(event, begun)
                count += len(page.events)
                if count >= self._max_events and self._read_to < last:
                    self.behind = Behind(page.events[-1].stored_ms)
                    break
        if not after:
            return
        for test_id, seq in begun.items():  # its snapshot may be gone, and its first events lie before
            first = await first_page(self._log, test_id, 0, limit=1)
            if first and first[0].seq < seq:
                self._folded.pop(test_id, None)

    def _fold_one(self, event: StoredEvent, begun: dict[str, int]) -> None:
        if not event.test_id:
            return
        before = self._newest(event.test_id)
        after = fold(before, event.test_id, event.seq, runs.parse(event.data), event.stored_ms)
        if before is None:
            begun.setdefault(event.test_id, event.seq)
        if after is not None:
            self._folded[event.test_id] = after

    async def _read_whole(self, missing: list[str]) -> None:
        for test_id in missing[:MAX_RUNS]:
            with contextlib.suppress(NotFound):
                whole = (await runs.read(self._log, test_id)).snapshot
                if whole is not None:
                    self._folded[test_id] = whole
        if len(missing) > MAX_RUNS:
            self.behind = self.behind or Behind(0)
