"""The catalogue: every run's snapshot, kept by following the bucket, served from memory (DESIGN 5, I5)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import BadInput
from broker.contract.events import STATUSES
from broker.contract.snapshot import Snapshot
from broker.jetstream.connection import Connection
from broker.jetstream.parser import Message
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore
from broker.jetstream.topology import RETENTION_S
from broker.log import RateLimited

STALLED_AFTER_S: Final = 25.0
_SWEEP_S: Final = 1.0
_STALE_AFTER_S: Final = 5.0
_limited = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)


class Listing(NamedTuple):
    """One page of the list, newest first."""

    tests: list[Snapshot]
    next_cursor: str | None
    counts: dict[str, int]


class Catalogue:
    """All runs as this node knows them.

    Two nodes that have seen the same revisions and signs of life give the same answers and ETags.
    """

    def __init__(self, nats: Connection, on_change: Callable[[str], None]) -> None:
        self._nats = nats
        self._tell = on_change
        self._runs: dict[str, Snapshot] = {}
        self._revisions: dict[str, int] = {}
        self._heard: dict[str, float] = {}
        self._stalled: frozenset[str] = frozenset()
        self._sorted: list[Snapshot] | None = None
        self._watch = SnapshotStore(nats).watch(self._on_snapshot, self._on_current, self._on_reset)
        self.revision = 0
        """Sequence of the newest entry taken in."""
        self.version = 0
        """Goes up with every change of what is known here, the stalled ones among it."""
        self.filled = asyncio.Event()
        """Set once everything that was stored at the start is here."""
        self._lost_at: float | None = None

    def __repr__(self) -> str:
        return f"<Catalogue runs={len(self._runs)} revision={self.revision} stalled={len(self._stalled)}>"

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here, marked where it is stalled."""
        run = self._runs.get(test_id)
        if run is not None and test_id in self._stalled:
            return msgspec.structs.replace(run, stalled=True)
        return run

    def stored(self, test_id: str) -> tuple[Snapshot, int] | None:
        """The snapshot as stored, with its revision."""
        run = self._runs.get(test_id)
        return None if run is None else (run, self._revisions[test_id])

    def active(self) -> Iterable[Snapshot]:
        """The runs that have not ended."""
        return [run for run in self._runs.values() if not run.ended]

    def silent_for(self, test_id: str, now: float) -> float:
        """Seconds since this node has heard anything of the run."""
        return now - self._heard.get(test_id, now)

    @property
    def stale_for_s(self) -> float | None:
        """How long the broker has been away, None while it is there or has been away only for a moment."""
        if self._lost_at is None:
            return None
        age = asyncio.get_running_loop().time() - self._lost_at
        return age if age >= _STALE_AFTER_S else None

    def newest(self, limit: int) -> list[Snapshot]:
        """The newest runs."""
        return [self._marked(run) for run in self._ordered()[:limit]]

    def counts(self) -> dict[str, int]:
        """How many runs are in each status."""
        counts: dict[str, int] = dict.fromkeys(STATUSES, 0)
        for run in self._runs.values():
            counts[run.status] += 1
        return counts

    def listing(self, limit: int, cursor: str | None, status: str | None, query: str | None = None) -> Listing:
        """One page, newest first.

        Args:
            cursor: where the last page ended, from its `next_cursor`.
            status: only runs in it.
            query: only runs whose title, address, id or newest message holds it, whatever its case.

        Raises:
            BadInput: the cursor is none of ours.
        """
        runs = self._ordered()
        if status is not None:
            runs = [run for run in runs if run.status == status]
        if query:
            wanted = query.lower()
            runs = [run for run in runs if _holds(run, wanted)]
        if cursor is not None:
            edge = _parse_cursor(cursor)
            runs = [run for run in runs if _order(run) > edge]
        page = runs[:limit]
        following = _cursor(page[-1]) if len(runs) > limit else None
        return Listing([self._marked(run) for run in page], following, self.counts())

    def etag(self, epoch: str, query: str) -> str:
        """Names the answer to a query: epoch, revision, query and the stalled set."""
        stalled = ",".join(sorted(self._stalled))
        stale = int(self.stale_for_s is not None)
        digest = hashlib.blake2b(f"{epoch} {self.revision} {query} {stalled} {stale}".encode(), digest_size=12)
        return f'"{digest.hexdigest()}"'

    async def run(self) -> None:
        """Keeps it true until cancelled."""
        loop = asyncio.get_running_loop()
        self._nats.on_disconnect.append(self._on_disconnect)
        alive = await self._nats.subscribe(subjects.ALL_ALIVE, self._on_alive)
        following = loop.create_task(self._watch.run())
        try:
            while True:
                await asyncio.sleep(_SWEEP_S)
                self._sweep(loop.time())
        finally:
            following.cancel()
            self._nats.on_disconnect.remove(self._on_disconnect)
            await alive.close()

    # -- what comes in -------------------------------------------------------------------------------------------

    def _on_snapshot(self, change: SnapshotChange) -> None:
        self.revision = change.revision
        if change.kind == "unreadable":
            return
        test_id = change.test_id
        self._sorted = None
        if change.snapshot is None:
            self._runs.pop(test_id, None)
        else:
            self._runs[test_id] = change.snapshot
            self._revisions[test_id] = change.revision
            self._touch(test_id)
        self._on_change(test_id)

    def _on_change(self, test_id: str) -> None:
        self.version += 1
        self._tell(test_id)

    def _on_current(self) -> None:
        self._lost_at = None
        self.filled.set()

    def _on_reset(self) -> None:
        gone = list(self._runs)
        for table in (self._runs, self._revisions, self._heard):
            table.clear()
        self._sorted, self.revision = None, 0
        self.version += 1
        for test_id in gone:
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
        """Finds runs that have gone quiet, and runs past their retention."""
        if self._lost_at is None:  # with the broker away everything is quiet, and that says nothing about the workers
            stalled = frozenset(
                run.test_id for run in self.active() if now - self._heard[run.test_id] > STALLED_AFTER_S
            )
            changed, self._stalled = stalled ^ self._stalled, stalled
            for test_id in changed:
                self._on_change(test_id)
        else:
            for test_id in self._heard:
                self._heard[test_id] += _SWEEP_S
        oldest = now_ms() - RETENTION_S * 1000
        for test_id in [run.test_id for run in self._runs.values() if run.updated_at < oldest and run.ended]:
            del self._runs[test_id]
            self._sorted = None
            self._on_change(test_id)

    def _ordered(self) -> list[Snapshot]:
        if self._sorted is None:
            self._sorted = sorted(self._runs.values(), key=_order)
        return self._sorted

    def _marked(self, run: Snapshot) -> Snapshot:
        return msgspec.structs.replace(run, stalled=True) if run.test_id in self._stalled else run


def _order(run: Snapshot) -> tuple[int, str]:
    return (-run.created_at, run.test_id)


def _holds(run: Snapshot, wanted: str) -> bool:
    return any(wanted in text.lower() for text in (run.title, run.game_url, run.test_id, run.message) if text)


def _cursor(run: Snapshot) -> str:
    return f"{run.created_at}.{run.test_id}"


def _parse_cursor(cursor: str) -> tuple[int, str]:
    created_at, _, test_id = cursor.partition(".")
    if not created_at.isdigit() or subjects.test_id_of(f"test.{test_id}.cursor") is None:
        raise BadInput(f"cursor: {cursor[:80]!r} was not given out by listTests", code="invalid_cursor")
    return (-int(created_at), test_id)


def to_json(runs: Iterable[Snapshot]) -> list[Any]:
    """Snapshots as plain values, for an answer."""
    return [msgspec.to_builtins(run) for run in runs]
