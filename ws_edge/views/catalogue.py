"""The catalogue: the snapshots of all runs, kept current by watching the bucket `RUNS`, and served from memory.

The list is answered from here also while the broker is away, or while the bucket is being filled again, marked stale.
No time is compared with this machine's clock: ages are measured from when something arrived.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from broker.contract import subjects
from broker.contract.snapshot import Snapshot
from broker.jetstream.connection import Connection
from broker.jetstream.parser import Message
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore
from ws_edge.views.games import Games
from ws_edge.views.listing import ANY, GameList, Listing, OrderedRuns, RunList, Wanted, page_of
from ws_edge.views.queue import ProjectQueues, Queue
from ws_edge.views.scopes import Scopes, hash_of

STALLED_AFTER_S: Final = 25.0
"""A worker gives a sign of life every 10 s; a run that has missed two of them is marked stalled."""
_SWEEP_S: Final = 1.0
_STALE_AFTER_S: Final = 5.0
"""A reconnect takes less, and is not worth a mark."""


class CatalogueStatistics(NamedTuple):
    """What a catalogue holds at one moment."""

    runs: int
    active: int
    """Runs that have not ended."""
    stalled: int
    revision: int
    version: int
    stale_for_s: float
    """How long the list has been out of date, 0 while it is current."""
    doubted: int
    """Runs whose stored snapshot has to be folded again."""
    queued: int
    by_status: dict[str, int]


class Catalogue:
    """All runs as this node knows them.

    Two nodes that have seen the same revisions and signs of life give the same answers and ETags.

    Args:
        nats: for the signs of life, and for when the connection is lost.
        store: where the snapshots come from.
        on_change: called with the test id of each run whose snapshot or mark has changed.
        checked: whether a comparison with the events comes first (`checked`), before the catalogue counts as filled.
    """

    def __init__(
        self, nats: Connection, store: SnapshotStore, on_change: Callable[[str], None], *, checked: bool = False
    ) -> None:
        self._nats = nats
        self._tell = on_change
        self._all = OrderedRuns()
        self._runs = self._all.by_id
        self._revisions: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        self._stalled: frozenset[str] = frozenset()
        self._watch = store.watch(self._on_snapshot, self._on_current, self._on_reset, self._on_disconnect)
        self._must_be_checked = checked
        self.queue = Queue()
        """The runs that wait for an agent."""
        self._queues: ProjectQueues | None = None
        self._scopes = Scopes(self)
        self._games = Games()
        self.doubted: set[str] = set()
        """Runs whose stored snapshot cannot be right, or is gone: they have to be folded again."""
        self.changed = asyncio.Event()
        """Set when a run is doubted, or the bucket was made again."""
        self.resets = 0
        """How often the bucket was deleted and made again."""
        self.current = asyncio.Event()
        """Set once all that was stored at the start has been taken in."""
        self.revision = 0
        """Revision of the newest entry taken in."""
        self.version = 0
        """Rises with every change of a snapshot or of a stalled mark."""
        self.filled = asyncio.Event()
        """Set once the list can be served: `current`, and compared with the events."""
        self._lost_at: float | None = None
        """When the connection or the bucket was lost, loop time; None while the watch is current."""
        self._behind_at: float | None = None
        """Since when runs are known to be missing or behind, loop time."""
        self._swept_at = 0.0
        self.on_alive: Callable[[str | None, bytes], None] = lambda _test_id, _payload: None
        """Called with each sign of life: the run's id, if the subject has one, and what the worker said."""
        self.on_change: Callable[[str], None] = lambda _test_id: None
        """Called with each run whose snapshot or mark has changed, besides `on_change` of the constructor."""
        self.on_deleted: list[Callable[[SnapshotChange], None]] = []
        """Called with the mark of each run that is being deleted, or was."""
        self.pinned: set[str] = set()
        """Test ids of the runs that somebody keeps for good."""
        self._pins_mark = 0
        """Of all of them, in any order."""
        self._known_since_start: set[str] = set()
        """Runs of which nothing was heard since the first list, which says nothing of when they moved."""

    def __repr__(self) -> str:
        return f"<Catalogue runs={len(self._runs)} revision={self.revision} stalled={len(self._stalled)}>"

    def statistics(self) -> CatalogueStatistics:
        """The figures of this moment."""
        active = sum(not run.ended for run in self._runs.values())
        counts = (len(self._runs), active, len(self._stalled), self.revision, self.version)
        stale_for_s = self.stale_for_s or 0.0
        return CatalogueStatistics(*counts, stale_for_s, len(self.doubted), len(self.queue), self.counts())

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here, with its marks; None for an unknown run."""
        run = self._runs.get(test_id)
        return None if run is None else self._marked(run)

    def stored(self, test_id: str) -> tuple[Snapshot, int] | None:
        """The snapshot as it is stored, without a mark, and its revision: 0 where the bucket does not hold it."""
        run = self._runs.get(test_id)
        return None if run is None else (run, self._revisions[test_id])

    def all(self) -> list[tuple[Snapshot, int]]:
        """Every snapshot as it is stored, with its revision."""
        return [(run, self._revisions[test_id]) for test_id, run in self._runs.items()]

    def active(self) -> Iterable[Snapshot]:
        """The runs that have not ended."""
        return [run for run in self._runs.values() if not run.ended]

    def scoped(self, projects: frozenset[str] | None) -> RunList:
        """The runs of these projects, as those see them who may see no others. None: all runs."""
        return self if projects is None else self._scopes.of(projects)

    def place_by_project(self) -> None:
        """From now on a queued run's place is the one among its project's runs: how many wait in other projects is
        nothing that its viewers may know."""
        self._queues = ProjectQueues()
        for run in self._runs.values():
            self._queues.change(None, run)

    @property
    def stalled(self) -> frozenset[str]:
        """Test ids of the runs that are marked stalled."""
        return self._stalled

    def silent_for(self, test_id: str, now: float) -> float:
        """Seconds since the last snapshot or sign of life of the run; 0 for an unknown run."""
        return now - self._heard.get(test_id, now)

    def last_played_at(self) -> float:
        """When a run that has begun was last heard of, loop time; 0 where none is running."""
        running = (run.test_id for run in self._runs.values() if run.status == "running")
        return max((self._heard[test_id] for test_id in running), default=0.0)

    def heard(self, test_id: str) -> bool:
        """Whether anything of the run has come since the first list: `silent_for` is then its silence."""
        return test_id not in self._known_since_start

    @property
    def stale_for_s(self) -> float | None:
        """How long the list has been out of date, seconds. None while it is current.

        The broker's absence counts after 5 s. A bucket that was lost or is behind the events counts at once.
        """
        if self._lost_at is None and self._behind_at is None:
            return None
        now = asyncio.get_running_loop().time()
        lost = None if self._lost_at is None or now - self._lost_at < _STALE_AFTER_S else now - self._lost_at
        behind = None if self._behind_at is None else now - self._behind_at
        return max((age for age in (lost, behind) if age is not None), default=None)

    def compared(self, *, behind: bool) -> None:
        """Takes in how the bucket compares with the events: whether runs are missing or behind."""
        if not behind:
            self._behind_at = None
        elif self._behind_at is None:
            self._behind_at = asyncio.get_running_loop().time()
        if self.current.is_set():
            self.filled.set()

    def set_agents(self, *, present: bool) -> None:
        """Takes in whether an agent is running that could take a queued run."""
        if self.queue.agents_present != present:
            self.queue.agents_present = present
            for test_id in (self._queues or self.queue).most_visible():
                self._on_change(test_id)

    def set_pinned(self, test_id: str, pinned: bool) -> None:
        """Takes in that a run was pinned or unpinned. It may be unknown here."""
        if (test_id in self.pinned) != pinned:
            self.pinned ^= {test_id}
            self._pins_mark ^= hash_of(test_id)
            self._on_change(test_id)

    def newest(self, limit: int) -> list[Snapshot]:
        """The newest runs."""
        return [self._marked(run) for run in self._all.ordered()[:limit]]

    def counts(self) -> dict[str, int]:
        """How many runs are in each of `LIST_STATUSES`."""
        return self._all.counts()

    def listing(
        self, limit: int, cursor: str | None, status: str | None, query: str | None = None, wanted: Wanted = ANY
    ) -> Listing:
        """See `RunList`."""
        page, following, matching = page_of(self._all.ordered(), limit, cursor, status, query, wanted, self.pinned)
        return Listing([self._marked(run) for run in page], following, self.counts(), matching)

    def games(self, limit: int, cursor: str | None) -> GameList:
        """See `RunList`."""
        return self._games.page(self.version, self._all.ordered, limit, cursor)

    def etag(self, epoch: str, query: str) -> str:
        """The ETag of the answer to a query: made of epoch, revision, query, staleness, and what marks depend on."""
        stalled = ",".join(sorted(self._stalled))
        marks = f"{int(self.stale_for_s is not None)} {int(self.queue.agents_present)} {stalled} {self._pins_mark:x}"
        digest = hashlib.blake2b(f"{epoch} {self.revision} {query} {marks}".encode(), digest_size=12)
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
        self._swept_at = loop.time()
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._sweep(loop.time())

    # -- changes -------------------------------------------------------------------------------------------------

    def _on_snapshot(self, change: SnapshotChange) -> None:
        self.revision = change.revision
        test_id = change.test_id
        if change.kind == "unreadable":
            self._doubt(test_id)
            if test_id in self._revisions:
                self.lose(test_id)
            self.version += 1  # the ETag names the revision
            return
        if change.kind in ("deleting", "deleted"):
            self.doubted.discard(test_id)
            if test_id in self._runs:
                self.forget(test_id)
            for told in self.on_deleted:
                told(change)
            return
        if change.snapshot is None:
            self._doubt(test_id)  # its key was deleted; the run may stand
            self.forget(test_id)
            return
        run = change.snapshot
        if run.epoch is None or not change.folded:
            self._doubt(test_id)
            if test_id in self._runs:  # only the first event fixes a project
                run = msgspec.structs.replace(run, project=self._runs[test_id].project)
        before = self._runs.get(test_id)
        if before is not None and before.labels and run.labels is None and before.epoch == run.epoch:
            self._doubt(test_id)  # an edge of an earlier version has folded it, and knows no labels
        moved = self._queue_changes(test_id, run)
        self._all.replace(test_id, run)
        self._revisions[test_id] = change.revision
        self._touch(test_id)
        if not self.current.is_set():
            self._known_since_start.add(test_id)
        for each in {test_id, *moved}:
            self._on_change(each)

    def _doubt(self, test_id: str) -> None:
        self.doubted.add(test_id)
        self.changed.set()

    def _queue_changes(self, test_id: str, run: Snapshot | None) -> list[str]:
        """Moves the run into or out of the queue. Returns the runs whose place has changed."""
        before = self._runs.get(test_id)
        projects = (None if each is None else each.project for each in (before, run))
        self._scopes.move(test_id, *projects)
        moved = self.queue.change(before, run)
        return moved if self._queues is None else self._queues.change(before, run)

    def lose(self, test_id: str) -> None:
        """The bucket does not hold the run's snapshot any more."""
        self._revisions[test_id] = 0
        self._scopes.refresh(test_id)

    def forget(self, test_id: str) -> None:
        """The run has no snapshot any more. Harmless when it is unknown."""
        moved = self._queue_changes(test_id, None)
        self._all.replace(test_id, None)
        for table in (self._revisions, self._heard):
            table.pop(test_id, None)
        self._known_since_start.discard(test_id)
        for each in {test_id, *moved}:
            self._on_change(each)

    def _on_change(self, test_id: str) -> None:
        self.version += 1
        if self._scopes:
            self._scopes.refresh(test_id)
        self._tell(test_id)
        self.on_change(test_id)

    def _on_current(self) -> None:
        self._lost_at = None
        self.current.set()
        if not self._must_be_checked:
            self.filled.set()

    def _on_reset(self) -> None:
        """The bucket is another one. What it held is kept, and stale, until it was compared with the events."""
        self.revision = 0
        self.version += 1
        self.resets += 1
        self._revisions = dict.fromkeys(self._revisions, 0)
        self._scopes.rebuild()
        if self._must_be_checked:
            self.compared(behind=True)
        self.changed.set()

    def _on_disconnect(self) -> None:
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()

    def _on_alive(self, message: Message) -> None:
        test_id = subjects.test_id_of(message.subject)
        self.queue.agent_heard_at = asyncio.get_running_loop().time()
        self.on_alive(test_id, message.data)
        if test_id in self._runs:
            self._touch(test_id)

    def _touch(self, test_id: str) -> None:
        self._heard[test_id] = asyncio.get_running_loop().time()
        self._known_since_start.discard(test_id)
        if test_id in self._stalled:
            self._stalled -= {test_id}
            self._on_change(test_id)

    def _sweep(self, now: float) -> None:
        """Marks runs that had begun and have gone silent."""
        slept_s, self._swept_at = now - self._swept_at, now
        if self._lost_at is None:
            running = (run for run in self._runs.values() if run.status == "running")
            stalled = frozenset(run.test_id for run in running if now - self._heard[run.test_id] > STALLED_AFTER_S)
            changed, self._stalled = stalled ^ self._stalled, stalled
            for test_id in changed:
                self._on_change(test_id)
        else:  # no sign of life can arrive: this time does not count as silence of the agents
            self.queue.agent_heard_at += slept_s
            for test_id in self._heard:
                self._heard[test_id] += slept_s

    def _marked(self, run: Snapshot) -> Snapshot:
        marks: dict[str, Any] = {}
        if run.status == "queued":
            if place := (self._queues or self.queue).place(run):
                marks["queue_place"] = place
            if not self.queue.agents_present:
                marks["no_agent"] = True
        elif run.test_id in self._stalled:
            marks["stalled"] = True
        if run.test_id in self.pinned:
            marks["pinned"] = True
        return msgspec.structs.replace(run, **marks) if marks else run
