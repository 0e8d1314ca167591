"""The catalogue: the snapshots of all runs, kept current by watching the bucket `RUNS`, and served from memory.

The list is answered from here also while the broker is away, marked stale.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BadInput
from broker.contract.snapshot import LIST_STATUSES, Snapshot
from broker.jetstream.connection import Connection
from broker.jetstream.parser import Message
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore
from broker.jetstream.topology import RETENTION_S

STALLED_AFTER_S: Final = 25.0
"""A worker gives a sign of life every 10 s; a run that has missed two of them is marked stalled."""
_SWEEP_S: Final = 1.0
_STALE_AFTER_S: Final = 5.0
"""A reconnect takes less, and is not worth a mark."""


class Listing(NamedTuple):
    """One page of the list, newest first."""

    tests: list[Snapshot]
    next_cursor: str | None
    counts: dict[str, int]


class CatalogueStatistics(NamedTuple):
    """What a catalogue holds at one moment."""

    runs: int
    active: int
    """Runs that have not ended."""
    stalled: int
    revision: int
    version: int
    stale_for_s: float
    """How long the broker has been away, 0 while it is there."""


class Catalogue:
    """All runs as this node knows them.

    Two nodes that have seen the same revisions and signs of life give the same answers and ETags.

    Args:
        nats: for the signs of life, and for when the connection is lost.
        store: where the snapshots come from.
        on_change: called with the test id of each run whose snapshot or stalled mark has changed.
    """

    def __init__(self, nats: Connection, store: SnapshotStore, on_change: Callable[[str], None]) -> None:
        self._nats = nats
        self._tell = on_change
        self._runs: dict[str, Snapshot] = {}
        self._revisions: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        self._stalled: frozenset[str] = frozenset()
        self._sorted: list[Snapshot] | None = None
        self._watch = store.watch(self._on_snapshot, self._on_current, self._on_reset)
        self.revision = 0
        """Revision of the newest entry taken in."""
        self.version = 0
        """Rises with every change of a snapshot or of a stalled mark."""
        self.filled = asyncio.Event()
        """Set once all that was stored at the start has been taken in."""
        self._lost_at: float | None = None
        """When the connection was lost, loop time; None while the watch is current."""

    def __repr__(self) -> str:
        return f"<Catalogue runs={len(self._runs)} revision={self.revision} stalled={len(self._stalled)}>"

    def statistics(self) -> CatalogueStatistics:
        """The figures of this moment."""
        active = sum(not run.ended for run in self._runs.values())
        stale_for_s = self.stale_for_s or 0.0
        return CatalogueStatistics(
            len(self._runs), active, len(self._stalled), self.revision, self.version, stale_for_s
        )

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here, with its stalled mark; None for an unknown run."""
        run = self._runs.get(test_id)
        if run is not None and test_id in self._stalled:
            return msgspec.structs.replace(run, stalled=True)
        return run

    def stored(self, test_id: str) -> tuple[Snapshot, int] | None:
        """The snapshot as it is stored, without a mark, and its revision."""
        run = self._runs.get(test_id)
        return None if run is None else (run, self._revisions[test_id])

    def active(self) -> Iterable[Snapshot]:
        """The runs that have not ended."""
        return [run for run in self._runs.values() if not run.ended]

    def silent_for(self, test_id: str, now: float) -> float:
        """Seconds since the last snapshot or sign of life of the run; 0 for an unknown run."""
        return now - self._heard.get(test_id, now)

    @property
    def stale_for_s(self) -> float | None:
        """How long the broker has been away, seconds. None while it is there, and for its first 5 s."""
        if self._lost_at is None:
            return None
        age = asyncio.get_running_loop().time() - self._lost_at
        return age if age >= _STALE_AFTER_S else None

    def newest(self, limit: int) -> list[Snapshot]:
        """The newest runs."""
        return [self._marked(run) for run in self._ordered()[:limit]]

    def counts(self) -> dict[str, int]:
        """How many runs are in each of `LIST_STATUSES`."""
        counts: dict[str, int] = dict.fromkeys(LIST_STATUSES, 0)
        for run in self._runs.values():
            counts[run.list_status] += 1
        return counts

    def listing(self, limit: int, cursor: str | None, status: str | None, query: str | None = None) -> Listing:
        """One page, newest first.

        Args:
            limit: the longest page.
            cursor: `next_cursor` of the page before; None for the first page.
            status: only runs in this one of `LIST_STATUSES`.
            query: only runs whose title, address, id or newest message contains it, in any case.

        Raises:
            BadInput: the cursor is not one of `next_cursor`.
        """
        runs = self._ordered()
        if status is not None:
            runs = [run for run in runs if run.list_status == status]
        if query:
            wanted = query.lower()
            runs = [run for run in runs if _contains(run, wanted)]
        if cursor is not None:
            last = _parse_cursor(cursor)
            runs = [run for run in runs if _order(run) > last]
        page = runs[:limit]
        following = _cursor(page[-1]) if len(runs) > limit else None
        return Listing([self._marked(run) for run in page], following, self.counts())

    def etag(self, epoch: str, query: str) -> str:
        """The ETag of the answer to a query: made of epoch, revision, query, the stalled runs and staleness."""
        stalled = ",".join(sorted(self._stalled))
        stale = int(self.stale_for_s is not None)
        digest = hashlib.blake2b(f"{epoch} {self.revision} {query} {stalled} {stale}".encode(), digest_size=12)
        return f'"{digest.hexdigest()}"'

    async def run(self) -> None:
        """Keeps the catalogue current until cancelled."""
        self._nats.on_disconnect.append(self._on_disconnect)
        alive = await self._nats.subscribe(subjects.ALL_ALIVE, self._on_alive)
        try:
            async with asyncio.TaskGroup() as group:  # neither is of use without the other
                group.create_task(self._watch.run(), name="catalogue-watch")
                group.create_task(self._sweeps(), name="catalogue-sweeps")
        finally:
            self._on_disconnect()  # what is known is stale from now on, until the watch is current again
            self._nats.on_disconnect.remove(self._on_disconnect)
            await alive.close()

    async def _sweeps(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._sweep(loop.time())

    # -- changes -------------------------------------------------------------------------------------------------

    def _on_snapshot(self, change: SnapshotChange) -> None:
        self.revision = change.revision
        if change.kind == "unreadable":
            self.version += 1  # the ETag names the revision
            return
        test_id = change.test_id
        if change.snapshot is None:
            self._forget(test_id)
        else:
            self._runs[test_id] = change.snapshot
            self._revisions[test_id] = change.revision
            self._sorted = None
            self._touch(test_id)
        self._on_change(test_id)

    def _forget(self, test_id: str) -> None:
        for table in (self._runs, self._revisions, self._heard):
            table.pop(test_id, None)
        self._sorted = None

    def _on_change(self, test_id: str) -> None:
        self.version += 1
        self._tell(test_id)

    def _on_current(self) -> None:
        self._lost_at = None
        self.filled.set()

    def _on_reset(self) -> None:
        self.revision = 0
        self.version += 1
        for test_id in list(self._runs):
            self._forget(test_id)
            self._on_change(test_id)

    def _on_disconnect(self) -> None:
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()

    def _on_alive(self, message: Message) -> None:
        test_id = subjects.test_id_of(message.subject)
        if test_id in self._runs:
            self._touch(test_id)

    def _touch(self, test_id: str) -> None:
        self._heard[test_id] = asyncio.get_running_loop().time()
        if test_id in self._stalled:
            self._stalled -= {test_id}
            self._sorted = None
            self._on_change(test_id)

    def _sweep(self, now: float) -> None:
        """Marks runs that have gone silent, and forgets runs past their retention."""
        if self._lost_at is None:
            stalled = frozenset(
                run.test_id for run in self.active() if now - self._heard[run.test_id] > STALLED_AFTER_S
            )
            changed, self._stalled = stalled ^ self._stalled, stalled
            for test_id in changed:
                self._on_change(test_id)
        else:  # no sign of life can arrive: this time does not count as silence of the workers
            for test_id in self._heard:
                self._heard[test_id] += _SWEEP_S
        oldest = now_ms() - RETENTION_S * 1000
        for test_id in [run.test_id for run in self._runs.values() if run.updated_at < oldest and run.ended]:
            self._forget(test_id)
            self._on_change(test_id)

    def _ordered(self) -> list[Snapshot]:
        if self._sorted is None:
            self._sorted = sorted(self._runs.values(), key=_order)
        return self._sorted

    def _marked(self, run: Snapshot) -> Snapshot:
        return msgspec.structs.replace(run, stalled=True) if run.test_id in self._stalled else run


def _order(run: Snapshot) -> tuple[int, str]:
    return (-run.created_at, run.test_id)


def _contains(run: Snapshot, wanted: str) -> bool:
    return any(wanted in text.lower() for text in (run.title, run.game_url, run.test_id, run.message) if text)


def _cursor(run: Snapshot) -> str:
    return f"{run.created_at}.{run.test_id}"


def _parse_cursor(cursor: str) -> tuple[int, str]:
    created_at, _, test_id = cursor.partition(".")
    if not created_at.isdigit() or subjects.test_id_of(f"test.{test_id}.cursor") is None:
        raise BadInput(f"cursor: {cursor[:80]!r} was not given out by listTests", code="invalid_cursor")
    return (-int(created_at), test_id)


def to_json(runs: Iterable[Snapshot]) -> list[Any]:
    """Snapshots as plain values, ready for JSON."""
    return [msgspec.to_builtins(run) for run in runs]
