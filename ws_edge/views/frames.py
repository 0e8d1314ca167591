"""What pictures the runs have that somebody is interested in on this node: who asks, what is forgotten, the figures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from broker.contract.frames import Frame
from broker.log import RateLimited
from ws_edge.views.frame_index import BYTES_EACH, REASONS
from ws_edge.views.refused_frames import RefusedFrames
from ws_edge.views.run_frames import Feed, RunFrames, Runs, Shared

_SWEEP_S: Final = 0.5
_LINGER_S: Final = 30.0
"""A list is kept current for this long after somebody has asked for it: pages that poll ask every 3 s."""
_MAX_FRAMES: Final = 500_000
"""In all lists: 15 MB. Those that were asked for longest ago are forgotten first."""
_MAX_RUNS: Final = 4_096
"""Without followers."""
_limited = RateLimited(logging.getLogger("testcast.frames"), per_s=10.0)
_EARLY_MS: Final = 10_000
"""A run whose first picture is of its start, up to this much, has lost none. The one time is the agent's, the other the
broker's: a picture that is older than its run says nothing."""


class FramesPage(NamedTuple):
    """A part of a run's pictures."""

    rows: list[tuple[int, int, int, int]]
    """Number, sequence, time in ms, bytes; in order of number."""
    newest: int
    """Number of the newest one that is shown; 0 for none."""
    more: bool
    gone: bool
    """The run may have had earlier pictures, which are not kept any more. Whether it had any is not known."""
    unreadable: dict[str, int]
    """Pictures that are kept and not shown, by reason."""


class FramesStatistics(NamedTuple):
    """The lists of one node at one moment, and what was counted since its start."""

    runs: int
    frames: int
    """Pictures in the lists."""
    index_bytes: int
    received: int
    """Pictures that the broker has told."""
    reads: int
    """Lists that were read from the stream."""
    floods: int
    """How often a run had more pictures than are taken in."""
    refused: dict[str, int]
    """Pictures that are not shown, by reason."""


