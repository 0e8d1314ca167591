"""Compares the bucket `RUNS` with the events, and has folded again what is missing, behind or cannot be right.

The bucket is a view: it may be deleted, emptied, restored from an older copy, or written to by anybody. Every edge
compares, without a leader. Until a bucket that was lost has been filled again, the list is stale.

The cheap look is two requests. The survey of both streams follows when a look finds a difference, and at most once a
minute while anything is stored. In a survey, only the newest sequence of each run is delivered.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from broker.contract.errors import BrokerRefused, BrokerUnavailable, TestcastError, WrongLastSequence
from broker.jetstream.api import StreamState
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.snapshot_store import SnapshotStore
from broker.log import RateLimited
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.projector import Folded

_LOOK_S: Final = 5.0
_SURVEY_S: Final = 60.0
_COST: Final = 100
"""A survey that took a second is repeated after 100 s at the earliest."""
_GATHER_S: Final = 0.2
"""Changes of the bucket come in bursts."""
_RETRY_S: Final = 1.0
_SETTLE_S: Final = 1.0
"""How long a new run may be missing: its first event was stored just now."""
_LAG_S: Final = 10.0
"""A run that is behind for longer is not only being folded at the moment."""
_AGAIN_S: Final = 10.0
"""Between two folds of one doubted run: a node of an older version may write it again and again."""
_AT_ONCE: Final = 8
_FIRST_S: Final = 10.0
"""How long a node waits with its list for the first comparison. After that it serves what it has, marked stale."""
_log = logging.getLogger("testcast.refill")
_limited = RateLimited(_log, per_s=10.0)
_removed_line = RateLimited(_log, per_s=1.0)
_missing_line = RateLimited(_log, per_s=10.0)


class Fold(Protocol):
    """Folds a run up to a sequence at least; see `Projector.fold`."""

    async def __call__(self, test_id: str, seq: int, *, doubted: bool = False) -> Folded: ...


class _Seen(NamedTuple):
    """What a survey has seen: without a change of it, another would find the same."""

    events: tuple[str, int]
    runs: tuple[str, int, int]
    resets: int


class RefillStatistics(NamedTuple):
    """Counts since the start of the node."""

    looks: int
    surveys: int
    missing: int
    """Runs that the newest survey has found missing, behind or wrong."""
    folded: int
    """Runs that this node has had folded again."""
    removed: int
    """Snapshots of runs without events that this node has removed."""


class Refill:
    """One node's comparison.

    Args:
        fold: None: another process folds, and this node only says that the list is stale.
        refuses: whether a run cannot be folded at the moment.
        repair: declares the topology again; called when a stream is gone.
    """

    def __init__(
        self,
        log: JetStreamLog,
        store: SnapshotStore,
        catalogue: Catalogue,
        clock: BrokerClock,
        *,
        fold: Fold | None,
        refuses: Callable[[str], bool],
        repair: Callable[[], Awaitable[object]],
    ) -> None:
        self._log = log
        self._store = store
        self._catalogue = catalogue
        self._clock = clock
        self._fold = fold
        self._refuses = refuses
        self._repair = repair
        self._seen: _Seen | None = None
        self._epoch = ""
        self._messages = 0
        self._survey_due = 0.0
        self._behind: tuple[float, dict[str, int]] = (0.0, {})
        """Runs that were behind in the newest survey, with their newest event, and when that was, loop time."""
        self._nothing: dict[str, int] = {}
        """Runs of which no event can be read, with the newest of their messages: they have no snapshot."""
        self._not_before: dict[str, float] = {}
        """Doubted runs that were folded just now, loop time."""
        self._looks = self._surveys = self._missing = self._folded = self._removed = 0

    def __repr__(self) -> str:
        return f"<Refill surveys={self._surveys} missing={self._missing} folded={self._folded}>"

    def statistics(self) -> RefillStatistics:
        """The figures of this moment."""
        return RefillStatistics(self._looks, self._surveys, self._missing, self._folded, self._removed)

    async def run(self) -> None:
        """Compares until cancelled."""
        await self._catalogue.current.wait()
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            self._catalogue.changed.clear()
            try:
                await self.look()
                delay_s = _RETRY_S if self._missing else _LOOK_S
            except (BrokerUnavailable, BrokerRefused) as error:
                _limited.warning("comparing the snapshots with the events: %s", error)
                delay_s = _RETRY_S
                if isinstance(error, BrokerRefused) and self._log.connected:
                    with suppress(TestcastError):
                        await self._repair()
                if not self._catalogue.filled.is_set() and loop.time() - started > _FIRST_S:
                    self._catalogue.compared(behind=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._catalogue.changed.wait()
            await asyncio.sleep(_GATHER_S)

    async def look(self) -> None:
        """Compares once.

        Raises:
            BrokerUnavailable: no leader, or an answer was not whole. BrokerRefused: a stream is gone.
        """
        self._looks += 1
        loop = asyncio.get_running_loop()
        resets, held = self._catalogue.resets, sum(revision > 0 for _, revision in self._catalogue.all())
        events = await self._log.state()
        self._clock.set(events.now_ms, time.monotonic())
        stored = await self._store.state()
        self._doubt_by_numbers(events, stored)
        seen = _Seen((events.epoch, events.last_seq), (stored.epoch, stored.last_seq, stored.messages), resets)
        lost = stored.messages < max(held, self._messages) or events.epoch != self._epoch
        another = (
            self._seen is None
            or self._missing > 0
            or lost
            or (self._seen.runs[0], self._seen.resets) != (stored.epoch, resets)
        )
        self._messages, self._epoch = stored.messages, events.epoch
        if another or (seen != self._seen and loop.time() >= self._survey_due):
            began = loop.time()
            await self._survey(events.epoch, stored.last_seq, at_once=another)
            self._seen = seen if not self._missing else None
            self._survey_due = loop.time() + max(_SURVEY_S, _COST * (loop.time() - began))
        await self._fold_what_stays_behind(events.epoch)
        await self._mend_doubted()

    def _doubt_by_numbers(self, events: StreamState, stored: StreamState) -> None:
        """A snapshot past the newest event, of another life of the stream, or of an entry that is gone, is doubted."""
        for run, revision in self._catalogue.all():
            if 0 < revision < stored.first_seq:
                self._catalogue.lose(run.test_id)
            if run.epoch != events.epoch or run.seq > events.last_seq or revision < stored.first_seq:
                self._catalogue.doubted.add(run.test_id)

    async def _survey(self, epoch: str, last_revision: int, *, at_once: bool) -> None:
        """Finds the runs that are missing, behind, or in the bucket without an event."""
        self._surveys += 1
        newest, revisions = await self._log.newest_of_all(), await self._store.revisions()
        self._nothing = {each: seq for each, seq in self._nothing.items() if newest.get(each) == seq}
        for run, revision in self._catalogue.all():
            if 0 < revision <= last_revision and run.test_id not in revisions:
                self._catalogue.lose(run.test_id)
        missing = self._missing_of(newest, epoch)
        if missing and at_once:
            await asyncio.sleep(_SETTLE_S)
            missing = self._missing_of(missing, epoch)
            await self._fold_missing(missing)
        self._behind = (asyncio.get_running_loop().time(), missing | self._behind_of(newest))
        if at_once:
            self._missing = len([each for each in missing if self._is_wrong(each, newest[each], epoch)])
            self._catalogue.compared(behind=self._missing > 0)
        held = {*revisions, *(run.test_id for run, _ in self._catalogue.all())}
        self._catalogue.doubted.update(each for each in held if each not in newest)

    def _missing_of(self, newest: dict[str, int], epoch: str) -> dict[str, int]:
        """The runs of `newest` that the bucket does not hold, or holds from another life of the stream."""
        return {test_id: seq for test_id, seq in newest.items() if self._is_wrong(test_id, seq, epoch)}

    def _is_wrong(self, test_id: str, seq: int, epoch: str) -> bool:
        if self._nothing.get(test_id) == seq or self._refuses(test_id):
            return False
        known = self._catalogue.stored(test_id)
        return known is None or not known[1] or known[0].epoch not in (None, epoch)

    def _behind_of(self, newest: dict[str, int]) -> dict[str, int]:
        """The runs whose snapshot is behind their newest event."""
        runs = (run for run, _ in self._catalogue.all())
        return {run.test_id: newest[run.test_id] for run in runs if run.seq < newest.get(run.test_id, 0)}

    async def _fold_missing(self, missing: dict[str, int]) -> None:
        self._catalogue.compared(behind=bool(missing))
        if missing:
            _missing_line.warning("%d snapshots are missing: they are folded again", len(missing))
            await self._fold_all(missing)

    async def _fold_what_stays_behind(self, epoch: str) -> None:
        """What was missing or behind in the newest survey, and is still: its hints were lost."""
        since, suspects = self._behind
        if not suspects or asyncio.get_running_loop().time() - since < _LAG_S:
            return
        self._behind = (0.0, {})
        still = {
            each: seq for each, seq in suspects.items() if self._is_wrong(each, seq, epoch) or self._lags(each, seq)
        }
        if still:
            _missing_line.warning("%d snapshots are behind the events: they are folded again", len(still))
            self._missing = len(still)
            self._catalogue.compared(behind=True)
            await self._fold_all(still)

    def _lags(self, test_id: str, seq: int) -> bool:
        known = self._catalogue.stored(test_id)
        return known is not None and known[0].seq < seq and not self._refuses(test_id)

    async def _fold_all(self, wrong: dict[str, int]) -> None:
        """In an order of this node's own: other nodes fold the same runs, and what they have done is passed over."""
        await self._each(random.sample(list(wrong), len(wrong)), lambda test_id: self._refold(test_id, wrong[test_id]))

    async def _mend_doubted(self) -> None:
        now = asyncio.get_running_loop().time()
        self._not_before = {each: at for each, at in self._not_before.items() if at > now}
        due = [each for each in self._catalogue.doubted if each not in self._not_before]
        if self._fold is None or not due:
            return
        await self._each(random.sample(due, len(due)), self._mend)

    async def _each(self, test_ids: list[str], work: Callable[[str], Awaitable[None]]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(test_id: str) -> None:
            async with slots:
                await work(test_id)

        async with asyncio.TaskGroup() as group:
            for test_id in test_ids:
                group.create_task(_quietly(one, test_id))

    async def _mend(self, test_id: str) -> None:
        """Folds one doubted run again, or removes the snapshot of a run that has no events."""
        seq = await self._log.last(test_id) or await self._log.last(test_id, confirmed=True)
        if seq:
            await self._refold(test_id, seq)
            return
        entry = await self._store.newest(test_id)
        if entry is not None and (entry.snapshot is not None or entry.lasting):
            try:
                await self._store.remove(test_id, entry.revision)
            except WrongLastSequence:
                return  # written meanwhile: it is not what was doubted
            if entry.snapshot is not None:
                self._removed += 1
                _removed_line.info("test %s has no events any more: its snapshot is removed", test_id)
        self._catalogue.forget(test_id)
        self._settle(test_id)

    async def _refold(self, test_id: str, seq: int) -> None:
        if self._fold is None:
            return
        folded = await self._fold(test_id, seq, doubted=test_id in self._catalogue.doubted)
        if folded is Folded.AGAIN:
            return
        self._folded += folded is Folded.DONE
        if folded is Folded.NOTHING:
            self._nothing[test_id] = seq
        self._settle(test_id)

    def _settle(self, test_id: str) -> None:
        self._catalogue.doubted.discard(test_id)
        self._not_before[test_id] = asyncio.get_running_loop().time() + _AGAIN_S


async def _quietly(work: Callable[[str], Awaitable[None]], test_id: str) -> None:
    try:
        await work(test_id)
    except TestcastError as error:
        _limited.warning("comparing test %s with its events: %s", test_id, error)
