"""The projector: folds stored events into the snapshots of `RUNS`. It runs in every edge, without a leader.

The shared consumer delivers hints: "there is an event at this sequence". A hint is acknowledged once the run's snapshot
has reached that sequence, by any edge. A projector can be killed at any time: its hints go to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

from broker.contract import snapshot as snapshots
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotFound, TestcastError, WrongLastSequence
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.api import Delivery
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pull_consumer import PullConsumer, ack_soon, nak
from broker.jetstream.snapshot_store import SnapshotStore
from broker.log import RateLimited
from broker.retry import Backoff, pause
from ws_edge.views.catalogue import Catalogue

_BATCH: Final = 256
"""Hints per pull. They share the connection with live events, and more of them at a time would delay those."""
_GATHER_S: Final = 0.2
"""Between two pulls."""
_HURRY_S: Final = 0.02
"""Between two pulls when the first was full."""
_EXPIRES_S: Final = 5.0
_FIRST_RETRY_S: Final = 0.5
_PACE_S: Final = 0.25
"""Between two rounds."""
_REST_S: Final = 0.5
"""Between two folds of one run: a busy run is folded twice a second and not at every event. Sockets do not wait for it,
and polls come every 3 s. The first event of a run that has rested is folded in the next round."""
_SPACE_S: Final = 0.0025
"""Between two runs of a round. Folding takes an even tenth of a core however many runs are busy, and fan-out never
waits behind a burst of it."""
_LONGEST_ROUND_S: Final = 3.0
"""A hint may wait for the round after the next, and the consumer's `ack_wait` of 10 s must cover both."""
_AT_ONCE: Final = 16
_limited = RateLimited(logging.getLogger("testcast.projector"), per_s=10.0)


class HeldEvent(Protocol):
    """An event that this node holds in memory."""

    @property
    def seq(self) -> int:
        """Its sequence in the stream."""

    @property
    def body(self) -> bytes:
        """Its JSON as viewers get it; empty for a malformed event."""

    @property
    def stored_ms(self) -> int:
        """When the broker stored it, ms since 1970; 0 where that is not known."""


class ProjectorStatistics(NamedTuple):
    """What waits at one moment, and counts since the start of the node."""

    written: int
    """Snapshots that this node has written."""
    reads: int
    """Folds for which the stream was read: this node did not hold the events."""
    conflicts: int
    """Writes that came after another edge's."""
    failures: int
    """Folds that the broker did not answer; their hints are delivered again."""
    pending: int
    """Runs with hints that wait for a round."""
    working: int
    """Runs that are being folded."""