class Frames:
    """The lists of one node.

    Args:
        feed: where it is read what pictures there are.
        on_reconnect: called after each reconnect of the connection to the broker.
        runs: what is known of the runs.
    """

    def __init__(self, feed: Feed, on_reconnect: list[Callable[[], None]], runs: Runs) -> None:
        loop = asyncio.get_running_loop()
        self.refused = RefusedFrames()
        self.on_newest: Callable[[RunFrames], None] = lambda _run: None
        """Called with a run that has another newest picture, or that is known for the first time."""
        self.on_missing: Callable[[str], None] = lambda _test_id: None
        """Called with the id of a run that does not exist."""
        self.on_new_stream: Callable[[], None] = lambda: None
        """Called when the stream was made again: numbers mean other pictures from now on."""
        self.followed: Callable[[str], bool] = lambda _test_id: False
        """Whether somebody follows a run's pictures."""
        self._reconnects = on_reconnect
        self._clock = loop.time
        self._runs: dict[str, RunFrames] = {}
        """By test id, the one that was asked for longest ago first."""
        self._asked: dict[str, float] = {}
        """When a list was last asked for, loop time."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._epoch = ""
        self._closed = (0, 0, 0)
        self._shared = Shared(
            feed,
            runs,
            self.refused,
            self._clock,
            lambda run: self.on_newest(run),
            self._missing,
            self._on_epoch,
            self._spawn,
        )

    def __repr__(self) -> str:
        return f"<Frames runs={len(self._runs)}>"

    def statistics(self) -> FramesStatistics:
        """The figures of this moment."""
        runs = self._runs.values()
        frames = sum(len(run.index) for run in runs)
        received, reads, floods = self._closed
        return FramesStatistics(
            runs=len(runs),
            frames=frames,
            index_bytes=frames * BYTES_EACH,
            received=received + sum(run.received for run in runs),
            reads=reads + sum(run.reads for run in runs),
            floods=floods + sum(run.flood.times for run in runs),
            refused=dict.fromkeys(REASONS[1:], 0) | self.refused.by_reason,
        )

    def known(self, test_id: str) -> RunFrames | None:
        """A run's pictures, if anybody is interested in them."""
        return self._runs.get(test_id)

    def of(self, test_id: str) -> RunFrames:
        """A run's pictures, from now on kept current until nobody has asked for a while."""
        run = self._runs.pop(test_id, None) or RunFrames(test_id, self._shared)
        self._runs[test_id] = run
        self._asked[test_id] = self._clock()
        return run

    async def newest(self, test_id: str) -> Frame | None:
        """The newest picture that is shown.

        Raises:
            NotFound, BrokerUnavailable, BrokerRefused.
        """
        run = self.of(test_id)
        await run.ready(whole=False)
        return run.newest

    async def page(self, test_id: str, after: int, limit: int, began_ms: int) -> FramesPage:
        """The pictures after a number.

        Args:
            began_ms: when the run has begun, ms since 1970.

        Raises:
            NotFound, BrokerUnavailable, BrokerRefused.
        """
        run = self.of(test_id)
        await run.ready(whole=True)
        rows, more = run.index.page(after, limit)
        newest = run.newest
        unreadable = {reason: count for reason, count in run.index.unreadable.items() if count}
        return FramesPage(rows, newest.number if newest else 0, more, _may_have_gone(run, began_ms), unreadable)

    async def run(self) -> None:
        """Looks after the lists until cancelled."""
        self._reconnects.append(self._on_reconnect)
        try:
            while True:
                await asyncio.sleep(_SWEEP_S)
                try:
                    self._sweep_all()
                except Exception:  # what is wrong with one must not end the lists of all
                    _limited.warning("a sweep failed", exc_info=True)
        finally:
            self._reconnects.remove(self._on_reconnect)
            for test_id in list(self._runs):
                self._drop(test_id)

    def _sweep_all(self) -> None:
        now = self._clock()
        for test_id, run in list(self._runs.items()):
            self._sweep(test_id, run, now)
        self._forget_some()

    def _sweep(self, test_id: str, run: RunFrames, now: float) -> None:
        if now - self._asked[test_id] > _LINGER_S:
            if not self.followed(test_id):
                self._drop(test_id)
                return
            if run.whole:
                run.shorten()
        run.sweep(now)

    def _forget_some(self) -> None:
        frames = sum(len(run.index) for run in self._runs.values())
        if frames <= _MAX_FRAMES and len(self._runs) <= _MAX_RUNS:
            return
        surplus = len(self._runs) - _MAX_RUNS
        for test_id, run in list(self._runs.items()):
            if frames <= _MAX_FRAMES and surplus <= 0:
                return
            before = len(run.index)
            if not self.followed(test_id):
                self._drop(test_id)
                frames, surplus = frames - before, surplus - 1
            elif run.whole:
                run.shorten()
                frames -= before - len(run.index)

    def _drop(self, test_id: str) -> None:
        run = self._runs.pop(test_id)
        del self._asked[test_id]
        received, reads, floods = self._closed
        self._closed = (received + run.received, reads + run.reads, floods + run.flood.times)
        run.close()

    def forget(self, test_id: str) -> None:
        """The run was deleted."""
        if (run := self._runs.get(test_id)) is not None:
            self._missing(run)

    def _missing(self, run: RunFrames) -> None:
        if self._runs.get(run.test_id) is run:
            self._drop(run.test_id)
            self.on_missing(run.test_id)

    def _on_epoch(self, epoch: str) -> None:
        if self._epoch not in ("", epoch):
            self.refused.forget()
            self.on_new_stream()
            for run in self._runs.values():
                run.doubt()
        self._epoch = epoch

    def _on_reconnect(self) -> None:
        for run in self._runs.values():
            run.read_again()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _may_have_gone(run: RunFrames, began_ms: int) -> bool:
    state, first = run.state, run.index.first
    if state is None:
        return False
    if state.per_run and len(run.index) >= state.per_run:
        return True
    if state.oldest_number <= 1 or began_ms >= state.oldest_ms:
        return False
    return first is None or abs(first.time_ms - began_ms) > _EARLY_MS
