"""The projector: folds stored events into the snapshots of `RUNS`. It runs in every edge, without a leader.

The shared consumer delivers hints: "there is an event at this sequence". A hint is acknowledged once the run's snapshot
has reached that sequence, by any edge. A projector can be killed at any time: its hints go to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec

from broker.contract import snapshot as snapshots
from broker.contract import subjects
from broker.contract.errors import (
    BrokerRefused,
    BrokerUnavailable,
    MalformedEvent,
    NotFound,
    TestcastError,
    WrongLastSequence,
)
from broker.contract.events import OnMalformed
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.api import Delivery
from broker.jetstream.bulk import consecutive
from broker.jetstream.deletion import Deletion
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pull_consumer import PullConsumer, ack_soon, nak
from broker.jetstream.snapshot_store import SnapshotChange, SnapshotStore
from broker.log import RateLimited
from broker.retry import Backoff, pause
from ws_edge.views.batch_folder import FEW, BatchFolder
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
"""Between two runs of a round. Folding takes an even tenth of a core while some hundred runs are busy, and fan-out
never waits behind a burst of it."""
_LONGEST_ROUND_S: Final = 1.0
"""An event waits for its run's turn in the next round, and pages show it within 3 s. The consumer's `ack_wait` of 10 s
covers two rounds."""
_MANY: Final = 64
"""Runs of a round from which on they are folded in batches."""
_TOGETHER: Final = 16
"""Runs of a batch: fan-out waits for the folding of one, about 2 ms."""
_AT_ONCE: Final = 16
_REFUSED_S: Final = 600.0
"""How long a run is not folded whose snapshot the bucket has refused for good: an operator may change the bucket."""
_TOO_LARGE: Final = 10054
"""The bucket takes no value of this size, however often it is sent."""
_log = logging.getLogger("testcast.projector")
_limited = RateLimited(_log, per_s=10.0)


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


AfterDeletion = Callable[[str, SnapshotChange], Awaitable[bool]]


class Folded(enum.Enum):
    """What came of folding a run."""

    DONE = "done"
    AGAIN = "again"
    """The broker did not answer."""
    NOTHING = "nothing"
    """There is nothing to fold: no event of the run is stored, or none that can be read."""


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
    refused: int
    """Runs that cannot be folded, or whose snapshot the bucket refuses: they are left alone for ten minutes."""
    pending: int
    """Runs with hints that wait for a round."""
    working: int
    """Runs that are being folded."""
    together: int
    """Of `written`, those that were folded with others."""


class Projector:
    """One node's share of the folding.

    Args:
        since: a run's events after a sequence, None where this node does not hold all of them.
        repair: declares the topology again; called when the consumer does not answer.
        epoch: this life of the event stream as this node knows it; empty before it does.
        on_malformed: called with each message that is not an event, also where nobody watches the run.
        after_deletion: decides whether events under the id of a deleted run are a new run. See `Deletion.after`.
    """

    def __init__(
        self,
        log: JetStreamLog,
        store: SnapshotStore,
        catalogue: Catalogue,
        since: Callable[[str, int], Sequence[HeldEvent] | None],
        repair: Callable[[], Awaitable[object]],
        epoch: Callable[[], str],
        on_malformed: OnMalformed,
        after_deletion: AfterDeletion | None = None,
    ) -> None:
        self._after_deletion = after_deletion or Deletion(log).after
        self._log = log
        self._nats = log.connection
        self._store = store
        self._catalogue = catalogue
        self._since = since
        self._repair = repair
        self._epoch = epoch
        self._on_malformed = on_malformed
        self._pending: dict[str, list[Delivery]] = {}
        """By run, the one that waits longest first."""
        self._rests_until: dict[str, float] = {}
        """Runs that were folded just now, loop time."""
        self._hinted = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        """By run; those of a batch share a task."""
        self._slots, self._alone = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_AT_ONCE)
        read = partial(consecutive, self._nats)
        self._batches = BatchFolder(read, store, catalogue, self._fold_here, on_malformed)
        self._written = self._reads = self._conflicts = self._failures = 0
        self._refused_until: dict[str, float] = {}
        """Loop time by run."""

    def __repr__(self) -> str:
        counts = f"written={self._written} reads={self._reads}"
        return f"<Projector {counts} pending={len(self._pending)} working={len(self._working)}>"

    def statistics(self) -> ProjectorStatistics:
        """The figures of this moment."""
        together = self._batches.statistics().written
        counts = (self._written + together, self._reads, self._conflicts, self._failures, len(self._refused_until))
        return ProjectorStatistics(*counts, len(self._pending), len(self._working), together)

    async def run(self) -> None:
        """Folds until cancelled. Then the hints of what is not folded are handed back, for another edge."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pull(), name="projector-hints")
                group.create_task(self._rounds(), name="projector-rounds")
        finally:
            for task in set(self._working.values()):
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
                    self._batches.forget()
                    if await pause(pauses.next(), self._nats):
                        pauses.reset()
                    await self._try_to_repair()
                    continue
                pauses.reset()
                for hint in hints:
                    await self._take(hint)
                if hints:
                    self._hinted.set()
                await self._look(hints)
                await asyncio.sleep(_GATHER_S if len(hints) < _BATCH else _HURRY_S)
        finally:
            with contextlib.suppress(BrokerUnavailable):
                await pull_consumer.close()

    async def _look(self, hints: Sequence[Delivery]) -> None:
        """Reads the events of many runs at once, but of those that are watched here: they are in memory."""
        newest = {test_id: hint.seq for hint in hints if (test_id := subjects.test_id_of(hint.subject)) is not None}
        if len(newest) >= FEW:
            unwatched = {subjects.events(each) for each, seq in newest.items() if self._since(each, seq) is None}
            await self._batches.look([hint.seq for hint in hints if hint.subject in unwatched], self._epoch())

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
        if subjects.probe_id_of(hint.subject) is not None:
            await self._answer([hint], done=True)
            return
        # test.<no id>.events: no viewer can ask for it
        error = MalformedEvent("the second part of its subject is not a UUID", f"it is on {hint.subject[:80]!r}")
        self._on_malformed("", hint.seq, error)
        await self._answer([hint], done=True)

    async def _round(self) -> None:
        """Folds every run with a hint once, new runs first. No run is folded twice at the same time."""
        now = asyncio.get_running_loop().time()
        self._rests_until = {test_id: until for test_id, until in self._rests_until.items() if until > now}
        due = [each for each in self._pending if each not in self._rests_until and each not in self._working]
        if len(due) < len(self._pending):
            self._hinted.set()
        due.sort(key=lambda test_id: self._catalogue.stored(test_id) is not None)
        size = _TOGETHER if len(due) >= _MANY else 1
        space_s, began = min(_SPACE_S, _LONGEST_ROUND_S / max(1, len(due))), now
        for begin in range(0, len(due), size):
            batch = due[begin : begin + size]
            await self._slots.acquire()
            self._rests_until |= dict.fromkeys(batch, now + _REST_S)
            work = self._work({test_id: self._pending.pop(test_id) for test_id in batch})
            task = asyncio.create_task(work, name=f"project-{batch[0]}")
            self._working |= dict.fromkeys(batch, task)
            task.add_done_callback(partial(self._done, batch))
            next_at = began + space_s * (begin + size)  # a round that was held up makes up for it
            await asyncio.sleep(max(0.0, next_at - asyncio.get_running_loop().time()))

    def _done(self, batch: Iterable[str], task: asyncio.Task[None]) -> None:
        for test_id in batch:
            if self._working.get(test_id) is task:
                del self._working[test_id]
        self._slots.release()

    async def _work(self, hints: dict[str, list[Delivery]]) -> None:
        """Folds some runs and answers their hints. Those that cannot be folded with others are folded one by one."""
        wanted = {test_id: max(hint.seq for hint in each) for test_id, each in hints.items()}
        done: set[str] = set()
        if len(wanted) > 1 and (epoch := self._epoch()):
            try:
                together = {each: seq for each, seq in wanted.items() if not self.refuses(each)}
                done = await self._batches.fold(together, epoch)
            except BrokerUnavailable as error:
                self._failures += 1
                _limited.warning("folding %d tests: %s", len(wanted), error)
                await self._answer([hint for each in hints.values() for hint in each], done=False)
                return
            except Exception:  # what is wrong with one of them harms no other
                _limited.warning("%d tests are folded one by one", len(wanted), exc_info=True)
            await self._answer([hint for test_id in done for hint in hints[test_id]], done=True)
            for test_id in done:
                del self._working[test_id]
        await asyncio.gather(*(self._work_alone(each, wanted[each], hints[each]) for each in hints if each not in done))

    async def _work_alone(self, test_id: str, seq: int, hints: list[Delivery]) -> None:
        async with self._alone:
            folded = await self.fold(test_id, seq)
            await self._answer(hints, done=folded is not Folded.AGAIN)

    def refuses(self, test_id: str) -> bool:
        """Whether the run cannot be folded at the moment, as one whose snapshot the bucket has refused for good."""
        return self._refused_until.get(test_id, 0.0) > asyncio.get_running_loop().time()

    async def fold(self, test_id: str, seq: int, *, doubted: bool = False) -> Folded:
        """Brings a run's snapshot up to `seq` at least. What is wrong with one run is logged, and harms no other.

        Args:
            doubted: the stored snapshot cannot be right: the run is folded again from its first event.
        """
        if self.refuses(test_id):
            return Folded.DONE
        try:
            if not await self._project(test_id, seq, doubted=doubted):
                return Folded.NOTHING
        except NotFound:
            return Folded.NOTHING
        except TestcastError as error:
            if not isinstance(error, BrokerRefused) or error.err_code != _TOO_LARGE:
                self._failures += 1
                _limited.warning("folding test %s: %s", test_id, error)
                return Folded.AGAIN
            self._refuse(test_id)
            _log.error("the snapshot of test %s is refused, and not tried again for now: %s", test_id, error)
        except Exception:
            self._refuse(test_id)
            _log.exception("test %s cannot be folded, and is not tried again for now", test_id)
        return Folded.DONE

    def _refuse(self, test_id: str) -> None:
        now = asyncio.get_running_loop().time()
        self._refused_until = {each: until for each, until in self._refused_until.items() if until > now}
        self._refused_until[test_id] = now + _REFUSED_S

    async def _project(self, test_id: str, seq: int, *, doubted: bool) -> bool:
        """Brings the snapshot up to `seq` at least. Returns whether there is anything to fold.

        Raises:
            NotFound: the run's events are gone.
            BrokerUnavailable: no leader.
        """
        epoch = self._epoch() or (await self._log.heads()).epoch
        known: tuple[Snapshot | None, int] | None = self._catalogue.stored(test_id)
        while True:
            stored, revision = known if known is not None else (None, 0)
            before = None if stored is None or doubted or stored.epoch not in (None, epoch) else stored
            if before is not None and before.seq >= seq and revision:
                return True
            after = self._fold_here(test_id, before, seq)
            if after is None:
                self._reads += 1
                read = runs.read(self._log, test_id, before, known_last=seq, on_malformed=self._on_malformed)
                after = (await read).snapshot
            if after is None:  # all of its events are malformed
                return False
            if before is None:
                after = msgspec.structs.replace(snapshots.with_beginning(after, stored), epoch=epoch)
            if stored == after and revision:  # it was right
                return True
            try:
                await self._store.put(after, revision)
            except WrongLastSequence:  # another edge has written, or the catalogue here lags
                self._conflicts += 1
                newest = await self._store.newest(test_id)
                if newest is not None and newest.is_deletion(epoch) and not await self._after_deletion(test_id, newest):
                    return False
                known = (None, 0) if newest is None else (newest.snapshot, newest.revision)
                if known[0] is not None and known[0].epoch == epoch and seq <= known[0].seq <= after.seq:
                    return True  # another edge was first
                continue
            self._written += 1
            return True

    def _fold_here(self, test_id: str, before: Snapshot | None, seq: int) -> Snapshot | None:
        """The snapshot at `seq`, from events that this node holds for its viewers; None: read the stream.

        The stream has told of the event at `seq` itself. What lies behind it, a publisher may have forged.
        """
        held = [each for each in self._since(test_id, 0 if before is None else before.seq) or () if each.seq <= seq]
        if not held or held[-1].seq != seq or not all(each.stored_ms for each in held):
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