class Projector:
    """One node's share of the folding.

    Args:
        since: a run's events after a sequence, None where this node does not hold all of them.
        repair: declares the topology again; called when the consumer does not answer.
    """

    def __init__(
        self,
        log: JetStreamLog,
        store: SnapshotStore,
        catalogue: Catalogue,
        since: Callable[[str, int], Sequence[HeldEvent] | None],
        repair: Callable[[], Awaitable[None]],
    ) -> None:
        self._log = log
        self._nats = log.connection
        self._store = store
        self._catalogue = catalogue
        self._since = since
        self._repair = repair
        self._pending: dict[str, list[Delivery]] = {}
        """By run, the one that waits longest first."""
        self._rests_until: dict[str, float] = {}
        """Runs that were folded just now, loop time."""
        self._hinted = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._written = 0
        self._reads = 0
        self._conflicts = 0
        self._failures = 0

    def __repr__(self) -> str:
        counts = f"written={self._written} reads={self._reads}"
        return f"<Projector {counts} pending={len(self._pending)} working={len(self._working)}>"

    def statistics(self) -> ProjectorStatistics:
        """The figures of this moment."""
        counts = (self._written, self._reads, self._conflicts, self._failures)
        return ProjectorStatistics(*counts, len(self._pending), len(self._working))

    async def run(self) -> None:
        """Folds until cancelled. Then the hints of what is not folded are handed back, for another edge."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pull(), name="projector-hints")
                group.create_task(self._rounds(), name="projector-rounds")
        finally:
            for task in self._working.values():
                task.cancel()
            for hints in self._pending.values():
                await self._answer(hints, done=False, again_s=0.0)

    async def _rounds(self) -> None:
        while True:
            await self._hinted.wait()
            self._hinted.clear()
            await self._round()
            await asyncio.sleep(_PACE_S)

    async def _pull(self) -> None:
        """Gathers hints, a few at a time."""
        pull_consumer = PullConsumer(self._nats, subjects.EVENTS, subjects.PROJECTOR)
        pauses = Backoff(_FIRST_RETRY_S)
        try:
            while True:
                try:
                    hints = await pull_consumer.pull(_BATCH, expires_s=_EXPIRES_S)
                except (BrokerUnavailable, BrokerRefused) as error:
                    _limited.warning("waiting for hints: %s", error)
                    if await pause(pauses.next(), self._nats):
                        pauses.reset()
                    await self._try_to_repair()
                    continue
                pauses.reset()
                for hint in hints:
                    await self._take(hint)
                if hints:
                    self._hinted.set()
                await asyncio.sleep(_GATHER_S if len(hints) < _BATCH else _HURRY_S)
        finally:
            with contextlib.suppress(BrokerUnavailable):
                await pull_consumer.close()

    async def _try_to_repair(self) -> None:
        """Deleting a stream deletes its consumer, and recreating the stream does not recreate the consumer."""
        if self._nats.connected:
            with contextlib.suppress(TestcastError):
                await self._repair()

    async def _take(self, hint: Delivery) -> None:
        test_id = subjects.test_id_of(hint.subject)
        if test_id is not None:
            self._pending.setdefault(test_id, []).append(hint)
            return
        # test.<no id>.events: no viewer can ask for it
        _limited.warning("an event on %r belongs to no test: its second token is no UUID", hint.subject[:80])
        await self._answer([hint], done=True)

    async def _round(self) -> None:
        """Folds every run with a hint once, new runs first. No run is folded twice at the same time."""
        now = asyncio.get_running_loop().time()
        self._rests_until = {test_id: until for test_id, until in self._rests_until.items() if until > now}
        due = [each for each in self._pending if each not in self._rests_until and each not in self._working]
        if len(due) < len(self._pending):
            self._hinted.set()
        due.sort(key=lambda test_id: self._catalogue.stored(test_id) is not None)
        for test_id in due:
            await self._slots.acquire()
            self._rests_until[test_id] = now + _REST_S
            task = asyncio.create_task(self._work(test_id, self._pending.pop(test_id)), name=f"project-{test_id}")
            self._working[test_id] = task
            task.add_done_callback(partial(self._done, test_id))
            await asyncio.sleep(min(_SPACE_S, _LONGEST_ROUND_S / len(due)))

    def _done(self, test_id: str, _task: asyncio.Task[None]) -> None:
        del self._working[test_id]
        self._slots.release()

    async def _work(self, test_id: str, hints: list[Delivery]) -> None:
        """Folds one run and answers its hints."""
        try:
            await self._project(test_id, max(hint.seq for hint in hints))
        except NotFound:
            pass
        except TestcastError as error:
            self._failures += 1
            _limited.warning("folding test %s: %s", test_id, error)
            await self._answer(hints, done=False)
            return
        await self._answer(hints, done=True)

    async def _project(self, test_id: str, seq: int) -> None:
        """Brings the snapshot up to `seq` at least.

        Raises:
            NotFound: the run's events are gone.
            BrokerUnavailable: no leader.
        """
        known: tuple[Snapshot | None, int] | None = self._catalogue.stored(test_id)
        while True:
            before, revision = known if known is not None else (None, 0)
            if before is not None and before.seq >= seq:
                return
            after = self._fold_here(test_id, before, seq)
            if after is None:
                self._reads += 1
                after = (await runs.read(self._log, test_id, before, known_last=seq)).snapshot
            if after is None:  # all of its events are malformed
                return
            try:
                await self._store.put(after, revision)
            except WrongLastSequence:  # another edge has written, or the catalogue here lags
                self._conflicts += 1
                known = await self._store.get(test_id)
                continue
            self._written += 1
            return

    def _fold_here(self, test_id: str, before: Snapshot | None, seq: int) -> Snapshot | None:
        """The snapshot at `seq` or later, from events that this node holds for its viewers; None: read the stream."""
        held = self._since(test_id, 0 if before is None else before.seq)
        if not held or held[-1].seq < seq or not all(each.stored_ms for each in held):
            return None
        after = before
        for each in held:
            event = runs.parse(each.body) if each.body else None
            after = snapshots.fold(after, test_id, each.seq, event, each.stored_ms)
        return after

    async def _answer(self, hints: list[Delivery], *, done: bool, again_s: float = 1.0) -> None:
        try:
            if done:
                await ack_soon(self._nats, hints)
                return
            for hint in hints:
                await nak(self._nats, hint, delay_s=again_s)
        except BrokerUnavailable:
            pass  # the broker delivers them again after the consumer's `ack_wait`
