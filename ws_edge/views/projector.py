"""The projector: folds what is stored into `RUNS` (DESIGN 5). In every edge, without a leader, killed anywhere.

The shared consumer only gives hints: "there is an event at this sequence". A hint is acknowledged when the run's
snapshot has reached it, whoever wrote that snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from broker.contract import snapshot as snapshots
from broker.contract import subjects
from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotFound, TestcastError, WrongLastSequence
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.api import Delivery
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.pull_consumer import PullConsumer, ack_soon, nak
from broker.jetstream.snapshot_store import SnapshotStore
from broker.log import RateLimited
from ws_edge.fanout.ring import Entry
from ws_edge.views.catalogue import Catalogue

_BATCH: Final = 256
"""Hints taken at a time: they come on the connection that live events come on, and more of them would hold those up."""
_GATHER_S: Final = 0.2
_HURRY_S: Final = 0.02
"""Between two batches, and behind one that was full."""
_EXPIRES_S: Final = 5.0
_PACE_S: Final = 0.25
"""Between two rounds."""
_REST_S: Final = 0.5
"""Between two folds of one run, so that a busy one is folded twice a second and not at every event; sockets do not wait
for it, polls come every 3 s. The first event of a run that rested is folded in the next round."""
_SPACE_S: Final = 0.0025
"""Between two runs of a round: folding goes on evenly, at a tenth of a core however many runs are busy, and never in
a burst that fan-out would wait behind."""
_LONGEST_ROUND_S: Final = 3.0
"""Half of what the consumer waits for an answer, less a little: a hint may wait for the round after the next."""
_AT_ONCE: Final = 16
_limited = RateLimited(logging.getLogger("testcast.projector"), per_s=10.0)


class Projector:
    """One node's share of the folding.

    Args:
        since: a run's events behind a sequence, where this node holds all of them (`Hub.since`).
        mend: declares the topology again; called when the consumer does not answer.
    """

    def __init__(
        self,
        nats: Connection,
        catalogue: Catalogue,
        since: Callable[[str, int], list[Entry] | None],
        mend: Callable[[], Awaitable[None]],
    ) -> None:
        self._nats = nats
        self._since = since
        self._mend = mend
        self._log = JetStreamLog(nats)
        self._store = SnapshotStore(nats)
        self._catalogue = catalogue
        self._pending: dict[str, list[Delivery]] = {}
        """By run, the one that waits longest first."""
        self._rests_until: dict[str, float] = {}
        """Runs that were folded just now, loop time."""
        self._hinted = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.written = 0
        self.reads = 0
        """Folds for which the stream had to be read."""

    def __repr__(self) -> str:
        counts = f"written={self.written} reads={self.reads}"
        return f"<Projector {counts} pending={len(self._pending)} working={len(self._working)}>"

    async def run(self) -> None:
        """Folds until cancelled; then what has not been folded is handed back, for another edge."""
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
        try:
            while True:
                try:
                    hints = await pull_consumer.pull(_BATCH, expires_s=_EXPIRES_S)
                    for hint in hints:
                        await self._take(hint)
                except (BrokerUnavailable, BrokerRefused) as error:
                    _limited.warning("waiting for hints: %s", error)
                    await asyncio.sleep(0.5)
                    await self._try_to_mend()
                    continue
                if hints:
                    self._hinted.set()
                await asyncio.sleep(_GATHER_S if len(hints) < _BATCH else _HURRY_S)
        finally:
            with contextlib.suppress(BrokerUnavailable):
                await pull_consumer.close()

    async def _try_to_mend(self) -> None:
        """The consumer goes with its stream: whoever makes the stream anew may not know of it."""
        if self._nats.connected:
            with contextlib.suppress(TestcastError):
                await self._mend()

    async def _take(self, hint: Delivery) -> None:
        test_id = subjects.test_id_of(hint.subject)
        if test_id is not None:
            self._pending.setdefault(test_id, []).append(hint)
            return
        # test.<no id>.events: nobody can watch it
        _limited.warning("an event on %r belongs to no test: its second token is no UUID", hint.subject[:80])
        await self._answer([hint], done=True)

    async def _round(self) -> None:
        """Every run with a hint, once; those first that nobody knows yet. One at a time is worked on of each run."""
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
        """One fold, and the answer to its hints."""
        try:
            await self._project(test_id, max(hint.seq for hint in hints))
        except NotFound:
            pass
        except TestcastError as error:
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
                self.reads += 1
                after = (await runs.read(self._log, test_id, before, known_last=seq)).snapshot
            if after is None:  # nothing but malformed messages so far
                return
            try:
                await self._store.put(after, revision)
            except WrongLastSequence:  # another edge was quicker, or the catalogue here is a little behind
                known = await self._store.get(test_id)
                continue
            self.written += 1
            return

    def _fold_here(self, test_id: str, before: Snapshot | None, seq: int) -> Snapshot | None:
        """The snapshot at `seq` or later from events that viewers on this node have anyway; None: read the stream."""
        entries = self._since(test_id, 0 if before is None else before.seq)
        if not entries or entries[-1].seq < seq:
            return None
        after = before
        for entry in entries:
            after = snapshots.fold(after, test_id, entry.seq, runs.parse(entry.body) if entry.body else None)
        return after

    async def _answer(self, hints: list[Delivery], *, done: bool, again_s: float = 1.0) -> None:
        try:
            if done:
                await ack_soon(self._nats, hints)
                return
            for hint in hints:
                await nak(self._nats, hint, delay_s=again_s)
        except BrokerUnavailable:
            pass  # delivered again after the consumer's ack_wait
