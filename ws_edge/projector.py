"""The projector: folds what is stored into `RUNS` (DESIGN 5). In every edge, without a leader, killed anywhere.

The shared consumer only gives hints: "there is an event at this sequence". A hint is acknowledged when the run's
snapshot has reached it, whoever wrote that snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from broker import runs, subjects
from broker import snapshot as snapshots
from broker.bus import Bus
from broker.errors import BrokerRefused, BrokerUnavailable, NotFound, TestcastError, WrongLastSequence
from broker.log import RateLimited
from broker.puller import Puller, ack_soon, nak
from broker.snapshot import Snapshot
from broker.streams import Delivery, Streams
from ws_edge.catalogue import Catalogue

_BATCH: Final = 4096
_EXPIRES_S: Final = 5.0
_PACE_S: Final = 0.25
"""Between two rounds, so that a busy run is folded four times a second and not at every event; sockets do not wait for
it, polls come every 3 s."""
_LONGEST_ROUND_S: Final = 1.0
_REST_PER_RUN_S: Final = 0.0025
"""Rest after a round, for each run that was in it: about four times what its folding takes of a core, so that fan-out
goes first however many runs are busy. Counted, not timed: a slow broker is no reason to rest."""
_AT_ONCE: Final = 16
_limited = RateLimited(logging.getLogger("testcast.projector"), per_s=10.0)


class Projector:
    """One node's share of the folding.

    Args:
        mend: declares the topology again; called when the consumer does not answer.
    """

    def __init__(self, bus: Bus, catalogue: Catalogue, mend: Callable[[], Awaitable[None]]) -> None:
        self._bus = bus
        self._mend = mend
        self._streams = Streams(bus)
        self._catalogue = catalogue
        self._pending: dict[str, list[Delivery]] = {}
        self._working: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.written = 0

    def __repr__(self) -> str:
        return f"<Projector written={self.written} pending={len(self._pending)} working={len(self._working)}>"

    async def run(self) -> None:
        """Folds until cancelled."""
        puller = Puller(self._bus, subjects.EVENTS, subjects.PROJECTOR)
        try:
            while True:
                try:
                    hints = await puller.pull(_BATCH, expires_s=_EXPIRES_S)
                except (BrokerUnavailable, BrokerRefused) as error:
                    _limited.warning("waiting for hints: %s", error)
                    await asyncio.sleep(0.5)
                    await self._try_to_mend()
                    continue
                for hint in hints:
                    await self._take(hint)
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=_LONGEST_ROUND_S)
                await asyncio.sleep(_PACE_S + _REST_PER_RUN_S * len({hint.subject for hint in hints}))
        finally:
            for task in self._tasks:
                task.cancel()

    async def _try_to_mend(self) -> None:
        """The consumer goes with its stream: whoever makes the stream anew may not know of it."""
        if self._bus.connected:
            with contextlib.suppress(TestcastError):
                await self._mend()

    async def _take(self, hint: Delivery) -> None:
        test_id = subjects.test_id_of(hint.subject)
        if test_id is None:  # test.<no id>.events: nobody can watch it
            _limited.warning("an event on %r belongs to no test: its second token is no UUID", hint.subject[:80])
            await self._answer([hint], done=True)
            return
        self._pending.setdefault(test_id, []).append(hint)
        if test_id not in self._working:
            self._working.add(test_id)
            task = asyncio.create_task(self._work(test_id), name=f"project-{test_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self, test_id: str) -> None:
        """One run at a time; hints that arrive meanwhile are answered by the next round, together."""
        try:
            while hints := self._pending.pop(test_id, None):
                try:
                    async with self._slots:
                        await self._project(test_id, max(hint.seq for hint in hints))
                except NotFound:
                    await self._answer(hints, done=True)
                except TestcastError as error:
                    _limited.warning("folding test %s: %s", test_id, error)
                    await self._answer(hints, done=False)
                else:
                    await self._answer(hints, done=True)
        finally:
            self._working.discard(test_id)

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
            run = await runs.read(self._streams, test_id, before, known_last=seq)
            if run.snapshot is None:  # nothing but malformed messages so far
                return
            try:
                await self._streams.kv_update(subjects.RUNS, test_id, run.snapshot.encode(), revision)
            except WrongLastSequence:  # another edge was quicker, or the catalogue here is a little behind
                known = await self._stored(test_id)
                continue
            self.written += 1
            return

    async def _stored(self, test_id: str) -> tuple[Snapshot | None, int]:
        entry = await self._streams.kv_get(subjects.RUNS, test_id)
        if entry is None:
            return None, 0
        return snapshots.decode(entry.data), entry.seq

    async def _answer(self, hints: list[Delivery], *, done: bool) -> None:
        try:
            if done:
                await ack_soon(self._bus, hints)
                return
            for hint in hints:
                await nak(self._bus, hint, delay_s=1.0)
        except BrokerUnavailable:
            pass  # delivered again after the consumer's ack_wait
