"""The keeper: deletes the runs that have outlived the age of their project, and ends deletions that were cut short.

It runs in every edge, without a leader. Several may find the same run: a deletion begins with a mark that is written by
compare and set, and every step after that may be taken twice.

Nothing is deleted on the word of a snapshot alone. A run goes when it has ended, when nobody has pinned it and nobody
watches it here, and when its newest event is older than its project's age, as the broker's leader says at that moment.
Two clocks have to agree on that: the broker's and this machine's. While one of these things is not known, or the list
is not current, nothing goes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from broker.clock import now_ms
from broker.contract import subjects
from broker.contract.errors import NotEnded, NotFound, Pinned, TestcastError
from broker.contract.retention import Retention, due, is_due, is_over
from broker.contract.snapshot import Snapshot
from broker.jetstream.deletion import Deletion, Found
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.snapshot_store import SnapshotChange
from broker.jetstream.stream_config import age_s
from broker.log import RateLimited
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.leftovers import Leftovers
from ws_edge.views.pins import Pins

_TICK_S: Final = 0.5
_LOOK_S: Final = 60.0
_MOST: Final = 50
"""Runs that one look deletes: each takes a dozen requests."""
_SLICE: Final = 1000
"""Runs that are looked at in one turn of the loop: about a millisecond."""
_MORE_S: Final = 2.0
"""Until the next look where there are more."""
_GRACE_S: Final = 5.0
"""How long a deletion may take before others go on with it."""
_AGAIN_S: Final = 10.0
_log = logging.getLogger("testcast.keeper")
_limited = RateLimited(_log, per_s=10.0)


class _Stays(Exception):
    """The run is not due any more, now that it was looked at."""


class KeeperStatistics(NamedTuple):
    """Counts since the start of the node."""

    deleted: int
    """Runs that this node has deleted for their age."""
    finished: int
    """Deletions of others that this node has carried to their end."""
    purged: int
    """Subjects whose messages were of no run, and that this node has emptied."""
    failures: int
    """Tries that the broker did not answer, or refused."""
    begun: int
    """Deletions that have begun and have not ended."""
    look_age_s: float
    """Since it has last looked at all runs, or since it runs; 0 while it does not look."""


class Keeper:
    """One node's share of the deleting.

    Args:
        watched: whether somebody watches a run on this node.
        by_age: False: only deletions that were cut short are ended.
        wall_ms: this machine's clock, ms since 1970.
    """

    def __init__(
        self,
        log: JetStreamLog,
        catalogue: Catalogue,
        pins: Pins,
        clock: BrokerClock,
        retention: Retention,
        watched: Callable[[str], bool],
        *,
        by_age: bool = True,
        wall_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._log = log
        self._catalogue = catalogue
        self._pins = pins
        self._clock = clock
        self._given = self._retention = retention
        self._watched = watched
        self._by_age = by_age
        self._wall_ms = wall_ms
        self._deletion = Deletion(log)
        self._leftovers = Leftovers(log, self._deletion, catalogue, pins, self._stays)
        self._begun: dict[str, tuple[str, float]] = {}
        """By test id: the life of the stream of events, and when to go on with it, loop time."""
        self._deleted = self._finished = self._failures = 0
        self._unsure = 0
        """How often it was asked for the time while that was not known."""
        self._looked_at: float | None = None
        """When the last look has ended that nothing cut short, or the first one was waited for, loop time."""

    def __repr__(self) -> str:
        return f"<Keeper deleted={self._deleted} finished={self._finished} begun={len(self._begun)}>"

    def statistics(self) -> KeeperStatistics:
        """The figures of this moment."""
        counts = (self._deleted, self._finished, self._leftovers.purged, self._failures)
        age_s = 0.0 if self._looked_at is None else asyncio.get_running_loop().time() - self._looked_at
        return KeeperStatistics(*counts, len(self._begun), age_s)

    def on_mark(self, change: SnapshotChange) -> None:
        """Takes in that a run is being deleted, or was."""
        if change.kind == "deleting":
            self._begun[change.test_id] = (change.epoch, asyncio.get_running_loop().time() + _GRACE_S)
        else:
            self._begun.pop(change.test_id, None)

    async def run(self) -> None:
        """Looks until cancelled."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + self._pause_s()
        if self._by_age and self._looked_at is None:
            self._looked_at = loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            await self._finish_begun(loop.time())
            if self._by_age and loop.time() >= look_at:
                more = await self.look()
                look_at = loop.time() + (_MORE_S if more else self._pause_s())

    def _pause_s(self) -> float:
        """A day's runs are looked at once a minute; where runs live for minutes, more often."""
        shortest_s = min((each for each in self._retention.ages if each), default=_LOOK_S)
        return max(_TICK_S, min(_LOOK_S, shortest_s / 10)) * random.uniform(0.8, 1.2)

    async def _finish_begun(self, now: float) -> None:
        for test_id, (epoch, at) in list(self._begun.items()):
            if at > now:
                continue
            self._begun[test_id] = (epoch, now + _AGAIN_S)
            try:
                await self._deletion.finish(test_id, epoch)
                self._finished += 1
                self._begun.pop(test_id, None)
                _limited.info("test %s: its deletion was cut short, and is done now", test_id)
            except Pinned:
                self._begun.pop(test_id, None)
            except TestcastError as error:
                self._failed(f"deleting test {test_id} to the end", error)

    # -- ages ----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int | None:
        """The time that everything here goes by: the earlier of the broker's clock and this machine's. None: nothing
        may be deleted for its age at the moment, since something is not known."""
        broker_ms = self._clock.now_ms(asyncio.get_running_loop().time())
        sure = self._catalogue.filled.is_set() and self._catalogue.stale_for_s is None and self._pins.known
        if not sure or broker_ms is None:
            self._unsure += 1
            return None
        return min(broker_ms, self._wall_ms())

    def _stays(self, test_id: str) -> bool:
        return test_id in self._pins or self._watched(test_id) or test_id in self._catalogue.doubted

    async def look(self) -> bool:
        """Deletes what is due. Returns whether there is more."""
        if self.now_ms() is None:
            return False
        unsure = self._unsure
        try:
            config = (await self._log.streams.api(f"STREAM.INFO.{subjects.EVENTS}"))["config"]
            self._retention = self._given.where(age_s(config))
        except TestcastError as error:
            self._failed("asking how long runs are kept", error)
            return False
        found = await self._due()
        chosen = found[:_MOST]
        for run in random.sample(chosen, len(chosen)):  # other nodes find the same ones
            try:
                await self._deletion.delete(run.test_id, partial(self._check, run))
                self._deleted += 1
                _log.info("test %s is deleted: it has outlived the %s of its project", run.test_id, self._age(run))
            except (_Stays, NotFound, NotEnded, Pinned):
                pass
            except TestcastError as error:
                self._failed(f"deleting test {run.test_id} for its age", error)
                return False
        try:
            await self._leftovers.look(self.now_ms, self._retention.leftovers_s)
            if self._unsure == unsure:
                self._looked_at = asyncio.get_running_loop().time()
        except TestcastError as error:
            self._failed("purging what is of no run", error)
        return len(found) > _MOST

    async def _due(self) -> list[Snapshot]:
        """The runs that are due, the oldest first. Other work of the loop goes on in between."""
        known, found = self._catalogue.all(), list[Snapshot]()
        for start in range(0, len(known), _SLICE):
            runs = (run for run, revision in known[start : start + _SLICE] if revision)
            found += due(runs, self._retention, self.now_ms(), self._stays)
            await asyncio.sleep(0)
        return sorted(found, key=lambda run: run.updated_at)

    def _age(self, run: Snapshot) -> str:
        return f"{self._retention.age_s(run.project):g} s"

    def _check(self, known: Snapshot, found: Found) -> None:
        """Returns when the run is due by what the leader has just said of it, too.

        Args:
            known: as the list has it, which knows the project also where the run's first event has gone.
        """
        now, age = self.now_ms(), self._retention.age_s(known.project)
        agreed_ms = min(now, found.now_ms) if now is not None and found.now_ms else None
        is_old = found.snapshot is not None and is_due(found.snapshot, age, agreed_ms)
        if not is_old or not is_over(age, found.last_ms, agreed_ms) or self._stays(known.test_id):
            raise _Stays

    def _failed(self, what: str, error: TestcastError) -> None:
        self._failures += 1
        _limited.warning("%s: %s", what, error)
